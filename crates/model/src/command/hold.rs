//! What people hold: automatic deployment, and the traffic. Not deployments themselves.

use jiff::Timestamp;

use super::{Change, Refusal};
use crate::environment::{Environment, Hold};
use crate::routing::RouteMode;

impl Environment {
    /// Holds automatic deployment.
    pub fn put_on_hold(&mut self, reason: String, actor: &str, at: Timestamp) -> Change {
        let mut change = Change::default();
        change.event(
            at,
            actor,
            "environment.held",
            self.id.to_string(),
            Some(reason.clone()),
        );
        self.hold = Some(Hold { reason, since: at });
        change
    }

    /// Lets automatic deployment go on.
    pub fn release_hold(&mut self, actor: &str, at: Timestamp) -> Result<Change, Refusal> {
        self.hold.take().ok_or(Refusal::NotOnHold)?;
        let mut change = Change::default();
        change.event(at, actor, "environment.released", self.id.to_string(), None);
        Ok(change)
    }

    /// Tells the router to serve, hold or refuse all requests of the environment.
    pub fn set_traffic(&mut self, mode: RouteMode, actor: &str, at: Timestamp) -> Change {
        let word = match mode {
            RouteMode::Serving => "serving",
            RouteMode::Paused { .. } => "paused",
            RouteMode::Maintenance { .. } => "maintenance",
        };
        let mut change = Change::default();
        change.event(
            at,
            actor,
            "traffic.changed",
            self.id.to_string(),
            Some(word.to_owned()),
        );
        self.traffic = mode;
        change
    }
}
