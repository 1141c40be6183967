//! What a scalar without quotes means. Not where scalars begin and end.

use super::Value;

/// Resolves a plain scalar by the core schema of YAML 1.2, with the numbers of YAML 1.1 that the
/// reference implementation accepts too: `0777` and `0b1` are octal and binary, `_` separates digits.
pub(super) fn resolve_plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let numeric = text
        .bytes()
        .next()
        .is_some_and(|first| first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'.'));
    if numeric { number(text) } else { None }.unwrap_or_else(|| Value::Text(text.to_owned()))
}

/// Reads a number in any of the notations.
fn number(text: &str) -> Option<Value> {
    match text {
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Some(Value::Float(f64::INFINITY));
        }
        "-.inf" | "-.Inf" | "-.INF" => return Some(Value::Float(f64::NEG_INFINITY)),
        ".nan" | ".NaN" | ".NAN" => return Some(Value::Float(f64::NAN)),
        _ => {}
    }
    let plain = text.replace('_', "");
    integer(&plain)
        .map(Value::Int)
        .or_else(|| decimal(&plain).map(Value::Float))
}

fn integer(text: &str) -> Option<i64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => ("-", text.get(1..)?),
        b'+' => ("", text.get(1..)?),
        _ => ("", text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, rest) = if let Some(rest) = lower.strip_prefix("0x") {
        (16, rest)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        (2, rest)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        (8, rest)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, lower.get(1..)?)
    } else {
        (10, lower.as_str())
    };
    if !rest.bytes().all(|c| c.is_ascii_alphanumeric()) {
        return None;
    }
    i64::from_str_radix(&format!("{sign}{rest}"), radix).ok()
}

fn decimal(text: &str) -> Option<f64> {
    let unsigned = text.trim_start_matches(['+', '-']);
    if text.len() - unsigned.len() > 1 {
        return None;
    }
    let (mantissa, exponent) = unsigned
        .split_once(['e', 'E'])
        .map_or((unsigned, None), |(mantissa, exponent)| {
            (mantissa, Some(exponent))
        });
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    let dots = mantissa.bytes().filter(|&c| c == b'.').count();
    let exponent_fits = exponent.is_none_or(|exponent| {
        let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !unsigned.is_empty() && unsigned.bytes().all(|c| c.is_ascii_digit())
    });
    if digits == 0 || dots > 1 || digits + dots != mantissa.len() || !exponent_fits {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_are_resolved_by_the_core_schema() {
        for (text, value) in [
            ("", Value::Null),
            ("~", Value::Null),
            ("true", Value::Bool(true)),
            ("yes", Value::Text("yes".to_owned())),
            ("on", Value::Text("on".to_owned())),
            ("12", Value::Int(12)),
            ("-12", Value::Int(-12)),
            ("0x1F", Value::Int(31)),
            ("0777", Value::Int(511)),
            ("0o17", Value::Int(15)),
            ("0b101", Value::Int(5)),
            ("1_000", Value::Int(1000)),
            ("1.5", Value::Float(1.5)),
            ("1e3", Value::Float(1000.0)),
            (".5", Value::Float(0.5)),
            ("089", Value::Float(89.0)),
            ("1.2.3", Value::Text("1.2.3".to_owned())),
            ("80:80", Value::Text("80:80".to_owned())),
            ("1d", Value::Text("1d".to_owned())),
            ("-", Value::Text("-".to_owned())),
            (".", Value::Text(".".to_owned())),
            ("+", Value::Text("+".to_owned())),
            ("1e", Value::Text("1e".to_owned())),
            ("--1", Value::Text("--1".to_owned())),
            ("-+1", Value::Text("-+1".to_owned())),
        ] {
            assert_eq!(resolve_plain(text), value, "{text:?}");
        }
    }
}
