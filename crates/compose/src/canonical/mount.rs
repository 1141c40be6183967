//! The short form of mounts: `[source:]target[:options]`.

use super::Strictness;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::paths::clean;
use crate::yaml::{Node, Value};

/// A mount in its short form, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Parsed {
    source: String,
    /// The path inside.
    pub(crate) target: String,
    read_only: bool,
    nocopy: bool,
    propagation: Option<String>,
    selinux: Option<String>,
}

/// Turns the short form of a mount into the long one.
pub(super) fn expand(node: &mut Node, strictness: Strictness) -> Result<(), Diagnostics> {
    let Some(text) = node.as_text() else {
        return Ok(());
    };
    match parse(text, node) {
        Ok(parsed) => {
            node.value = long(&parsed, node);
            Ok(())
        }
        Err(_) if strictness == Strictness::Lenient => Ok(()),
        Err(refused) => Err(refused),
    }
}

/// Takes a mount apart; `node` is where it stands.
pub(crate) fn parse(text: &str, node: &Node) -> Result<Parsed, Diagnostics> {
    let refuse = |reason: &str| -> Diagnostics {
        Diagnostic::error(
            "invalid-mount",
            format!("`{text}` is not a mount: {reason}"),
        )
        .at(&node.span)
        .help("write source:target, like \"data:/var/lib/data\" or \"./conf:/etc/conf:ro\"")
        .into()
    };
    if text.is_empty() {
        return Err(refuse("it is empty"));
    }
    if text.len() <= 2 {
        return Ok(Parsed {
            target: text.to_owned(),
            ..Parsed::default()
        });
    }
    let parts = split(text);
    if parts.iter().any(String::is_empty) {
        return Err(refuse("a part of it is empty"));
    }
    let (source, target, options) = match parts.as_slice() {
        [target] => ("", target.as_str(), ""),
        [source, target] => (source.as_str(), target.as_str(), ""),
        [source, target, options] => (source.as_str(), target.as_str(), options.as_str()),
        _ => return Err(refuse("it has more than three parts")),
    };
    let mut parsed = Parsed {
        source: source.to_owned(),
        target: target.to_owned(),
        ..Parsed::default()
    };
    for option in options.split(',') {
        match option {
            "ro" => parsed.read_only = true,
            "rw" => parsed.read_only = false,
            "nocopy" => parsed.nocopy = true,
            "rprivate" | "private" | "rshared" | "shared" | "rslave" | "slave" => {
                parsed.propagation = Some(option.to_owned());
            }
            "z" | "Z" => parsed.selinux = Some(option.to_owned()),
            // Compose takes options that it does not know for those of later versions.
            _ => {}
        }
    }
    Ok(parsed)
}

/// Splits at colons, but not behind the letter of a Windows drive, nor within a variable.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut open = 0_usize;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let Some(part) = parts.last_mut() else {
            break;
        };
        let is_drive = part.chars().count() == 1 && part.chars().all(char::is_alphabetic);
        match c {
            '$' if chars.peek() == Some(&'{') => {
                open += 1;
                part.push(c);
            }
            '}' if open > 0 => {
                open -= 1;
                part.push(c);
            }
            ':' if open == 0 && !is_drive => parts.push(String::new()),
            c => part.push(c),
        }
    }
    parts
}

fn is_path(source: &str) -> bool {
    let mut chars = source.chars();
    match (chars.next(), chars.next()) {
        (Some('.' | '/' | '~'), _) | (Some('\\'), Some('\\')) => true,
        (Some(drive), Some(':')) => drive.is_alphabetic(),
        _ => false,
    }
}

fn long(parsed: &Parsed, node: &Node) -> Value {
    let is_bind = is_path(&parsed.source);
    let text = |text: &str| Value::Text(text.to_owned());
    let map = |fields: Vec<(&str, Value)>| {
        Value::Map(
            fields
                .into_iter()
                .map(|(key, value)| (key.to_owned(), node.entry_here(value)))
                .collect(),
        )
    };
    // So short, it can only be a path.
    let is_bare = parsed.target.len() <= 2 && parsed.source.is_empty();
    let target = if is_bare {
        parsed.target.clone()
    } else {
        clean(&parsed.target)
    };
    let mut fields = vec![("type", text(if is_bind { "bind" } else { "volume" }))];
    if !parsed.source.is_empty() {
        fields.push(("source", text(&parsed.source)));
    }
    fields.push(("target", text(&target)));
    if parsed.read_only {
        fields.push(("read_only", Value::Bool(true)));
    }
    let mut bind = Vec::new();
    if is_bind {
        bind.push(("create_host_path", Value::Bool(true)));
    }
    bind.extend(
        parsed
            .propagation
            .as_deref()
            .map(|one| ("propagation", text(one))),
    );
    bind.extend(parsed.selinux.as_deref().map(|one| ("selinux", text(one))));
    if !bind.is_empty() {
        fields.push(("bind", map(bind)));
    }
    if parsed.nocopy {
        fields.push(("volume", map(vec![("nocopy", Value::Bool(true))])));
    } else if !is_bind && !is_bare {
        fields.push(("volume", map(Vec::new())));
    }
    map(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;
    use crate::yaml;

    fn expanded(text: &str) -> Result<String, Diagnostics> {
        let mut node = yaml::parse(&Source::new("c.yaml", "''")).unwrap();
        node.value = Value::Text(text.to_owned());
        expand(&mut node, Strictness::Strict)?;
        Ok(node.to_json().to_string())
    }

    #[test]
    fn every_short_form_is_read() {
        for (text, mount) in [
            ("/x", r#"{"type":"volume","target":"/x"}"#),
            (
                "/data/",
                r#"{"type":"volume","target":"/data","volume":{}}"#,
            ),
            (
                "vol:/x",
                r#"{"type":"volume","source":"vol","target":"/x","volume":{}}"#,
            ),
            (
                "./a:/x:ro",
                r#"{"type":"bind","source":"./a","target":"/x","read_only":true,"bind":{"create_host_path":true}}"#,
            ),
            (
                "/a:/x:rw,z,rshared",
                r#"{"type":"bind","source":"/a","target":"/x","bind":{"create_host_path":true,"propagation":"rshared","selinux":"z"}}"#,
            ),
            (
                "vol:/x:nocopy",
                r#"{"type":"volume","source":"vol","target":"/x","volume":{"nocopy":true}}"#,
            ),
            // One letter is taken for a Windows drive, as in the reference implementation.
            ("v:/x", r#"{"type":"volume","target":"v:/x","volume":{}}"#),
            (
                r"C:\a:/x",
                r#"{"type":"bind","source":"C:\\a","target":"/x","bind":{"create_host_path":true}}"#,
            ),
            (
                "${A:-b}:/x",
                r#"{"type":"volume","source":"${A:-b}","target":"/x","volume":{}}"#,
            ),
        ] {
            assert_eq!(expanded(text).unwrap(), mount, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_mount_is_refused() {
        for text in ["", "aa::/b", ":/xy", "aa:/b:ro:x", "abc:"] {
            assert!(expanded(text).is_err(), "{text}");
        }
    }
}
