//! `.env` files: names and values, quotes, escapes and variables. Not which files are read, nor what
//! wins over what.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::source::{Position, Source, Span};
use crate::template::{Lookup, substitute};

/// The most bytes that the values of one file may have together, variables filled in.
const BYTES: usize = 8 << 20;

/// Names and values.
pub type Variables = BTreeMap<String, String>;

/// How an env file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// With quotes, escapes and variables.
    #[default]
    DotEnv,
    /// Every line is a name and a value, taken as it is.
    Raw,
}

/// Reads an env file into `variables`, over what is there.
///
/// A variable within a value is looked up with `lookup`, then in `variables`. A name without `=` gets
/// the value that `lookup` knows, if any.
pub fn read(
    source: &Arc<Source>,
    format: Format,
    lookup: &Lookup<'_>,
    variables: &mut Variables,
) -> Result<(), Diagnostics> {
    match format {
        Format::DotEnv => Reader {
            source,
            rest: source.text(),
        }
        .read(lookup, variables),
        Format::Raw => read_raw(source, lookup, variables),
    }
}

fn read_raw(
    source: &Arc<Source>,
    lookup: &Lookup<'_>,
    variables: &mut Variables,
) -> Result<(), Diagnostics> {
    let reader = Reader {
        source,
        rest: source.text(),
    };
    for line in source.text().lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (line, lookup(line.trim_end())),
        };
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(reader.refuse_line(line, "a name without spaces has to be before the `=`"));
        }
        if let Some(value) = value {
            variables.insert(name.to_owned(), value);
        }
    }
    Ok(())
}

struct Reader<'s> {
    source: &'s Arc<Source>,
    rest: &'s str,
}

impl<'s> Reader<'s> {
    fn read(&mut self, lookup: &Lookup<'_>, variables: &mut Variables) -> Result<(), Diagnostics> {
        let mut left = BYTES;
        while self.skip_to_statement() {
            let (name, has_value) = self.name()?;
            if !has_value {
                if let Some(value) = lookup(name) {
                    variables.insert(name.to_owned(), value);
                }
                continue;
            }
            let known = |name: &str| lookup(name).or_else(|| variables.get(name).cloned());
            let value = self.value(&known)?;
            left = left.checked_sub(value.len()).ok_or_else(|| {
                self.refuse_line(self.rest, "the values up to here are too large together")
            })?;
            variables.insert(name.to_owned(), value);
        }
        Ok(())
    }

    /// Skips blank space and comments; false at the end.
    fn skip_to_statement(&mut self) -> bool {
        loop {
            self.rest = self.rest.trim_start();
            if !self.rest.starts_with('#') {
                return !self.rest.is_empty();
            }
            self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
        }
    }

    /// Reads a name and what ends it, and says whether a value follows.
    fn name(&mut self) -> Result<(&'s str, bool), Diagnostics> {
        if let Some(rest) = self.rest.strip_prefix("export")
            && rest.starts_with(char::is_whitespace)
        {
            self.rest = rest.trim_start_matches(is_space);
        }
        let end = self.rest.find(['=', ':', '\n']).unwrap_or(self.rest.len());
        let (name, after) = self.rest.split_at(end);
        let allowed = |c: char| is_space(c) || c.is_alphanumeric() || "_.-[]".contains(c);
        if let Some(bad) = name.chars().find(|c| !allowed(*c)) {
            let message = format!("a name of a variable cannot have the character `{bad}`");
            return Err(self.refuse_line(self.rest, &message));
        }
        let name = name.trim_end();
        if name.contains(' ') {
            return Err(self.refuse_line(self.rest, "a name of a variable cannot have a space"));
        }
        let has_value = after.starts_with(['=', ':']);
        let mut after = after.chars();
        after.next();
        self.rest = after.as_str();
        if has_value {
            self.rest = self.rest.trim_start_matches(is_space);
        }
        Ok((name, has_value))
    }

    fn value(&mut self, known: &Lookup<'_>) -> Result<String, Diagnostics> {
        if let Some(inner) = self.rest.strip_prefix('"') {
            let raw = self.quoted(inner, '"')?;
            return self.fill(&unescape(&raw), known);
        }
        if let Some(inner) = self.rest.strip_prefix('\'') {
            return self.quoted(inner, '\'');
        }
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        let value = line.split_once(" #").map_or(line, |(value, _)| value);
        let filled = self.fill(value.trim_end(), known);
        self.rest = rest;
        filled
    }

    /// Reads up to the closing quote; a quote behind a backslash is part of the value.
    fn quoted(&mut self, inner: &'s str, quote: char) -> Result<String, Diagnostics> {
        let mut value = String::new();
        let mut escaped = false;
        for (at, c) in inner.char_indices() {
            if escaped {
                if c != quote {
                    value.push('\\');
                }
                value.push(c);
                escaped = false;
            } else if c == '\\' {
                escaped = true;
            } else if c == quote {
                self.rest = inner.get(at + c.len_utf8()..).unwrap_or_default();
                return Ok(value);
            } else {
                value.push(c);
            }
        }
        Err(self.refuse_line(self.rest, "the quote that opens here is not closed"))
    }

    fn fill(&self, value: &str, known: &Lookup<'_>) -> Result<String, Diagnostics> {
        substitute(value, known, &mut Vec::new())
            .map_err(|error| self.refuse_line(self.rest, &error.to_string()))
    }

    /// Refuses the line that `at`, a rest of the text, begins in.
    fn refuse_line(&self, at: &str, message: &str) -> Diagnostics {
        let text = self.source.text();
        let offset = text.len() - self.offset_from_end(at);
        let before = text.get(..offset).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = text.get(line_start..).unwrap_or_default();
        let line_end = line_start + line.find('\n').unwrap_or(line.len());
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let place = |at: usize| Position {
            line: small(before.matches('\n').count() + 1),
            column: small(text.get(line_start..at).unwrap_or_default().chars().count() + 1),
            offset: small(at),
        };
        let span = Span::new(Arc::clone(self.source), place(offset), place(line_end));
        Diagnostic::error("env-file", message).at(&span).into()
    }

    /// How far `at` is from the end of the text that it is a part of.
    fn offset_from_end(&self, at: &str) -> usize {
        let text = self.source.text();
        if text.ends_with(at) {
            return at.len();
        }
        text.rfind(at)
            .map_or(text.len(), |start| text.len() - start)
    }
}

/// Blank, but not the end of a line.
fn is_space(c: char) -> bool {
    matches!(
        c,
        '\t' | '\u{b}' | '\u{c}' | '\r' | ' ' | '\u{85}' | '\u{a0}'
    )
}

/// Resolves the escapes of a value in double quotes; `\$` becomes the `$$` of a template.
fn unescape(raw: &str) -> String {
    let mut value = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        let (before, from) = rest.split_at(at);
        value.push_str(before);
        let mut chars = from.chars();
        chars.next();
        let resolved = match chars.next() {
            Some('a') => "\u{7}",
            Some('b') => "\u{8}",
            Some('f') => "\u{c}",
            Some('n') => "\n",
            Some('r') => "\r",
            Some('t') => "\t",
            Some('v') => "\u{b}",
            Some('$') => "$$",
            Some('"') => "\"",
            Some('\\') => "\\",
            Some('0') => {
                rest = octal(chars.as_str(), &mut value);
                continue;
            }
            other => {
                value.push('\\');
                value.extend(other);
                ""
            }
        };
        value.push_str(resolved);
        rest = chars.as_str();
    }
    value.push_str(rest);
    value
}

/// Reads the three octal digits behind `\0`, and returns what follows them.
fn octal<'r>(rest: &'r str, value: &mut String) -> &'r str {
    let character = rest
        .get(..3)
        .and_then(|digits| u8::from_str_radix(digits, 8).ok());
    if let Some(code) = character {
        value.push(char::from(code));
        return rest.get(3..).unwrap_or_default();
    }
    value.push_str("\\0");
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Variables, Diagnostics> {
        let mut variables = Variables::new();
        let lookup = |name: &str| (name == "OUTER").then(|| "outer".to_owned());
        read(
            &Source::new("/.env", text),
            Format::DotEnv,
            &lookup,
            &mut variables,
        )?;
        Ok(variables)
    }

    #[test]
    fn lines_are_names_and_values() {
        for (text, value) in [
            ("A=b", "b"),
            ("A = b ", "b"),
            ("A: b", "b"),
            ("export A=b", "b"),
            ("  # note\n\nA=b # note", "b"),
            ("A=b#c", "b#c"),
            ("A='b # c'", "b # c"),
            ("A=\"b # c\" # note", "b # c"),
            ("A=", ""),
            ("A=b\r\nC=d", "b"),
            ("A='it\\'s'", "it's"),
            ("A='\\n$OUTER'", "\\n$OUTER"),
            ("A=\"x\\ny\"", "x\ny"),
            ("A=\"two\nlines\"", "two\nlines"),
            ("A=\"say \\\"hi\\\"\"", "say \"hi\""),
            ("A=\"\\$OUTER\"", "$OUTER"),
            ("A=\"\\0123\"", "S"),
            ("A=\"\\q\\\\\"", "\\q\\"),
            ("A=$OUTER", "outer"),
            ("A=${NONE:-d}", "d"),
            ("B=1\nA=${B}2", "12"),
            ("A=b=c", "b=c"),
            ("A=x y", "x y"),
            ("A=\\n", "\\n"),
        ] {
            let found = parse(text).unwrap();
            assert_eq!(found.get("A").map(String::as_str), Some(value), "{text:?}");
        }
    }

    #[test]
    fn a_name_alone_takes_the_value_that_is_known() {
        let found = parse("OUTER\nNONE\nX=1\nOUTER").unwrap();
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(names, ["OUTER", "X"]);
    }

    #[test]
    fn bad_lines_are_refused_with_their_place() {
        for (text, place) in [
            ("A=1\nB C=2", "/.env:2:1"),
            ("A=1\n%=2\nB=3", "/.env:2:1"),
            ("A=1\nB=\"x\nC=2", "/.env:2:3"),
            ("A=${", "/.env:1:3"),
            ("A=${X:?no}", "/.env:1:3"),
        ] {
            let refused = parse(text).unwrap_err().to_string();
            assert!(refused.starts_with(place), "{refused}");
        }
    }

    #[test]
    fn raw_values_are_taken_as_they_are() {
        let mut variables = Variables::new();
        let source = Source::new("/raw", "# note\nA='b' $C\n  D=\"\nOUTER\n");
        let lookup = |name: &str| (name == "OUTER").then(|| "outer".to_owned());
        read(&source, Format::Raw, &lookup, &mut variables).unwrap();
        assert_eq!(variables["A"], "'b' $C");
        assert_eq!(variables["D"], "\"");
        assert_eq!(variables["OUTER"], "outer");
    }
}
