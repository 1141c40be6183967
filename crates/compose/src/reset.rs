//! `!reset` and `!override`: what a file takes away from the files before it. Not the merge that
//! follows.

use crate::yaml::{Node, Value};

/// The places that a file takes away from what it is put over.
#[derive(Debug, Clone, Default)]
pub(crate) struct Resets(Vec<Vec<String>>);

impl Resets {
    /// Finds the tags in a document, and takes what is tagged `!reset` out of it.
    pub(crate) fn take(root: &mut Node) -> Self {
        let mut resets = Self::default();
        resets.find(root, &mut Vec::new());
        resets
    }

    fn find(&mut self, node: &mut Node, path: &mut Vec<String>) {
        match &mut node.value {
            Value::Map(map) => {
                for (key, entry) in map.iter_mut() {
                    path.push(key.clone());
                    if is_reset(&entry.node) || entry.node.tag.as_deref() == Some("!override") {
                        self.0.push(path.clone());
                    } else {
                        self.find(&mut entry.node, path);
                    }
                    path.pop();
                }
                map.retain(|_, entry| !is_reset(&entry.node));
            }
            Value::List(items) => {
                items.retain(|item| !is_reset(item));
                for item in items {
                    // Lists are joined, so nothing of an earlier file is at the same place: within
                    // one only what is in the document itself is taken out.
                    Self::default().find(item, &mut Vec::new());
                }
            }
            _ => {}
        }
    }

    /// Takes the places away from `base`.
    pub(crate) fn apply(&self, base: &mut Node) {
        for path in &self.0 {
            remove(base, path);
        }
    }

    /// Takes away from one element, such as a service, what is said of it.
    pub(crate) fn apply_to(&self, element: &mut Node, at: &[&str]) {
        for path in &self.0 {
            let beneath = at
                .iter()
                .zip(path)
                .all(|(wanted, key)| *wanted == key.as_str());
            if beneath && let Some(rest) = path.get(at.len()..) {
                remove(element, rest);
            }
        }
    }
}

fn is_reset(node: &Node) -> bool {
    node.tag.as_deref() == Some("!reset")
}

fn remove(node: &mut Node, path: &[String]) {
    let Some(map) = node.as_map_mut() else {
        return;
    };
    match path {
        [] => {}
        [last] => {
            map.shift_remove(last);
        }
        [first, rest @ ..] => {
            if let Some(entry) = map.get_mut(first) {
                remove(&mut entry.node, rest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;
    use crate::yaml::parse;

    fn read(text: &str) -> Node {
        parse(&Source::new("c.yaml", text)).unwrap()
    }

    #[test]
    fn what_is_tagged_is_taken_away() {
        let mut over = read("s: {a: {p: !reset [], q: !override [2], r: 1}}\nl: [1, !reset 2]");
        let mut base = read("s: {a: {p: [1], q: [1], r: 0}, b: {p: 1}}");
        let resets = Resets::take(&mut over);
        resets.apply(&mut base);
        assert_eq!(
            over.to_json().to_string(),
            r#"{"s":{"a":{"q":[2],"r":1}},"l":[1]}"#
        );
        assert_eq!(
            base.to_json().to_string(),
            r#"{"s":{"a":{"r":0},"b":{"p":1}}}"#
        );
    }

    #[test]
    fn one_element_can_be_reset_alone() {
        let resets = Resets::take(&mut read("s: {a: {p: !reset null}}"));
        let mut element = read("{p: 1, q: 2}");
        resets.apply_to(&mut element, &["s", "a"]);
        assert_eq!(element.to_json().to_string(), r#"{"q":2}"#);
        let mut other = read("{p: 1}");
        resets.apply_to(&mut other, &["s", "b"]);
        assert_eq!(other.to_json().to_string(), r#"{"p":1}"#);
    }
}
