//! Whether a project fits together: what is referred to is there, what excludes one another is not
//! given together, nothing depends on itself. Not the form of its parts.

mod cycle;
mod service;

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::model::{Project, Service};
use crate::spans::SpanTable;

/// A project, what profiles turned off, and the places of both.
pub(crate) struct Checked<'p> {
    pub(crate) project: &'p Project,
    pub(crate) disabled: &'p BTreeMap<String, Service>,
    pub(crate) spans: &'p SpanTable,
}

/// Checks a project, and reports all that does not fit.
pub(crate) fn check(checked: &Checked<'_>) -> Result<(), Diagnostics> {
    let mut found = Vec::new();
    for (name, service) in &checked.project.services {
        service::check(checked, name, service, &mut found);
    }
    container_names(checked, &mut found);
    secrets(checked, &mut found);
    if found.is_empty() {
        found.extend(cycle::find(checked));
    }
    Diagnostics::check(found)
}

impl Checked<'_> {
    /// Makes an error at the place of `path`.
    fn error(&self, code: &'static str, path: &str, message: String) -> Diagnostic {
        Diagnostic::error(code, message).at_maybe(self.spans.get(path))
    }
}

fn container_names(checked: &Checked<'_>, found: &mut Vec<Diagnostic>) {
    let mut seen = BTreeSet::new();
    for (name, service) in &checked.project.services {
        if let Some(container) = &service.container_name
            && !seen.insert(container)
        {
            found.push(checked.error(
                "duplicate-container-name",
                &format!("services.{name}.container_name"),
                format!("container name `{container}` is used by another service too"),
            ));
        }
    }
}

fn secrets(checked: &Checked<'_>, found: &mut Vec<Diagnostic>) {
    for (name, secret) in &checked.project.secrets {
        if !secret.external && secret.file.is_none() && secret.environment.is_none() {
            found.push(checked.error(
                "no-source",
                &format!("secrets.{name}"),
                format!("secret `{name}` needs `file` or `environment`"),
            ));
        }
    }
}
