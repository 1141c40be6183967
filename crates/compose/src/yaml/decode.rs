//! Nodes into any type that serde can make, with the place in every error. Not the syntax.

use std::fmt;

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, VariantAccess, Visitor,
};

use super::{Map, Node, Value};
use crate::diagnostic::{Diagnostic, Diagnostics, nearest};
use crate::source::Span;

/// Makes a `T` of a node; an error names the place.
///
/// With `#[serde(deny_unknown_fields)]` an unknown key is an error that offers the nearest known
/// one. The places of values within `#[serde(flatten)]` and untagged enums are those of the whole.
pub fn decode<T: DeserializeOwned>(node: &Node) -> Result<T, Diagnostics> {
    T::deserialize(Reader { node }).map_err(|error| error.into_diagnostic(&node.span).into())
}

#[derive(Debug)]
struct Error {
    code: &'static str,
    message: String,
    help: Option<String>,
    span: Option<Span>,
}

impl Error {
    fn new(code: &'static str, message: String) -> Self {
        Self {
            code,
            message,
            help: None,
            span: None,
        }
    }

    /// Gives a place to an error that has none yet, so that the innermost stays.
    fn place(mut self, span: &Span) -> Self {
        self.span.get_or_insert_with(|| span.clone());
        self
    }

    fn suggest(mut self, word: &str, known: &'static [&'static str]) -> Self {
        self.help = Some(match nearest(word, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known: {}", known.join(", ")),
        });
        self
    }

    fn into_diagnostic(self, whole: &Span) -> Diagnostic {
        let mut diagnostic =
            Diagnostic::error(self.code, self.message).at(self.span.as_ref().unwrap_or(whole));
        diagnostic.help = self.help;
        diagnostic
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new("invalid-value", message.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let message = format!("expected {expected}, but this is {}", kind(unexpected));
        Self::new("wrong-type", message)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new("unknown-key", format!("unknown key `{field}`")).suggest(field, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new("invalid-value", format!("unknown value `{variant}`")).suggest(variant, expected)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new("missing-key", format!("key `{field}` is missing"))
    }
}

fn kind(unexpected: Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
        Unexpected::Str(text) => format!("the text `{text}`"),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a map".to_owned(),
        other => other.to_string(),
    }
}

struct Reader<'n> {
    node: &'n Node,
}

impl Reader<'_> {
    fn visit<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(yes) => visitor.visit_bool(*yes),
            Value::Int(number) => match u64::try_from(*number) {
                Ok(number) => visitor.visit_u64(number),
                Err(_) => visitor.visit_i64(*number),
            },
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Text(text) => visitor.visit_str(text),
            Value::List(list) => visitor.visit_seq(Items { rest: list.iter() }),
            Value::Map(map) => visitor.visit_map(Entries::new(map)),
        }
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let span = &self.node.span;
        self.visit(visitor).map_err(|error| error.place(span))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.node.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        let span = &self.node.span;
        visitor
            .visit_newtype_struct(self)
            .map_err(|error| error.place(span))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let span = &self.node.span;
        let choice = match &self.node.value {
            Value::Text(name) => Some(Choice {
                name,
                span,
                content: None,
            }),
            Value::Map(map) if map.len() == 1 => map.first().map(|(name, entry)| Choice {
                name,
                span: &entry.key,
                content: Some(&entry.node),
            }),
            _ => None,
        };
        match choice {
            Some(choice) => visitor.visit_enum(choice),
            None => Err(Error::new(
                "wrong-type",
                format!(
                    "expected a text or a map with one key, but this is {}",
                    self.node.value.kind()
                ),
            )),
        }
        .map_err(|error| error.place(span))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Items<'n> {
    rest: std::slice::Iter<'n, Node>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        self.rest
            .next()
            .map(|node| {
                seed.deserialize(Reader { node })
                    .map_err(|error| error.place(&node.span))
            })
            .transpose()
    }
}

struct Entries<'n> {
    rest: indexmap::map::Iter<'n, String, super::Entry>,
    value: Option<&'n Node>,
}

impl<'n> Entries<'n> {
    fn new(map: &'n Map) -> Self {
        Self {
            rest: map.iter(),
            value: None,
        }
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((key, entry)) = self.rest.next() else {
            return Ok(None);
        };
        self.value = Some(&entry.node);
        seed.deserialize(key.as_str().into_deserializer())
            .map(Some)
            .map_err(|error: Error| error.place(&entry.key))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let node = self
            .value
            .take()
            .ok_or_else(|| Error::new("invalid-value", "a value without a key".to_owned()))?;
        seed.deserialize(Reader { node })
            .map_err(|error| error.place(&node.span))
    }
}

struct Choice<'n> {
    name: &'n str,
    span: &'n Span,
    content: Option<&'n Node>,
}

impl<'de, 'n> EnumAccess<'de> for Choice<'n> {
    type Error = Error;
    type Variant = Content<'n>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Content<'n>), Error> {
        let variant = seed
            .deserialize(self.name.into_deserializer())
            .map_err(|error: Error| error.place(self.span))?;
        Ok((variant, Content(self.content)))
    }
}

struct Content<'n>(Option<&'n Node>);

impl<'n> Content<'n> {
    fn reader(self) -> Result<Reader<'n>, Error> {
        self.0
            .map(|node| Reader { node })
            .ok_or_else(|| Error::new("wrong-type", "this value needs a map beneath it".to_owned()))
    }
}

impl<'de> VariantAccess<'de> for Content<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.0 {
            None => Ok(()),
            Some(node) if node.is_null() => Ok(()),
            Some(node) => Err(Error::new(
                "wrong-type",
                format!("expected nothing, but this is {}", node.value.kind()),
            )
            .place(&node.span)),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self.reader()?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Error> {
        self.reader()?.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.reader()?.deserialize_any(visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;
    use crate::yaml::parse;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct App {
        name: String,
        #[serde(default)]
        ports: Vec<u16>,
        #[serde(default)]
        rollout: Option<Rollout>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "kebab-case")]
    enum Rollout {
        BlueGreen,
        Canary { steps: Vec<u8> },
    }

    fn read(text: &str) -> Result<App, Diagnostics> {
        decode(&parse(&Source::new("t.yaml", text)).unwrap())
    }

    #[test]
    fn types_of_serde_are_made() {
        let app = read("name: a\nports: [80, 81]\nrollout: {canary: {steps: [5]}}\n").unwrap();
        assert_eq!(app.ports, [80, 81]);
        assert_eq!(app.rollout, Some(Rollout::Canary { steps: vec![5] }));
        assert_eq!(
            read("name: a\nrollout: blue-green").unwrap().rollout,
            Some(Rollout::BlueGreen)
        );
        assert_eq!(read("name: a\nrollout:").unwrap().rollout, None);
    }

    #[test]
    fn errors_name_the_innermost_place_and_the_nearest_word() {
        for (text, line, help) in [
            (
                "name: a\nprots: []",
                "t.yaml:2:1: error: unknown key `prots`",
                Some("did you mean `ports`?"),
            ),
            (
                "name: a\nports:\n  - 80\n  - x",
                "t.yaml:4:5: error: expected u16, but this is the text `x`",
                None,
            ),
            (
                "name: a\nrollout: blue-gren",
                "t.yaml:2:10: error: unknown value `blue-gren`",
                Some("did you mean `blue-green`?"),
            ),
            (
                "ports: []",
                "t.yaml:1:1: error: key `name` is missing",
                None,
            ),
        ] {
            let refused = read(text).unwrap_err();
            assert_eq!(refused.to_string(), line);
            assert_eq!(refused.first().help.as_deref(), help);
        }
    }
}
