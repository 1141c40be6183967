//! The limits of a sender. Not where messages go.

use std::time::Duration;

/// How long things may take, and how much may come back.
#[derive(Debug, Clone)]
pub struct Config {
    /// To open a connection, TLS included. Default: 10s.
    pub connect_timeout: Duration,
    /// For the whole of one message. Default: 30s.
    pub timeout: Duration,
    /// The most bytes of an answer that are read. Default: 4096.
    pub answer_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(30),
            answer_bytes: 4096,
        }
    }
}
