//! The conversions of single values.

use std::fmt::Display;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::interpolate::read_bool;
use crate::model::{ByteSize, Duration};
use crate::shell;
use crate::yaml::{Map, Node, Value};

type Converted = Result<Option<Value>, Diagnostics>;

fn refuse(node: &Node, code: &'static str, message: impl Display) -> Diagnostics {
    Diagnostic::error(code, message.to_string())
        .at(&node.span)
        .into()
}

fn scalar(node: &Node) -> Result<String, Diagnostics> {
    node.scalar_text().ok_or_else(|| {
        let message = format!("expected a text, but this is {}", node.value.kind());
        refuse(node, "wrong-type", message)
    })
}

/// A text; an empty one says nothing.
pub(super) fn text(node: &Node) -> Converted {
    Ok(Some(scalar(node)?)
        .filter(|text| !text.is_empty())
        .map(Value::Text))
}

/// A boolean; false says nothing.
pub(super) fn flag(node: &Node) -> Converted {
    Ok(choice(node)?.filter(|value| *value == Value::Bool(true)))
}

/// A boolean, both values of which say something.
pub(super) fn choice(node: &Node) -> Converted {
    match &node.value {
        Value::Null => Ok(None),
        Value::Bool(yes) => Ok(Some(Value::Bool(*yes))),
        _ => match read_bool(&scalar(node)?) {
            Some(yes) => Ok(Some(Value::Bool(yes))),
            None => Err(refuse(node, "wrong-type", "expected `true` or `false`")),
        },
    }
}

/// A whole number; zero says nothing.
pub(super) fn int(node: &Node) -> Converted {
    Ok(count(node)?.filter(|value| *value != Value::Int(0)))
}

/// A whole number, zero too.
pub(super) fn count(node: &Node) -> Converted {
    let number = match &node.value {
        Value::Null => return Ok(None),
        Value::Int(number) => Some(*number),
        Value::Float(number) => whole(*number),
        _ => scalar(node)?.parse().ok(),
    };
    number
        .map(|number| Some(Value::Int(number)))
        .ok_or_else(|| refuse(node, "wrong-type", "expected a whole number"))
}

/// Drops the fraction of a number.
fn whole(number: f64) -> Option<i64> {
    format!("{:.0}", number.trunc()).parse().ok()
}

/// A whole number that is not negative; zero too.
pub(super) fn natural(node: &Node) -> Converted {
    match count(node)? {
        Some(Value::Int(..0)) => Err(refuse(node, "out-of-range", "this has to be 0 or more")),
        value => Ok(value),
    }
}

/// A whole number above zero; zero says nothing.
pub(super) fn positive(node: &Node) -> Converted {
    Ok(natural(node)?.filter(|value| *value != Value::Int(0)))
}

/// A decimal number; zero says nothing.
pub(super) fn decimal(node: &Node) -> Converted {
    let number = match &node.value {
        Value::Null => return Ok(None),
        Value::Float(number) => Some(*number),
        _ => scalar(node)?.parse().ok(),
    };
    match number.filter(|number: &f64| number.is_finite()) {
        Some(number) => Ok(Some(Value::Float(number)).filter(|_| number != 0.0)),
        None => Err(refuse(node, "wrong-type", "expected a number")),
    }
}

/// A duration, zero too.
pub(super) fn duration(node: &Node) -> Converted {
    if node.is_null() {
        return Ok(None);
    }
    let duration: Duration = scalar(node)?
        .parse()
        .map_err(|error| refuse(node, "invalid-duration", error))?;
    Ok(Some(Value::Text(duration.to_string())))
}

/// A duration; zero says nothing.
pub(super) fn delay(node: &Node) -> Converted {
    Ok(duration(node)?.filter(|value| *value != Value::Text("0s".to_owned())))
}

/// A size in bytes; zero says nothing.
pub(super) fn size(node: &Node) -> Converted {
    let size = match &node.value {
        // The reference implementation takes no fractions of a byte, and says nothing of it.
        Value::Null | Value::Float(_) => return Ok(None),
        Value::Int(bytes) => ByteSize(*bytes),
        _ => scalar(node)?
            .parse()
            .map_err(|error| refuse(node, "invalid-size", error))?,
    };
    Ok((size.0 != 0).then(|| Value::Text(size.to_string())))
}

/// A file mode as a text in octal.
pub(super) fn mode(node: &Node) -> Converted {
    let bits = match &node.value {
        Value::Null => return Ok(None),
        Value::Int(bits) => Some(*bits),
        Value::Text(text) => i64::from_str_radix(text, 8).ok(),
        _ => None,
    };
    match bits {
        Some(bits) => Ok(Some(Value::Text(format!("0{bits:o}")))),
        None => Err(refuse(
            node,
            "invalid-mode",
            "expected a file mode in octal, like 0440",
        )),
    }
}

/// The number of devices; `all` is -1. A float is refused even when it is a whole number.
pub(super) fn devices(node: &Node) -> Converted {
    if let Value::Float(_) = node.value {
        return Err(refuse(
            node,
            "wrong-type",
            "expected a whole number or `all`",
        ));
    }
    match node.as_text() {
        Some(text) if text.eq_ignore_ascii_case("all") => Ok(Some(Value::Int(-1))),
        _ => int(node),
    }
}

/// A list of texts; one text is a list of it, and an empty list says nothing.
pub(super) fn texts(node: &Node) -> Converted {
    let list = match &node.value {
        Value::Null => return Ok(None),
        Value::List(items) => items
            .iter()
            .map(|item| Ok(item.text_here(scalar(item)?)))
            .collect::<Result<Vec<_>, Diagnostics>>()?,
        _ => vec![node.text_here(scalar(node)?)],
    };
    Ok((!list.is_empty()).then_some(Value::List(list)))
}

/// A key, its value, and where they stand.
type Pair<'n> = (String, Option<String>, &'n Node);

/// Goes through a map, or a list of `key=value`; `None` is a key without a value.
fn entries(node: &Node) -> Result<Vec<Pair<'_>>, Diagnostics> {
    match &node.value {
        Value::Null => Ok(Vec::new()),
        Value::Map(map) => map
            .iter()
            .map(|(key, entry)| {
                let value = match &entry.node.value {
                    Value::Null => None,
                    _ => Some(scalar(&entry.node)?),
                };
                Ok((key.clone(), value, &entry.node))
            })
            .collect(),
        Value::List(items) => items
            .iter()
            .map(|item| {
                let text = scalar(item)?;
                Ok(match text.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Some(value.to_owned()), item),
                    None => (text, None, item),
                })
            })
            .collect(),
        other => {
            let message = format!("expected a map or a list, but this is {}", other.kind());
            Err(refuse(node, "wrong-type", message))
        }
    }
}

fn map_of(entries: Vec<(String, Value, &Node)>) -> Option<Value> {
    let map: Map = entries
        .into_iter()
        .map(|(key, value, node)| (key, node.entry_here(value)))
        .collect();
    (!map.is_empty()).then_some(Value::Map(map))
}

/// A map of texts; nothing is the empty text.
pub(super) fn text_map(node: &Node) -> Converted {
    let entries = entries(node)?;
    let texts = entries
        .into_iter()
        .map(|(key, value, node)| (key, Value::Text(value.unwrap_or_default()), node));
    Ok(map_of(texts.collect()))
}

/// A map of texts and whole numbers.
pub(super) fn plain_map(node: &Node) -> Converted {
    for (_, entry) in node.as_map().into_iter().flatten() {
        if let Value::Float(_) | Value::Bool(_) = entry.node.value {
            return Err(refuse(&entry.node, "wrong-type", "expected a text"));
        }
    }
    text_map(node)
}

/// Variables; nothing is a variable without a value.
pub(super) fn variables(node: &Node) -> Converted {
    let entries = entries(node)?;
    for (key, _, place) in &entries {
        if place.as_text().is_some()
            && node.as_list().is_some()
            && key.ends_with(char::is_whitespace)
        {
            let message = format!("the name of variable `{key}` ends with a space");
            return Err(refuse(place, "invalid-name", message));
        }
    }
    let values = entries
        .into_iter()
        .map(|(key, value, node)| (key, value.map_or(Value::Null, Value::Text), node));
    Ok(map_of(values.collect()))
}

/// Options, each of which may be given several times.
pub(super) fn repeated(node: &Node) -> Converted {
    let mut options = Vec::new();
    for (key, entry) in node.as_map().into_iter().flatten() {
        let list = texts(&entry.node)?.unwrap_or(Value::List(Vec::new()));
        options.push((key.clone(), list, &entry.node));
    }
    Ok(map_of(options))
}

/// A list of texts and whole numbers.
pub(super) fn groups(node: &Node) -> Converted {
    for item in node.as_list().unwrap_or_default() {
        if let Value::Float(_) = item.value {
            return Err(refuse(
                item,
                "wrong-type",
                "expected a name or a whole number",
            ));
        }
    }
    texts(node)
}

/// A whole number above zero that is not in quotes.
pub(super) fn weight(node: &Node) -> Converted {
    if node.as_text().is_some() {
        let message = "expected a whole number without quotes";
        return Err(refuse(node, "wrong-type", message));
    }
    positive(node)
}

/// A command: a text is split into words; nothing leaves that of the image.
pub(super) fn command(node: &Node) -> Converted {
    match &node.value {
        Value::Null => Ok(None),
        Value::List(_) => Ok(Some(texts(node)?.unwrap_or(Value::List(Vec::new())))),
        _ => {
            let words = shell::split(&scalar(node)?)
                .map_err(|error| refuse(node, "invalid-command", error))?;
            let words = words.into_iter().map(|word| node.text_here(word));
            Ok(Some(Value::List(words.collect())))
        }
    }
}

/// The command of a health check: a text is run by the shell.
pub(super) fn test(node: &Node) -> Converted {
    match &node.value {
        Value::Text(text) => Ok(Some(Value::List(vec![
            node.text_here("CMD-SHELL"),
            node.text_here(text.as_str()),
        ]))),
        _ => texts(node),
    }
}

/// Hosts, as a list of `name=address` in order.
pub(super) fn hosts(node: &Node) -> Converted {
    let mut hosts: Vec<(String, String, &Node)> = Vec::new();
    match &node.value {
        Value::Map(map) => {
            for (name, entry) in map {
                for address in entry
                    .node
                    .as_list()
                    .unwrap_or(std::slice::from_ref(&entry.node))
                {
                    hosts.push((name.clone(), scalar(address)?, &entry.node));
                }
            }
        }
        Value::List(items) => {
            for item in items {
                let text = scalar(item)?;
                let (name, addresses) = text
                    .split_once('=')
                    .or_else(|| text.split_once(':'))
                    .ok_or_else(|| {
                        refuse(item, "invalid-host", format!("`{text}` has no address"))
                    })?;
                for address in addresses.split(',') {
                    hosts.push((name.to_owned(), address.to_owned(), item));
                }
            }
        }
        _ => {}
    }
    let mut lines = Vec::new();
    for (name, address, place) in hosts {
        if name.is_empty() || name.contains([':', '=']) {
            let message = format!("`{name}` is not a host name");
            return Err(refuse(place, "invalid-host", message));
        }
        let bare = address
            .strip_prefix('[')
            .and_then(|address| address.strip_suffix(']'))
            .filter(|bare| !bare.is_empty())
            .unwrap_or(&address);
        lines.push((format!("{name}={bare}"), place));
    }
    lines.sort_by(|a, b| a.0.cmp(&b.0));
    let list: Vec<Node> = lines
        .into_iter()
        .map(|(line, place)| place.text_here(line))
        .collect();
    Ok((!list.is_empty()).then_some(Value::List(list)))
}

/// Keys of SSH, as a list of `id` or `id=path` in order.
pub(super) fn ssh(node: &Node) -> Converted {
    let mut keys = entries(node)?;
    keys.sort_by(|a, b| a.0.cmp(&b.0));
    let list: Vec<Node> = keys
        .into_iter()
        .map(
            |(id, path, place)| match path.filter(|path| !path.is_empty()) {
                Some(path) => place.text_here(format!("{id}={path}")),
                None => place.text_here(id),
            },
        )
        .collect();
    Ok((!list.is_empty()).then_some(Value::List(list)))
}

/// A limit: one number, or a soft and a hard one.
pub(super) fn ulimit(node: &Node) -> Converted {
    let Some(map) = node.as_map() else {
        return count(node);
    };
    let mut limits = Vec::new();
    for key in ["soft", "hard"] {
        let place = map.get(key).map_or(node, |entry| &entry.node);
        let value = if map.contains_key(key) {
            count(place)?
        } else {
            None
        };
        limits.push((key.to_owned(), value.unwrap_or(Value::Int(0)), place));
    }
    Ok(map_of(limits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;
    use crate::typed::Convert;
    use crate::yaml::parse;

    fn converted(convert: Convert, text: &str) -> Result<String, Diagnostics> {
        let node = parse(&Source::new("c.yaml", text)).unwrap();
        Ok(convert(&node)?.map_or("-".to_owned(), |value| {
            node.here(value).to_json().to_string()
        }))
    }

    #[test]
    fn values_get_the_types_of_the_project() {
        let cases: [(Convert, &str, &str); 24] = [
            (text, "''", "-"),
            (text, "80", "\"80\""),
            (flag, "false", "-"),
            (choice, "'no'", "false"),
            (int, "0", "-"),
            (count, "0", "0"),
            (count, "3.0", "3"),
            (decimal, "'0.5'", "0.5"),
            (duration, "1m30s", "\"1m30s\""),
            (delay, "0s", "-"),
            (size, "1k", "\"1024\""),
            (size, "10", "\"10\""),
            (mode, "0440", "\"0440\""),
            (mode, "'0440'", "\"0440\""),
            (devices, "all", "-1"),
            (texts, "a", "[\"a\"]"),
            (texts, "[]", "-"),
            (text_map, "[a=1, b]", r#"{"a":"1","b":""}"#),
            (text_map, "{a: true, b: }", r#"{"a":"true","b":""}"#),
            (variables, "{a: 1.10, b: }", r#"{"a":"1.1","b":null}"#),
            (command, "a 'b c'", r#"["a","b c"]"#),
            (command, "''", "[]"),
            (test, "x", r#"["CMD-SHELL","x"]"#),
            (hosts, "['b:2', 'a=[::1]']", r#"["a=::1","b=2"]"#),
        ];
        for (convert, text, result) in cases {
            assert_eq!(converted(convert, text).unwrap(), result, "{text}");
        }
    }

    #[test]
    fn values_of_another_type_are_refused() {
        let cases: [(Convert, &str); 9] = [
            (text, "[]"),
            (choice, "maybe"),
            (count, "x"),
            (duration, "10"),
            (size, "big"),
            (mode, "'9'"),
            (natural, "-1"),
            (hosts, "[a]"),
            (variables, "['A =1']"),
        ];
        for (convert, text) in cases {
            assert!(converted(convert, text).is_err(), "{text}");
        }
    }
}
