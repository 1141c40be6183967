//! A test message, sent at once: what the other side says to it.

use towpath_model::id::{EnvironmentId, TargetName};
use towpath_model::notify::{Origin, test_message};

use super::audience::Known;
use crate::error::Error;
use crate::platform::Platform;

/// What became of a test message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriedOut {
    /// The target.
    pub target: TargetName,
    /// How it is reached: `teams`, `slack`, `smtp`, `webhook`.
    pub channel: &'static str,
    /// What the other side answered; why it did not arrive.
    pub outcome: Result<String, String>,
}

impl Platform {
    /// Sends a test message to a target of an environment, or to all of them, once.
    pub async fn try_notifications(
        &self,
        id: &EnvironmentId,
        target: Option<&TargetName>,
        actor: &str,
    ) -> Result<Vec<TriedOut>, Error> {
        self.shared.keeper(id)?;
        let origin = Origin::Environment(id.clone());
        let known = Known::default().targets(&self.shared, &origin).await?;
        let targets = known.map(|(_, targets)| targets).unwrap_or_default();
        if let Some(name) = target.filter(|name| !targets.contains_key(name)) {
            return Err(Error::NotFound(format!(
                "target `{name}` in what was deployed to `{id}` last"
            )));
        }
        let mut tried = Vec::new();
        for (name, settings) in targets.iter() {
            if target.is_some_and(|wanted| wanted != name) {
                continue;
            }
            let now = self.shared.ports.clock.now();
            let message = test_message(id, name, actor, now, &id.to_string());
            let sent = self
                .shared
                .send_message(id, &settings.channel, &message)
                .await;
            tried.push(TriedOut {
                target: name.clone(),
                channel: settings.channel.as_str(),
                outcome: sent.map_err(|error| error.to_string()),
            });
        }
        Ok(tried)
    }
}
