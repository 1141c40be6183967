//! What the consoles of all engines share: a session of a command that never started, and the ends
//! that nobody was told of yet. Not sessions of commands that did start.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use towpath_model::console::{
    CommandEnd, Detached, DetachedEnd, Input, Output, Session, SessionInput, SessionOutput,
};
use towpath_model::id::{EnvironmentId, InstanceId};
use towpath_model::port::PortError;

/// The ends of what nobody was attached to, until somebody asks for them.
#[derive(Debug, Default)]
pub(crate) struct Untold(Mutex<Vec<DetachedEnd>>);

impl Untold {
    /// Keeps an end.
    pub(crate) fn add(&self, id: &InstanceId, of: Detached, code: i32) {
        let id = id.clone();
        let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ends.push(DetachedEnd { id, of, code });
    }

    /// Returns the ends in an environment, and keeps them no longer.
    pub(crate) fn take(&self, environment: &EnvironmentId) -> Vec<DetachedEnd> {
        let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (told, rest) = ends
            .drain(..)
            .partition(|end| end.id.environment == *environment);
        *ends = rest;
        told
    }
}

/// Returns a session that has ended.
pub(crate) fn never_started(end: CommandEnd) -> Session {
    Session {
        input: Box::new(Never(end.clone())),
        output: Box::new(Never(end)),
    }
}

struct Never(CommandEnd);

#[async_trait]
impl SessionInput for Never {
    async fn give(&mut self, _: Input) -> Result<(), PortError> {
        Ok(())
    }
}

#[async_trait]
impl SessionOutput for Never {
    async fn next(&mut self) -> Result<Output, PortError> {
        Ok(Output::Ended(self.0.clone()))
    }
}
