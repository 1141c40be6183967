//! Checks that a tree has the form of a Compose file: known keys and the right types. Not whether what
//! it says makes sense. All that is wrong is reported at once.

mod build;
mod container;
mod resource;
mod service;

use std::collections::HashSet;

use crate::diagnostic::{Diagnostic, Diagnostics, Severity, nearest};
use crate::source::Span;
use crate::yaml::{Map, Node, Value};

/// The form of a value.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// Anything.
    Any,
    /// A value of one of these types.
    Scalar(&'static [Type]),
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// A text of a form that a function knows; described by the text.
    Pattern(fn(&str) -> bool, &'static str),
    /// A whole number between two, or a text.
    Between(i64, i64),
    /// A list, its items alike.
    List(&'static Self),
    /// A list in which nothing is twice.
    Set(&'static Self),
    /// A map with any keys but the empty one.
    Map(&'static Self),
    /// A map with any keys.
    AnyMap(&'static Self),
    /// A map with any keys; what is under those that are not lower case letters may be anything.
    Lowercase(&'static Self),
    /// A map whose keys are names: letters, digits, `.`, `_` and `-`.
    Named(&'static Self),
    /// A map with known keys.
    Object(&'static Object),
    /// One of several; which one is told by the kind of value.
    Either(&'static [Self]),
}

/// The types of values without parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Null,
    Bool,
    Int,
    Number,
    Text,
}

/// A map with known keys.
#[derive(Debug)]
struct Object {
    /// What people call it.
    what: &'static str,
    /// Groups of keys; objects share groups.
    keys: &'static [&'static [(&'static str, Form)]],
    /// The keys that have to be there.
    required: &'static [&'static str],
    /// The keys that may be there too.
    others: Others,
}

/// The keys that are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Others {
    /// None may be there.
    Refused,
    /// Those that start with `x-` may.
    Extensions,
    /// Any may.
    Any,
}

impl Object {
    const fn new(what: &'static str, keys: &'static [&'static [(&'static str, Form)]]) -> Self {
        Self {
            what,
            keys,
            required: &[],
            others: Others::Extensions,
        }
    }

    const fn required(mut self, required: &'static [&'static str]) -> Self {
        self.required = required;
        self
    }

    const fn closed(mut self) -> Self {
        self.others = Others::Refused;
        self
    }

    const fn lax(mut self) -> Self {
        self.others = Others::Any;
        self
    }

    fn known(&self) -> impl Iterator<Item = &'static (&'static str, Form)> {
        self.keys.iter().copied().flatten()
    }

    fn form(&self, key: &str) -> Option<&'static Form> {
        self.known()
            .find(|(name, _)| *name == key)
            .map(|(_, form)| form)
    }
}

const TEXT: Form = Form::Scalar(&[Type::Text]);
const BOOL: Form = Form::Scalar(&[Type::Bool, Type::Text]);
const INT: Form = Form::Scalar(&[Type::Int, Type::Text]);
const NUMBER: Form = Form::Scalar(&[Type::Number, Type::Text]);
const TEXTS: Form = Form::Set(&TEXT);
const TEXT_OR_LIST: Form = Form::Either(&[TEXT, TEXTS]);
const LIST_OR_MAP: Form = Form::Either(&[
    Form::Map(&Form::Scalar(&[
        Type::Text,
        Type::Number,
        Type::Bool,
        Type::Null,
    ])),
    TEXTS,
]);
const COMMAND: Form = Form::Either(&[Form::Scalar(&[Type::Null, Type::Text]), Form::List(&TEXT)]);
const OPTIONS: Form = Form::AnyMap(&Form::Scalar(&[Type::Text, Type::Number]));

/// The keys whose texts are durations.
const DURATIONS: &[&str] = &[
    "delay",
    "interval",
    "monitor",
    "pull_refresh_after",
    "start_interval",
    "start_period",
    "stop_grace_period",
    "timeout",
    "window",
];

/// Checks a whole Compose file.
pub(crate) fn check(root: &Node) -> Result<(), Diagnostics> {
    let mut checker = Checker::default();
    checker.check(root, &Form::Object(&resource::FILE), "this file");
    Diagnostics::check(checker.found)
}

/// Checks the includes of a file, which are gone before the file as a whole is checked. What the
/// reference implementation passes over in silence is returned as warnings.
pub(crate) fn check_includes(includes: &Node) -> Result<Vec<Diagnostic>, Diagnostics> {
    let mut checker = Checker::default();
    let mut ignored = Checker::default();
    checker.check(includes, &resource::INCLUDES, "include");
    for include in includes.as_list().unwrap_or_default() {
        if let Some(map) = include.as_map() {
            for (key, entry) in map {
                if resource::INCLUDE.form(key).is_none() {
                    ignored.unknown_key(key, &resource::INCLUDE, &entry.key);
                }
            }
        }
        let paths = include.get("path");
        if include.as_text().is_none() && paths.is_none_or(Node::is_null) {
            let message = "an include without `path` includes nothing";
            ignored
                .found
                .push(Diagnostic::error("missing-key", message).at(&include.span));
        }
    }
    Diagnostics::check(checker.found)?;
    let warning = |wrong: Diagnostic| Diagnostic {
        severity: Severity::Warning,
        ..wrong
    };
    Ok(ignored.found.into_iter().map(warning).collect())
}

#[derive(Default)]
struct Checker {
    found: Vec<Diagnostic>,
}

impl Checker {
    fn check(&mut self, node: &Node, form: &Form, what: &str) {
        if node.is_timestamp() && !matches!(form, Form::Any) {
            self.wrong_type(node, form, what);
            return;
        }
        match (form, &node.value) {
            (Form::Any, _) | (Form::Between(..), Value::Text(_)) => {}
            (Form::Scalar(types), value) if types.iter().any(|one| is(*one, value)) => {}
            (Form::Choice(texts), Value::Text(text)) => self.choice(node, texts, text, what),
            (Form::Pattern(matches, form), Value::Text(text)) => {
                if !matches(text) {
                    let message = format!("`{text}` is not a valid `{what}`");
                    self.found.push(
                        Diagnostic::error("invalid-value", message)
                            .at(&node.span)
                            .help(format!("write {form}")),
                    );
                }
            }
            (Form::Between(least, most), Value::Int(number)) => {
                if !(least..=most).contains(&number) {
                    self.out_of_range(node, (*least, *most), what);
                }
            }
            (Form::Between(least, most), Value::Float(number)) if number.fract() == 0.0 => {
                let whole = format!("{number:.0}").parse();
                if !whole.is_ok_and(|whole: i64| (*least..=*most).contains(&whole)) {
                    self.out_of_range(node, (*least, *most), what);
                }
            }
            (Form::List(form), Value::List(items)) => self.items(items, form, what),
            (Form::Set(form), Value::List(items)) => {
                self.items(items, form, what);
                self.unique(items, what);
            }
            (Form::Map(below) | Form::AnyMap(below), Value::Map(map)) => {
                for (key, entry) in map {
                    if key.is_empty() && matches!(form, Form::Map(_)) {
                        self.empty_key(&entry.key, what);
                    }
                    // A date is written out like a number is.
                    if !entry.node.is_timestamp() {
                        self.check(&entry.node, below, key);
                    }
                }
            }
            (Form::Lowercase(form), Value::Map(map)) => {
                for (key, entry) in map {
                    if !key.is_empty() && key.bytes().all(|c| c.is_ascii_lowercase()) {
                        self.check(&entry.node, form, key);
                    }
                }
            }
            (Form::Named(form), Value::Map(map)) => self.named(map, form, what),
            (Form::Object(object), Value::Map(map)) => self.object(map, object, &node.span),
            (Form::Either(forms), value) => match forms.iter().find(|form| fits(form, value)) {
                Some(form) => self.check(node, form, what),
                None => self.wrong_type(node, form, what),
            },
            _ => self.wrong_type(node, form, what),
        }
    }

    fn choice(&mut self, node: &Node, texts: &[&'static str], text: &str, what: &str) {
        if texts.contains(&text) {
            return;
        }
        let message = format!("`{text}` is not a valid `{what}`");
        let wrong = Diagnostic::error("invalid-value", message).at(&node.span);
        self.found.push(match nearest(text, texts.iter().copied()) {
            Some(near) => wrong.help(format!("did you mean `{near}`?")),
            None => wrong.help(format!("write one of: {}", texts.join(", "))),
        });
    }

    fn out_of_range(&mut self, node: &Node, (least, most): (i64, i64), what: &str) {
        let given = node.value.scalar_text().unwrap_or_default();
        let message = format!("`{what}` has to be between {least} and {most}, not {given}");
        self.found
            .push(Diagnostic::error("out-of-range", message).at(&node.span));
    }

    fn items(&mut self, items: &[Node], form: &Form, what: &str) {
        for item in items {
            self.check(item, form, what);
        }
    }

    fn unique(&mut self, items: &[Node], what: &str) {
        let mut seen = HashSet::with_capacity(items.len());
        for item in items {
            if !seen.insert(item.to_json().to_string()) {
                let message = format!("an item of `{what}` is given twice");
                self.found
                    .push(Diagnostic::error("duplicate-item", message).at(&item.span));
            }
        }
    }

    fn named(&mut self, map: &Map, form: &Form, what: &str) {
        for (key, entry) in map {
            if is_name(key) {
                self.check(&entry.node, form, key);
            } else {
                let message = format!("`{key}` is not a valid name in `{what}`");
                self.found.push(
                    Diagnostic::error("invalid-name", message)
                        .at(&entry.key)
                        .help("names have letters, digits, `.`, `_` and `-`"),
                );
            }
        }
    }

    fn object(&mut self, map: &Map, object: &Object, span: &Span) {
        for (key, entry) in map {
            match object.form(key) {
                Some(form) => self.check(&entry.node, form, key),
                None if object.others == Others::Any => {}
                None if object.others == Others::Extensions && key.starts_with("x-") => {}
                None => self.unknown_key(key, object, &entry.key),
            }
        }
        for key in object.required {
            if !map.contains_key(*key) {
                let message = format!("{} needs `{key}`", object.what);
                self.found
                    .push(Diagnostic::error("missing-key", message).at(span));
            }
        }
    }

    fn unknown_key(&mut self, key: &str, object: &Object, span: &Span) {
        let known: Vec<&str> = object.known().map(|(name, _)| *name).collect();
        self.found
            .push(crate::yaml::unknown_key(key, &known, object.what).at(span));
    }

    fn empty_key(&mut self, span: &Span, what: &str) {
        let message = format!("a key of `{what}` is empty");
        self.found
            .push(Diagnostic::error("invalid-name", message).at(span));
    }

    fn wrong_type(&mut self, node: &Node, form: &Form, what: &str) {
        let mut expected = Vec::new();
        describe(form, &mut expected);
        let (last, rest) = expected.split_last().unwrap_or((&"something else", &[]));
        let expected = if rest.is_empty() {
            (*last).to_owned()
        } else {
            format!("{} or {last}", rest.join(", "))
        };
        let message = format!(
            "{} has to be {expected}, but this is {}",
            if what == "this file" {
                what.to_owned()
            } else {
                format!("`{what}`")
            },
            node.kind()
        );
        let wrong = Diagnostic::error("wrong-type", message).at(&node.span);
        let scalar = node.value.scalar_text().filter(|text| !text.is_empty());
        self.found.push(match scalar {
            Some(text) if DURATIONS.contains(&what) => {
                wrong.help(format!("write it with a unit, like {text}s"))
            }
            Some(_) if expected == "a text" => {
                wrong.help(format!("put it in quotes: \"{}\"", node.span.text()))
            }
            _ => wrong,
        });
    }
}

fn describe(form: &Form, words: &mut Vec<&'static str>) {
    let word = match form {
        Form::Any => return,
        Form::Scalar(types) => {
            for one in *types {
                let word = match one {
                    Type::Null => continue,
                    Type::Bool => "a boolean",
                    Type::Int => "a whole number",
                    Type::Number => "a number",
                    Type::Text => "a text",
                };
                if !words.contains(&word) {
                    words.push(word);
                }
            }
            return;
        }
        Form::Either(forms) => {
            for form in *forms {
                describe(form, words);
            }
            return;
        }
        Form::Choice(_) | Form::Pattern(..) => "a text",
        Form::Between(..) => "a whole number",
        Form::List(_) | Form::Set(_) => "a list",
        Form::Map(_) | Form::AnyMap(_) | Form::Lowercase(_) | Form::Named(_) | Form::Object(_) => {
            "a map"
        }
    };
    if !words.contains(&word) {
        words.push(word);
    }
}

/// Says whether a value is of the kind that a form is of, whatever its parts are.
fn fits(form: &Form, value: &Value) -> bool {
    match form {
        Form::Any => true,
        Form::Scalar(types) => types.iter().any(|one| is(*one, value)),
        Form::Choice(_) | Form::Pattern(..) => is(Type::Text, value),
        Form::Between(..) => is(Type::Text, value) || is(Type::Int, value),
        Form::List(_) | Form::Set(_) => matches!(value, Value::List(_)),
        Form::Map(_) | Form::AnyMap(_) | Form::Lowercase(_) | Form::Named(_) | Form::Object(_) => {
            matches!(value, Value::Map(_))
        }
        Form::Either(forms) => forms.iter().any(|form| fits(form, value)),
    }
}

fn is(one: Type, value: &Value) -> bool {
    match value {
        Value::Null => one == Type::Null,
        Value::Bool(_) => one == Type::Bool,
        Value::Int(_) => matches!(one, Type::Int | Type::Number),
        // JSON Schema, which the specification is written in, takes 3.0 for a whole number.
        Value::Float(number) => one == Type::Number || (one == Type::Int && number.fract() == 0.0),
        Value::Text(_) => one == Type::Text,
        Value::List(_) | Value::Map(_) => false,
    }
}

fn is_name(key: &str) -> bool {
    !key.is_empty()
        && key
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;
    use crate::yaml::parse;

    fn refusals(text: &str) -> Vec<String> {
        match check(&parse(&Source::new("c.yaml", text)).unwrap()) {
            Ok(()) => Vec::new(),
            Err(refused) => refused.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_file_of_the_right_form_passes() {
        let text = "name: a\nx-a: 1\nservices:\n  web.1:\n    image: b\n    ports: [80, '1:2', {target: 3}]\n    command: null\n    x-b: {}\nvolumes: {v: }\n";
        assert_eq!(refusals(text), [""; 0]);
    }

    #[test]
    fn all_that_is_wrong_is_reported() {
        let text = "services:\n  a b: {image: x}\n  web:\n    imge: x\n    image: 5\n    ports: {}\n    cap_add: [A, A]\n    cgroup: hst\n    oom_score_adj: 2000\n    pull_policy: sometimes\n    healthcheck: {test: [1]}\nvolume: {}\n";
        assert_eq!(
            refusals(text),
            [
                "c.yaml:2:3: error: `a b` is not a valid name in `services`",
                "c.yaml:4:5: error: a service has no key `imge`",
                "c.yaml:5:12: error: `image` has to be a text, but this is a whole number",
                "c.yaml:6:12: error: `ports` has to be a list, but this is a map",
                "c.yaml:7:18: error: an item of `cap_add` is given twice",
                "c.yaml:8:13: error: `hst` is not a valid `cgroup`",
                "c.yaml:9:20: error: `oom_score_adj` has to be between -1000 and 1000, not 2000",
                "c.yaml:10:18: error: `sometimes` is not a valid `pull_policy`",
                "c.yaml:11:26: error: `test` has to be a text, but this is a whole number",
                "c.yaml:12:1: error: a Compose file has no key `volume`",
            ]
        );
    }

    #[test]
    fn a_file_that_is_not_a_map_is_refused() {
        assert_eq!(
            refusals("[]"),
            ["c.yaml:1:1: error: this file has to be a map, but this is a list"]
        );
    }
}
