//! Where each part of a project was written. Beside the project, not in it, so that a project that was
//! stored and read again is the same one.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::source::Span;
use crate::yaml::{Node, Value};

/// Places by path, such as `services.web.ports[0].target`.
///
/// Of what is beneath `x-*` only the places of those keys are known, and of a project with paths of
/// more than [`BYTES`] together only the first ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpanTable(BTreeMap<String, Span>);

/// The most bytes that the paths of a table may have together.
const BYTES: usize = 64 << 20;

impl SpanTable {
    /// Notes the places of all that is in a tree.
    pub(crate) fn of(root: &Node) -> Self {
        let mut table = Self::default();
        let mut left = BYTES;
        table.note(root, &mut String::new(), &mut left);
        table
    }

    fn note(&mut self, node: &Node, path: &mut String, left: &mut usize) {
        let length = path.len();
        if *left < length {
            return;
        }
        match &node.value {
            Value::Map(map) => {
                for (key, entry) in map {
                    if length > 0 {
                        path.push('.');
                    }
                    path.push_str(key);
                    let has_parts = matches!(entry.node.value, Value::Map(_) | Value::List(_));
                    let span = if has_parts {
                        &entry.key
                    } else {
                        &entry.node.span
                    };
                    *left = left.saturating_sub(path.len());
                    self.0.insert(path.clone(), span.clone());
                    if !key.starts_with("x-") {
                        self.note(&entry.node, path, left);
                    }
                    path.truncate(length);
                }
            }
            Value::List(items) => {
                for (at, item) in items.iter().enumerate() {
                    write!(path, "[{at}]").expect("writing to a string cannot fail");
                    *left = left.saturating_sub(path.len());
                    self.0.insert(path.clone(), item.span.clone());
                    self.note(item, path, left);
                    path.truncate(length);
                }
            }
            _ => {}
        }
    }

    /// Returns the place of `path`, or of the nearest thing that it is a part of.
    pub fn get(&self, path: &str) -> Option<&Span> {
        let mut path = path;
        loop {
            if let Some(span) = self.0.get(path) {
                return Some(span);
            }
            let end = path.rfind(['.', '['])?;
            path = path.get(..end)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;
    use crate::yaml::parse;

    #[test]
    fn a_part_that_is_not_there_is_where_its_whole_is() {
        let text = "services:\n  web.a:\n    ports:\n      - target: 80\n    image: x\n";
        let table = SpanTable::of(&parse(&Source::new("c.yaml", text)).unwrap());
        for (path, place) in [
            ("services.web.a.image", "c.yaml:5:12"),
            ("services.web.a.ports[0].target", "c.yaml:4:17"),
            ("services.web.a.ports[0].mode", "c.yaml:4:9"),
            ("services.web.a.ports[7]", "c.yaml:3:5"),
            ("services.web.a.deploy.replicas", "c.yaml:2:3"),
        ] {
            assert_eq!(table.get(path).unwrap().to_string(), place, "{path}");
        }
        assert!(table.get("volumes.v").is_none());
    }
}
