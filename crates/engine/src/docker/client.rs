//! The connection to Docker, made when it is first needed, and the words for what goes wrong with
//! it. Not the calls.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use towpath_model::port::PortError;

/// The longest that Docker may take to begin an answer.
const TIMEOUT_S: u64 = 120;

/// The longest that it may take for what it only has to look up.
const PATIENCE: Duration = Duration::from_secs(20);

/// The longest that it may take to say which version it speaks.
const HELLO: Duration = Duration::from_secs(10);

/// Headers with credentials, which Docker reads in the URL's alphabet of base64.
const CREDENTIALS: [&str; 2] = ["x-registry-auth", "x-registry-config"];

/// A connection that is made at the first use, and made anew after it broke.
#[derive(Debug)]
pub(super) struct Client {
    host: String,
    connected: Mutex<Option<Docker>>,
}

impl Client {
    pub(super) fn new(host: String) -> Self {
        Self {
            host,
            connected: Mutex::default(),
        }
    }

    /// Returns where Docker listens.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Tells whether Docker's files are files of this machine.
    pub(super) fn is_local(&self) -> bool {
        self.host.starts_with("unix://")
    }

    /// Connects, unless that was done, and agrees on a version of the API.
    pub(super) async fn get(&self) -> Result<Docker, Trouble> {
        if let Some(docker) = &*self.lock() {
            return Ok(docker.clone());
        }
        let docker = match self.host.strip_prefix("unix://") {
            Some(path) => Docker::connect_with_unix(path, TIMEOUT_S, API_DEFAULT_VERSION),
            None => Docker::connect_with_http(&self.host, TIMEOUT_S, API_DEFAULT_VERSION),
        };
        let docker = docker
            .map_err(|error| self.trouble(&error))?
            .with_request_modifier(url_alphabet);
        let docker = tokio::time::timeout(HELLO, docker.negotiate_version())
            .await
            .map_err(|_| Trouble::Away(format!("Docker at {} does not answer", self.host)))?
            .map_err(|error| self.trouble(&error))?;
        *self.lock() = Some(docker.clone());
        Ok(docker)
    }

    /// Awaits a call by which Docker looks something up. One that takes long hangs: on a container
    /// that is stuck Docker waits for ever, and nobody else should.
    pub(super) async fn look_up<T>(
        &self,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Trouble> {
        match tokio::time::timeout(PATIENCE, call).await {
            Ok(found) => found.map_err(|error| self.trouble(&error)),
            Err(_) => Err(Trouble::Away(format!(
                "Docker at {} does not answer",
                self.host
            ))),
        }
    }

    /// Returns what an error of a call means. After one of the connection, the next call agrees on
    /// a version again: it may be another Docker by then.
    pub(super) fn trouble(&self, error: &Error) -> Trouble {
        let trouble = classify(error, &self.host);
        if matches!(trouble, Trouble::Away(_)) {
            *self.lock() = None;
        }
        trouble
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Docker>> {
        self.connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a call did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Docker is not there, or on its way out: later it may work.
    Away(String),
    /// What was asked for is not there.
    Missing(String),
    /// Something of the name is there already, or what was asked is done already.
    Conflict(String),
    /// It was refused, in Docker's words.
    Refused(String),
}

impl Trouble {
    /// Returns the words.
    pub(super) fn words(&self) -> &str {
        match self {
            Self::Away(words)
            | Self::Missing(words)
            | Self::Conflict(words)
            | Self::Refused(words) => words,
        }
    }

    /// Puts what was attempted before Docker's words.
    pub(super) fn after(mut self, attempted: &str) -> Self {
        let (Self::Away(words)
        | Self::Missing(words)
        | Self::Conflict(words)
        | Self::Refused(words)) = &mut self;
        *words = format!("{attempted}: {words}");
        self
    }

    /// Returns it as the port has it.
    pub(super) fn failed(self, attempted: impl Into<String>) -> PortError {
        PortError::Failed {
            attempted: attempted.into(),
            reason: self.words().to_owned(),
        }
    }
}

/// What Docker says of a call while it shuts down or starts.
const LEAVING: [&str; 6] = [
    "shutting down",
    "transport is closing",
    "context canceled",
    "connection error: desc",
    "containerd.sock",
    "ttrpc: closed",
];

fn classify(error: &Error, host: &str) -> Trouble {
    match error {
        Error::DockerResponseServerError {
            status_code,
            message,
        } => {
            let words = message.trim().to_owned();
            match status_code {
                _ if LEAVING.iter().any(|sign| words.contains(sign)) => Trouble::Away(words),
                404 => Trouble::Missing(words),
                304 | 409 => Trouble::Conflict(words),
                _ => Trouble::Refused(words),
            }
        }
        Error::DockerStreamError { error } => Trouble::Refused(error.trim().to_owned()),
        Error::JsonDataError { .. } | Error::JsonSerdeError { .. } => {
            Trouble::Refused(format!("Docker's answer is not understood: {error}"))
        }
        Error::UnsupportedURISchemeError { .. } => Trouble::Refused(format!(
            "`{host}` is not a place where Docker can be: DOCKER_HOST has to be unix:// or tcp://"
        )),
        other => Trouble::Away(unreachable_words(other, host)),
    }
}

/// Says what to do about a Docker that cannot be reached.
fn unreachable_words(error: &Error, host: &str) -> String {
    let chain = chain(error);
    let lower = chain.to_lowercase();
    let advice = if matches!(error, Error::SocketNotFoundError(_))
        || lower.contains("no such file")
        || lower.contains("not found")
    {
        "there is no such socket: install Docker, or say in DOCKER_HOST where it listens"
    } else if lower.contains("permission denied") {
        "you may not use it: join the group `docker`, or run as root"
    } else if lower.contains("refused") {
        "nobody listens there: start Docker (systemctl start docker)"
    } else {
        return format!("Docker at {host} does not answer: {chain}");
    };
    format!("Docker at {host} cannot be reached: {advice}")
}

/// Writes an error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        cause = inner.source();
    }
    text
}

/// Writes credentials in the alphabet that Docker reads.
pub(super) fn url_alphabet(mut request: BollardRequest) -> BollardRequest {
    for name in CREDENTIALS {
        if let Some(value) = request.headers_mut().get_mut(name)
            && let Ok(text) = value.to_str()
            && let Ok(changed) = text.replace('+', "-").replace('/', "_").parse()
        {
            *value = changed;
        }
    }
    request
}

/// Makes a filter of labels.
pub(super) fn label_filter(labels: &[String]) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), labels.to_vec())])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status_code: u16, message: &str) -> Trouble {
        let error = Error::DockerResponseServerError {
            status_code,
            message: message.to_owned(),
        };
        classify(&error, "unix:///s")
    }

    #[test]
    fn what_docker_says_while_it_leaves_is_no_refusal() {
        assert!(matches!(
            answer(500, "cannot start: daemon is shutting down"),
            Trouble::Away(_)
        ));
        assert_eq!(
            answer(500, "port is already allocated\n"),
            Trouble::Refused("port is already allocated".to_owned())
        );
        assert!(matches!(answer(404, "No such image"), Trouble::Missing(_)));
        assert!(matches!(answer(409, "in use"), Trouble::Conflict(_)));
    }

    #[test]
    fn a_socket_that_is_not_there_is_named_with_what_to_do() {
        let trouble = classify(&Error::SocketNotFoundError("/s".to_owned()), "unix:///s");
        let words = trouble.words();
        assert!(
            words.contains("unix:///s") && words.contains("DOCKER_HOST"),
            "{words}"
        );
    }
}
