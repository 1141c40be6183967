//! Compose projects and delivery files out of texts, with their places.

use std::collections::BTreeMap;
use std::path::Path;

use towpath_compose::diagnostic::Diagnostics;
use towpath_compose::model::Project;
use towpath_compose::source::Source;
use towpath_compose::yaml::{self, Node};
use towpath_model::delivery::Delivery;
use towpath_model::id::{Digest, EnvironmentName};
use towpath_model::render::{RenderInputs, Rendered, place_in, render};

/// The directory of the projects of all tests.
pub(crate) const DIRECTORY: &str = "/app";

/// Reads a delivery file.
pub(crate) fn delivery(text: &str) -> Result<Delivery, Diagnostics> {
    Delivery::parse(&Source::new("towpath.yaml", text))
}

/// A Compose file in the normalised form.
pub(crate) struct Compose {
    node: Node,
    pub(crate) project: Project,
}

impl Compose {
    pub(crate) fn new(text: &str) -> Self {
        let node = yaml::parse(&Source::new("compose.yaml", text)).unwrap();
        let project = yaml::decode(&node).unwrap();
        Self { node, project }
    }

    /// Renders with a delivery file for an environment.
    pub(crate) fn render(
        &self,
        delivery: &str,
        environment: &str,
    ) -> Result<Rendered, Diagnostics> {
        self.render_source(delivery, environment, b"source")
    }

    /// Renders another state of the source tree.
    pub(crate) fn render_source(
        &self,
        delivery: &str,
        environment: &str,
        source: &[u8],
    ) -> Result<Rendered, Diagnostics> {
        render(&RenderInputs {
            project: &self.project,
            places: &|path| place_in(&self.node, path),
            directory: Path::new(DIRECTORY),
            delivery: &self::delivery(delivery).unwrap(),
            environment: &EnvironmentName::new(environment).unwrap(),
            source: Some(Digest::of(source)),
            files: &BTreeMap::from([("/app/motd.txt".to_owned(), "hello".to_owned())]),
            variables: &BTreeMap::new(),
        })
    }
}

/// Returns the complaints, one on a line, each with its help.
pub(crate) fn lines<'d>(
    diagnostics: impl IntoIterator<Item = &'d towpath_compose::Diagnostic>,
) -> String {
    let lines: Vec<String> = diagnostics
        .into_iter()
        .map(|one| match &one.help {
            Some(help) => format!("{one}\n  {help}"),
            None => one.to_string(),
        })
        .collect();
    lines.join("\n")
}

/// Returns the complaints of what has to be refused.
pub(crate) fn refusal<T>(result: Result<T, Diagnostics>) -> String {
    match result {
        Ok(_) => panic!("it was accepted"),
        Err(diagnostics) => lines(diagnostics.iter()),
    }
}
