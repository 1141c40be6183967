//! From text to nodes: anchors, merge keys and the core tags are resolved here, and here are the
//! limits that keep a hostile file from taking the memory or the stack. Not what nodes mean.

use std::collections::HashMap;
use std::sync::Arc;

use granit_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::scalar::resolve_plain;
use super::timestamp::{self, Timestamp};
use super::{Entry, Map, Node, Value};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::source::{Position, Source, Span};

/// The most nodes that one file may have once its aliases are resolved.
const NODES: usize = 500_000;

/// The deepest that lists and maps may lie within one another once aliases are resolved.
const DEPTH: usize = 100;

/// Reads a file of one document; an empty one is [`Value::Null`].
pub fn parse(source: &Arc<Source>) -> Result<Node, Diagnostics> {
    let mut documents = parse_documents(source)?.into_iter();
    let first = documents.next().unwrap_or_else(|| {
        let start = Position {
            line: 1,
            column: 1,
            offset: 0,
        };
        Node::new(Value::Null, Span::new(Arc::clone(source), start, start))
    });
    match documents.next() {
        None => Ok(first),
        Some(second) => Err(Diagnostic::error(
            "several-documents",
            "a second document starts here, but this file has one",
        )
        .at(&second.span)
        .help("remove the line `---`")
        .into()),
    }
}

/// Reads all documents of a file.
pub fn parse_documents(source: &Arc<Source>) -> Result<Vec<Node>, Diagnostics> {
    let mut builder = Builder {
        source,
        // Another crate may turn the feature on that makes events of comments, and there may be more
        // of them in a row than the parser buffers.
        events: Parser::new_from_str_with_options(
            source.text(),
            granit_parser::options! { emit_comments: false },
        ),
        anchors: HashMap::new(),
        nodes: 0,
    };
    let mut documents = Vec::new();
    while let Some((event, span)) = builder.next()? {
        if let Event::DocumentStart(..) = event
            && let Some(node) = builder.document(&span)?
        {
            documents.push(node);
        }
    }
    Ok(documents)
}

/// A node that aliases may stand for.
struct Anchor {
    node: Node,
    nodes: usize,
    height: usize,
}

/// A node with what the limits need to know of it.
struct Built {
    node: Node,
    height: usize,
}

struct Builder<'s> {
    source: &'s Arc<Source>,
    events: Parser<'s, granit_parser::StrInput<'s>>,
    anchors: HashMap<usize, Anchor>,
    nodes: usize,
}

type Placed<'s> = (Event<'s>, Span);

impl<'s> Builder<'s> {
    fn next(&mut self) -> Result<Option<Placed<'s>>, Diagnostics> {
        match self.events.next_event() {
            None | Some(Ok((Event::StreamEnd, _))) => Ok(None),
            Some(Ok((event, span))) => {
                let span = self.span(&span.start, &span.end);
                Ok(Some((event, span)))
            }
            Some(Err(error)) => {
                let place = self.span(error.marker(), error.marker());
                Err(Diagnostic::error("yaml", error.info()).at(&place).into())
            }
        }
    }

    fn expect(&mut self, before: &Span) -> Result<Placed<'s>, Diagnostics> {
        self.next()?.ok_or_else(|| {
            Diagnostic::error("yaml", "the file ends within a value")
                .at(before)
                .into()
        })
    }

    fn span(&self, start: &Marker, end: &Marker) -> Span {
        Span::new(Arc::clone(self.source), position(start), position(end))
    }

    fn document(&mut self, start: &Span) -> Result<Option<Node>, Diagnostics> {
        self.anchors.clear();
        let (event, span) = self.expect(start)?;
        if event == Event::DocumentEnd {
            return Ok(None);
        }
        Ok(Some(self.node(event, span, 0)?.node))
    }

    fn node(&mut self, event: Event<'s>, span: Span, depth: usize) -> Result<Built, Diagnostics> {
        self.count(1, &span)?;
        let before = self.nodes;
        let (anchor, built) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let node = scalar(&text, style, tag.as_deref(), span)?;
                (anchor, Built { node, height: 0 })
            }
            Event::SequenceStart(_, anchor, tag) => {
                let mut built = self.list(&span, depth)?;
                built.node.tag = custom_tag(tag.as_deref());
                (anchor, built)
            }
            Event::MappingStart(_, anchor, tag) => {
                let mut built = self.map(&span, depth)?;
                built.node.tag = custom_tag(tag.as_deref());
                (anchor, built)
            }
            Event::Alias(anchor) => return self.alias(anchor, &span, depth),
            _ => {
                return Err(Diagnostic::error("yaml", "a value is missing here")
                    .at(&span)
                    .into());
            }
        };
        if anchor != 0 {
            self.anchors.insert(
                anchor,
                Anchor {
                    node: built.node.clone(),
                    nodes: self.nodes - before + 1,
                    height: built.height,
                },
            );
        }
        Ok(built)
    }

    fn count(&mut self, nodes: usize, span: &Span) -> Result<(), Diagnostics> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes <= NODES {
            return Ok(());
        }
        Err(Diagnostic::error(
            "too-large",
            format!("with its aliases resolved this file has more than {NODES} values"),
        )
        .at(span)
        .into())
    }

    fn descend(depth: usize, span: &Span) -> Result<usize, Diagnostics> {
        if depth < DEPTH {
            return Ok(depth + 1);
        }
        Err(Diagnostic::error(
            "too-deep",
            format!("lists and maps lie more than {DEPTH} deep within one another"),
        )
        .at(span)
        .into())
    }

    fn alias(&mut self, anchor: usize, span: &Span, depth: usize) -> Result<Built, Diagnostics> {
        let Some(found) = self.anchors.get(&anchor) else {
            return Err(Diagnostic::error(
                "alias-cycle",
                "this alias stands for a value that it is itself a part of",
            )
            .at(span)
            .into());
        };
        let (nodes, height) = (found.nodes, found.height);
        if depth + height > DEPTH {
            Self::descend(DEPTH, span)?;
        }
        // Counted before it is cloned: a bomb is refused by its size, not by its effect.
        self.count(nodes, span)?;
        let node = self
            .anchors
            .get(&anchor)
            .map(|found| found.node.clone())
            .expect("it was found above");
        Ok(Built { node, height })
    }

    fn list(&mut self, start: &Span, depth: usize) -> Result<Built, Diagnostics> {
        let depth = Self::descend(depth, start)?;
        let (mut items, mut height) = (Vec::new(), 0);
        loop {
            let (event, span) = self.expect(start)?;
            if event == Event::SequenceEnd {
                let whole = start.to(&span);
                return Ok(Built {
                    node: Node::new(Value::List(items), whole),
                    height: height + 1,
                });
            }
            let item = self.node(event, span, depth)?;
            height = height.max(item.height);
            items.push(item.node);
        }
    }

    fn map(&mut self, start: &Span, depth: usize) -> Result<Built, Diagnostics> {
        let depth = Self::descend(depth, start)?;
        let (mut map, mut merged, mut height) = (Map::new(), None, 0);
        loop {
            let (event, span) = self.expect(start)?;
            if event == Event::MappingEnd {
                if let Some(Entry { node, .. }) = merged {
                    merge(&mut map, node)?;
                }
                let whole = start.to(&span);
                return Ok(Built {
                    node: Node::new(Value::Map(map), whole),
                    height: height + 1,
                });
            }
            let is_merge = matches!(&event, Event::Scalar(text, style, _, tag) if is_merge_key(text, *style, tag.as_deref()));
            let key = self.node(event, span, depth)?.node;
            let (event, span) = self.expect(start)?;
            let value = self.node(event, span, depth)?;
            height = height.max(value.height);
            let entry = Entry::new(key.span.clone(), value.node);
            if is_merge {
                if let Some(first) = merged.replace(entry) {
                    return Err(duplicate("<<", &key.span, &first.key));
                }
            } else {
                insert(&mut map, &key, entry)?;
            }
        }
    }
}

fn is_merge_key(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> bool {
    let tagged = tag.map(|tag| yaml_name(tag).as_deref() == Some("merge"));
    text == "<<" && tagged.unwrap_or(style == ScalarStyle::Plain)
}

/// Returns the name of a tag that is one of YAML's own, also of those that are not in its core.
fn yaml_name(tag: &Tag) -> Option<std::borrow::Cow<'_, str>> {
    tag.suffix_in_namespace("tag:yaml.org,2002:")
}

fn insert(map: &mut Map, key: &Node, entry: Entry) -> Result<(), Diagnostics> {
    let Some(name) = key.as_text().filter(|_| !key.is_timestamp()) else {
        let shown = key.span.text();
        return Err(Diagnostic::error(
            "key-not-text",
            format!("a key has to be a text, but this is {}", key.kind()),
        )
        .at(&key.span)
        .help(format!("put it in quotes: \"{shown}\""))
        .into());
    };
    if let Some(first) = map.get(name) {
        return Err(duplicate(name, &key.span, &first.key));
    }
    map.insert(name.to_owned(), entry);
    Ok(())
}

fn duplicate(name: &str, second: &Span, first: &Span) -> Diagnostics {
    Diagnostic::error("duplicate-key", format!("key `{name}` is given twice"))
        .at(second)
        .help(format!("it is given first in line {}", first.start.line))
        .into()
}

/// Adds what `<<` names to `map`: its own keys win, and of several maps the first.
fn merge(map: &mut Map, value: Node) -> Result<(), Diagnostics> {
    let Node { value, span, tag } = value;
    match value {
        Value::Map(other) => {
            for (key, entry) in other {
                map.entry(key).or_insert(entry);
            }
            Ok(())
        }
        Value::List(maps) if maps.iter().all(|one| one.as_map().is_some()) => {
            maps.into_iter().try_for_each(|one| merge(map, one))
        }
        // What is tagged `!reset` is not there.
        _ if tag.as_deref() == Some("!reset") => Ok(()),
        other => Err(Diagnostic::error(
            "merge-key",
            format!(
                "`<<` merges a map or a list of maps, but this is {}",
                other.kind()
            ),
        )
        .at(&span)
        .into()),
    }
}

fn custom_tag(tag: Option<&Tag>) -> Option<String> {
    tag.filter(|tag| yaml_name(tag).is_none() && tag.original() != "!")
        .map(Tag::original)
}

fn scalar(
    text: &str,
    style: ScalarStyle,
    tag: Option<&Tag>,
    span: Span,
) -> Result<Node, Diagnostics> {
    let plain = style == ScalarStyle::Plain;
    let name = tag.and_then(yaml_name);
    let value = match name.as_deref() {
        None if plain && tag.is_none_or(|tag| tag.original() != "!") => resolve_plain(text),
        None | Some("str" | "binary" | "timestamp" | "merge") => Value::Text(text.to_owned()),
        Some(name) => {
            let resolved = resolve_plain(text);
            let value = match (name, resolved) {
                ("null", Value::Null) => Some(Value::Null),
                ("bool", Value::Bool(yes)) => Some(Value::Bool(yes)),
                ("int", Value::Int(number)) => Some(Value::Int(number)),
                ("float", Value::Float(number)) => Some(Value::Float(number)),
                ("float", Value::Int(_)) => text.parse().ok().map(Value::Float),
                _ => None,
            };
            value.ok_or_else(|| {
                Diagnostic::error("tag", format!("`{text}` is not a YAML {name}")).at(&span)
            })?
        }
    };
    if matches!(value, Value::Float(number) if !number.is_finite()) {
        return Err(
            Diagnostic::error("not-finite", format!("`{text}` is not a finite number"))
                .at(&span)
                .help(format!("put it in quotes if it is a text: \"{text}\""))
                .into(),
        );
    }
    let mut node = Node {
        value,
        span,
        tag: custom_tag(tag),
    };
    if plain
        && (tag.is_none() || name.as_deref() == Some("timestamp"))
        && let Some(timestamp) = node.as_text().and_then(Timestamp::parse)
    {
        node.value = Value::Text(timestamp.rfc3339());
        node.tag = Some(timestamp::TAG.to_owned());
    }
    Ok(node)
}

fn position(marker: &Marker) -> Position {
    let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Position {
        line: small(marker.line()),
        column: small(marker.col()).saturating_add(1),
        offset: small(marker.byte_offset().unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Node, Diagnostics> {
        parse(&Source::new("f.yaml", text))
    }

    fn json(text: &str) -> String {
        read(text).unwrap().to_json().to_string()
    }

    fn refusal(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn comments_are_no_values() {
        let many = "# so\n".repeat(500);
        let text = format!("a: 1\n\n{many}b: # what\n  # how\n{many}  - 2 # too\n");
        let source = Source::new("f.yaml", text);
        let json = parse(&source).unwrap().to_json();
        assert_eq!(json, serde_json::json!({ "a": 1, "b": [2] }));
    }

    #[test]
    fn values_and_keys_know_their_places() {
        let node = read("a:\n  b: \"x\"\n").unwrap();
        let entry = &node.get("a").unwrap().as_map().unwrap()["b"];
        assert_eq!(entry.key.to_string(), "f.yaml:2:3");
        assert_eq!(entry.node.span.to_string(), "f.yaml:2:6");
        assert_eq!(entry.node.span.text(), "\"x\"");
    }

    #[test]
    fn quotes_make_texts() {
        assert_eq!(
            json("- 1\n- '1'\n- \"true\"\n- true\n- |\n  2\n"),
            r#"[1,"1","true",true,"2\n"]"#
        );
        assert_eq!(json("[!!str 1, !!int \"3\", ! 4]"), r#"["1",3,"4"]"#);
    }

    #[test]
    fn merge_keys_add_what_is_not_there() {
        let text = "x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\nz: {<<: [*x, *y], a: 0}\n";
        assert_eq!(
            json(text),
            r#"{"x":{"a":1,"b":1},"y":{"b":2,"c":2},"z":{"a":0,"b":1,"c":2}}"#
        );
        assert!(refusal("z: {<<: 1}").contains("merges a map"));
        assert!(refusal("x: &x {a: 1}\nz:\n  <<: *x\n  <<: *x\n").contains("`<<` is given twice"));
    }

    #[test]
    fn tags_of_compose_are_kept() {
        let node = read("a: !reset null\nb: !override [1]\n").unwrap();
        assert_eq!(node.get("a").unwrap().tag.as_deref(), Some("!reset"));
        assert_eq!(node.get("b").unwrap().tag.as_deref(), Some("!override"));
    }

    #[test]
    fn bad_yaml_is_refused_with_its_place() {
        assert_eq!(
            refusal("a: 1\na: 2\n"),
            "f.yaml:2:1: error: key `a` is given twice"
        );
        assert!(refusal("80: a").contains("a key has to be a text"));
        assert!(refusal("a: [1, 2").starts_with("f.yaml:"));
        assert!(refusal("a: *b").starts_with("f.yaml:1:"));
        assert!(refusal("a: &a [*a]").contains("a part of"));
        assert!(refusal("a: 1\n---\nb: 1").contains("second document"));
    }

    #[test]
    fn a_bomb_is_refused_before_it_goes_off() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..30 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            let line = format!("a{level}: &a{level} [{aliases}]\n");
            text += &line;
        }
        assert!(refusal(&text).contains("more than 500000 values"));
    }

    #[test]
    fn deep_nesting_is_refused_also_through_aliases() {
        assert!(refusal(&"[".repeat(5000)).starts_with("f.yaml:"));
        let mut text = "a0: &a0 []\n".to_owned();
        for level in 1..200 {
            let line = format!("a{level}: &a{level} [*a{}]\n", level - 1);
            text += &line;
        }
        assert!(refusal(&text).contains("deep"));
    }
}
