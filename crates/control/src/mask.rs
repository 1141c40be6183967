//! Takes the values of an environment's secrets out of what is to be sent or shown: an instance may
//! have written one into its log.

use towpath_model::event::Event;
use towpath_model::id::{EnvironmentId, ReleaseNumber};
use towpath_model::notify::Facts;
use towpath_model::observation::{ArtifactState, InstanceState, Observation};
use towpath_model::workload::SecretValue;

use crate::error::Error;
use crate::platform::Shared;

/// What stands in the place of a value.
const COVER: &str = "***";

/// A shorter value is no secret, and would be found in everything.
const SHORTEST: usize = 4;

/// Texts that must not be seen, the longest first: one that another begins with must not leave the rest of
/// that one.
#[derive(Debug, Default)]
pub(crate) struct Mask(Vec<SecretValue>);

impl Mask {
    /// Makes one of values. Of a value with several lines each line is one in a log.
    pub(crate) fn new(values: &[SecretValue]) -> Self {
        let mut parts = Vec::new();
        for value in values {
            let text = String::from_utf8_lossy(value.expose());
            let lines = text.lines().map(str::trim);
            let long = lines.filter(|line| line.len() >= SHORTEST);
            parts.extend(long.map(|line| SecretValue::new(line.into())));
        }
        parts.sort_by_key(|part| std::cmp::Reverse(part.expose().len()));
        Self(parts)
    }

    /// Returns the values of an environment's secrets: the latest, and those that a release reads.
    pub(crate) async fn of(
        shared: &Shared,
        id: &EnvironmentId,
        release: Option<ReleaseNumber>,
    ) -> Result<Self, Error> {
        let store = &shared.ports.store;
        let mut wanted = store
            .latest_versions(id)
            .await?
            .into_iter()
            .collect::<Vec<_>>();
        if let Some(release) = release
            && let Some(rendering) = store.rendering(id, release).await?
        {
            wanted.extend(rendering.secrets);
        }
        let mut values = Vec::new();
        for (name, version) in wanted {
            match store.reveal_secret(id, &name, version).await {
                Ok(value) => values.push(value),
                // It was removed meanwhile, and wiped; or nobody can read it any more.
                Err(towpath_store::Error::NotFound(_) | towpath_store::Error::Key(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Self::new(&values))
    }

    /// Covers the values wherever they are.
    pub(crate) fn cover(&self, event: &mut Event, facts: &mut Facts) {
        let texts = facts.log.iter_mut().chain(&mut event.reason);
        for text in texts {
            self.cover_text(text);
        }
    }

    /// Covers the values in what an engine says of how something ended.
    pub(crate) fn cover_observation(&self, observation: &mut Observation) {
        let exits = observation.instances.iter_mut();
        let exits = exits.filter_map(|one| match &mut one.state {
            InstanceState::Exited(exit) => Some(&mut exit.log_tail),
            InstanceState::Starting | InstanceState::Running { .. } | InstanceState::Stopping => {
                None
            }
        });
        let builds = observation.artifacts.values_mut();
        let builds = builds.filter_map(|state| match state {
            ArtifactState::Failed { log_tail, .. } => Some(log_tail),
            ArtifactState::Building | ArtifactState::Ready => None,
        });
        for line in exits.chain(builds).flatten() {
            self.cover_text(line);
        }
    }

    /// Covers the values in one text.
    pub(crate) fn cover_text(&self, text: &mut String) {
        for part in &self.0 {
            if let Ok(part) = std::str::from_utf8(part.expose())
                && text.contains(part)
            {
                *text = text.replace(part, COVER);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_covered_and_so_is_each_of_its_lines() {
        let values = ["s3cret", "-----KEY\n  abcdef \n", "xyz", "s3cret-and-more"];
        let mask = Mask::new(&values.map(|value| SecretValue::new(value.into())));
        let mut text = "s3cret and abcdef and xyz, s3cret-and-more".to_owned();
        mask.cover_text(&mut text);
        assert_eq!(text, "*** and *** and xyz, ***");
    }
}
