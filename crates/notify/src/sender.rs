//! The port's implementation: each channel by its own way.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use towpath_model::id::SecretName;
use towpath_model::notify::{Channel, Message, Setting, Webhook};
use towpath_model::port::{Clock, Notifier, PortError};
use towpath_model::workload::SecretValue;

use crate::config::Config;
use crate::http::Client;
use crate::mail::Way;
use crate::sign::{SIGNATURE, signature};
use crate::{body, http, mail};

type Secrets = BTreeMap<SecretName, SecretValue>;

/// Carries messages. Cheap to share.
#[derive(Debug)]
pub struct Sender {
    config: Config,
    /// A machine without certificates can still send mail, and tells why it cannot do more.
    client: Result<Client, String>,
    clock: Arc<dyn Clock>,
}

impl Sender {
    /// Makes a sender. Nothing is connected to.
    pub fn new(config: Config, clock: Arc<dyn Clock>) -> Self {
        Self {
            client: http::client(&config, None).map_err(|error| error.to_string()),
            config,
            clock,
        }
    }

    async fn post(
        &self,
        url: &str,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<String, PortError> {
        http::post(self.client()?, &self.config, url, headers, body).await
    }

    /// Returns what sends requests.
    pub(crate) fn client(&self) -> Result<&Client, PortError> {
        self.client.as_ref().map_err(|reason| PortError::Failed {
            attempted: "sending".to_owned(),
            reason: reason.clone(),
        })
    }

    /// Returns the limits.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    async fn webhook(
        &self,
        webhook: &Webhook,
        secrets: &Secrets,
        message: &Message,
    ) -> Result<String, PortError> {
        let body = written(&body::webhook(message))?;
        let mut headers = HeaderMap::new();
        for (name, setting) in &webhook.headers {
            put(&mut headers, name, &revealed(setting, secrets)?)?;
        }
        put(&mut headers, "towpath-delivery", &message.id)?;
        put(&mut headers, "towpath-kind", &message.kind)?;
        if let Some(secret) = &webhook.secret {
            let secret = revealed(secret, secrets)?;
            let seconds = self.clock.now().as_second();
            put(
                &mut headers,
                SIGNATURE,
                &signature(secret.as_bytes(), seconds, &body),
            )?;
        }
        let url = revealed(&webhook.url, secrets)?;
        let Some(ca) = &webhook.ca else {
            return self.post(&url, headers, body).await;
        };
        let client = http::client(&self.config, Some(&revealed(ca, secrets)?))?;
        http::post(&client, &self.config, &url, headers, body).await
    }
}

#[async_trait]
impl Notifier for Sender {
    async fn send(
        &self,
        channel: &Channel,
        secrets: &Secrets,
        message: &Message,
    ) -> Result<String, PortError> {
        let sent = match channel {
            Channel::Teams { url } => {
                let url = revealed(url, secrets)?;
                let body = written(&body::teams(message))?;
                self.post(&url, HeaderMap::new(), body).await
            }
            Channel::Slack { url } => {
                let url = revealed(url, secrets)?;
                let body = written(&body::slack(message))?;
                self.post(&url, HeaderMap::new(), body).await
            }
            Channel::Smtp(smtp) => {
                let password = smtp.password.as_ref();
                let password = password.map(|one| revealed(one, secrets)).transpose()?;
                let ca = smtp.ca.as_ref();
                let ca = ca.map(|one| revealed(one, secrets)).transpose()?;
                let way = Way { password, ca };
                mail::send(&self.config, smtp, way, message).await
            }
            Channel::Webhook(webhook) => self.webhook(webhook, secrets, message).await,
        };
        // The other side may say what it was told.
        match sent {
            Ok(answer) => Ok(covered(answer, secrets)),
            Err(PortError::Refused(reason)) => Err(PortError::Refused(covered(reason, secrets))),
            Err(PortError::Failed { attempted, reason }) => Err(PortError::Failed {
                attempted,
                reason: covered(reason, secrets),
            }),
        }
    }
}

fn written(body: &Value) -> Result<Vec<u8>, PortError> {
    serde_json::to_vec(body)
        .map_err(|error| PortError::Refused(format!("the message cannot be written: {error}")))
}

/// Returns the value of a setting. One that was piped into `towpath secret set` may end in a line end.
fn revealed(setting: &Setting, secrets: &Secrets) -> Result<String, PortError> {
    let name = match setting {
        Setting::Plain(text) => return Ok(text.clone()),
        Setting::Secret(name) => name,
    };
    let value = secrets
        .get(name)
        .and_then(|value| std::str::from_utf8(value.expose()).ok());
    value
        .map(|value| value.trim().to_owned())
        .ok_or_else(|| PortError::Refused(format!("secret `{name}` is not a text")))
}

fn covered(mut text: String, secrets: &Secrets) -> String {
    for value in secrets.values() {
        if let Ok(value) = std::str::from_utf8(value.expose())
            && !value.trim().is_empty()
        {
            text = text.replace(value.trim(), "***");
        }
    }
    text
}

fn put(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), PortError> {
    let refused = || PortError::Refused(format!("header `{name}` cannot be sent"));
    let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused())?;
    let mut value = HeaderValue::from_str(value).map_err(|_| refused())?;
    value.set_sensitive(true);
    headers.insert(key, value);
    Ok(())
}
