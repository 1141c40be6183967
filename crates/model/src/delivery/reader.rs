//! Reading typed values out of YAML nodes: every complaint has a place and says what to write
//! instead. Not what the keys are: [`super::decode`] says that.

use std::collections::BTreeMap;

use towpath_compose::diagnostic::{Diagnostic, nearest};
use towpath_compose::source::Span;
use towpath_compose::yaml::{Map, Node, Value};

use crate::id::InvalidId;

/// Where each value of the file stands, by its path of keys.
pub(super) type Places = BTreeMap<Vec<String>, Span>;

/// What has been found so far: complaints and places.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) found: Vec<Diagnostic>,
    pub(super) places: Places,
    path: Vec<String>,
}

impl Reader {
    /// Complains of a value that has the wrong type.
    pub(super) fn wrong_type(&mut self, node: &Node, wanted: &str) {
        let message = match self.path.last() {
            Some(key) => format!("`{key}` is {}", node.value.kind()),
            None => format!("the file is {}", node.value.kind()),
        };
        self.found.push(
            Diagnostic::error("wrong-type", message)
                .at(&node.span)
                .help(format!("write {wanted}")),
        );
    }

    /// Complains of a value that has the right type but cannot be.
    pub(super) fn bad_value(&mut self, node: &Node, message: String, help: &str) {
        self.found.push(
            Diagnostic::error("bad-value", message)
                .at(&node.span)
                .help(help),
        );
    }

    /// Reads `node` as what stands under `key`.
    fn at<T: Decode>(&mut self, key: &str, node: &Node) -> Option<T> {
        self.path.push(key.to_owned());
        self.places.insert(self.path.clone(), node.span.clone());
        let value = T::decode(node, self);
        self.path.pop();
        value
    }
}

/// What can be read from a node. `None` means that a complaint was made.
pub(super) trait Decode: Sized {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self>;
}

/// The keys of one mapping with a fixed set of keys.
#[derive(Debug)]
pub(super) struct Fields<'n> {
    map: Option<&'n Map>,
    known: Vec<&'static str>,
    later: Vec<(&'static str, &'static str)>,
}

impl<'n> Fields<'n> {
    /// Takes the keys of `node`; complains when it is no mapping. An empty value is an empty mapping.
    pub(super) fn of(node: &'n Node, reader: &mut Reader, wanted: &str) -> Option<Self> {
        let map = match &node.value {
            Value::Map(map) => Some(map),
            Value::Null => None,
            _ => {
                reader.wrong_type(node, wanted);
                return None;
            }
        };
        Some(Self {
            map,
            known: Vec::new(),
            later: Vec::new(),
        })
    }

    /// Tells whether `key` is written down.
    pub(super) fn has(&self, key: &str) -> bool {
        self.map.is_some_and(|map| map.contains_key(key))
    }

    /// Reads the value of `key`; `None` when it is absent or was refused.
    pub(super) fn take<T: Decode>(&mut self, key: &'static str, reader: &mut Reader) -> Option<T> {
        self.known.push(key);
        let entry = self.map?.get(key)?;
        reader.at(key, &entry.node)
    }

    /// Reads the value of `key`, or returns the default.
    pub(super) fn take_or_default<T: Decode + Default>(
        &mut self,
        key: &'static str,
        reader: &mut Reader,
    ) -> T {
        self.take(key, reader).unwrap_or_default()
    }

    /// Reads the value of `key`, which `node` has to have.
    pub(super) fn demand<T: Decode>(
        &mut self,
        key: &'static str,
        node: &Node,
        reader: &mut Reader,
    ) -> Option<T> {
        if self.map.is_none_or(|map| map.get(key).is_none()) {
            let message = format!("`{key}` is missing");
            reader.bad_value(node, message, &format!("write `{key}`"));
        }
        self.take(key, reader)
    }

    /// Names keys that a later version will know, and what they are: they are refused as such.
    pub(super) fn later(&mut self, keys: &[(&'static str, &'static str)]) {
        self.later.extend(keys);
    }

    /// Complains of every key that was not asked for.
    pub(super) fn finish(self, reader: &mut Reader) {
        for (key, entry) in self.map.into_iter().flatten() {
            if self.known.contains(&key.as_str()) {
                continue;
            }
            let later = self.later.iter().find(|(later, _)| later == key);
            let complaint = match later {
                Some((_, what)) => {
                    Diagnostic::error("not-supported-yet", format!("`{key}` is not supported yet"))
                        .help(format!("remove it: {what} come with a later version"))
                }
                None => self.unknown(key),
            };
            reader.found.push(complaint.at(&entry.key));
        }
    }

    fn unknown(&self, key: &str) -> Diagnostic {
        let help = match nearest(key, self.known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the keys here are: {}", self.known.join(", ")),
        };
        Diagnostic::error("unknown-key", format!("unknown key `{key}`")).help(help)
    }
}

impl Decode for bool {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        if let Value::Bool(value) = node.value {
            return Some(value);
        }
        reader.wrong_type(node, "`true` or `false`");
        None
    }
}

impl Decode for String {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        if let Value::Text(text) = &node.value {
            return Some(text.clone());
        }
        reader.wrong_type(
            node,
            "a text; put it in quotes if it looks like something else",
        );
        None
    }
}

macro_rules! whole_numbers {
    ($($kind:ty)*) => {$(
        impl Decode for $kind {
            fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
                let range = format!("a whole number from 0 to {}", <$kind>::MAX);
                match node.value {
                    Value::Int(number) => match number.try_into() {
                        Ok(value) => return Some(value),
                        Err(_) => {
                            let message = format!("`{number}` is out of range");
                            reader.bad_value(node, message, &format!("write {range}"));
                        }
                    },
                    _ => reader.wrong_type(node, &range),
                }
                None
            }
        }
    )*};
}

whole_numbers!(u16 u32 u64);

impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let Value::List(items) = &node.value else {
            reader.wrong_type(node, "a list, such as `[a, b]`");
            return None;
        };
        let read: Vec<Option<T>> = items
            .iter()
            .enumerate()
            .map(|(index, item)| reader.at(&index.to_string(), item))
            .collect();
        read.into_iter().collect()
    }
}

/// What may be the key of a mapping.
pub(super) trait Key: Ord + Sized {
    fn key(text: &str, span: &Span, reader: &mut Reader) -> Option<Self>;
}

impl Key for String {
    fn key(text: &str, _: &Span, _: &mut Reader) -> Option<Self> {
        Some(text.to_owned())
    }
}

/// Names of ours, which follow a rule, as keys and as values.
macro_rules! names {
    ($($name:ident)*) => {$(
        impl Key for crate::id::$name {
            fn key(text: &str, span: &Span, reader: &mut Reader) -> Option<Self> {
                let InvalidId { text, kind, rule } = match Self::new(text) {
                    Ok(name) => return Some(name),
                    Err(refused) => refused,
                };
                let message = format!("`{text}` is not a valid {kind}");
                let complaint = Diagnostic::error("bad-name", message).at(span).help(rule);
                reader.found.push(complaint);
                None
            }
        }

        impl Decode for crate::id::$name {
            fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
                let text = String::decode(node, reader)?;
                Self::key(&text, &node.span, reader)
            }
        }
    )*};
}

names!(AppName EnvironmentName JobName ServiceName SecretName TargetName);

impl<K: Key, V: Decode> Decode for BTreeMap<K, V> {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let map = match &node.value {
            Value::Map(map) => map,
            Value::Null => return Some(Self::new()),
            _ => {
                reader.wrong_type(node, "a mapping, with a name and a colon on each line");
                return None;
            }
        };
        let read = map.iter().filter_map(|(text, entry)| {
            let key = K::key(text, &entry.key, reader);
            let value = reader.at(text, &entry.node);
            Some((key?, value?))
        });
        Some(read.collect())
    }
}
