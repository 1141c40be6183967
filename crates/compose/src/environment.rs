//! Variables and labels that services take from files. Not the format of those files.

use std::collections::BTreeMap;
use std::path::Path;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::dotenv::{self, Format, Variables};
use crate::files::{Files, read_source};
use crate::model::{Project, Service};
use crate::paths::absolute;
use crate::spans::SpanTable;
use crate::template::Lookup;

/// The most bytes that the variables of all services may have together.
const BYTES: usize = 64 << 20;

/// What is needed to read the files of services.
pub(crate) struct Resolver<'r> {
    pub(crate) files: &'r dyn Files,
    pub(crate) environment: &'r BTreeMap<String, String>,
    pub(crate) spans: &'r SpanTable,
    /// What paths that stayed relative are relative to.
    pub(crate) directory: &'r str,
    /// Whether env files are read; label files always are.
    pub(crate) env_files: bool,
}

impl Resolver<'_> {
    /// Takes the env files and label files of all services into their variables and labels.
    pub(crate) fn resolve(&self, project: &mut Project) -> Result<(), Diagnostics> {
        let mut left = BYTES;
        for (name, service) in &mut project.services {
            if self.env_files {
                self.variables(name, service)?;
            }
            self.labels(name, service)?;
            let size: usize = service
                .environment
                .iter()
                .map(|(name, value)| name.len() + value.as_deref().map_or(0, str::len))
                .sum();
            left = left.checked_sub(size).ok_or_else(|| {
                let message = "the variables of the services are too large together";
                Diagnostic::error("too-large", message)
                    .at_maybe(self.spans.get(&format!("services.{name}.env_file")))
            })?;
        }
        Ok(())
    }

    fn variables(&self, name: &str, service: &mut Service) -> Result<(), Diagnostics> {
        for (name, value) in &mut service.environment {
            if value.is_none() {
                *value = self.environment.get(name).cloned();
            }
        }
        let own = &service.environment;
        let mut all: Variables = own
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
            .collect();
        for (at, file) in service.env_file.iter().enumerate() {
            let place = format!("services.{name}.env_file[{at}]");
            let path = absolute(self.directory, &file.path);
            let path = Path::new(&path);
            if !self.files.exists(path) {
                if file.required {
                    return Err(self.missing(&place, &file.path));
                }
                continue;
            }
            let format = match file.format.as_deref() {
                None | Some("") => Format::DotEnv,
                Some("raw") => Format::Raw,
                Some(other) => {
                    let message = format!("`{other}` is not a format of env files");
                    return Err(Diagnostic::error("invalid-value", message)
                        .at_maybe(self.spans.get(&format!("{place}.format")))
                        .help("write `raw`, or leave `format` out")
                        .into());
                }
            };
            let lookup = |name: &str| {
                let known = self.environment.get(name).cloned();
                known.or_else(|| own.get(name).cloned().flatten())
            };
            self.read(&place, path, format, &lookup, &mut all)?;
        }
        for (name, value) in all {
            service.environment.entry(name).or_insert(Some(value));
        }
        service.env_file.clear();
        Ok(())
    }

    fn labels(&self, name: &str, service: &mut Service) -> Result<(), Diagnostics> {
        let mut all = Variables::new();
        for (at, file) in service.label_file.iter().enumerate() {
            let place = format!("services.{name}.label_file[{at}]");
            let path = absolute(self.directory, file);
            let path = Path::new(&path);
            if !self.files.exists(path) {
                return Err(self.missing(&place, file));
            }
            let before = all.clone();
            let lookup = |name: &str| before.get(name).cloned();
            self.read(&place, path, Format::DotEnv, &lookup, &mut all)?;
        }
        for (name, value) in all {
            service.labels.entry(name).or_insert(value);
        }
        Ok(())
    }

    fn missing(&self, place: &str, path: &str) -> Diagnostics {
        Diagnostic::error("unreadable-file", format!("the file {path} does not exist"))
            .at_maybe(self.spans.get(place))
            .into()
    }

    fn read(
        &self,
        place: &str,
        path: &Path,
        format: Format,
        lookup: &Lookup<'_>,
        variables: &mut Variables,
    ) -> Result<(), Diagnostics> {
        let source = read_source(self.files, path).map_err(|mut error| {
            if error.span.is_none() {
                error.span = self.spans.get(place).cloned();
                error.message = format!("{}: {}", path.display(), error.message);
            }
            *error
        })?;
        dotenv::read(&source, format, lookup, variables)
    }
}
