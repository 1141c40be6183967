//! What people set up for the repository of an app, and what they are told of it. Not the fetches.

use jiff::Timestamp;
use towpath_model::event::NewEvent;
use towpath_model::id::AppName;
use towpath_model::repository::outside::{
    Outside, POLL_EVERY_MIN, RepositorySecret, RepositorySettings, certificates,
};
use towpath_model::workload::SecretValue;
use towpath_store::ForgeLane;

use crate::error::Error;
use crate::follow::Look;
use crate::platform::Platform;

/// What may be told of the repository of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryInfo {
    /// What is set up.
    pub settings: RepositorySettings,
    /// Whether there is a credential for the repository elsewhere.
    pub has_credential: bool,
    /// Whether there is a secret that webhooks are signed with.
    pub has_webhook_secret: bool,
    /// How many certificates of authorities are trusted beside those of the machine.
    pub authorities: usize,
    /// When the repository elsewhere was fetched from the last time.
    pub fetched_at: Option<Timestamp>,
    /// Why it cannot be fetched from.
    pub fault: Option<String>,
    /// How it goes with telling the forge the statuses of commits.
    pub statuses: StatusesInfo,
}

/// How it goes with telling a forge the statuses of commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusesInfo {
    /// Whether there is a token for it alone.
    pub has_token: bool,
    /// What waits, and why.
    pub forge: ForgeLane,
}

impl Platform {
    /// Sets up the repository of an app. One elsewhere is fetched from at once.
    pub async fn set_repository(
        &self,
        app: &AppName,
        settings: &RepositorySettings,
        actor: &str,
    ) -> Result<(), Error> {
        self.make_repository(app, actor).await?;
        let mut settings = settings.clone();
        if let Some(outside) = &mut settings.outside {
            outside.every = outside.every.max(POLL_EVERY_MIN);
        }
        let mut event = self.repository_event(app, "repository.set", actor);
        event.to = settings
            .outside
            .as_ref()
            .map(|outside| outside.url.to_string());
        self.shared
            .ports
            .store
            .set_repository(app, &settings, &event)
            .await?;
        self.shared.follower.try_look(Look::branches(app, actor));
        self.shared.tell_again(app).await
    }

    /// Has the repository of an app follow no other any more; what is in it stays.
    pub async fn unset_repository(&self, app: &AppName, actor: &str) -> Result<(), Error> {
        let store = &self.shared.ports.store;
        let event = self.repository_event(app, "repository.unset", actor);
        for secret in RepositorySecret::ALL {
            if store.repository_secret(app, secret).await?.is_some() {
                store
                    .set_repository_secret(app, secret, None, &event)
                    .await?;
            }
        }
        let settings = RepositorySettings::default();
        store.set_repository(app, &settings, &event).await?;
        store.forget_statuses(app).await?;
        self.shared.follower.try_look(Look::branches(app, actor));
        Ok(())
    }

    /// Sets a secret that goes with the repository of an app.
    pub async fn set_repository_secret(
        &self,
        app: &AppName,
        secret: RepositorySecret,
        value: &SecretValue,
        actor: &str,
    ) -> Result<(), Error> {
        let mut event = self.repository_event(app, "repository.secret-set", actor);
        event.subject = format!("{} of the repository of {app}", secret.as_str());
        let store = &self.shared.ports.store;
        store
            .set_repository_secret(app, secret, Some(value), &event)
            .await?;
        let is_of_fetches = match secret {
            RepositorySecret::Credential | RepositorySecret::Authorities => true,
            RepositorySecret::Webhook | RepositorySecret::Status => false,
        };
        if is_of_fetches {
            self.shared.follower.try_look(Look::branches(app, actor));
        }
        self.shared.tell_again(app).await
    }

    /// Returns what the forge of an app's repository signs its webhooks with.
    pub async fn webhook_secret(&self, app: &AppName) -> Result<Option<SecretValue>, Error> {
        let store = &self.shared.ports.store;
        Ok(store
            .repository_secret(app, RepositorySecret::Webhook)
            .await?)
    }

    /// Returns what may be told of the repository of an app.
    pub async fn repository(&self, app: &AppName) -> Result<RepositoryInfo, Error> {
        self.expect_app(app).await?;
        let store = &self.shared.ports.store;
        let credential = store.repository_secret(app, RepositorySecret::Credential);
        let status = store.repository_secret(app, RepositorySecret::Status);
        let authorities = store.repository_secret(app, RepositorySecret::Authorities);
        let (fetched_at, fault) = self.shared.follower.last(app);
        Ok(RepositoryInfo {
            settings: store.repository(app).await?,
            has_credential: credential.await?.is_some(),
            has_webhook_secret: self.webhook_secret(app).await?.is_some(),
            authorities: authorities.await?.as_ref().map_or(0, certificates),
            fetched_at,
            fault,
            statuses: StatusesInfo {
                has_token: status.await?.is_some(),
                forge: store.forge_lane(app).await?,
            },
        })
    }

    /// Fetches from the repository that an app follows, now. Returns when that is done.
    pub async fn fetch_repository(&self, app: &AppName, actor: &str) -> Result<(), Error> {
        self.followed(app).await?;
        self.shared.tell_again(app).await?;
        self.shared.follower.look(Look::branches(app, actor)).await
    }

    /// Returns the repository that an app follows.
    pub(crate) async fn followed(&self, app: &AppName) -> Result<Outside, Error> {
        let settings = self.shared.ports.store.repository(app).await?;
        let missing = || Error::NotFound(format!("repository elsewhere that `{app}` follows"));
        settings.outside.ok_or_else(missing)
    }

    fn repository_event(&self, app: &AppName, what: &str, actor: &str) -> NewEvent {
        NewEvent {
            at: self.shared.ports.clock.now(),
            actor: actor.to_owned(),
            what: what.to_owned(),
            subject: format!("repository of {app}"),
            from: None,
            to: None,
            reason: None,
        }
    }
}
