//! The console of a world: commands that say what they were given. What `exit` runs ends with the code
//! that follows; all else says its words and gives its input back until that ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::mpsc;
use towpath_model::console::{
    Attachment, CommandEnd, Console, ConsoleCommand, Detached, DetachedEnd, Input, OneOff, OneOffs,
    Output, Session, SessionInput, SessionOutput, Usage,
};
use towpath_model::id::{EnvironmentId, InstanceId, SecretName};
use towpath_model::observation::InstanceState;
use towpath_model::port::PortError;
use towpath_model::workload::SecretValue;

use super::World;

/// The console of a world.
#[derive(Debug)]
pub struct WorldConsole(pub Arc<World>);

#[async_trait]
impl Console for WorldConsole {
    async fn exec(
        &self,
        id: &InstanceId,
        command: &ConsoleCommand,
    ) -> Result<Option<Session>, PortError> {
        let runs = self.0.change(|state| {
            let one = state.instances.get(id);
            one.is_some_and(|one| matches!(one.state, InstanceState::Running { .. }))
        });
        if !runs {
            return Err(PortError::Refused(format!("{id} does not run")));
        }
        if command.attachment == Attachment::Detached {
            let end = DetachedEnd {
                id: id.clone(),
                of: Detached::Command,
                code: code(&command.words).unwrap_or(0),
            };
            self.0.change(|state| state.detached.push(end));
        }
        Ok(session(command.attachment, &command.words, None))
    }

    async fn run(
        &self,
        one: &OneOff,
        _: &BTreeMap<SecretName, SecretValue>,
    ) -> Result<Option<Session>, PortError> {
        let id = one.start.id.clone();
        self.0.change(|state| state.one_offs.insert(id.clone()));
        let words = ["run".to_owned(), id.local()];
        let guard = Guard(Arc::clone(&self.0), id);
        Ok(session(one.attachment, &words, Some(guard)))
    }

    /// What nobody is attached to ends when it is settled for the first time.
    async fn settle(
        &self,
        environment: &EnvironmentId,
        wanted: OneOffs,
    ) -> Result<Vec<DetachedEnd>, PortError> {
        Ok(self.0.change(|state| {
            if wanted == OneOffs::End {
                let of_another = |id: &InstanceId| id.environment != *environment;
                state.one_offs.retain(of_another);
            }
            let (told, rest) = std::mem::take(&mut state.detached)
                .into_iter()
                .partition(|end| end.id.environment == *environment);
            state.detached = rest;
            told
        }))
    }

    async fn usage(
        &self,
        environment: &EnvironmentId,
    ) -> Result<BTreeMap<InstanceId, Usage>, PortError> {
        let of_environment = |id: &InstanceId| id.environment == *environment;
        let ids: Vec<InstanceId> = self.0.change(|state| {
            let known = state.instances.keys();
            known.filter(|id| of_environment(id)).cloned().collect()
        });
        // Half a CPU each, whenever one looks.
        let at = Timestamp::now();
        let since = Duration::from_millis(u64::try_from(at.as_millisecond()).unwrap_or_default());
        let usage = Usage {
            at,
            cpu: since / 2,
            memory_bytes: 1 << 20,
            pids: 1,
            ..Usage::default()
        };
        Ok(ids.into_iter().map(|id| (id, usage.clone())).collect())
    }
}

impl World {
    /// Returns the local ids of the one-off instances that run.
    pub fn one_offs(&self) -> Vec<String> {
        self.change(|state| state.one_offs.iter().map(InstanceId::local).collect())
    }
}

/// Ends a one-off when nobody is attached any more.
struct Guard(Arc<World>, InstanceId);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.change(|state| state.one_offs.remove(&self.1));
    }
}

/// Returns the code of a command that only ends.
fn code(words: &[String]) -> Option<i32> {
    match words {
        [exit, code] if exit == "exit" => code.parse().ok(),
        _ => None,
    }
}

fn session(attachment: Attachment, words: &[String], guard: Option<Guard>) -> Option<Session> {
    if attachment == Attachment::Detached {
        // It runs until it is settled.
        std::mem::forget(guard);
        return None;
    }
    let (given, coming) = mpsc::channel(4);
    let said = match code(words) {
        Some(code) => Output::Ended(CommandEnd { code, error: None }),
        None => Output::Stdout(words.join(" ").into_bytes()),
    };
    Some(Session {
        input: Box::new(In(given)),
        output: Box::new(Out {
            said: Some(said),
            coming,
            _guard: guard,
        }),
    })
}

struct In(mpsc::Sender<Input>);

#[async_trait]
impl SessionInput for In {
    async fn give(&mut self, input: Input) -> Result<(), PortError> {
        // What is not read any more is lost.
        drop(self.0.send(input).await);
        Ok(())
    }
}

struct Out {
    said: Option<Output>,
    coming: mpsc::Receiver<Input>,
    _guard: Option<Guard>,
}

#[async_trait]
impl SessionOutput for Out {
    async fn next(&mut self) -> Result<Output, PortError> {
        if let Some(said) = self.said.take() {
            return Ok(said);
        }
        Ok(match self.coming.recv().await {
            Some(Input::Data(bytes)) => Output::Stdout(bytes),
            Some(Input::Resize(size)) => {
                Output::Stderr(format!("{}x{}", size.columns, size.rows).into_bytes())
            }
            Some(Input::End) | None => Output::Ended(CommandEnd {
                code: 0,
                error: None,
            }),
        })
    }
}
