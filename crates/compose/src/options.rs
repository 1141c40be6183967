//! Which files make up a project, with which variables, profiles and name. Not what is in the files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::dotenv::{self, Format, Variables};
use crate::files::{Files, read_source};
use crate::paths::{absolute, join, parent};

/// What to load, and with what.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadOptions {
    /// The Compose files, each over those before it; none: `COMPOSE_FILE`, or what is found from the
    /// working directory upwards.
    pub files: Vec<PathBuf>,
    /// What paths in the files are relative to; `None` is the directory of the first file.
    pub project_directory: Option<PathBuf>,
    /// What the paths given here are relative to; absolute.
    pub working_directory: PathBuf,
    /// The env files; none: `COMPOSE_ENV_FILES`, or `.env` beside the first file.
    pub env_files: Vec<PathBuf>,
    /// The variables of the caller; they win over env files.
    pub environment: BTreeMap<String, String>,
    /// The active profiles; none: `COMPOSE_PROFILES`. `*` is all.
    pub profiles: Vec<String>,
    /// The project name; `None`: `COMPOSE_PROJECT_NAME`, `name` in a file, or the directory.
    pub project_name: Option<String>,
    /// What the project is called where nothing names it; `None`: as its directory.
    pub default_name: Option<String>,
    /// The services that are wanted, with what they depend on; none is all.
    pub services: Vec<String>,
    /// Whether networks, volumes, secrets, configs and models that no enabled service uses are kept.
    pub keep_unused: bool,
    /// The steps that are left out.
    pub skipped: BTreeSet<Step>,
}

/// A step of a load that can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Relative paths become absolute. Without it those of files that are extended or included
    /// become relative to the project directory, the others stay.
    Paths,
    /// What is implied is written out: the default network, names, dependencies, build contexts.
    Normalisation,
    /// What is referred to has to be there, and what excludes one another not to be.
    Consistency,
    /// The env files of services are read into their variables.
    EnvFiles,
    /// Every value has to have the form that the specification gives it.
    Schema,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            project_directory: None,
            working_directory: PathBuf::from("/"),
            env_files: Vec::new(),
            environment: BTreeMap::new(),
            profiles: Vec::new(),
            project_name: None,
            default_name: None,
            services: Vec::new(),
            keep_unused: false,
            skipped: BTreeSet::new(),
        }
    }
}

/// The names of a Compose file, in the order of preference.
pub const FILE_NAMES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
];

/// The names of a file that is put over it, in the order of preference.
pub const OVERRIDE_NAMES: [&str; 4] = [
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// What the options come to.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// The files, absolute.
    pub(crate) files: Vec<String>,
    /// What paths in them are relative to.
    pub(crate) directory: String,
    /// The variables.
    pub(crate) environment: BTreeMap<String, String>,
    /// The active profiles.
    pub(crate) profiles: Vec<String>,
    /// What was found unwise.
    pub(crate) warnings: Vec<Diagnostic>,
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Finds the files and variables.
pub(crate) fn resolve(options: &LoadOptions, files: &dyn Files) -> Result<Resolved, Diagnostics> {
    let working = text(&options.working_directory);
    let mut resolver = Resolver {
        options,
        files,
        environment: options.environment.clone(),
        warnings: Vec::new(),
        project: options
            .project_directory
            .as_ref()
            .map(|directory| absolute(&working, &text(directory))),
        working,
    };
    // Twice, because the first may say where the Compose file is, and the second is beside it.
    let mut paths: Vec<String> = options
        .files
        .iter()
        .map(|path| resolver.absolute(&text(path)))
        .collect();
    resolver.add_env_files(&paths)?;
    if paths.is_empty() {
        paths = resolver.named_by_variable()?;
    }
    if paths.is_empty() {
        paths = resolver.discover()?;
    }
    resolver.add_env_files(&paths)?;
    let directory = resolver.directory(&paths);
    Ok(Resolved {
        directory,
        profiles: resolver.profiles(),
        files: paths,
        environment: resolver.environment,
        warnings: resolver.warnings,
    })
}

struct Resolver<'o> {
    options: &'o LoadOptions,
    files: &'o dyn Files,
    environment: BTreeMap<String, String>,
    warnings: Vec<Diagnostic>,
    working: String,
    project: Option<String>,
}

impl Resolver<'_> {
    fn absolute(&self, path: &str) -> String {
        if path == "-" {
            path.to_owned()
        } else {
            absolute(&self.working, path)
        }
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.environment
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// The project directory, that of the first file, or the working directory.
    fn directory(&self, paths: &[String]) -> String {
        let first = paths.iter().find(|path| path.as_str() != "-");
        match (&self.project, first) {
            (Some(project), _) => project.clone(),
            (None, Some(first)) => parent(first),
            (None, None) => self.working.clone(),
        }
    }

    fn add_env_files(&mut self, paths: &[String]) -> Result<(), Diagnostics> {
        let mut found = Variables::new();
        for path in self.env_files(paths) {
            let source = read_source(self.files, Path::new(&path)).map_err(|error| *error)?;
            let lookup = |name: &str| self.environment.get(name).cloned();
            dotenv::read(&source, Format::DotEnv, &lookup, &mut found)?;
        }
        for (name, value) in found {
            self.environment.entry(name).or_insert(value);
        }
        Ok(())
    }

    fn env_files(&self, paths: &[String]) -> Vec<String> {
        if !self.options.env_files.is_empty() {
            let files = self.options.env_files.iter();
            return files.map(|path| self.absolute(&text(path))).collect();
        }
        let named: Vec<String> = self
            .variable("COMPOSE_ENV_FILES")
            .unwrap_or_default()
            .split(',')
            .filter(|path| !path.is_empty())
            .map(|path| self.absolute(path))
            .collect();
        if !named.is_empty() {
            return named;
        }
        let disabled = self.variable("COMPOSE_DISABLE_ENV_FILE");
        if matches!(disabled, Some("1" | "t" | "T" | "true" | "TRUE" | "True")) {
            return Vec::new();
        }
        let default = join(&self.directory(paths), ".env");
        let path = Path::new(&default);
        if self.files.exists(path) && !self.files.is_dir(path) {
            vec![default]
        } else {
            Vec::new()
        }
    }

    fn named_by_variable(&self) -> Result<Vec<String>, Diagnostics> {
        let Some(named) = self.variable("COMPOSE_FILE") else {
            return Ok(Vec::new());
        };
        let separator = self.variable("COMPOSE_PATH_SEPARATOR").unwrap_or(":");
        let paths: Vec<String> = named
            .split(separator)
            .map(|path| self.absolute(path))
            .collect();
        for path in &paths {
            if path != "-" && !self.files.exists(Path::new(path)) {
                return Err(
                    Diagnostic::error("unreadable-file", "the file does not exist")
                        .in_file(path)
                        .help("it is named by COMPOSE_FILE")
                        .into(),
                );
            }
        }
        Ok(paths)
    }

    /// Looks for a Compose file from the directory upwards.
    fn discover(&mut self) -> Result<Vec<String>, Diagnostics> {
        let start = self.project.as_ref().unwrap_or(&self.working).clone();
        let mut directory = start.clone();
        loop {
            let mut paths = self.first_of(&directory, &FILE_NAMES);
            if !paths.is_empty() {
                paths.extend(self.first_of(&directory, &OVERRIDE_NAMES));
                return Ok(paths);
            }
            let above = parent(&directory);
            if above == directory {
                let message = format!("there is no Compose file in {start} or above it");
                return Err(Diagnostic::error("no-compose-file", message)
                    .help("write a compose.yaml, or name one with -f")
                    .into());
            }
            directory = above;
        }
    }

    /// The first of the names that is there, with a warning when it is not the only one.
    fn first_of(&mut self, directory: &str, names: &[&str]) -> Vec<String> {
        let mut found: Vec<String> = names
            .iter()
            .map(|name| join(directory, name))
            .filter(|path| self.files.exists(Path::new(path)))
            .collect();
        if let [used, ignored @ ..] = found.as_slice()
            && !ignored.is_empty()
        {
            let message = format!("{used} is used, not {}", ignored.join(", "));
            self.warnings
                .push(Diagnostic::warning("several-compose-files", message));
        }
        found.truncate(1);
        found
    }

    fn profiles(&self) -> Vec<String> {
        if !self.options.profiles.is_empty() {
            return self.options.profiles.clone();
        }
        // The empty name is there too when there are none: it enables what has it as its profile.
        self.variable("COMPOSE_PROFILES")
            .unwrap_or_default()
            .split(',')
            .map(|profile| profile.trim().to_owned())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::MemoryFiles;

    fn options(environment: &[(&str, &str)]) -> LoadOptions {
        LoadOptions {
            working_directory: PathBuf::from("/w/sub"),
            environment: environment
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..LoadOptions::default()
        }
    }

    #[test]
    fn a_file_is_found_upwards_with_what_is_put_over_it() {
        let files = MemoryFiles::default()
            .with("/w/docker-compose.yml", "")
            .with("/w/compose.yaml", "")
            .with("/w/compose.override.yml", "");
        let resolved = resolve(&options(&[]), &files).unwrap();
        assert_eq!(
            resolved.files,
            ["/w/compose.yaml", "/w/compose.override.yml"]
        );
        assert_eq!(resolved.directory, "/w");
        assert_eq!(resolved.warnings.len(), 1);
        let refused = resolve(&options(&[]), &MemoryFiles::default()).unwrap_err();
        assert_eq!(refused.first().code, "no-compose-file");
    }

    #[test]
    fn variables_say_which_files_and_profiles() {
        let files = MemoryFiles::default()
            .with(
                "/w/sub/.env",
                "COMPOSE_FILE=a.yaml;../b.yaml\nCOMPOSE_PATH_SEPARATOR=;\nX=1\nHOME=/no",
            )
            .with("/w/sub/a.yaml", "")
            .with("/w/b.yaml", "");
        let given = options(&[("COMPOSE_PROFILES", "p, q"), ("HOME", "/home/u")]);
        let resolved = resolve(&given, &files).unwrap();
        assert_eq!(resolved.files, ["/w/sub/a.yaml", "/w/b.yaml"]);
        assert_eq!(resolved.profiles, ["p", "q"]);
        assert_eq!(resolved.environment["X"], "1");
        assert_eq!(resolved.environment["HOME"], "/home/u");
    }

    #[test]
    fn env_files_are_those_that_are_named() {
        let files = MemoryFiles::default()
            .with("/w/sub/compose.yaml", "")
            .with("/w/sub/.env", "A=default")
            .with("/w/sub/one", "A=1\nB=1")
            .with("/w/sub/two", "B=${A}2");
        let mut given = options(&[("COMPOSE_ENV_FILES", "one,two")]);
        let resolved = resolve(&given, &files).unwrap();
        assert_eq!(resolved.environment["A"], "1");
        assert_eq!(resolved.environment["B"], "12");
        given.env_files = vec![PathBuf::from("missing")];
        let refused = resolve(&given, &files).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "/w/sub/missing: error: the file does not exist"
        );
    }
}
