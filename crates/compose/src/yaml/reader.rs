//! Reads a map key by key and reports the keys that nobody asked for. Not serde: for files whose
//! forms vary more than a derive can say, and for reporting all that is wrong at once.

use super::{Entry, Map, Node};
use crate::diagnostic::{Diagnostic, Diagnostics, nearest};
use crate::source::Span;

/// A map that is being read.
///
/// Take every key that is known, present or not, then call [`finish`](Self::finish): it fails with
/// all that was reported and with every key that was not asked for, each with the nearest key that
/// was.
#[derive(Debug)]
pub struct MapReader<'n> {
    map: &'n Map,
    span: &'n Span,
    what: String,
    known: Vec<&'static str>,
    extensions: bool,
    found: Vec<Diagnostic>,
}

impl<'n> MapReader<'n> {
    /// Starts to read `node`, which people call `what`; fails when it is not a map.
    pub fn new(node: &'n Node, what: impl Into<String>) -> Result<Self, Diagnostics> {
        let what = what.into();
        match node.as_map() {
            Some(map) => Ok(Self {
                map,
                span: &node.span,
                what,
                known: Vec::new(),
                extensions: false,
                found: Vec::new(),
            }),
            None => Err(Diagnostic::error(
                "wrong-type",
                format!("{what} has to be a map, but this is {}", node.value.kind()),
            )
            .at(&node.span)
            .into()),
        }
    }

    /// Accepts keys that start with `x-`.
    #[must_use]
    pub fn with_extensions(mut self) -> Self {
        self.extensions = true;
        self
    }

    /// Takes what is under `key`, if it is there.
    pub fn optional(&mut self, key: &'static str) -> Option<&'n Entry> {
        self.known.push(key);
        self.map.get(key)
    }

    /// Takes what is under `key`, and reports when it is not there.
    pub fn required(&mut self, key: &'static str) -> Option<&'n Entry> {
        let entry = self.optional(key);
        if entry.is_none() {
            let missing = format!("{} needs `{key}`", self.what);
            self.found
                .push(Diagnostic::error("missing-key", missing).at(self.span));
        }
        entry
    }

    /// Takes the text under `key`, and reports when it is something else.
    pub fn text(&mut self, key: &'static str) -> Option<&'n str> {
        let entry = self.optional(key)?;
        let text = entry.node.as_text();
        if text.is_none() {
            let kind = entry.node.value.kind();
            let wrong = format!("`{key}` has to be a text, but this is {kind}");
            self.found
                .push(Diagnostic::error("wrong-type", wrong).at(&entry.node.span));
        }
        text
    }

    /// Adds what the caller found wrong.
    pub fn report(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic);
    }

    /// Ends the reading.
    pub fn finish(mut self) -> Result<(), Diagnostics> {
        for (key, entry) in self.map {
            let extension = self.extensions && key.starts_with("x-");
            if !extension && !self.known.contains(&key.as_str()) {
                self.found
                    .push(unknown_key(key, &self.known, &self.what).at(&entry.key));
            }
        }
        Diagnostics::check(self.found)
    }
}

/// The most keys that are listed where none is near.
const LISTED: usize = 20;

/// Says that `what` has no key of this name, and which one may have been meant.
pub(crate) fn unknown_key(key: &str, known: &[&str], what: &str) -> Diagnostic {
    let unknown = Diagnostic::error("unknown-key", format!("{what} has no key `{key}`"));
    if let Some(near) = nearest(key, known.iter().copied()) {
        return unknown.help(format!("did you mean `{near}`?"));
    }
    let mut names = known.to_vec();
    names.sort_unstable();
    if names.len() <= LISTED {
        return unknown.help(format!("known keys: {}", names.join(", ")));
    }
    // All keys of a service are more than anybody reads.
    names.retain(|name| {
        key.chars()
            .next()
            .is_some_and(|first| name.starts_with(first))
    });
    match names.as_slice() {
        [] => unknown.help("a key of your own has to start with `x-`"),
        names => unknown.help(format!("similar keys: {}", names.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;
    use crate::yaml::parse;

    #[test]
    fn all_that_is_wrong_is_reported_at_once() {
        let node = parse(&Source::new("t.yaml", "nmae: a\nport: [1]\nx-own: 1\n")).unwrap();
        let mut reader = MapReader::new(&node, "an app").unwrap().with_extensions();
        assert_eq!(reader.required("name"), None);
        assert_eq!(reader.text("port"), None);
        let refused = reader.finish().unwrap_err();
        let lines: Vec<String> = refused.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "t.yaml:1:1: error: an app needs `name`",
                "t.yaml:2:7: error: `port` has to be a text, but this is a list",
                "t.yaml:1:1: error: an app has no key `nmae`",
            ]
        );
        let help = refused.into_vec().pop().unwrap().help;
        assert_eq!(help.as_deref(), Some("did you mean `name`?"));
    }

    #[test]
    fn what_is_not_a_map_is_refused() {
        let node = parse(&Source::new("t.yaml", "[]")).unwrap();
        let refused = MapReader::new(&node, "an app").unwrap_err();
        assert_eq!(
            refused.to_string(),
            "t.yaml:1:1: error: an app has to be a map, but this is a list"
        );
    }
}
