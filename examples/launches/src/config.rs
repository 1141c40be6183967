//! Settings, from the environment to typed values. Nothing else reads the environment.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::fault::Fault;
use crate::keyed::Key;

/// Why the environment cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("{name}={value:?} is not {expected}")]
    Value {
        name: &'static str,
        value: String,
        expected: &'static str,
    },
    #[error("cannot read the raffle key from {path} (RAFFLE_KEY_FILE)")]
    Key {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the raffle key in {path} is shorter than 16 bytes")]
    ShortKey { path: String },
}

/// The environment.
#[derive(Debug)]
pub(crate) struct Config(BTreeMap<String, String>);

/// What `web` needs.
#[derive(Debug)]
pub(crate) struct WebConfig {
    pub(crate) listen: SocketAddr,
    pub(crate) store_address: String,
    pub(crate) key: Key,
    pub(crate) version: String,
    pub(crate) start: Duration,
    pub(crate) grace: Duration,
    pub(crate) tick: Duration,
    pub(crate) fault: Fault,
}

/// What `worker` needs.
#[derive(Debug)]
pub(crate) struct WorkerConfig {
    pub(crate) store_address: String,
    pub(crate) key: Key,
    pub(crate) poll: Duration,
}

/// What `store` needs.
#[derive(Debug)]
pub(crate) struct StoreConfig {
    pub(crate) listen: SocketAddr,
    pub(crate) directory: PathBuf,
    pub(crate) grace: Duration,
}

impl Config {
    pub(crate) fn new(env: BTreeMap<String, String>) -> Self {
        Self(env)
    }

    pub(crate) fn web(&self) -> Result<WebConfig, ConfigError> {
        Ok(WebConfig {
            listen: self.listen("8080")?,
            store_address: self.store_address(),
            key: self.key()?,
            version: self.text("LAUNCHES_VERSION", "1"),
            start: self.milliseconds("LAUNCHES_START_MS", "0")?,
            grace: self.milliseconds("LAUNCHES_GRACE_MS", "8000")?,
            tick: self
                .milliseconds("LAUNCHES_TICK_MS", "1000")?
                .max(Duration::from_millis(10)),
            fault: self.parsed("LAUNCHES_FAULT", "none", Fault::NAMES)?,
        })
    }

    pub(crate) fn worker(&self) -> Result<WorkerConfig, ConfigError> {
        Ok(WorkerConfig {
            store_address: self.store_address(),
            key: self.key()?,
            poll: self
                .milliseconds("LAUNCHES_POLL_MS", "500")?
                .max(Duration::from_millis(10)),
        })
    }

    pub(crate) fn store(&self) -> Result<StoreConfig, ConfigError> {
        Ok(StoreConfig {
            listen: self.listen("7000")?,
            directory: self.text("LAUNCHES_DATA_DIR", "/data").into(),
            grace: self.milliseconds("LAUNCHES_GRACE_MS", "8000")?,
        })
    }

    /// Where `check` asks: the port that the service of this container has, on this machine.
    pub(crate) fn checked(&self) -> Result<SocketAddr, ConfigError> {
        let port = self.parsed("PORT", "8080", "a port")?;
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    /// `host:port` of the store; by default its name and port under Compose.
    pub(crate) fn store_address(&self) -> String {
        self.text("STORE_ADDR", "store:7000")
    }

    fn listen(&self, port: &str) -> Result<SocketAddr, ConfigError> {
        let host = self.parsed("HOST", "127.0.0.1", "an IP address")?;
        let port = self.parsed("PORT", port, "a port")?;
        Ok(SocketAddr::new(host, port))
    }

    /// Reads the key that tickets and draws depend on. Its value is in the file only: a variable
    /// would show up in process listings and crash reports.
    fn key(&self) -> Result<Key, ConfigError> {
        let path = self.text("RAFFLE_KEY_FILE", "/run/secrets/raffle_key");
        match std::fs::read(&path) {
            Ok(bytes) => Key::new(bytes).ok_or(ConfigError::ShortKey { path }),
            Err(source) => Err(ConfigError::Key { path, source }),
        }
    }

    fn text(&self, name: &'static str, default: &str) -> String {
        // Compose turns an unset variable into an empty one.
        self.0
            .get(name)
            .filter(|value| !value.is_empty())
            .map_or(default, String::as_str)
            .to_owned()
    }

    fn milliseconds(&self, name: &'static str, default: &str) -> Result<Duration, ConfigError> {
        let milliseconds: u32 = self.parsed(name, default, "a number of milliseconds")?;
        Ok(Duration::from_millis(milliseconds.into()))
    }

    fn parsed<T: FromStr>(
        &self,
        name: &'static str,
        default: &str,
        expected: &'static str,
    ) -> Result<T, ConfigError> {
        let value = self.text(name, default);
        value.parse().map_err(|_| ConfigError::Value {
            name,
            value,
            expected,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(vars: &[(&str, &str)]) -> Config {
        Config(
            vars.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn port_and_host_say_where_to_listen() {
        let store = config(&[("PORT", "4001"), ("HOST", "127.0.0.9")])
            .store()
            .expect("valid");
        assert_eq!(store.listen.to_string(), "127.0.0.9:4001");
        assert_eq!(config(&[]).store_address(), "store:7000");
        assert_eq!(
            config(&[("STORE_ADDR", "127.0.0.1:4")]).store_address(),
            "127.0.0.1:4"
        );
    }

    #[test]
    fn a_bad_value_is_named_with_what_was_expected() {
        let error = config(&[("PORT", "http")])
            .store()
            .expect_err("not a port")
            .to_string();
        assert_eq!(error, r#"PORT="http" is not a port"#);
    }

    #[test]
    fn a_missing_key_file_is_named() {
        let error = config(&[("RAFFLE_KEY_FILE", "/nowhere/key")])
            .worker()
            .expect_err("no key");
        assert!(error.to_string().contains("/nowhere/key"), "{error}");
    }
}
