//! YAML with the place of everything in it: a tree of nodes, and the ways to read one strictly.
//! Not Compose: any file of the project's own is read with this.
//!
//! It is made from the events of `granit-parser`, the parser beneath serde-saphyr, because what
//! Compose needs of a tree is lost in serde's data model: the place of each key, tags on any kind of
//! value (`!reset`, `!override`), where an alias stands for what, and keys that are not texts.

mod decode;
mod number;
mod parse;
mod reader;
mod scalar;
pub(crate) mod timestamp;

use indexmap::IndexMap;

use crate::source::Span;

pub use self::decode::decode;
pub(crate) use self::number::format_float;
pub use self::parse::{parse, parse_documents};
pub use self::reader::MapReader;
pub(crate) use self::reader::unknown_key;

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// The place of the value; of an alias, that of the value it stands for.
    pub span: Span,
    /// A tag that is not one of YAML's own, such as `!reset`.
    pub tag: Option<String>,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing: `null`, `~` or no text at all.
    Null,
    /// True or false; only `true` and `false` are, not YAML 1.1's `yes`, `on` and their like.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Another number.
    Float(f64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file.
    Map(Map),
}

/// A map from texts to nodes, in the order of the file.
pub type Map = IndexMap<String, Entry>;

/// What a map has under one key.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The place of the key.
    pub key: Span,
    /// The value.
    pub node: Node,
}

impl Entry {
    /// Makes an entry.
    pub fn new(key: Span, node: Node) -> Self {
        Self { key, node }
    }
}

impl Node {
    /// Makes a node without a tag.
    pub fn new(value: Value, span: Span) -> Self {
        Self {
            value,
            span,
            tag: None,
        }
    }

    /// Makes a text in the place of this node.
    pub(crate) fn text_here(&self, text: impl Into<String>) -> Self {
        Self::new(Value::Text(text.into()), self.span.clone())
    }

    /// Makes a node in the place of this one.
    pub(crate) fn here(&self, value: Value) -> Self {
        Self::new(value, self.span.clone())
    }

    /// Makes an entry whose key and value are in the place of this node.
    pub(crate) fn entry_here(&self, value: Value) -> Entry {
        Entry::new(self.span.clone(), self.here(value))
    }

    /// Returns the text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the map, if it is one.
    pub fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// Returns the map to change it, if it is one.
    pub fn as_map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// Returns the list, if it is one.
    pub fn as_list(&self) -> Option<&[Self]> {
        match &self.value {
            Value::List(list) => Some(list),
            _ => None,
        }
    }

    /// Returns the list to change it, if it is one.
    pub fn as_list_mut(&mut self) -> Option<&mut Vec<Self>> {
        match &mut self.value {
            Value::List(list) => Some(list),
            _ => None,
        }
    }

    /// Returns what a map has under `key`.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.as_map()?.get(key).map(|entry| &entry.node)
    }

    /// Says whether it is a date or time; its value is a text all the same.
    pub(crate) fn is_timestamp(&self) -> bool {
        self.tag.as_deref() == Some(timestamp::TAG)
    }

    /// Names its type, for messages.
    pub fn kind(&self) -> &'static str {
        if self.is_timestamp() {
            "a date"
        } else {
            self.value.kind()
        }
    }

    /// Writes what is not a list or map as it stands in a variable; nothing is the empty text.
    pub(crate) fn scalar_text(&self) -> Option<String> {
        match &self.value {
            Value::Text(text) if self.is_timestamp() => Some(timestamp::in_words(text)),
            value => value.scalar_text(),
        }
    }

    /// Counts the values that it is made of.
    pub(crate) fn size(&self) -> usize {
        1 + match &self.value {
            Value::List(list) => list.iter().map(Self::size).sum(),
            Value::Map(map) => map.values().map(|entry| entry.node.size()).sum::<usize>(),
            _ => 0,
        }
    }

    /// Says whether it is nothing.
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// Turns it into JSON, without places.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(yes) => Json::Bool(*yes),
            Value::Int(number) => Json::from(*number),
            Value::Float(number) => {
                serde_json::Number::from_f64(*number).map_or(Json::Null, Json::Number)
            }
            Value::Text(text) => Json::String(text.clone()),
            Value::List(list) => list.iter().map(Self::to_json).collect(),
            Value::Map(map) => map
                .iter()
                .map(|(key, entry)| (key.clone(), entry.node.to_json()))
                .collect(),
        }
    }
}

impl Value {
    /// Names its type, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }

    /// Writes a value that is not a list or map as a text; nothing is the empty text.
    pub(crate) fn scalar_text(&self) -> Option<String> {
        match self {
            Self::Null => Some(String::new()),
            Self::Bool(yes) => Some(yes.to_string()),
            Self::Int(number) => Some(number.to_string()),
            Self::Float(number) => Some(format_float(*number)),
            Self::Text(text) => Some(text.clone()),
            Self::List(_) | Self::Map(_) => None,
        }
    }
}
