//! `$VARIABLES` in a text. Not where texts are: that is interpolation's.
//!
//! The forms are those of the Compose Specification: `$V`, `${V}`, a default (`:-` and `-`), an error
//! (`:?` and `?`) and a replacement (`:+` and `+`), which may hold variables again, and `$$` for a
//! dollar. A dollar before anything else is a dollar.

use std::collections::BTreeMap;

/// How deep defaults may lie within defaults.
const DEPTH: usize = 50;

/// The most bytes that variables may add to a text.
const LONGEST: usize = 1 << 20;

/// Why a text cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A `${` that is none of the forms.
    #[error("`{0}` is not a variable: write ${{NAME}}, or $$ for a dollar")]
    Invalid(String),
    /// A variable that has to have a value.
    #[error("variable {name} is required{}{message}", if message.is_empty() { "" } else { ": " })]
    Required {
        /// The variable.
        name: String,
        /// What the file says about it.
        message: String,
    },
    /// A text that variables make too long.
    #[error("variables make this longer than {} KiB", LONGEST >> 10)]
    TooLong,
    /// Defaults within defaults without end.
    #[error("variables lie more than {DEPTH} deep within one another")]
    TooDeep,
}

/// What stands behind the name of a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Default,
    Required,
    Replacement,
}

/// Finds the value of a variable.
pub type Lookup<'l> = dyn Fn(&str) -> Option<String> + 'l;

/// One piece of a text.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'t> {
    Literal(&'t str),
    Variable {
        name: &'t str,
        form: Form,
        /// Whether an empty value counts as none.
        or_empty: bool,
        argument: &'t str,
    },
}

/// Fills in the variables of `text`; names without a value are added to `missing`.
pub fn substitute(
    text: &str,
    lookup: &Lookup<'_>,
    missing: &mut Vec<String>,
) -> Result<String, TemplateError> {
    fill(text, lookup, missing, 0)
}

fn fill(
    text: &str,
    lookup: &Lookup<'_>,
    missing: &mut Vec<String>,
    depth: usize,
) -> Result<String, TemplateError> {
    if depth > DEPTH {
        return Err(TemplateError::TooDeep);
    }
    let mut filled = String::with_capacity(text.len());
    for piece in pieces(text)? {
        match piece {
            Piece::Literal(literal) => filled.push_str(literal),
            Piece::Variable {
                name,
                form,
                or_empty,
                argument,
            } => {
                let value = lookup(name);
                let there = value
                    .as_ref()
                    .is_some_and(|value| !or_empty || !value.is_empty());
                match (form, there) {
                    (Form::Plain, false) => missing.push(name.to_owned()),
                    (Form::Default, false) | (Form::Replacement, true) => {
                        filled.push_str(&fill(argument, lookup, missing, depth + 1)?);
                    }
                    (Form::Required, false) => {
                        return Err(TemplateError::Required {
                            name: name.to_owned(),
                            message: fill(argument, lookup, missing, depth + 1)?,
                        });
                    }
                    (Form::Plain | Form::Default | Form::Required, true)
                    | (Form::Replacement, false) => filled.push_str(&value.unwrap_or_default()),
                }
                if filled.len() > LONGEST.saturating_add(text.len()) {
                    return Err(TemplateError::TooLong);
                }
            }
        }
    }
    Ok(filled)
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        pieces.push(Piece::Literal(before));
        let after = from.strip_prefix('$').unwrap_or_default();
        if let Some(more) = after.strip_prefix('$') {
            pieces.push(Piece::Literal("$"));
            rest = more;
        } else if let Some(inner) = after.strip_prefix('{') {
            let (piece, more) = braced(inner).ok_or_else(|| TemplateError::Invalid(shown(from)))?;
            pieces.push(piece);
            rest = more;
        } else {
            let (name, more) = split_name(after);
            pieces.push(if name.is_empty() {
                Piece::Literal("$")
            } else {
                plain(name)
            });
            rest = more;
        }
    }
    pieces.push(Piece::Literal(rest));
    Ok(pieces)
}

/// Cuts what is shown of an invalid variable to its own line and a length that can be read.
fn shown(from: &str) -> String {
    let line = from.lines().next().unwrap_or_default();
    line.chars().take(40).collect()
}

fn plain(name: &str) -> Piece<'_> {
    Piece::Variable {
        name,
        form: Form::Plain,
        or_empty: false,
        argument: "",
    }
}

fn split_name(text: &str) -> (&str, &str) {
    let end = text
        .char_indices()
        .find(|&(at, c)| !(c == '_' || c.is_ascii_alphabetic() || (at > 0 && c.is_ascii_digit())))
        .map_or(text.len(), |(at, _)| at);
    text.split_at(end)
}

/// Reads what is behind `${`, and returns what is behind its `}` too.
fn braced(inner: &str) -> Option<(Piece<'_>, &str)> {
    let (name, rest) = split_name(inner);
    if name.is_empty() {
        return None;
    }
    if let Some(more) = rest.strip_prefix('}') {
        return Some((plain(name), more));
    }
    let (or_empty, rest) = match rest.strip_prefix(':') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let (form, rest) = if let Some(rest) = rest.strip_prefix('-') {
        (Form::Default, rest)
    } else if let Some(rest) = rest.strip_prefix('?') {
        (Form::Required, rest)
    } else {
        (Form::Replacement, rest.strip_prefix('+')?)
    };
    let end = closing_brace(rest).or_else(|| rest.lines().next()?.rfind('}'))?;
    let (argument, _) = rest.split_at(end);
    let more = rest.get(end + 1..)?;
    let piece = Piece::Variable {
        name,
        form,
        or_empty,
        argument,
    };
    Some((piece, more))
}

/// Finds the `}` that no `{` before it opened. As in the reference implementation, a variable does
/// not go on over the end of a line.
fn closing_brace(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '\n' => return None,
            '{' => open += 1,
            '}' if open == 0 => return Some(at),
            '}' => open -= 1,
            _ => {}
        }
    }
    None
}

/// A variable that a file uses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Variable {
    /// Whether the file demands a value.
    pub required: bool,
    /// The value where there is none.
    pub default: Option<String>,
    /// The text that stands for a value.
    pub replacement: Option<String>,
}

/// Adds the variables of `text`, those within defaults too; an invalid text has none.
pub fn variables(text: &str, found: &mut BTreeMap<String, Variable>) {
    collect(text, found, 0);
}

fn collect(text: &str, found: &mut BTreeMap<String, Variable>, depth: usize) {
    if depth > DEPTH {
        return;
    }
    for piece in pieces(text).unwrap_or_default() {
        let Piece::Variable {
            name,
            form,
            argument,
            ..
        } = piece
        else {
            continue;
        };
        let variable = found.entry(name.to_owned()).or_default();
        match form {
            Form::Plain => {}
            Form::Default => variable.default = Some(argument.to_owned()),
            Form::Required => variable.required = true,
            Form::Replacement => variable.replacement = Some(argument.to_owned()),
        }
        if form != Form::Plain {
            collect(argument, found, depth + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(name: &str) -> Option<String> {
        match name {
            "A" => Some("a".to_owned()),
            "EMPTY" => Some(String::new()),
            "B" => Some("b".to_owned()),
            _ => None,
        }
    }

    fn filled(text: &str) -> Result<String, TemplateError> {
        substitute(text, &value, &mut Vec::new())
    }

    #[test]
    fn every_form_is_filled_in() {
        for (text, result) in [
            ("plain", "plain"),
            ("$A-${B}", "a-b"),
            ("$$A $${A}", "$A ${A}"),
            ("$", "$"),
            ("a$ $1 $.", "a$ $1 $."),
            ("$NONE|", "|"),
            ("${NONE:-d}", "d"),
            ("${NONE-d}", "d"),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY-d}", ""),
            ("${A:-d}", "a"),
            ("${A:+r}", "r"),
            ("${EMPTY:+r}", ""),
            ("${EMPTY+r}", "r"),
            ("${NONE+r}", ""),
            ("${NONE:-${A}}", "a"),
            ("${NONE:-${NONE:-${B}}c}", "bc"),
            ("${NONE:-{\"k\": {}}}!", "{\"k\": {}}!"),
            ("${NONE:-}", ""),
            ("${NONE:-a:-b}", "a:-b"),
            ("${NONE-:x}", ":x"),
            ("${A:?m}", "a"),
            ("${EMPTY?m}", ""),
            ("${A:-x}${B:-y}", "ab"),
            ("$A_", ""),
            ("${NONE:-$$}", "$"),
        ] {
            assert_eq!(filled(text).as_deref(), Ok(result), "{text}");
        }
    }

    #[test]
    fn what_is_none_of_the_forms_is_refused() {
        for text in [
            "${",
            "${}",
            "${A",
            "${A B}",
            "${A:b}",
            "${1}",
            "${A:-x\ny}",
            "${ A }",
            "${-a}",
        ] {
            assert!(
                matches!(filled(text), Err(TemplateError::Invalid(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn a_required_variable_is_named_with_its_message() {
        assert_eq!(
            filled("${NONE:?set $A}").unwrap_err().to_string(),
            "variable NONE is required: set a"
        );
        assert_eq!(
            filled("${EMPTY:?}").unwrap_err().to_string(),
            "variable EMPTY is required"
        );
    }

    #[test]
    fn names_without_a_value_are_collected() {
        let mut missing = Vec::new();
        substitute("$X ${Y} ${Z:-d}", &value, &mut missing).unwrap();
        assert_eq!(missing, ["X", "Y"]);
    }

    #[test]
    fn nesting_without_end_is_refused() {
        let text = "${N:-".repeat(2000) + &"}".repeat(2000);
        assert_eq!(filled(&text), Err(TemplateError::TooDeep));
    }

    #[test]
    fn variables_are_listed_with_their_defaults() {
        let mut found = BTreeMap::new();
        variables("$A ${B:-${C}} ${D:?m} ${E+x}", &mut found);
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(names, ["A", "B", "C", "D", "E"]);
        assert_eq!(found["B"].default.as_deref(), Some("${C}"));
        assert!(found["D"].required);
    }
}
