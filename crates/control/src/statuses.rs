//! Tells forges what becomes of commits, one status of an app after the other, until they have it. What
//! is to be told is written down with what it tells of, so nothing is lost whenever the control plane
//! ends. Not in which words, which is the model's, and not how a request travels.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use towpath_model::id::AppName;
use towpath_model::instance::elapsed;
use towpath_model::pipeline::run::Run;
use towpath_model::port::PortError;
use towpath_model::repository::CommitId;
use towpath_model::repository::outside::{
    Outside, RepositorySecret, RepositorySettings, Transport,
};
use towpath_model::repository::status::{
    self, ForgeRequest, Status, Told, judge, request, retry_at,
};
use towpath_model::workload::SecretValue;
use towpath_store::UntoldStatus;

use crate::error::{Error, describe};
use crate::platform::Shared;

/// The most forges that are told at once; each has a connection.
const MOST_AT_ONCE: usize = 8;

/// The longest time between two looks though nothing was written down.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// The time until the next look after something failed here.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The longest that one attempt may take; the port has a shorter one of its own.
const LONGEST_ATTEMPT: Duration = Duration::from_mins(1);

/// A cheap handle to the task that tells.
#[derive(Debug, Clone, Default)]
pub(crate) struct Statuses(Arc<Notify>);

impl Statuses {
    /// Says that there is something new to be told.
    pub(crate) fn wake(&self) {
        self.0.notify_one();
    }
}

/// Tells forges until `stop`. What is under way then is told again after the next start.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let mut under_way: JoinSet<AppName> = JoinSet::new();
    let mut busy = BTreeSet::new();
    let Statuses(new) = shared.statuses.clone();
    loop {
        let begun = begin(&shared, &mut under_way, &mut busy).await;
        let wait = begun.unwrap_or_else(|error| {
            let error = describe(&error);
            tracing::warn!(
                error,
                "statuses of commits cannot be told and are tried again"
            );
            RETRY_AFTER
        });
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some(ended) = under_way.join_next() => match ended {
                Ok(app) => {
                    busy.remove(&app);
                }
                Err(error) => tracing::error!(%error, "telling a forge broke"),
            },
            () = new.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Begins to tell what is due and not under way. Returns how long nothing else is due.
async fn begin(
    shared: &Arc<Shared>,
    under_way: &mut JoinSet<AppName>,
    busy: &mut BTreeSet<AppName>,
) -> Result<Duration, Error> {
    let now = shared.ports.clock.now();
    let mut wait = LONGEST_WAIT;
    for untold in shared.ports.store.untold_statuses().await? {
        if busy.contains(&untold.app) || busy.len() >= MOST_AT_ONCE {
            continue;
        }
        if let Some(at) = untold.lane.next_at.filter(|at| *at > now) {
            wait = wait.min(elapsed(now, at));
            continue;
        }
        busy.insert(untold.app.clone());
        let shared = Arc::clone(shared);
        under_way.spawn(async move {
            let app = untold.app.clone();
            if let Err(error) = shared.tell(&untold).await {
                let error = describe(&error);
                tracing::warn!(%app, error, "what a forge was told cannot be written down");
                // Not at once again: whoever cannot write has no use for another answer.
                tokio::time::sleep(RETRY_AFTER).await;
            }
            app
        });
    }
    Ok(wait)
}

impl Shared {
    /// Returns what the forge of an app is to be told of a run, as it is now.
    pub(crate) async fn statuses_of(&self, run: &Run) -> Result<Vec<Status>, Error> {
        let settings = self.ports.store.repository(&run.app).await?;
        let Some(outside) = self.told_forge(&run.app, &settings).await? else {
            return Ok(Vec::new());
        };
        let now = self.ports.clock.now();
        let directory = &settings.follow.directory;
        Ok(status::statuses(run, outside, directory, now))
    }

    /// Writes down that the forge of an app is to be told of a commit that was refused.
    pub(crate) async fn tell_refusal(
        &self,
        app: &AppName,
        settings: &RepositorySettings,
        commit: &CommitId,
        reason: &str,
    ) -> Result<(), Error> {
        if self.told_forge(app, settings).await?.is_none() {
            return Ok(());
        }
        let directory = &settings.follow.directory;
        let refused = status::refused(app.as_str(), directory, commit, reason);
        let now = self.ports.clock.now();
        let store = &self.ports.store;
        store.want_statuses(app, None, &[refused], now).await?;
        self.statuses.wake();
        Ok(())
    }

    /// Tells the forge of an app at once again, whatever it said.
    pub(crate) async fn tell_again(&self, app: &AppName) -> Result<(), Error> {
        self.ports.store.resume_statuses(app).await?;
        self.statuses.wake();
        Ok(())
    }

    /// Returns the repository that an app follows, where its forge is known and there is a token for it.
    async fn told_forge<'a>(
        &self,
        app: &AppName,
        settings: &'a RepositorySettings,
    ) -> Result<Option<&'a Outside>, Error> {
        let Some(outside) = &settings.outside else {
            return Ok(None);
        };
        if outside.forge().is_none() {
            return Ok(None);
        }
        let token = self.status_token(app, outside).await?;
        Ok(token.map(|_| outside))
    }

    /// Returns what the forge is shown: the secret for it, or what Git is shown over HTTP.
    async fn status_token(
        &self,
        app: &AppName,
        outside: &Outside,
    ) -> Result<Option<SecretValue>, Error> {
        let store = &self.ports.store;
        let own = store.repository_secret(app, RepositorySecret::Status);
        if let Some(own) = own.await? {
            return Ok(Some(own));
        }
        match outside.url.transport() {
            Transport::Https | Transport::Http => {
                let credential = store.repository_secret(app, RepositorySecret::Credential);
                Ok(credential.await?)
            }
            // A key is no token.
            Transport::Ssh | Transport::File => Ok(None),
        }
    }

    /// Tells a forge one status, and writes down what became of it.
    async fn tell(&self, untold: &UntoldStatus) -> Result<(), Error> {
        let store = &self.ports.store;
        let app = &untold.app;
        let settings = store.repository(app).await?;
        let forge = settings.outside.as_ref().and_then(Outside::forge);
        let (Some(outside), Some(forge)) = (&settings.outside, forge) else {
            return Ok(store.forget_statuses(app).await?);
        };
        let Some(token) = self.status_token(app, outside).await? else {
            let fault = "there is no token for the forge: set the secret `status`";
            let attempts = untold.lane.attempts.saturating_add(1);
            return Ok(store.statuses_wait(app, attempts, None, fault).await?);
        };
        let told = match request(outside, &token, &untold.status) {
            None => Told::NotAllowed(format!("{} names no repository of a {forge}", outside.url)),
            Some(request) => {
                let authorities = store.repository_secret(app, RepositorySecret::Authorities);
                let request = ForgeRequest {
                    authorities: authorities.await?,
                    ..request
                };
                let telling = self.ports.forges.tell(&request);
                match tokio::time::timeout(LONGEST_ATTEMPT, telling).await {
                    Ok(Ok(answer)) => judge(forge, &answer, self.ports.clock.now()),
                    Ok(Err(PortError::Refused(reason))) => Told::NotAllowed(reason),
                    Ok(Err(error @ PortError::Failed { .. })) => Told::Later {
                        not_before: None,
                        reason: error.to_string(),
                    },
                    Err(_) => Told::Later {
                        not_before: None,
                        reason: format!("it took more than {LONGEST_ATTEMPT:?}"),
                    },
                }
            }
        };
        self.note_told(untold, told).await
    }

    async fn note_told(&self, untold: &UntoldStatus, told: Told) -> Result<(), Error> {
        let store = &self.ports.store;
        let UntoldStatus {
            app, status, lane, ..
        } = untold;
        let (commit, context) = (status.commit.short(), &status.context);
        let attempts = lane.attempts.saturating_add(1);
        match told {
            Told::Taken => {
                tracing::debug!(%app, commit, context, "the forge was told of a commit");
                store.status_told(untold, None).await?;
            }
            Told::Refused(reason) => {
                tracing::warn!(%app, commit, context, reason, "the forge does not take a status");
                let fault = format!("{context} of {commit}: {reason}");
                store.status_told(untold, Some(&fault)).await?;
            }
            Told::Later { not_before, reason } => {
                tracing::warn!(%app, commit, context, attempts, reason, "the forge is told later");
                let next_at = retry_at(attempts, not_before, self.ports.clock.now());
                store
                    .statuses_wait(app, attempts, Some(next_at), &reason)
                    .await?;
            }
            Told::NotAllowed(reason) => {
                tracing::warn!(%app, commit, context, reason, "the forge is told nothing more");
                store.statuses_wait(app, attempts, None, &reason).await?;
            }
        }
        Ok(())
    }
}
