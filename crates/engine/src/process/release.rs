//! Makes and removes the artifacts of releases: a copy of the source tree in which the build steps
//! ran once. Not the source trees themselves, which are uploaded.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::{CancellationToken, DropGuard};
use towpath_model::id::{EnvironmentId, ReleaseNumber, ServiceName};
use towpath_model::observation::{ArtifactState, InstanceState};
use towpath_model::port::{Artifacts, PortError};
use towpath_model::workload::Command;

use super::instance::TAIL_LINES;
use super::runner::Supervisor;
use super::shared::{Artifact, Shared, failed};
use super::state::{MARK, ReleaseFile, exit};
use super::{blocking, layout, start, tree, variables};
use crate::log;
use crate::shim::files;
use crate::shim::launch::{Launch, Program, Report, Streams};

/// Begins to make artifacts, unless they are there or being made. The returned task does it.
pub(super) fn begin(
    shared: &Arc<Shared>,
    artifacts: &Artifacts,
) -> Option<impl Future<Output = ()> + Send + 'static> {
    let (cancel, done) = (CancellationToken::new(), CancellationToken::new());
    {
        let mut known = shared.lock();
        let environment = known.entry(artifacts.environment.clone()).or_default();
        let there = environment.releases.get(&artifacts.release);
        if there.is_some_and(|there| !matches!(there.state, ArtifactState::Failed { .. })) {
            return None;
        }
        let artifact = Artifact {
            state: ArtifactState::Building,
            making: Some((cancel.clone(), done.clone())),
        };
        environment.releases.insert(artifacts.release, artifact);
    }
    shared.tell(&artifacts.environment);
    let make = Make {
        shared: Arc::clone(shared),
        directory: shared
            .layout
            .release(&artifacts.environment, artifacts.release),
        artifacts: artifacts.clone(),
    };
    Some(make.run(cancel, done.drop_guard()))
}

/// The making of one release's artifacts.
struct Make {
    shared: Arc<Shared>,
    directory: PathBuf,
    artifacts: Artifacts,
}

/// Why artifacts are not there.
enum Stopped {
    Failed {
        reason: String,
        log_tail: Vec<String>,
    },
    Cancelled,
}

impl Stopped {
    fn because(reason: impl Into<String>) -> Self {
        Self::Failed {
            reason: reason.into(),
            log_tail: Vec::new(),
        }
    }
}

impl Make {
    async fn run(self, cancel: CancellationToken, done: DropGuard) {
        let state = match self.make(&cancel).await {
            Ok(()) => ArtifactState::Ready,
            Err(Stopped::Failed { reason, log_tail }) => ArtifactState::Failed {
                reason,
                log_tail,
                at: self.shared.clock.now(),
            },
            Err(Stopped::Cancelled) => {
                let directory = self.directory.clone();
                drop(blocking(move || remove(&directory)).await);
                self.forget();
                drop(done);
                return;
            }
        };
        let state = self.write_down(state).await;
        {
            let mut known = self.shared.lock();
            let environment = known.entry(self.artifacts.environment.clone()).or_default();
            let artifact = Artifact {
                state,
                making: None,
            };
            environment
                .releases
                .insert(self.artifacts.release, artifact);
        }
        drop(done);
        self.shared.tell(&self.artifacts.environment);
    }

    fn forget(&self) {
        if let Some(environment) = self.shared.lock().get_mut(&self.artifacts.environment) {
            environment.releases.remove(&self.artifacts.release);
        }
        self.shared.tell(&self.artifacts.environment);
    }

    async fn make(&self, cancel: &CancellationToken) -> Result<(), Stopped> {
        let directory = self.directory.clone();
        let source = self
            .artifacts
            .source
            .as_ref()
            .map(|digest| self.shared.layout.data.source(digest));
        let cache = self.shared.layout.cache(&self.artifacts.environment);
        blocking(move || lay_out(&directory, source.as_deref(), &cache))
            .await
            .map_err(|error| Stopped::because(error.to_string()))?;
        let mut done: Vec<&Command> = Vec::new();
        for (index, (service, command)) in self.artifacts.builds.iter().enumerate() {
            if !done.contains(&command) {
                self.build(index, service, command, cancel).await?;
                done.push(command);
            }
        }
        if cancel.is_cancelled() {
            return Err(Stopped::Cancelled);
        }
        let tree = self.directory.join(layout::TREE);
        blocking(move || tree::seal(&tree).map_err(|error| failed("seal the release", &error)))
            .await
            .map_err(|error| Stopped::because(error.to_string()))
    }

    async fn build(
        &self,
        index: usize,
        service: &ServiceName,
        command: &Command,
        cancel: &CancellationToken,
    ) -> Result<(), Stopped> {
        let work = self.directory.join(format!("build-{index}"));
        let launch = self.launch(service, command).map_err(Stopped::because)?;
        fs::create_dir(&work).map_err(|error| {
            Stopped::because(format!("cannot make {}: {error}", work.display()))
        })?;
        let name = format!(
            "{} release {} (build)",
            self.artifacts.environment, self.artifacts.release
        );
        let mut supervisor =
            Supervisor::start(&self.shared.config, &work, &name, &launch, Vec::new())
                .await
                .map_err(|error| Stopped::because(format!("cannot start the build: {error}")))?;
        let mut ended = None;
        loop {
            let report = tokio::select! {
                report = supervisor.report() => report,
                () = cancel.cancelled() => {
                    supervisor.cut();
                    supervisor.gone().await;
                    return Err(Stopped::Cancelled);
                }
            };
            match report {
                Some(Report::Started(_)) => {}
                Some(Report::Ended { end, .. }) => ended = Some(end),
                None => break,
            }
        }
        let complaint = supervisor.gone().await;
        let end = ended.ok_or_else(|| {
            Stopped::because(format!(
                "the build of `{service}` was interrupted: {complaint}"
            ))
        })?;
        let log_tail = log::tail(&self.directory.join(layout::LOG), TAIL_LINES);
        let exit = exit(end, log_tail);
        if exit.is_success() {
            return Ok(());
        }
        Err(Stopped::Failed {
            reason: format!("the build of `{service}` {}", exit.summary()),
            log_tail: exit.log_tail,
        })
    }

    fn launch(&self, service: &ServiceName, command: &Command) -> Result<Launch, String> {
        let Artifacts {
            environment: id,
            release,
            ..
        } = &self.artifacts;
        let cache = self.shared.layout.cache(id);
        let given = [
            ("TOWPATH_APP", id.app.to_string()),
            ("TOWPATH_CACHE", cache.to_string_lossy().into_owned()),
            ("TOWPATH_ENVIRONMENT", id.name.to_string()),
            ("TOWPATH_RELEASE", release.to_string()),
            ("TOWPATH_SERVICE", service.to_string()),
            (MARK, mark(&self.shared, id, *release)),
        ];
        let mut environment = self.shared.config.base_environment.clone();
        environment.extend(given.map(|(name, value)| (name.to_owned(), value)));
        let (words, shell) = variables::words(command, &environment);
        Ok(Launch {
            stage: start::stage(&self.shared)?,
            program: Program {
                words,
                shell,
                environment,
                directory: self.directory.join(layout::TREE),
                user: None,
                rlimits: std::collections::BTreeMap::new(),
                cgroup: None,
                streams: Streams::Supervised,
            },
            recorded: true,
            log: Some((self.directory.join(layout::LOG), self.shared.config.log)),
            lifeline: true,
        })
    }

    /// Writes down how it ended. What cannot be written down is not ready.
    async fn write_down(&self, state: ArtifactState) -> ArtifactState {
        let path = self.directory.join(layout::RELEASE);
        let file = ReleaseFile {
            artifacts: self.artifacts.clone(),
            state: state.clone(),
        };
        let written = blocking(move || {
            files::write(&path, &file).map_err(|error| failed("write the release down", &error))
        });
        match (written.await, state) {
            (Err(error), ArtifactState::Ready) => ArtifactState::Failed {
                reason: error.to_string(),
                log_tail: Vec::new(),
                at: self.shared.clock.now(),
            },
            (_, state) => state,
        }
    }
}

/// Makes a clean directory with a copy of the source.
fn lay_out(directory: &Path, source: Option<&Path>, cache: &Path) -> Result<(), PortError> {
    remove(directory)?;
    let tree = directory.join(layout::TREE);
    let made = DirBuilder::new()
        .mode(0o711)
        .recursive(true)
        .create(directory)
        .and_then(|()| DirBuilder::new().mode(0o755).create(&tree))
        .and_then(|()| fs::create_dir_all(cache));
    made.map_err(|error| failed(format!("make {}", tree.display()), &error))?;
    let Some(source) = source else { return Ok(()) };
    if !source.is_dir() {
        return Err(PortError::Refused(format!(
            "the source tree {} is not there",
            source.display()
        )));
    }
    tree::copy(source, &tree).map_err(|error| {
        failed(
            format!("copy the source tree to {}", tree.display()),
            &error,
        )
    })
}

fn remove(directory: &Path) -> Result<(), PortError> {
    tree::remove(directory)
        .map_err(|error| failed(format!("remove {}", directory.display()), &error))
}

/// Returns the mark of the processes that build a release.
pub(super) fn mark(shared: &Shared, id: &EnvironmentId, release: ReleaseNumber) -> String {
    format!("{}/{id}/release-{release}", shared.data_id)
}

/// Gives up what is being made of the releases that `unwanted` names, and waits until it is gone.
pub(super) async fn give_up(
    shared: &Shared,
    environment: &EnvironmentId,
    unwanted: impl Fn(ReleaseNumber) -> bool,
) {
    let making: Vec<_> = {
        let known = shared.lock();
        let releases = known
            .get(environment)
            .map(|environment| &environment.releases);
        let releases = releases.into_iter().flatten();
        releases
            .filter(|(number, _)| unwanted(**number))
            .filter_map(|(_, artifact)| artifact.making.clone())
            .collect()
    };
    for (cancel, done) in making {
        cancel.cancel();
        done.cancelled().await;
    }
}

/// Removes the artifacts of all releases but those named and those that an instance runs.
pub(super) fn keep(
    shared: &Shared,
    environment: &EnvironmentId,
    releases: &[ReleaseNumber],
) -> Result<(), PortError> {
    let removed: Vec<ReleaseNumber> = {
        let mut known = shared.lock();
        let Some(known) = known.get_mut(environment) else {
            return Ok(());
        };
        let used: Vec<ReleaseNumber> = known
            .instances
            .values()
            .filter(|instance| !matches!(instance.state, InstanceState::Exited(_)))
            .map(|instance| instance.release)
            .collect();
        let surplus = |number: &ReleaseNumber, artifact: &Artifact| {
            artifact.making.is_none() && !releases.contains(number) && !used.contains(number)
        };
        let removed = known
            .releases
            .extract_if(.., |number, artifact| surplus(number, artifact));
        removed.map(|(number, _)| number).collect()
    };
    for number in removed {
        remove_release(shared, environment, number)?;
    }
    shared.tell(environment);
    Ok(())
}

/// Removes the release's record first: what a crash leaves is then seen as never finished.
fn remove_release(
    shared: &Shared,
    environment: &EnvironmentId,
    number: ReleaseNumber,
) -> Result<(), PortError> {
    let directory = shared.layout.release(environment, number);
    match fs::remove_file(directory.join(layout::RELEASE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed(format!("remove release {number}"), &error));
        }
        _ => {}
    }
    remove(&directory)
}
