//! What people do in an environment beside deploying to it: commands in instances, one-off instances,
//! a look at what instances use. Who did it is in the audit trail, with the program's name and never
//! what follows it, which may be secret.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use towpath_model::command::{OneOffRequest, program};
use towpath_model::console::{
    Attachment, ConsoleCommand, Detached, OneOff, OneOffs, Output, Session, SessionOutput, Usage,
};
use towpath_model::environment::{Environment, Lifecycle};
use towpath_model::id::{EnvironmentId, InstanceId, ServiceName};
use towpath_model::instance::{Health, Phase};
use towpath_model::port::PortError;
use towpath_model::step::SYSTEM;

use crate::error::Error;
use crate::keeper::Snapshot;
use crate::platform::{Platform, Shared};

/// The time between the two looks that a share of a CPU is made of.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

/// The time between two looks of one who goes on looking.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What an instance uses.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceUsage {
    /// The instance.
    pub id: InstanceId,
    /// What was counted.
    pub usage: Usage,
    /// How much of one CPU it has, in percent; nothing until it was looked at twice.
    pub cpu_percent: Option<f64>,
}

/// Looks again and again at what instances use.
#[derive(Debug)]
pub struct UsageWatch {
    shared: Arc<Shared>,
    id: EnvironmentId,
    service: Option<ServiceName>,
    before: BTreeMap<InstanceId, Usage>,
    wait: Option<Duration>,
}

impl Platform {
    /// Runs a command in an instance of a service: the one with this number, else the one that has
    /// run longest and is well. Returns which one, and the session where somebody is attached.
    pub async fn exec(
        &self,
        id: &EnvironmentId,
        (service, instance): (&ServiceName, Option<u32>),
        command: &ConsoleCommand,
        actor: &str,
    ) -> Result<(InstanceId, Option<Session>), Error> {
        self.refuse_while_destroyed(id)?;
        let name = command.words.first().map(|word| program(word).to_owned());
        let instance = choose(&self.snapshot(id)?.environment, service, instance)?;
        // Written down first: nothing is done that is not in the trail.
        let shared = &self.shared;
        let subject = instance.local();
        shared
            .note(id, actor, ("exec.started", &subject), name.clone())
            .await?;
        let started = shared.ports.console.exec(&instance, command).await;
        let audit = Audit {
            shared: Arc::clone(shared),
            id: id.clone(),
            actor: actor.to_owned(),
            what: "exec.ended",
            subject,
        };
        let session = audit.attend(started, command.attachment).await?;
        Ok((instance, session))
    }

    /// Starts a one-off instance of a service of the stable release. Returns which one it is, and the
    /// session where somebody is attached.
    pub async fn run(
        &self,
        id: &EnvironmentId,
        request: OneOffRequest,
        attachment: Attachment,
        actor: &str,
    ) -> Result<(InstanceId, Option<Session>), Error> {
        known(&self.snapshot(id)?.environment, &request.service)?;
        let who = actor.to_owned();
        let start = self
            .edit(id, move |environment, now| {
                environment.begin_one_off(&request, &who, now)
            })
            .await?;
        let instance = start.id.clone();
        let shared = &self.shared;
        let audit = Audit {
            shared: Arc::clone(shared),
            id: id.clone(),
            actor: actor.to_owned(),
            what: "run.ended",
            subject: instance.local(),
        };
        let secrets = shared.reveal_to(id, &start.spec).await;
        let started = match secrets {
            Ok(secrets) => {
                let one = OneOff { start, attachment };
                shared.ports.console.run(&one, &secrets).await
            }
            Err(error) => Err(PortError::Failed {
                attempted: "read secrets".to_owned(),
                reason: error.to_string(),
            }),
        };
        // Whoever took the environment down meanwhile did not see it.
        let is_up = |snapshot: Arc<Snapshot>| snapshot.environment.lifecycle == Lifecycle::Up;
        if self.is_being_destroyed(id) || !self.snapshot(id).is_ok_and(is_up) {
            shared.settle(id, OneOffs::End).await?;
        }
        let session = audit.attend(started, attachment).await?;
        Ok((instance, session))
    }

    /// Returns what the instances of an environment use; those of one service where it is named.
    pub async fn usage(
        &self,
        id: &EnvironmentId,
        service: Option<ServiceName>,
    ) -> Result<Vec<InstanceUsage>, Error> {
        let mut watch = self.watch_usage(id, service)?;
        watch.next().await?;
        watch.wait = Some(BETWEEN_LOOKS);
        watch.next().await
    }

    /// Looks again and again at what the instances of an environment use.
    pub fn watch_usage(
        &self,
        id: &EnvironmentId,
        service: Option<ServiceName>,
    ) -> Result<UsageWatch, Error> {
        let snapshot = self.snapshot(id)?;
        if let Some(service) = &service {
            known(&snapshot.environment, service)?;
        }
        Ok(UsageWatch {
            shared: Arc::clone(&self.shared),
            id: id.clone(),
            service,
            before: BTreeMap::new(),
            wait: None,
        })
    }

    /// Carries bytes between a session and whoever is attached to it, in a task that the platform's
    /// stop waits for: it has to end when the control plane stops.
    pub fn carry(&self, work: impl Future<Output = ()> + Send + 'static) {
        // It ends by itself; whoever asked has gone on.
        drop(self.shared.spawn(work));
    }
}

impl UsageWatch {
    /// Returns what they use, a while after the last time.
    pub async fn next(&mut self) -> Result<Vec<InstanceUsage>, Error> {
        if let Some(wait) = self.wait.replace(LOOK_EVERY) {
            tokio::time::sleep(wait).await;
        }
        let mut counted = self.shared.ports.console.usage(&self.id).await?;
        if let Some(service) = &self.service {
            counted.retain(|id, _| id.service == *service);
        }
        let all = counted.iter().map(|(id, usage)| InstanceUsage {
            id: id.clone(),
            usage: usage.clone(),
            cpu_percent: self
                .before
                .get(id)
                .and_then(|before| usage.cpu_percent_since(before)),
        });
        let all = all.collect();
        self.before = counted;
        Ok(all)
    }
}

/// Refuses a service that no release in play has.
fn known(environment: &Environment, service: &ServiceName) -> Result<(), Error> {
    let mut renderings = environment.renderings.values();
    if renderings.any(|rendering| rendering.services.contains_key(service)) {
        return Ok(());
    }
    let id = &environment.id;
    Err(Error::NotFound(format!("service `{service}` in `{id}`")))
}

/// Chooses the instance that is meant.
fn choose(
    environment: &Environment,
    service: &ServiceName,
    number: Option<u32>,
) -> Result<InstanceId, Error> {
    known(environment, service)?;
    let id = &environment.id;
    let of_service = environment
        .instances
        .values()
        .filter(|one| one.workload.service == *service);
    if let Some(number) = number {
        let mut of_service = of_service;
        let one = of_service.find(|one| one.number == number);
        let missing = || Error::NotFound(format!("instance {number} of `{service}` in `{id}`"));
        return Ok(environment.instance_id(one.ok_or_else(missing)?));
    }
    let running = of_service.filter_map(|one| match &one.phase {
        Phase::Running { since, .. } => {
            let rank = (one.job.is_some(), one.health != Health::Healthy, *since);
            Some((rank, one))
        }
        Phase::Pending { .. } | Phase::Draining { .. } | Phase::Stopping { .. } => None,
    });
    let best = running.min_by_key(|(rank, _)| *rank);
    let (_, one) = best.ok_or_else(|| Error::NotRunning {
        environment: id.clone(),
        service: service.clone(),
    })?;
    Ok(environment.instance_id(one))
}

impl Shared {
    /// Has one-off instances end that nobody wants any more, and writes down the ends that nobody was
    /// attached to.
    pub(crate) async fn settle(&self, id: &EnvironmentId, wanted: OneOffs) -> Result<(), Error> {
        for end in self.ports.console.settle(id, wanted).await? {
            let what = match end.of {
                Detached::Command => "exec.ended",
                Detached::OneOff => "run.ended",
            };
            let reason = Some(exit_code(end.code));
            self.note(id, SYSTEM, (what, &end.id.local()), reason)
                .await?;
        }
        Ok(())
    }

    async fn note(
        &self,
        id: &EnvironmentId,
        actor: &str,
        (what, subject): (&str, &str),
        reason: Option<String>,
    ) -> Result<(), Error> {
        let mut event = self.event(actor, what, id);
        subject.clone_into(&mut event.subject);
        event.reason = reason;
        self.ports
            .store
            .append_event(Some(id), &event, None)
            .await?;
        Ok(())
    }
}

fn exit_code(code: i32) -> String {
    format!("exit code {code}")
}

/// Writes down how a command ended.
#[derive(Clone)]
struct Audit {
    shared: Arc<Shared>,
    id: EnvironmentId,
    actor: String,
    what: &'static str,
    subject: String,
}

impl Audit {
    /// Has the end of what was started written down, whenever that is.
    async fn attend(
        self,
        started: Result<Option<Session>, PortError>,
        attachment: Attachment,
    ) -> Result<Option<Session>, Error> {
        match started {
            Ok(Some(session)) => Ok(Some(Session {
                input: session.input,
                output: Box::new(Attended {
                    output: session.output,
                    audit: Some(self),
                }),
            })),
            Ok(None) => {
                debug_assert_eq!(attachment, Attachment::Detached);
                Ok(None)
            }
            Err(error) => {
                self.write("it could not be started".to_owned()).await;
                Err(error.into())
            }
        }
    }

    async fn write(&self, reason: String) {
        let what = (self.what, self.subject.as_str());
        let written = self.shared.note(&self.id, &self.actor, what, Some(reason));
        if let Err(error) = written.await {
            tracing::error!(environment = %self.id, error = %crate::error::describe(&error), "the end of a command cannot be written down");
        }
    }
}

/// The output of a command whose end is written down.
struct Attended {
    output: Box<dyn SessionOutput>,
    /// Until it was written down.
    audit: Option<Audit>,
}

#[async_trait]
impl SessionOutput for Attended {
    async fn next(&mut self) -> Result<Output, PortError> {
        let output = self.output.next().await?;
        if let Output::Ended(end) = &output
            && let Some(audit) = self.audit.take()
        {
            // A task of its own: whoever hears of the end may be gone before it is written down.
            // What else is known of it may have words of the command in it.
            let reason = exit_code(end.code);
            let shared = Arc::clone(&audit.shared);
            drop(shared.spawn(async move { audit.write(reason).await }));
        }
        Ok(output)
    }
}

impl Drop for Attended {
    fn drop(&mut self) {
        if let Some(audit) = self.audit.take() {
            let shared = Arc::clone(&audit.shared);
            let reason = "nobody was attached any more".to_owned();
            drop(shared.spawn(async move { audit.write(reason).await }));
        }
    }
}
