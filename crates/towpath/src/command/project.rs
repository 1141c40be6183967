//! The app of a directory: its delivery file, its Compose project, and what they render to. The
//! base of every command that takes one. Not what is done with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use towpath_compose::{Diagnostic, LoadOptions, Loaded, RealFiles, Source, Style};
use towpath_model::delivery::{DEFAULT_ENVIRONMENT, Delivery, Engine, FILE_NAME};
use towpath_model::id::{AppName, Digest, EnvironmentId, EnvironmentName};
use towpath_model::pipeline;
use towpath_model::pipeline::project::{JobInputs, place_of};
use towpath_model::pipeline::run::Job;
use towpath_model::render::{self, RenderInputs, Rendered, wanted_files};

use super::source::SourceTree;
use super::standard_input;
use crate::arguments::Files;
use crate::exit::{Failed, Failure};
use crate::place;
use crate::settings::Settings;

/// The app of a directory, as one environment has it.
#[derive(Debug)]
pub(crate) struct App {
    /// The delivery file.
    pub(crate) delivery: Delivery,
    /// The Compose project.
    pub(crate) loaded: Loaded,
    /// The environment.
    pub(crate) id: EnvironmentId,
}

impl App {
    /// Opens the app of the working directory for an environment; the only one, or `dev`, when none
    /// is named.
    pub(crate) fn open(
        files: &Files,
        environment: Option<&str>,
        settings: &Settings,
    ) -> Result<Self> {
        let directory = working_directory(files)?;
        let delivery = delivery(&directory)?;
        let name = choose(&delivery, environment)?;
        Self::with(delivery, name, files, &directory, settings)
    }

    /// Makes the app of a directory with this delivery file, which need not be written yet.
    pub(crate) fn with(
        delivery: Delivery,
        name: EnvironmentName,
        files: &Files,
        directory: &Path,
        settings: &Settings,
    ) -> Result<Self> {
        let asked = LoadOptions {
            working_directory: directory.to_owned(),
            ..options(files, settings)?
        };
        let loaded = render::load(&delivery, &name, asked, &RealFiles)?;
        let app = match &delivery.file.app {
            Some(app) => app.clone(),
            None => AppName::new(app_name(&loaded.project.name))?,
        };
        Ok(Self {
            delivery,
            loaded,
            id: EnvironmentId::new(app, name),
        })
    }

    /// Returns what the environment runs on.
    pub(crate) fn engine(&self) -> Engine {
        let settings = self.delivery.file.environment(&self.id.name);
        settings.unwrap_or_default().engine
    }

    /// Returns the directory of the source tree.
    pub(crate) fn directory(&self) -> &Path {
        &self.loaded.directory
    }

    /// Renders the app. The source tree is needed only by those services that are built from it, or
    /// have parts of it.
    pub(crate) fn render(&self, source: Option<&SourceTree>) -> Result<Rendered> {
        let files = self.config_files()?;
        let rendered = render::render(&RenderInputs {
            loaded: &self.loaded,
            delivery: &self.delivery,
            environment: &self.id.name,
            source: source.map(|tree| tree.digest.clone()),
            tree: source.map_or(&BTreeMap::new(), |tree| &tree.files),
            files: &files,
        })?;
        Ok(rendered)
    }
}

impl App {
    /// Refuses a job that cannot be rendered; the app is that of the environment which the job's own
    /// is like.
    pub(crate) fn check_job(&self, job: &Job) -> Result<()> {
        let Some(place) = place_of(&self.delivery, job) else {
            return Ok(());
        };
        pipeline::project::draft(&JobInputs {
            loaded: &self.loaded,
            delivery: &self.delivery,
            like: &job.like,
            place,
            variant: &job.variant,
            variables: &BTreeMap::new(),
            target: None,
            source: &Digest::of(b""),
            tree: &BTreeMap::new(),
            files: &self.config_files()?,
        })?;
        Ok(())
    }

    /// Reads the files whose content a rendering needs.
    fn config_files(&self) -> Result<BTreeMap<String, String>> {
        let mut files = BTreeMap::new();
        for path in wanted_files(&self.loaded.project) {
            let content = std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read the config file {path}"))
                .map_err(|error| Failed::new(Failure::Input, format!("{error:#}")))?;
            files.insert(path, content);
        }
        Ok(files)
    }
}

/// Returns the name of the app of the working directory.
pub(crate) fn app_of_directory(settings: &Settings) -> Result<AppName> {
    let here = std::env::current_dir().context("cannot find the working directory")?;
    if let Some(app) = delivery(&here)?.file.app {
        return Ok(app);
    }
    let loaded = load(&Files::default(), settings)?;
    Ok(AppName::new(app_name(&loaded.project.name))?)
}

/// Returns the environment that is meant when none is named in the working directory: the only one
/// of its app, or `dev`. `None` where there is no app.
pub(crate) fn environment_of_directory(settings: &Settings) -> Result<Option<EnvironmentId>> {
    let here = std::env::current_dir().context("cannot find the working directory")?;
    let delivery = delivery(&here)?;
    // A Compose file that is broken, or none: what runs can be asked for all the same.
    let Ok(app) = app_of_directory(settings) else {
        return Ok(None);
    };
    let name = choose(&delivery, None)?;
    Ok(Some(EnvironmentId::new(app, name)))
}

/// Returns the name of the first environment of the app of the working directory.
pub(crate) fn first_environment(files: &Files) -> Result<String> {
    let delivery = delivery(&working_directory(files)?)?;
    let names = delivery.file.environment_names();
    let first = names.first().map(ToString::to_string);
    Ok(first.unwrap_or_else(|| DEFAULT_ENVIRONMENT.to_owned()))
}

/// Tells whether the delivery file of the working directory has an environment of this name.
pub(crate) fn has_environment(name: &str) -> Result<bool> {
    let here = std::env::current_dir().context("cannot find the working directory")?;
    let names = delivery(&here)?.file.environment_names();
    Ok(names.iter().any(|one| one.as_str() == name))
}

/// Returns the directory that the delivery file is looked for in: that of the first Compose file
/// that is named, else the working directory.
fn working_directory(files: &Files) -> Result<PathBuf> {
    let here = std::env::current_dir().context("cannot find the working directory")?;
    let named = files.project_directory.clone().or_else(|| {
        let first = files.compose.first()?;
        first.parent().map(Path::to_owned)
    });
    Ok(named.map_or_else(|| here.clone(), |named| here.join(named)))
}

/// Reads the delivery file of a directory; the default one when there is none.
pub(crate) fn delivery(directory: &Path) -> Result<Delivery> {
    let path = directory.join(FILE_NAME);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Delivery::default());
        }
        Err(error) => {
            let message = format!("cannot read {}: {error}", path.display());
            return Err(Failed::new(Failure::Input, message).into());
        }
    };
    Ok(Delivery::parse(&Source::new(FILE_NAME, text))?)
}

fn choose(delivery: &Delivery, wanted: Option<&str>) -> Result<EnvironmentName> {
    if let Some(wanted) = wanted {
        let name = EnvironmentName::new(wanted);
        return name.map_err(|error| Failed::new(Failure::Input, error.to_string()).into());
    }
    let names = delivery.file.environment_names();
    let only = names
        .iter()
        .find(|name| names.len() == 1 || name.as_str() == "dev");
    only.cloned().ok_or_else(|| {
        let names: Vec<&str> = names.iter().map(EnvironmentName::as_str).collect();
        Failed::new(Failure::Input, "which environment?")
            .hint(format!("name one of {}", names.join(", ")))
            .into()
    })
}

/// Makes an app's name of a project's name, which may have underscores.
pub(crate) fn app_name(project: &str) -> String {
    project.replace('_', "-").trim_matches('-').to_owned()
}

/// Loads the Compose project that the arguments name, whatever the delivery file says.
pub(crate) fn load(files: &Files, settings: &Settings) -> Result<Loaded> {
    Ok(towpath_compose::load(
        &options(files, settings)?,
        &RealFiles,
    )?)
}

/// Returns what the compose crate is asked for. Paths that were typed are relative to the working
/// directory, wherever the delivery file is.
pub(crate) fn options(files: &Files, settings: &Settings) -> Result<LoadOptions> {
    let here = std::env::current_dir().context("cannot find the working directory")?;
    let place = |path: &PathBuf| match path.to_str() {
        Some(standard_input::NAME) => path.clone(),
        _ => here.join(path),
    };
    let from_here = |paths: &[PathBuf]| paths.iter().map(place).collect();
    Ok(LoadOptions {
        files: from_here(&files.compose),
        project_directory: files
            .project_directory
            .as_ref()
            .map(|directory| here.join(directory)),
        env_files: from_here(&files.env_file),
        environment: settings.variables.clone(),
        profiles: files.profile.clone(),
        project_name: files.project_name.clone(),
        working_directory: here,
        ..LoadOptions::default()
    })
}

/// Says what is unwise, on standard error.
pub(crate) fn warn(warnings: &[Diagnostic]) {
    use std::io::{IsTerminal as _, Write as _};
    let style = if std::io::stderr().is_terminal() {
        Style::Coloured
    } else {
        Style::Plain
    };
    for warning in warnings {
        let shown = place::from_here(warning).render(style);
        // Nobody is left to be warned when standard error is closed.
        drop(writeln!(std::io::stderr(), "{shown}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_projects_name_becomes_a_name_that_dns_allows() {
        assert_eq!(app_name("my_shop"), "my-shop");
        assert_eq!(app_name("_shop_"), "shop");
    }

    #[test]
    fn without_a_word_the_only_environment_is_meant() {
        let text = "environments: { staging: {} }\n";
        let delivery = Delivery::parse(&Source::new(FILE_NAME, text)).unwrap();
        assert_eq!(choose(&delivery, None).unwrap().as_str(), "staging");
        let text = "environments: { staging: {}, production: {} }\n";
        let delivery = Delivery::parse(&Source::new(FILE_NAME, text)).unwrap();
        assert!(choose(&delivery, None).is_err());
    }
}
