//! How many instances people want of a service. Not who is started or stopped for it.

use jiff::Timestamp;

use super::{Change, Refusal};
use crate::environment::Environment;
use crate::event::NewEvent;
use crate::id::ServiceName;

impl Environment {
    /// Changes how many instances a service has, in this release and those after it.
    pub fn rescale(
        &mut self,
        service: &ServiceName,
        count: u32,
        actor: &str,
        at: Timestamp,
    ) -> Result<Change, Refusal> {
        let release = self
            .stable
            .or(self.deployment.as_ref().map(|active| active.release));
        let release = release.ok_or(Refusal::NothingDeployed)?;
        let rendered = self
            .service(release, service)
            .ok_or_else(|| Refusal::NoService(service.clone()))?;
        if rendered.is_job() {
            return Err(Refusal::Job(service.clone()));
        }
        if rendered.is_exclusive() && count > 1 {
            return Err(Refusal::Stateful(service.clone()));
        }
        let before = self.wanted(rendered);
        self.scale.insert(service.clone(), count);
        Ok(Change {
            events: vec![NewEvent {
                at,
                actor: actor.to_owned(),
                what: "service.scaled".to_owned(),
                subject: format!("{}/{service}", self.id),
                from: Some(before.to_string()),
                to: Some(count.to_string()),
                reason: None,
            }],
            finished: Vec::new(),
        })
    }
}
