//! Constant load: clients that ask again as soon as they are answered.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::task::JoinSet;

use super::http::{Client, get, text};

/// Clients that run until they are stopped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    clients: JoinSet<BTreeMap<String, u64>>,
}

impl Load {
    /// Starts so many clients, each with one keep-alive connection.
    pub(crate) fn start(address: SocketAddr, clients: usize) -> Self {
        let (stop, sent) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let mut load = Self {
            stop,
            sent,
            clients: JoinSet::new(),
        };
        for _ in 0..clients {
            let (stop, sent) = (Arc::clone(&load.stop), Arc::clone(&load.sent));
            load.clients.spawn(async move {
                let mut client = Client::connect(address).await;
                let mut outcomes = BTreeMap::new();
                while !stop.load(Ordering::SeqCst) {
                    let outcome = match client.try_send(get("/")).await {
                        Ok(answer) => format!("{} {}", answer.status().as_u16(), text(&answer)),
                        Err(error) => {
                            client = Client::connect(address).await;
                            format!("failed: {error}")
                        }
                    };
                    *outcomes.entry(outcome).or_insert(0) += 1;
                    sent.fetch_add(1, Ordering::SeqCst);
                }
                outcomes
            });
        }
        load
    }

    /// Returns how many requests were answered until now.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    /// Stops the clients and returns how often each outcome came.
    pub(crate) async fn stop(mut self) -> BTreeMap<String, u64> {
        self.stop.store(true, Ordering::SeqCst);
        let mut total = BTreeMap::new();
        while let Some(outcomes) = self.clients.join_next().await {
            for (outcome, count) in outcomes.unwrap() {
                *total.entry(outcome).or_insert(0) += count;
            }
        }
        total
    }
}

/// Fails the test when any outcome is not one of `good`.
#[track_caller]
pub(crate) fn assert_only(outcomes: &BTreeMap<String, u64>, good: &[&str]) {
    let bad: Vec<_> = outcomes
        .keys()
        .filter(|key| !good.contains(&key.as_str()))
        .collect();
    assert!(bad.is_empty(), "{outcomes:?}");
    assert!(outcomes.values().sum::<u64>() > 0, "nothing was sent");
}
