//! What the consoles of all engines share: a session of a command that never started. Not sessions
//! of those that did.

use async_trait::async_trait;
use towpath_model::console::{CommandEnd, Input, Output, Session, SessionInput, SessionOutput};
use towpath_model::port::PortError;

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
