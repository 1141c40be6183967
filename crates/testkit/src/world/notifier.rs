//! A notifier and a forge that keep what they are given, and fail where they are told to. Nothing is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use towpath_model::id::SecretName;
use towpath_model::notify::{Channel, Message, Setting};
use towpath_model::port::{Notifier, PortError};
use towpath_model::repository::status::{Answer, ForgeRequest, Forges};
use towpath_model::workload::SecretValue;

/// What arrived, and who cannot be reached. It outlives any control plane.
#[derive(Debug, Default)]
pub struct Letters {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    arrived: Vec<(String, Message)>,
    unreachable: BTreeSet<String>,
    attempts: BTreeMap<String, u32>,
    told: Vec<ForgeRequest>,
    /// What the forge answers; 201 when nothing is said.
    answer: Option<Answer>,
}

impl Letters {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns what arrived at an address, in the order in which it did.
    pub fn at(&self, address: &str) -> Vec<Message> {
        self.change(|state| {
            let here = state.arrived.iter().filter(|(at, _)| at == address);
            here.map(|(_, message)| message.clone()).collect()
        })
    }

    /// Returns how often something was sent to an address.
    pub fn attempts(&self, address: &str) -> u32 {
        self.change(|state| state.attempts.get(address).copied().unwrap_or_default())
    }

    /// Returns what the forge was told, and took or not, in the order in which it was.
    pub fn told(&self) -> Vec<ForgeRequest> {
        self.change(|state| state.told.clone())
    }

    /// Has the forge answer so from now on.
    pub fn answer(&self, answer: Answer) {
        self.change(|state| state.answer = Some(answer));
    }

    /// Has an address not be reached from now on.
    pub fn cut_off(&self, address: &str) {
        self.change(|state| state.unreachable.insert(address.to_owned()));
    }

    /// Has an address be reached again.
    pub fn mend(&self, address: &str) {
        self.change(|state| state.unreachable.remove(address));
    }
}

/// The address of a channel, as it is or as the secret has it.
fn address(channel: &Channel, secrets: &BTreeMap<SecretName, SecretValue>) -> String {
    let setting = match channel {
        Channel::Teams { url } | Channel::Slack { url } => url,
        Channel::Smtp(smtp) => return smtp.host.clone(),
        Channel::Webhook(webhook) => &webhook.url,
    };
    match setting {
        Setting::Plain(text) => text.clone(),
        Setting::Secret(name) => secrets
            .get(name)
            .map(|value| String::from_utf8_lossy(value.expose()).into_owned())
            .unwrap_or_default(),
    }
}

#[async_trait]
impl Notifier for Letters {
    async fn send(
        &self,
        channel: &Channel,
        secrets: &BTreeMap<SecretName, SecretValue>,
        message: &Message,
    ) -> Result<String, PortError> {
        let address = address(channel, secrets);
        self.change(|state| {
            *state.attempts.entry(address.clone()).or_default() += 1;
            if state.unreachable.contains(&address) {
                return Err(PortError::Failed {
                    attempted: "sending".to_owned(),
                    reason: "nobody is there".to_owned(),
                });
            }
            state.arrived.push((address, message.clone()));
            Ok("200 OK".to_owned())
        })
    }
}

#[async_trait]
impl Forges for Letters {
    async fn tell(&self, request: &ForgeRequest) -> Result<Answer, PortError> {
        self.change(|state| {
            state.told.push(request.clone());
            let taken = Answer {
                status: 201,
                ..Answer::default()
            };
            Ok(state.answer.clone().unwrap_or(taken))
        })
    }
}
