//! The logs of a world: each instance wrote one line.

use std::collections::VecDeque;

use async_trait::async_trait;
use jiff::Timestamp;
use towpath_model::id::{EnvironmentId, InstanceId};
use towpath_model::port::{LogLine, LogLines, LogQuery, PortError};

use super::State;

/// How the engine takes it that a log is to be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Logs {
    /// It reads it.
    #[default]
    Work,
    /// It does not come to an end.
    Hang,
}

/// Opens the log of an environment.
pub(super) fn open(state: &State, environment: &EnvironmentId, query: &LogQuery) -> Lines {
    let wanted = |id: &&InstanceId| {
        id.environment == *environment && query.instance.is_none_or(|number| number == id.number)
    };
    let lines = state.instances.keys().filter(wanted).map(|id| LogLine {
        at: Timestamp::now(),
        instance: id.clone(),
        stream: "stdout".to_owned(),
        text: format!("{} speaks", id.local()),
    });
    Lines {
        rest: lines.collect(),
        logs: state.logs,
    }
}

/// An open log.
pub(super) struct Lines {
    rest: VecDeque<LogLine>,
    logs: Logs,
}

#[async_trait]
impl LogLines for Lines {
    async fn next(&mut self) -> Result<Option<LogLine>, PortError> {
        match self.logs {
            Logs::Work => Ok(self.rest.pop_front()),
            Logs::Hang => std::future::pending().await,
        }
    }
}
