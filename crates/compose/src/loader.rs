//! Files to one tree: every document is parsed, filled in, extended, included and merged, in the order
//! that Compose does it. Not which files, nor the typed project.

mod extends;
mod include;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::path::Path as FilePath;

use crate::canonical::{Strictness, canonicalise};
use crate::defaults;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::files::{Files, read_source};
use crate::interpolate::interpolate;
use crate::locate::{Base, locate};
use crate::merge::merge;
use crate::normalise::resolve_listed;
use crate::paths::relative;
use crate::reset::Resets;
use crate::schema;
use crate::unicity::enforce;
use crate::yaml::{Node, Value, parse_documents};

/// The most files that one load reads, the same file each time it is read anew.
const READS: usize = 1000;

/// The most bytes that one load reads.
const BYTES: usize = 64 << 20;

/// The most values that one load copies from services that are extended.
const COPIES: usize = 300_000;

/// Variables by name.
pub(crate) type Environment = BTreeMap<String, String>;

/// The files that were read for their services, by scope and path.
type Extended = HashMap<(usize, String), (Node, Resets)>;

/// What becomes of relative paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paths {
    /// They become absolute.
    Absolute,
    /// They stay, but those of other files become relative to the outermost directory.
    Relative,
}

/// Reads files for one load.
pub(crate) struct Loader<'f> {
    files: &'f dyn Files,
    /// Whether variables are filled in.
    interpolated: bool,
    /// Whether values have to have the form that the specification gives them.
    judged: bool,
    paths: Paths,
    warnings: RefCell<Vec<Diagnostic>>,
    reads: Cell<usize>,
    bytes: Cell<usize>,
    /// How many bytes may still come out of variables.
    left: RefCell<usize>,
    /// How many values may still be copied from services that are extended.
    copies: Cell<usize>,
    extended: RefCell<Extended>,
}

/// Where and with what a set of files is read.
#[derive(Clone, Copy)]
pub(crate) struct Context<'c> {
    /// The directory that paths in the files are relative to.
    pub(crate) directory: &'c str,
    /// The variables.
    pub(crate) environment: &'c Environment,
    /// The files that include this one, from the outermost in.
    pub(crate) including: &'c [String],
    /// Tells includes apart, because each has variables of its own.
    pub(crate) scope: usize,
    /// The directory of the files that include this one.
    pub(crate) outer: Option<&'c str>,
}

impl Context<'_> {
    fn home(&self) -> Option<&str> {
        self.environment.get("HOME").map(String::as_str)
    }
}

impl<'f> Loader<'f> {
    /// Prepares a load.
    pub(crate) fn new(files: &'f dyn Files, interpolated: bool, paths: Paths) -> Self {
        Self {
            files,
            interpolated,
            judged: true,
            paths,
            warnings: RefCell::default(),
            reads: Cell::new(0),
            bytes: Cell::new(0),
            left: RefCell::new(BYTES),
            copies: Cell::new(COPIES),
            extended: RefCell::default(),
        }
    }

    /// Takes every value as it is written, whether or not the specification allows it.
    #[must_use]
    pub(crate) fn unjudged(self) -> Self {
        Self {
            judged: false,
            ..self
        }
    }

    /// Returns what was found unwise.
    pub(crate) fn into_warnings(self) -> Vec<Diagnostic> {
        self.warnings.into_inner()
    }

    /// Reads a set of files, each over those before it; `None` when there is nothing in them.
    pub(crate) fn model(
        &self,
        paths: &[String],
        context: Context<'_>,
    ) -> Result<Option<Node>, Diagnostics> {
        let mut model = None;
        for path in paths {
            model = self.file(path, model, context)?;
        }
        let Some(mut model) = model else {
            return Ok(None);
        };
        defaults::set(&mut model)?;
        defaults::check(&mut model)?;
        self.locate(&mut model, context.directory, context.outer, context.home())?;
        if self.interpolated {
            resolve_listed(&mut model, context.environment);
        }
        Ok(Some(model))
    }

    /// Places the paths of files in `directory`, which were read for those in `outer`.
    fn locate(
        &self,
        model: &mut Node,
        directory: &str,
        outer: Option<&str>,
        home: Option<&str>,
    ) -> Result<(), Diagnostics> {
        let relative = match (self.paths, outer) {
            (Paths::Absolute, _) => None,
            (Paths::Relative, Some(outer)) => Some(relative(outer, directory)),
            (Paths::Relative, None) => return Ok(()),
        };
        let base = Base {
            directory: relative.as_deref().unwrap_or(directory),
            home,
            files: self.files,
        };
        locate(model, &base)
    }

    fn strictness(&self) -> Strictness {
        if self.interpolated {
            Strictness::Strict
        } else {
            Strictness::Lenient
        }
    }

    fn documents(&self, path: &str) -> Result<Vec<Node>, Diagnostics> {
        self.reads.set(self.reads.get() + 1);
        if self.reads.get() > READS {
            let message = format!("more than {READS} files are included or extended");
            return Err(Diagnostic::error("too-large", message).in_file(path).into());
        }
        let source = read_source(self.files, FilePath::new(path)).map_err(|error| *error)?;
        self.bytes.set(self.bytes.get() + source.text().len());
        if self.bytes.get() > BYTES {
            let message = format!("the files are larger than {} MiB together", BYTES >> 20);
            return Err(Diagnostic::error("too-large", message).in_file(path).into());
        }
        let documents = parse_documents(&source)?;
        for document in &documents {
            if !matches!(document.value, Value::Map(_)) {
                let kind = document.value.kind();
                let message = format!("a Compose file has to be a map, but this is {kind}");
                return Err(Diagnostic::error("wrong-type", message)
                    .at(&document.span)
                    .into());
            }
        }
        Ok(documents)
    }

    /// Returns the `name` of the last file that has one, its variables filled in.
    pub(crate) fn name_in_files(
        &self,
        paths: &[String],
        environment: &Environment,
    ) -> Result<Option<String>, Diagnostics> {
        let mut found = None;
        for path in paths {
            for document in self.documents(path)? {
                let name = document.get("name").filter(|name| !name.is_null());
                if let Some(name) = name.filter(|name| name.as_text() != Some("")) {
                    found = Some(name.clone());
                }
            }
        }
        let Some(mut name) = found else {
            return Ok(None);
        };
        if self.interpolated {
            let lookup = |name: &str| environment.get(name).cloned();
            interpolate(
                &mut name,
                &lookup,
                &mut Vec::new(),
                &mut self.left.borrow_mut(),
            )?;
        }
        Ok(name.value.scalar_text())
    }

    fn interpolate(&self, node: &mut Node, context: Context<'_>) -> Result<(), Diagnostics> {
        if !self.interpolated {
            return Ok(());
        }
        let lookup = |name: &str| context.environment.get(name).cloned();
        interpolate(
            node,
            &lookup,
            &mut self.warnings.borrow_mut(),
            &mut self.left.borrow_mut(),
        )
    }

    /// Reads one file over `model`.
    fn file(
        &self,
        path: &str,
        mut model: Option<Node>,
        context: Context<'_>,
    ) -> Result<Option<Node>, Diagnostics> {
        for mut document in self.documents(path)? {
            let resets = Resets::take(&mut document);
            self.interpolate(&mut document, context)?;
            self.include(&mut document, path, &resets, context)?;
            if let Some(model) = &mut model {
                resets.apply(model);
            }
            self.extend(&mut document, path, &resets, context)?;
            let mut merged = match model.take() {
                Some(model) => merge(model, document)?,
                None => document,
            };
            enforce(&mut merged)?;
            if self.judged {
                schema::check(&merged)?;
            }
            self.drop_version(&mut merged);
            canonicalise(&mut merged, self.strictness())?;
            enforce(&mut merged)?;
            model = Some(merged);
        }
        Ok(model)
    }

    fn drop_version(&self, model: &mut Node) {
        let version = model
            .as_map_mut()
            .and_then(|map| map.shift_remove("version"));
        if let Some(version) = version {
            let warning = Diagnostic::warning(
                "obsolete-version",
                "`version` is obsolete and has no effect",
            )
            .at(&version.key)
            .help("remove it");
            self.warnings.borrow_mut().push(warning);
        }
    }
}
