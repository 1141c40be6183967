//! What a project is called.

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::loader::Loader;
use crate::options::{LoadOptions, Resolved};
use crate::paths;

/// Finds the name: the option, `COMPOSE_PROJECT_NAME`, `name` in the last file that has it, the
/// default, or the name of the directory. Empty where none of them has a letter or digit.
pub(crate) fn project_name(
    options: &LoadOptions,
    resolved: &Resolved,
    loader: &Loader<'_>,
) -> Result<String, Diagnostics> {
    let variable = resolved.environment.get("COMPOSE_PROJECT_NAME");
    let given = options.project_name.as_ref().or(variable);
    if let Some(name) = given.filter(|name| !name.is_empty()) {
        if normal(name) == *name {
            return Ok(name.clone());
        }
        let message = format!("`{name}` is not a valid project name");
        return Err(Diagnostic::error("invalid-name", message)
            .help("use lower-case letters, digits, `-` and `_`, a letter or digit first")
            .into());
    }
    match loader.name_in_files(&resolved.files, &resolved.environment)? {
        Some(name) => Ok(normal(&name)),
        None => Ok(match &options.default_name {
            Some(name) => normal(name),
            None => normal(&paths::name(&resolved.directory)),
        }),
    }
}

/// Makes a valid name of any text.
pub fn normal(text: &str) -> String {
    let allowed: String = text
        .to_lowercase()
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'))
        .collect();
    allowed.trim_start_matches(['_', '-']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_becomes_a_valid_name() {
        for (text, name) in [
            ("My App", "myapp"),
            ("_-shop_1", "shop_1"),
            ("Ünder", "nder"),
            ("...", ""),
        ] {
            assert_eq!(normal(text), name);
        }
    }
}
