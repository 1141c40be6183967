//! `towpath up` and `towpath deploy`: make a release of this directory, or take an earlier one, and
//! bring it out.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use towpath_api::client::Client;
use towpath_api::{DeployRequest, RedeployRequest, Requested};
use towpath_compose::Diagnostic;
use towpath_model::id::EnvironmentId;
use towpath_model::render::{Draft, SecretSource};

use super::pipeline::{self, Until};
use super::project::{App, warn};
use super::source::SourceTree;
use super::{connect, git, print, progress};
use crate::arguments::{Choice, Deploy, Files, Rollout, Up, Wait};
use crate::exit::{Failed, Failure};
use crate::settings::Settings;

/// Runs this directory's app here: a control plane is started when none runs, the environment is
/// made when it is not there.
pub(crate) async fn up(arguments: &Up, settings: &Settings) -> Result<ExitCode> {
    let app = App::open(&arguments.files, arguments.env.as_deref(), settings)?;
    let release = Release::of_directory(&app)?;
    let client = connect::client_or_start(settings).await?;
    client.create_environment(&app.id).await?;
    let requested = release
        .deploy(&client, &app, &arguments.rollout, settings)
        .await?;
    let code = finish(&client, &app.id, &requested, &arguments.rollout).await?;
    if code == ExitCode::SUCCESS && !arguments.rollout.json {
        print_urls(&client, &app.id).await?;
    }
    Ok(code)
}

/// Brings a release to an environment that is there.
pub(crate) async fn deploy(arguments: &Deploy, settings: &Settings) -> Result<ExitCode> {
    if let Some(release) = arguments.release {
        let id = connect::choose(&arguments.choice, settings).await?;
        let client = connect::client(settings)?;
        let request = RedeployRequest {
            release,
            strategy: arguments.rollout.strategy(),
            past_gates: arguments.past_gates.clone(),
        };
        let requested = client.redeploy(&id, &request).await?;
        return finish(&client, &id, &requested, &arguments.rollout).await;
    }
    let checkout = arguments
        .commit
        .as_deref()
        .map(git::check_out)
        .transpose()?;
    let files = checkout.as_ref().map_or_else(
        || arguments.files.clone(),
        |checkout| Files {
            project_directory: Some(checkout.path()),
            ..arguments.files.clone()
        },
    );
    let app = open_for(&arguments.choice, &files, settings)?;
    let mut release = Release::of_directory(&app)?;
    if let Some(checkout) = &checkout {
        release.commit = Some(checkout.commit().to_owned());
    }
    let client = connect::client(settings)?;
    release.past_gates.clone_from(&arguments.past_gates);
    let requested = release
        .deploy(&client, &app, &arguments.rollout, settings)
        .await?;
    finish(&client, &app.id, &requested, &arguments.rollout).await
}

/// Opens the app of the working directory for an environment that was named alone, with its app, or
/// not at all.
pub(crate) fn open_for(choice: &Choice, files: &Files, settings: &Settings) -> Result<App> {
    let (app, environment) = match &choice.environment {
        None => (None, None),
        Some(text) => match text.split_once('/') {
            Some((app, environment)) => (Some(app), Some(environment)),
            None => (None, Some(text.as_str())),
        },
    };
    let named = app.or(choice.app.as_deref());
    let app = App::open(files, environment, settings)?;
    let Some(named) = named.filter(|named| *named != app.id.app.as_str()) else {
        return Ok(app);
    };
    let message = format!(
        "the app of this directory is `{}`, not `{named}`",
        app.id.app
    );
    Err(Failed::new(Failure::Input, message)
        .hint(format!(
            "deploy {}, or run this in the directory of `{named}`",
            app.id
        ))
        .into())
}

async fn finish(
    client: &Client,
    id: &EnvironmentId,
    requested: &Requested,
    rollout: &Rollout,
) -> Result<ExitCode> {
    if rollout.wait == Wait::None && rollout.json {
        return print(&format!("{}\n", serde_json::to_string(requested)?));
    }
    let release = requested.release;
    match (requested.deployment, requested.run) {
        (Some(number), _) if rollout.wait == Wait::None => {
            print(&format!("deployment {number} of release {release}\n"))
        }
        (Some(number), _) => progress::watch(client, id, number, rollout.wait, rollout.json).await,
        (None, Some(run)) if rollout.wait == Wait::None => print(&format!(
            "run {run} brings release {release} to {id} when its gates are open\n"
        )),
        (None, Some(run)) => {
            let until = if rollout.wait == Wait::Bake {
                Until::End
            } else {
                Until::Traffic
            };
            pipeline::watch(client, id.app.as_str(), run, until, rollout.json).await
        }
        (None, None) => anyhow::bail!("the control plane named neither a deployment nor a run"),
    }
}

/// A release in the making: what it renders to, and the tree it is made from.
pub(crate) struct Release {
    pub(crate) draft: Draft,
    tree: Option<SourceTree>,
    pub(crate) commit: Option<String>,
    /// Why it passes the gates of the environment.
    past_gates: Option<String>,
}

impl Release {
    /// Makes a release of an app's directory, and says what is unwise about it. The tree is walked only
    /// when a service needs it.
    pub(crate) fn of_directory(app: &App) -> Result<Self> {
        let (release, warnings) = Self::read(app)?;
        warn(&app.loaded.warnings);
        warn(&warnings);
        Ok(release)
    }

    /// Makes a release of a directory about which everything was said, before a file was written in it.
    pub(crate) fn of_known_directory(app: &App) -> Result<Self> {
        Self::read(app).map(|(release, _)| release)
    }

    fn read(app: &App) -> Result<(Self, Vec<Diagnostic>)> {
        let secrets = app.loaded.project.secrets.values();
        let secret_files = secrets.filter_map(|secret| secret.file.as_ref().map(PathBuf::from));
        let tree = SourceTree::walk(app.directory(), app.engine(), &secret_files.collect())?;
        let rendered = app.render(Some(&tree))?;
        let mut warnings = rendered.warnings;
        let mut services = rendered.draft.services.values();
        let needed = rendered.draft.source.is_some()
            || services.any(|service| service.spec.source.is_some());
        if needed {
            warnings.extend(tree.left_out.iter().map(|link| {
                let message =
                    format!("the link {link} leads outside of the source tree: it is left out");
                Diagnostic::warning("link-left-out", message)
            }));
        }
        let release = Self {
            draft: rendered.draft,
            tree: needed.then_some(tree),
            commit: git::clean_head(app.directory()),
            past_gates: None,
        };
        Ok((release, warnings))
    }

    /// Returns the digest of the source tree, where the release needs one.
    pub(crate) fn source(&self) -> Option<String> {
        self.tree.as_ref().map(|tree| tree.digest.to_string())
    }

    /// Gives the control plane what the release needs there: values of secrets, the source tree.
    pub(crate) async fn upload(
        &self,
        client: &Client,
        app: &App,
        settings: &Settings,
    ) -> Result<()> {
        set_missing_secrets(client, &app.id, &self.draft, settings).await?;
        if let Some(tree) = &self.tree
            && !client.has_source(&tree.digest).await?
        {
            let archive = tokio::fs::File::from_std(tree.archive()?);
            client.put_source(&tree.digest, archive).await?;
        }
        Ok(())
    }

    async fn deploy(
        self,
        client: &Client,
        app: &App,
        rollout: &Rollout,
        settings: &Settings,
    ) -> Result<Requested> {
        self.upload(client, app, settings).await?;
        let request = DeployRequest {
            draft: self.draft,
            source: self.tree.map(|tree| tree.digest.to_string()),
            commit: self.commit,
            message: rollout.message.clone(),
            strategy: rollout.strategy(),
            automatic: false,
            past_gates: self.past_gates,
        };
        Ok(client.deploy(&app.id, &request).await?)
    }
}

/// Sets the secrets whose values Compose names a file or a variable for, and which were never set.
/// Those that were set stay: the environment's value wins over the laptop's.
async fn set_missing_secrets(
    client: &Client,
    id: &EnvironmentId,
    draft: &Draft,
    settings: &Settings,
) -> Result<()> {
    if draft.secret_sources.is_empty() {
        return Ok(());
    }
    let known = client.secrets(id).await?;
    for (name, source) in &draft.secret_sources {
        if known.iter().any(|secret| secret.name == name.as_str()) {
            continue;
        }
        let value = match source {
            SecretSource::File(path) => std::fs::read(Path::new(path)).with_context(|| {
                format!("cannot read {path}, where Compose says the value of secret `{name}` is")
            }),
            SecretSource::Variable(variable) => settings
                .variables
                .get(variable)
                .map(|value| value.clone().into_bytes())
                .with_context(|| {
                    format!("variable {variable}, the value of secret `{name}`, is not set")
                }),
        };
        let value = value.map_err(|error| {
            Failed::new(Failure::Input, format!("{error:#}"))
                .hint(format!("or set it: towpath secret set {id} {name} < file"))
        })?;
        client
            .set_secret(id, name.as_str(), Bytes::from(value))
            .await?;
    }
    Ok(())
}

pub(super) async fn print_urls(client: &Client, id: &EnvironmentId) -> Result<()> {
    for route in client.environment(id).await?.routes {
        if !route.internal {
            print(&format!("  {:<12} {}\n", route.service, route.url))?;
        }
    }
    Ok(())
}
