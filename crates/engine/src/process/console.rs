//! What people run beside instances: a command in the surroundings of one, under a supervisor of its
//! own. Not one-off instances ([`super::one_off`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;
use towpath_model::console::{
    CommandEnd, Console, ConsoleCommand, Detached, DetachedEnd, NOT_EXECUTABLE, NOT_FOUND, OneOff,
    OneOffs, Session, Usage,
};
use towpath_model::id::{EnvironmentId, InstanceId, SecretName};
use towpath_model::observation::InstanceState;
use towpath_model::port::PortError;
use towpath_model::workload::SecretValue;

use super::runner::Supervisor;
use super::session::Ends;
use super::shared::{Shared, failed};
use super::state::StateFile;
use super::{ProcessEngine, blocking, one_off, plan, secrets, start, usage};
use crate::shim::become_program::{CANNOT_RUN, NO_SUCH_FILE};
use crate::shim::launch::{Credentials, End, Launch, Program, Report, Streams};

/// How often it is looked whether the instance of a command still runs.
const INTERVAL: Duration = Duration::from_millis(200);

#[async_trait]
impl Console for ProcessEngine {
    async fn exec(
        &self,
        id: &InstanceId,
        command: &ConsoleCommand,
    ) -> Result<Option<Session>, PortError> {
        let attempted = || format!("run a command in {id}");
        let mut launch = launch(&self.shared, id, command)?;
        let ends = Ends::new(command.attachment, launch.program.user.as_ref());
        let ends = ends.map_err(|error| failed(attempted(), &error))?;
        launch.program.streams = ends.streams;
        let directory = self.shared.layout.instance(id);
        let (config, name) = (&self.shared.config, format!("{id} (exec)"));
        let started = Supervisor::start(config, &directory, &name, &launch, ends.theirs).await;
        let mut supervisor = started.map_err(|error| failed(attempted(), &error))?;
        let instance = instance_ended(Arc::clone(&self.shared), id.clone());
        let Some(ours) = ends.ours else {
            begun(&mut supervisor).await?;
            let (shared, id) = (Arc::clone(&self.shared), id.clone());
            self.spawn(async move {
                let end = see(supervisor, std::future::pending(), instance).await;
                shared.untold.add(&id, Detached::Command, end.code);
            });
            return Ok(None);
        };
        let (mut ended, end) = oneshot::channel();
        self.spawn(async move {
            let seen = see(supervisor, ended.closed(), instance).await;
            // Whoever left needs to hear nothing.
            drop(ended.send(seen));
        });
        Ok(Some(ours.session(end)))
    }

    async fn run(
        &self,
        one: &OneOff,
        secrets: &BTreeMap<SecretName, SecretValue>,
    ) -> Result<Option<Session>, PortError> {
        let (shared, of, secrets) = (Arc::clone(&self.shared), one.clone(), secrets.clone());
        let (begun, session) = oneshot::channel();
        // A task of its own: a caller that gives up must not leave half a start behind.
        self.spawn(one_off::run(shared, of, secrets, begun));
        session.await.unwrap_or_else(|_| {
            Err(PortError::Failed {
                attempted: format!("start {}", one.start.id),
                reason: "the engine is shutting down".to_owned(),
            })
        })
    }

    async fn settle(
        &self,
        environment: &EnvironmentId,
        wanted: OneOffs,
    ) -> Result<Vec<DetachedEnd>, PortError> {
        if one_off::are_there(&self.shared, environment) {
            let (shared, environment) = (Arc::clone(&self.shared), environment.clone());
            blocking(move || one_off::settle(&shared, &environment, wanted)).await?;
        }
        Ok(self.shared.untold.take(environment))
    }

    async fn usage(
        &self,
        environment: &EnvironmentId,
    ) -> Result<BTreeMap<InstanceId, Usage>, PortError> {
        let (shared, environment) = (Arc::clone(&self.shared), environment.clone());
        blocking(move || Ok(usage::of_environment(&shared, &environment))).await
    }
}

/// Returns what a supervisor is to run.
fn launch(shared: &Shared, id: &InstanceId, command: &ConsoleCommand) -> Result<Launch, PortError> {
    let file =
        running(shared, id).ok_or_else(|| PortError::Refused(format!("{id} does not run")))?;
    let refused = |reason: String| PortError::Refused(reason);
    let mut environment = file.environment.clone();
    let secret_variables = secrets::variables(&file.secrets);
    environment.extend(secret_variables.map_err(|error| failed("read secrets", &error))?);
    let user = match &command.user {
        None => file.user.clone(),
        Some(name) => {
            let (user, home) = plan::wanted_user(shared, name).map_err(refused)?;
            environment.extend(home.map(|home| ("HOME".to_owned(), home)));
            Some(user)
        }
    };
    environment.extend(command.variables.clone());
    Ok(Launch {
        stage: start::stage(shared).map_err(refused)?,
        program: Program {
            words: command.words.clone(),
            shell: false,
            environment,
            directory: match &command.directory {
                Some(directory) => file.directory.join(directory),
                None => file.directory.clone(),
            },
            user: user.as_ref().and_then(switch),
            rlimits: BTreeMap::new(),
            cgroup: file.cgroup.clone(),
            streams: Streams::Supervised,
        },
        recorded: false,
        log: None,
        lifeline: true,
    })
}

fn switch(user: &Credentials) -> Option<Credentials> {
    start::switch_to(Some(user))
}

/// Returns what is written down of an instance, if it runs.
fn running(shared: &Shared, id: &InstanceId) -> Option<Arc<StateFile>> {
    let file = shared.look(id, |instance| {
        let runs = matches!(
            instance.state,
            InstanceState::Running { .. } | InstanceState::Stopping
        );
        instance.file.clone().filter(|_| runs)
    });
    file.flatten()
}

/// Waits until an instance does not run any more.
async fn instance_ended(shared: Arc<Shared>, id: InstanceId) {
    while running(&shared, &id).is_some() {
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Waits until a command runs. What cannot be run is refused.
pub(super) async fn begun(supervisor: &mut Supervisor) -> Result<(), PortError> {
    match supervisor.report().await {
        Some(Report::Started(_)) => Ok(()),
        Some(Report::Ended { end, .. }) => {
            let reason = end.error.unwrap_or_default();
            Err(PortError::Refused(reason))
        }
        None => Err(PortError::Failed {
            attempted: "start a command".to_owned(),
            reason: "its supervisor ended".to_owned(),
        }),
    }
}

/// Sees a command to its end, which comes at the latest when it is left or what it runs beside ends.
pub(super) async fn see(
    mut supervisor: Supervisor,
    left: impl Future<Output = ()>,
    beside: impl Future<Output = ()>,
) -> CommandEnd {
    let mut ended = None;
    let to_the_end = async {
        while let Some(report) = supervisor.report().await {
            if let Report::Ended { end, .. } = report {
                ended = Some(end);
            }
        }
    };
    let over = tokio::select! {
        () = to_the_end => false,
        () = left => true,
        () = beside => true,
    };
    supervisor.cut();
    while let Some(report) = supervisor.report().await {
        if let Report::Ended { end, .. } = report {
            ended = Some(end);
        }
    }
    let complaint = supervisor.gone().await;
    let error = over.then(|| "its instance ended".to_owned());
    match ended {
        Some(end) => with_code(end, error),
        None => CommandEnd {
            code: NOT_EXECUTABLE,
            error: Some(format!("it did not start: {complaint}")),
        },
    }
}

pub(super) fn with_code(end: End, error: Option<String>) -> CommandEnd {
    let code = match (end.code, end.signal, &end.error) {
        (Some(code), _, _) => code,
        (None, Some(signal), _) => 128 + signal,
        (None, None, Some(error))
            if error.starts_with(CANNOT_RUN) && error.ends_with(NO_SUCH_FILE) =>
        {
            NOT_FOUND
        }
        (None, None, _) => NOT_EXECUTABLE,
    };
    CommandEnd {
        code,
        error: end.error.or(error),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn an_end_has_the_code_that_a_shell_would_give_it() {
        let end = |code, signal, error: Option<&str>| {
            let end = End {
                code,
                signal,
                error: error.map(str::to_owned),
                at: Timestamp::UNIX_EPOCH,
            };
            with_code(end, None).code
        };
        assert_eq!(end(Some(3), None, None), 3);
        assert_eq!(end(None, Some(9), None), 137);
        assert_eq!(end(None, None, Some("cannot run `x`: no such file")), 127);
        assert_eq!(
            end(None, None, Some("cannot run `x`: permission denied")),
            126
        );
        assert_eq!(end(None, None, Some("cannot enter /x: no such file")), 126);
    }
}
