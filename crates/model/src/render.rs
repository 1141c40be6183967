//! From a Compose project and a delivery file to what an environment runs: the rules of
//! translation for the process engine. Pure: files that it needs are read before, and secrets are
//! named, never read.
//!
//! What the engine cannot honour is refused with the place of the attribute, or warned of when a
//! program does not miss it; [`SUPPORT`] is the table.

mod address;
mod command;
mod context;
mod draft;
mod health;
mod limits;
mod mount;
mod route;
mod service;
mod settings;
mod support;
mod translate;
pub(crate) mod well_known;

use std::collections::BTreeMap;
use std::path::Path;

use towpath_compose::diagnostic::{Diagnostic, Diagnostics, Severity};
use towpath_compose::model::Project;
use towpath_compose::source::Span;
use towpath_compose::yaml::Node;

use crate::delivery::Delivery;
use crate::id::{Digest, EnvironmentName};
use context::Context;

pub(crate) use command::suggestion;
pub(crate) use health::http_path;

pub use draft::{Draft, DraftService, MissingSecrets, SecretSource, SecretUse};
pub use mount::wanted_files;
pub use support::{SUPPORT, Support};

/// Finds where an attribute of a project stands, by its path of keys.
pub type Places<'a> = &'a dyn Fn(&[&str]) -> Option<Span>;

/// Finds where a path of keys stands in the tree of a Compose file; keys of a list are its indices.
pub fn place_in(tree: &Node, path: &[&str]) -> Option<Span> {
    let mut node = tree;
    for key in path {
        node = match node.as_list() {
            Some(items) => items.get(key.parse::<usize>().ok()?)?,
            None => node.get(key)?,
        };
    }
    Some(node.span.clone())
}

/// Everything that a rendering is made of.
#[expect(missing_debug_implementations, reason = "a function has no text form")]
pub struct RenderInputs<'a> {
    /// The normalised Compose project of the environment.
    pub project: &'a Project,
    /// Where an attribute of the project stands, by its path of keys (`services`, `web`, `image`).
    pub places: Places<'a>,
    /// The directory of the Compose file: the source tree. Paths of the project are absolute.
    pub directory: &'a Path,
    /// The delivery file, or the default when there is none.
    pub delivery: &'a Delivery,
    /// The environment to render for.
    pub environment: &'a EnvironmentName,
    /// The digest of the source tree.
    pub source: Option<Digest>,
    /// The content of the files that [`wanted_files`] names, by their paths.
    pub files: &'a BTreeMap<String, String>,
    /// The variables of whoever runs the command, for configs that name one.
    pub variables: &'a BTreeMap<String, String>,
}

/// A draft, and what is unwise in what it was made of.
#[derive(Debug, Clone)]
pub struct Rendered {
    /// The draft.
    pub draft: Draft,
    /// Warnings, none of which is an error.
    pub warnings: Vec<Diagnostic>,
}

/// Renders a project for an environment on the process engine.
pub fn render(inputs: &RenderInputs<'_>) -> Result<Rendered, Diagnostics> {
    let Some(environment) = inputs.delivery.file.environment(inputs.environment) else {
        return Err(unknown_environment(inputs).into());
    };
    let mut context = Context::new(inputs, environment);
    let draft = service::draft(&mut context);
    let (errors, warnings): (Vec<_>, Vec<_>) = context
        .into_found()
        .into_iter()
        .partition(|diagnostic| diagnostic.severity == Severity::Error);
    Diagnostics::check(errors)?;
    Ok(Rendered { draft, warnings })
}

fn unknown_environment(inputs: &RenderInputs<'_>) -> Diagnostic {
    let names = inputs.delivery.file.environment_names();
    let names: Vec<&str> = names.iter().map(EnvironmentName::as_str).collect();
    let message = format!("there is no environment `{}`", inputs.environment);
    Diagnostic::error("unknown-environment", message)
        .at_maybe(inputs.delivery.span(&["environments"]))
        .help(format!(
            "the delivery file has: {}; add it under `environments`",
            names.join(", ")
        ))
}
