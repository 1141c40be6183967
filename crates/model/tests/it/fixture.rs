//! Compose projects and delivery files out of texts, with their places.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use towpath_compose::diagnostic::Diagnostics;
use towpath_compose::source::Source;
use towpath_compose::{Files as _, LoadOptions, Loaded, MemoryFiles, Project};
use towpath_model::delivery::Delivery;
use towpath_model::id::{Digest, EnvironmentName};
use towpath_model::render::{RenderInputs, Rendered, load, render, wanted_files};

/// Reads a delivery file.
pub(crate) fn delivery(text: &str) -> Result<Delivery, Diagnostics> {
    Delivery::parse(&Source::new("towpath.yaml", text))
}

/// A Compose file, `/app/compose.yaml`, beside the file `/app/motd.txt`.
pub(crate) struct Compose {
    files: MemoryFiles,
    /// The files of the source tree; none when nobody knows them.
    tree: BTreeMap<String, Digest>,
}

impl Compose {
    pub(crate) fn new(text: &str) -> Self {
        let files = MemoryFiles::default()
            .with("/app/compose.yaml", text)
            .with("/app/motd.txt", "hello");
        Self {
            files,
            tree: BTreeMap::new(),
        }
    }

    /// Adds files to the source tree, with their content.
    pub(crate) fn with_tree(mut self, files: &[(&str, &str)]) -> Self {
        let files = files.iter();
        self.tree.extend(
            files.map(|(path, content)| ((*path).to_owned(), Digest::of(content.as_bytes()))),
        );
        self
    }

    /// Loads the project of an environment.
    pub(crate) fn load(
        &self,
        delivery: &Delivery,
        environment: &str,
    ) -> Result<Loaded, Diagnostics> {
        let options = LoadOptions {
            working_directory: PathBuf::from("/app"),
            ..LoadOptions::default()
        };
        let environment = EnvironmentName::new(environment).unwrap();
        load(delivery, &environment, options, &self.files)
    }

    /// Returns the project without a delivery file.
    pub(crate) fn project(&self) -> Project {
        self.load(&Delivery::default(), "dev").unwrap().project
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
        let delivery = self::delivery(delivery).unwrap();
        let loaded = self.load(&delivery, environment)?;
        let read = |path: String| {
            let content = self.files.read(Path::new(&path)).unwrap();
            (path, String::from_utf8(content).unwrap())
        };
        render(&RenderInputs {
            files: &wanted_files(&loaded.project)
                .into_iter()
                .map(read)
                .collect(),
            loaded: &loaded,
            delivery: &delivery,
            environment: &EnvironmentName::new(environment).unwrap(),
            source: Some(Digest::of(source)),
            tree: &self.tree,
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
        .map(|line| line.replace("/app/", ""))
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
