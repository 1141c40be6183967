//! The one table that the router is told: every environment's routes, merged. Not how the routes of
//! an environment are derived (`model::routes`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use towpath_model::environment::Published;
use towpath_model::id::EnvironmentId;
use towpath_model::port::{PortError, Router};
use towpath_model::routing::{Listener, RouteTable, RouterReport};

/// One request for each environment may wait; more senders wait themselves.
const QUEUE: usize = 64;

/// How long a router that does not answer is left alone.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// A cheap handle to the hub.
#[derive(Debug, Clone)]
pub(crate) struct Hub {
    requests: mpsc::Sender<Request>,
    report: watch::Receiver<Option<Arc<RouterReport>>>,
}

#[derive(Debug)]
struct Request {
    environment: EnvironmentId,
    published: Option<Published>,
    done: oneshot::Sender<Result<(), PortError>>,
}

impl Hub {
    /// Makes a hub, and the future that does its work.
    pub(crate) fn new(
        router: Arc<dyn Router>,
        tables: BTreeMap<EnvironmentId, Published>,
        shutdown: CancellationToken,
    ) -> (Self, impl Future<Output = ()>) {
        let (requests, receiver) = mpsc::channel(QUEUE);
        let (report_sender, report) = watch::channel(None);
        let work = Work {
            router,
            tables,
            report: report_sender,
            generation: 0,
        };
        (Self { requests, report }, work.run(receiver, shutdown))
    }

    /// Tells the router the routes of an environment. Returns when they are in force.
    pub(crate) async fn publish(
        &self,
        environment: &EnvironmentId,
        published: Option<Published>,
    ) -> Result<(), PortError> {
        let (done, answer) = oneshot::channel();
        let stopped = || PortError::Failed {
            attempted: "telling the router its routes".to_owned(),
            reason: "the control plane is stopping".to_owned(),
        };
        let request = Request {
            environment: environment.clone(),
            published,
            done,
        };
        self.requests.send(request).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Returns the router's last report; `None` while it does not answer.
    pub(crate) fn report(&self) -> Option<Arc<RouterReport>> {
        self.report.borrow().clone()
    }

    /// Returns a receiver that sees every new report.
    pub(crate) fn reports(&self) -> watch::Receiver<Option<Arc<RouterReport>>> {
        self.report.clone()
    }
}

#[derive(Debug)]
struct Work {
    router: Arc<dyn Router>,
    tables: BTreeMap<EnvironmentId, Published>,
    report: watch::Sender<Option<Arc<RouterReport>>>,
    generation: u64,
}

impl Work {
    async fn run(mut self, mut requests: mpsc::Receiver<Request>, shutdown: CancellationToken) {
        let router = Arc::clone(&self.router);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                Some(request) = requests.recv() => self.serve(request, &mut requests).await,
                report = router.changed() => match report {
                    Ok(report) => self.heard(report).await,
                    Err(error) => {
                        self.lost(&error);
                        tokio::time::sleep(RETRY_AFTER).await;
                    }
                },
            }
        }
    }

    /// Takes in a request, and all others that wait, and publishes once.
    async fn serve(&mut self, first: Request, requests: &mut mpsc::Receiver<Request>) {
        let mut waiting = vec![first];
        while let Ok(more) = requests.try_recv() {
            waiting.push(more);
        }
        for request in &waiting {
            match &request.published {
                Some(published) => {
                    self.tables
                        .insert(request.environment.clone(), published.clone());
                }
                None => {
                    self.tables.remove(&request.environment);
                }
            }
        }
        let outcome = self.publish().await;
        for request in waiting {
            let answer = match &outcome {
                Ok(()) => Ok(()),
                Err(error) => Err(PortError::Failed {
                    attempted: "telling the router its routes".to_owned(),
                    reason: error.to_string(),
                }),
            };
            // Whoever asked may have stopped waiting.
            drop(request.done.send(answer));
        }
    }

    async fn publish(&mut self) -> Result<(), PortError> {
        if self.generation == 0 {
            // A router that outlived the last control plane has its own idea of the generation.
            let report = self
                .router
                .report()
                .await
                .inspect_err(|error| self.lost(error))?;
            self.generation = report.generation;
        }
        self.generation += 1;
        let table = merge(self.generation, &self.tables);
        let report = self
            .router
            .publish(&table)
            .await
            .inspect_err(|error| self.lost(error))?;
        self.report.send_replace(Some(Arc::new(report)));
        Ok(())
    }

    /// Takes in a report. A router that came back with an older table, or none, is told the
    /// present one.
    async fn heard(&mut self, report: RouterReport) {
        let behind = self.tables.iter().any(|(environment, published)| {
            let has = report.environments.get(environment).copied().unwrap_or(0);
            has < published.generation
        });
        self.generation = self.generation.max(report.generation);
        self.report.send_replace(Some(Arc::new(report)));
        if behind && let Err(error) = self.publish().await {
            tracing::warn!(error = %error, "the router could not be told its routes");
        }
    }

    fn lost(&self, error: &PortError) {
        let was_there = self.report.send_replace(None).is_some();
        if was_there {
            tracing::warn!(error = %error, "the router does not answer");
        }
    }
}

/// Merges the routes of all environments into one table.
fn merge(generation: u64, tables: &BTreeMap<EnvironmentId, Published>) -> RouteTable {
    let mut merged = RouteTable {
        generation,
        ..RouteTable::default()
    };
    for (environment, published) in tables {
        merged
            .environments
            .insert(environment.clone(), published.generation);
        // A name server is on an address of the environment's own network: no two share one.
        merged.names.extend(published.names.clone());
        for route in &published.routes {
            let listener = merged
                .listeners
                .entry(route.listen)
                .or_insert_with(|| Listener {
                    protocol: route.protocol,
                    routes: Vec::new(),
                });
            // Commands refuse a second protocol on a socket; the first one keeps it.
            if listener.protocol == route.protocol {
                listener.routes.push(route.route.clone());
            }
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use towpath_model::routing::{NameServer, View};

    use super::*;

    #[test]
    fn the_names_of_every_environment_are_in_the_table() {
        let published = |environment: &str, generation| {
            let environment: EnvironmentId = environment.parse().unwrap();
            let server = NameServer {
                environment: environment.clone(),
                views: vec![View::default()],
            };
            let address = format!("10.0.{generation}.1:53").parse().unwrap();
            let published = Published {
                generation,
                names: [(address, server)].into(),
                ..Published::default()
            };
            (environment, published)
        };
        let tables = [published("shop/dev", 1), published("shop/production", 2)].into();
        let merged = merge(7, &tables);
        let owners: Vec<_> = merged
            .names
            .iter()
            .map(|(address, server)| (address.to_string(), server.environment.to_string()))
            .collect();
        let expected = [
            ("10.0.1.1:53", "shop/dev"),
            ("10.0.2.1:53", "shop/production"),
        ];
        assert_eq!(
            owners,
            expected.map(|(address, owner)| (address.to_owned(), owner.to_owned()))
        );
    }
}
