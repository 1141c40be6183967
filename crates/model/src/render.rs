//! From a Compose project and a delivery file to what an environment runs: the rules of
//! translation for each engine. Pure: files that it needs are read before, and secrets are
//! named, never read.
//!
//! What an engine cannot honour is refused with the place of the attribute, or warned of when a
//! program does not miss it; [`SUPPORT`] is the table.

mod address;
mod alone;
mod command;
mod container;
mod context;
mod draft;
mod health;
mod limits;
mod load;
mod mount;
mod route;
mod seed;
mod service;
mod settings;
mod support;
mod translate;
pub(crate) mod well_known;

use std::collections::BTreeMap;

use towpath_compose::Loaded;
use towpath_compose::diagnostic::{Diagnostic, Diagnostics, Severity};

use crate::delivery::Delivery;
use crate::id::{Digest, EnvironmentName};
use context::Context;

pub(crate) use command::{shell_line, suggestion};
pub(crate) use health::http_path;

pub use draft::{Draft, DraftService, MissingSecrets, SecretSource, SecretUse};
pub use load::load;
pub use mount::wanted_files;
pub use support::{Attribute, SUPPORT, Support};

/// Everything that a rendering is made of.
#[derive(Debug, Clone)]
pub struct RenderInputs<'a> {
    /// The Compose project of the environment, as [`load()`] returns it.
    pub loaded: &'a Loaded,
    /// The delivery file, or the default when there is none.
    pub delivery: &'a Delivery,
    /// The environment to render for.
    pub environment: &'a EnvironmentName,
    /// The digest of the source tree: the project's directory.
    pub source: Option<Digest>,
    /// The digest of every file of the source tree, by its path relative to it. Empty when nobody
    /// knows them.
    pub tree: &'a BTreeMap<String, Digest>,
    /// The content of the files that [`wanted_files`] names, by their paths.
    pub files: &'a BTreeMap<String, String>,
}

/// A draft, and what is unwise in what it was made of.
#[derive(Debug, Clone)]
pub struct Rendered {
    /// The draft.
    pub draft: Draft,
    /// Warnings, none of which is an error.
    pub warnings: Vec<Diagnostic>,
}

/// Renders a project for an environment, on the engine that the delivery file names for it.
pub fn render(inputs: &RenderInputs<'_>) -> Result<Rendered, Diagnostics> {
    let mut rendered = services(inputs)?;
    rendered.draft.seed = seed::seed(inputs)?.map(Box::new);
    Ok(rendered)
}

/// Renders all services but the seed.
fn services(inputs: &RenderInputs<'_>) -> Result<Rendered, Diagnostics> {
    let (delivery, name) = (inputs.delivery, inputs.environment);
    let Some(environment) = delivery.file.environment(name) else {
        return Err(unknown_environment(delivery, name).into());
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

fn unknown_environment(delivery: &Delivery, name: &EnvironmentName) -> Diagnostic {
    let names = delivery.file.environment_names();
    let names: Vec<&str> = names.iter().map(EnvironmentName::as_str).collect();
    Diagnostic::error(
        "unknown-environment",
        format!("there is no environment `{name}`"),
    )
    .at_maybe(delivery.span(&["environments"]))
    .help(format!(
        "the delivery file has: {}; add it under `environments`",
        names.join(", ")
    ))
}
