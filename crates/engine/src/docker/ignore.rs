//! The rules of `.dockerignore` (Docker's documentation, "Build context"): patterns of paths from
//! the context's root, the last that matches decides, `!` makes an exception. Pure but for the
//! reading of the file.

use std::fs;
use std::io;
use std::path::Path;

/// The rules of one file; none ignore nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    exception: bool,
    parts: Vec<String>,
}

impl Ignore {
    /// Reads the rules for a Dockerfile: a file of its own before that of the context.
    pub(super) fn read(root: &Path, dockerfile: &str) -> io::Result<Self> {
        for name in [&format!("{dockerfile}.dockerignore"), ".dockerignore"] {
            match fs::read(root.join(name)) {
                Ok(text) => return Ok(Self::parse(&String::from_utf8_lossy(&text))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self::default())
    }

    fn parse(text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let rules = text.lines().filter(|line| !line.starts_with('#'));
        Self {
            rules: rules.filter_map(Rule::parse).collect(),
        }
    }

    /// Tells whether a path, or a directory that it is in, is ignored.
    pub(super) fn is_ignored(&self, path: &str) -> bool {
        let parts: Vec<&str> = path.split('/').collect();
        let mut ignored = false;
        for rule in &self.rules {
            // It is decided already.
            if rule.exception != ignored {
                continue;
            }
            let above = (1..=parts.len()).filter_map(|length| parts.get(..length));
            let patterns: Vec<&str> = rule.parts.iter().map(String::as_str).collect();
            if above.into_iter().any(|above| matches(&patterns, above)) {
                ignored = !rule.exception;
            }
        }
        ignored
    }

    /// Tells whether something in an ignored directory may be wanted.
    pub(super) fn may_have_exceptions(&self, always: &[&str]) -> bool {
        self.rules.iter().any(|rule| rule.exception) || always.iter().any(|path| path.contains('/'))
    }
}

impl Rule {
    fn parse(line: &str) -> Option<Self> {
        let line = line.trim();
        let (exception, pattern) = match line.strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, line),
        };
        let mut parts: Vec<String> = Vec::new();
        for part in pattern.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    parts.pop();
                }
                other => parts.push(other.to_owned()),
            }
        }
        (!parts.is_empty()).then_some(Self { exception, parts })
    }
}

/// Matches the parts of a path with those of a pattern, of which `**` is any number.
fn matches(pattern: &[&str], path: &[&str]) -> bool {
    match pattern.split_first() {
        None => path.is_empty(),
        Some((&"**", rest)) => {
            if rest.is_empty() {
                return !path.is_empty();
            }
            (0..=path.len())
                .filter_map(|skipped| path.get(skipped..))
                .any(|left| matches(rest, left))
        }
        Some((first, rest)) => path.split_first().is_some_and(|(part, left)| {
            let (first, part): (Vec<char>, Vec<char>) =
                (first.chars().collect(), part.chars().collect());
            matches_part(&first, &part) && matches(rest, left)
        }),
    }
}

/// Matches one part: `*`, `?`, `[...]` and `\` as Go's `filepath.Match` has them.
fn matches_part(pattern: &[char], text: &[char]) -> bool {
    let Some((first, rest)) = pattern.split_first() else {
        return text.is_empty();
    };
    match first {
        '*' => (0..=text.len())
            .filter_map(|skipped| text.get(skipped..))
            .any(|left| matches_part(rest, left)),
        '?' => text
            .split_first()
            .is_some_and(|(_, left)| matches_part(rest, left)),
        '[' => match (class(rest), text.split_first()) {
            (Some((class, rest)), Some((c, left))) => class.has(*c) && matches_part(rest, left),
            _ => false,
        },
        '\\' => match (rest.split_first(), text.split_first()) {
            (Some((wanted, rest)), Some((c, left))) => wanted == c && matches_part(rest, left),
            _ => false,
        },
        wanted => text
            .split_first()
            .is_some_and(|(c, left)| c == wanted && matches_part(rest, left)),
    }
}

struct Class {
    negated: bool,
    ranges: Vec<(char, char)>,
}

impl Class {
    fn has(&self, c: char) -> bool {
        let within = self
            .ranges
            .iter()
            .any(|(low, high)| (*low..=*high).contains(&c));
        within != self.negated
    }
}

/// Reads a class up to its `]`. `None` when it has no end.
fn class(text: &[char]) -> Option<(Class, &[char])> {
    let (negated, mut rest) = match text.split_first() {
        Some(('^', rest)) => (true, rest),
        _ => (false, text),
    };
    let mut ranges = Vec::new();
    loop {
        let (low, left) = rest.split_first()?;
        if *low == ']' && !ranges.is_empty() {
            return Some((Class { negated, ranges }, left));
        }
        let (high, left) = match left {
            ['-', high, left @ ..] if *high != ']' => (high, left),
            _ => (low, left),
        };
        ranges.push((*low, *high));
        rest = left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_ignored_as_docker_does_it() {
        for (rules, path, ignored) in [
            ("", "a", false),
            ("a", "a", true),
            ("a", "a/b", true),
            ("a", "b/a", false),
            ("/a/", "a/b", true),
            ("./a", "a", true),
            ("**/a", "a", true),
            ("**/a", "x/y/a", true),
            ("**/a/**", "x/a/y", true),
            ("a/**", "a/b", true),
            ("*.md", "README.md", true),
            ("*.md", "docs/README.md", false),
            ("**/*.md", "docs/README.md", true),
            ("*/b", "a/b", true),
            ("*/b", "b", false),
            ("?", "ab", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("# a\na", "a", true),
            ("*\n!a", "a", false),
            ("*\n!a", "b", true),
            ("!a\n*", "a", true),
            ("a\n!a/b", "a/b", false),
            ("a\n!a/b", "a/c", true),
            ("a/../b", "b", true),
            ("[a", "[a", false),
        ] {
            assert_eq!(
                Ignore::parse(rules).is_ignored(path),
                ignored,
                "{rules:?} {path}"
            );
        }
    }
}
