//! Fills in the variables of every text of a tree, and reads the texts that have to be numbers or
//! booleans. Not the syntax of variables: that is the template's.

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::template::{Lookup, TemplateError, substitute};
use crate::tree::{Path, Walk, walk};
use crate::yaml::{Node, Value};

/// What a text at some place has to be.
#[derive(Debug, Clone, Copy)]
enum Cast {
    Bool,
    Int,
    Float,
}

/// The places whose texts are read as something else, because a variable can only give a text.
const CASTS: &[(&str, Cast)] = &[
    ("services.*.cpu_count", Cast::Int),
    ("services.*.cpu_percent", Cast::Float),
    ("services.*.cpu_period", Cast::Int),
    ("services.*.cpu_quota", Cast::Int),
    ("services.*.cpu_rt_period", Cast::Int),
    ("services.*.cpu_rt_runtime", Cast::Int),
    ("services.*.cpus", Cast::Float),
    ("services.*.cpu_shares", Cast::Int),
    ("services.*.init", Cast::Bool),
    ("services.*.depends_on.*.required", Cast::Bool),
    ("services.*.depends_on.*.restart", Cast::Bool),
    ("services.*.deploy.replicas", Cast::Int),
    ("services.*.deploy.update_config.parallelism", Cast::Int),
    (
        "services.*.deploy.update_config.max_failure_ratio",
        Cast::Float,
    ),
    ("services.*.deploy.rollback_config.parallelism", Cast::Int),
    (
        "services.*.deploy.rollback_config.max_failure_ratio",
        Cast::Float,
    ),
    ("services.*.deploy.restart_policy.max_attempts", Cast::Int),
    (
        "services.*.deploy.placement.max_replicas_per_node",
        Cast::Int,
    ),
    ("services.*.healthcheck.retries", Cast::Int),
    ("services.*.healthcheck.disable", Cast::Bool),
    ("services.*.oom_kill_disable", Cast::Bool),
    ("services.*.oom_score_adj", Cast::Int),
    ("services.*.pids_limit", Cast::Int),
    ("services.*.ports.*.target", Cast::Int),
    ("services.*.privileged", Cast::Bool),
    ("services.*.read_only", Cast::Bool),
    ("services.*.scale", Cast::Int),
    ("services.*.stdin_open", Cast::Bool),
    ("services.*.tty", Cast::Bool),
    ("services.*.ulimits.*", Cast::Int),
    ("services.*.ulimits.*.hard", Cast::Int),
    ("services.*.ulimits.*.soft", Cast::Int),
    ("services.*.volumes.*.read_only", Cast::Bool),
    ("services.*.volumes.*.volume.nocopy", Cast::Bool),
    ("networks.*.external", Cast::Bool),
    ("networks.*.internal", Cast::Bool),
    ("networks.*.attachable", Cast::Bool),
    ("networks.*.enable_ipv4", Cast::Bool),
    ("networks.*.enable_ipv6", Cast::Bool),
    ("volumes.*.external", Cast::Bool),
    ("secrets.*.external", Cast::Bool),
    ("configs.*.external", Cast::Bool),
];

/// Fills in the variables of all texts beneath `root`, and reports names without a value as warnings.
/// The texts may take no more than `left` bytes, and take them off it.
pub(crate) fn interpolate(
    root: &mut Node,
    lookup: &Lookup<'_>,
    warnings: &mut Vec<Diagnostic>,
    left: &mut usize,
) -> Result<(), Diagnostics> {
    walk(root, &mut Path::default(), &mut |path, node| {
        let Value::Text(text) = &node.value else {
            return Ok(Walk::Into);
        };
        let value = if text.contains('$') {
            let mut missing = Vec::new();
            let filled = substitute(text, lookup, &mut missing)
                .map_err(|error| refuse(&error).at(&node.span))?;
            warnings.extend(missing.into_iter().map(|name| unset(&name).at(&node.span)));
            *left = left.checked_sub(filled.len()).ok_or_else(|| {
                let message = "with its variables filled in this is too large";
                Diagnostic::error("too-large", message).at(&node.span)
            })?;
            filled
        } else if needs_cast(path) {
            text.clone()
        } else {
            return Ok(Walk::Past);
        };
        node.value = match cast_for(path) {
            None => Value::Text(value),
            Some(cast) => read(&value, cast).ok_or_else(|| misread(&value, cast).at(&node.span))?,
        };
        Ok(Walk::Past)
    })
}

fn needs_cast(path: &Path) -> bool {
    cast_for(path).is_some()
}

fn cast_for(path: &Path) -> Option<Cast> {
    CASTS
        .iter()
        .find(|(pattern, _)| path.matches(pattern))
        .map(|(_, cast)| *cast)
}

fn refuse(error: &TemplateError) -> Diagnostic {
    match error {
        TemplateError::Invalid(_) | TemplateError::TooDeep | TemplateError::TooLong => {
            Diagnostic::error("invalid-variable", error.to_string())
        }
        TemplateError::Required { name, .. } => {
            Diagnostic::error("required-variable", error.to_string()).help(format!(
                "give `{name}` a value in the environment or in an env file"
            ))
        }
    }
}

fn unset(name: &str) -> Diagnostic {
    Diagnostic::warning(
        "unset-variable",
        format!("variable {name} has no value, an empty text is used"),
    )
    .help(format!("write ${{{name}:-}} if that is what you want"))
}

fn read(text: &str, cast: Cast) -> Option<Value> {
    match cast {
        Cast::Bool => read_bool(text).map(Value::Bool),
        Cast::Int => text.parse().ok().map(Value::Int),
        Cast::Float => read_float(text).map(Value::Float),
    }
}

fn read_float(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// Reads a boolean in any of the notations of YAML 1.1.
pub(crate) fn read_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "y" | "yes" | "on" => Some(true),
        "false" | "n" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn misread(text: &str, cast: Cast) -> Diagnostic {
    let expected = match cast {
        Cast::Bool => "`true` or `false`",
        Cast::Int => "a whole number",
        Cast::Float => "a number",
    };
    Diagnostic::error(
        "wrong-type",
        format!("expected {expected}, but this is `{text}`"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;
    use crate::yaml::parse;

    fn run(text: &str) -> Result<String, Diagnostics> {
        let mut node = parse(&Source::new("c.yaml", text))?;
        let lookup = |name: &str| (name == "N").then(|| "3".to_owned());
        interpolate(&mut node, &lookup, &mut Vec::new(), &mut 1000)?;
        Ok(node.to_json().to_string())
    }

    #[test]
    fn texts_that_have_to_be_numbers_are_read_as_such() {
        assert_eq!(
            run("services: {a: {scale: $N, image: 'x:$N', init: 'yes', cpus: '0.5'}}").unwrap(),
            r#"{"services":{"a":{"scale":3,"image":"x:3","init":true,"cpus":0.5}}}"#
        );
        assert_eq!(
            run("services: {a: {scale: many}}").unwrap_err().to_string(),
            "c.yaml:1:23: error: expected a whole number, but this is `many`"
        );
    }

    #[test]
    fn a_required_variable_is_refused_where_it_stands() {
        assert_eq!(
            run("services:\n  a:\n    image: ${TAG:?no tag}")
                .unwrap_err()
                .to_string(),
            "c.yaml:3:12: error: variable TAG is required: no tag"
        );
    }
}
