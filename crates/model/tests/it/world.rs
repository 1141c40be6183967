//! A world in which everything goes as it should, at once: the engine starts what it is told to,
//! the router acknowledges, health follows the release's nature. Faults are set by hand.

mod kind;
mod network;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use towpath_model::adoption::takeover::Redirect;
use towpath_model::command::Request;
use towpath_model::deployment::{Deployment, Kind, State};
use towpath_model::environment::Environment;
use towpath_model::event::NewEvent;
use towpath_model::id::{DeploymentNumber, EnvironmentId, InstanceId, ReleaseNumber, ServiceName};
use towpath_model::observation::{
    ArtifactState, Exit, InstanceState, Observation, ObservedInstance, ProbeRecord,
};
use towpath_model::release::{RenderedService, Rendering};
use towpath_model::rollout::{Settings, Strategy};
use towpath_model::routing::{BackendLoad, ListenerFault, RouterReport};
use towpath_model::step::{Action, step};
use towpath_model::traffic::{RouteTraffic, TrafficCounters};
use towpath_model::workload::Command;

pub(crate) use kind::{after, job, service, stateful, worker};

/// The engine's answer.
type Seen = BTreeMap<InstanceId, ObservedInstance>;

/// The world of one environment.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) environment: Environment,
    pub(crate) now: Timestamp,
    pub(crate) running: Seen,
    pub(crate) report: RouterReport,
    pub(crate) events: Vec<NewEvent>,
    pub(crate) finished: Vec<Deployment>,
    /// Every start and stop in its order, as `start web-1`.
    pub(crate) deeds: Vec<String>,
    /// Versions whose instances end as soon as they start.
    pub(crate) crashing: BTreeSet<String>,
    /// Versions whose instances never become healthy.
    pub(crate) unhealthy: BTreeSet<String>,
    /// Versions whose instances never come to run.
    pub(crate) hanging: BTreeSet<String>,
    /// Releases whose artifacts are being made.
    pub(crate) building: BTreeSet<ReleaseNumber>,
    /// Whether the router keeps silent.
    pub(crate) silent: bool,
    /// The engine's answer and when it was asked, while it gives no newer one.
    pub(crate) stale: Option<(Timestamp, Seen)>,
    /// Whether nobody in particular asks for what is asked for.
    pub(crate) automatic: bool,
    /// Sockets that an instance has as long as it runs.
    pub(crate) held: BTreeMap<SocketAddr, String>,
    /// The redirects in force.
    pub(crate) redirects: BTreeSet<Redirect>,
    /// Where instances ask for one another by name: the router answers, or why it cannot.
    pub(crate) naming: Option<Result<(), String>>,
    versions: BTreeMap<InstanceId, String>,
    pub(crate) next_release: u32,
}

/// Settings of a strategy, without a bake.
pub(crate) fn settings(strategy: Strategy) -> Settings {
    Settings {
        strategy,
        bake: Duration::ZERO,
        ..Settings::default()
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let id: EnvironmentId = "shop/production".parse().unwrap();
        Self {
            environment: Environment::new(id),
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            running: BTreeMap::new(),
            report: RouterReport {
                boot: "one".to_owned(),
                ..RouterReport::default()
            },
            events: Vec::new(),
            finished: Vec::new(),
            deeds: Vec::new(),
            crashing: BTreeSet::new(),
            unhealthy: BTreeSet::new(),
            hanging: BTreeSet::new(),
            building: BTreeSet::new(),
            silent: false,
            stale: None,
            automatic: false,
            held: BTreeMap::new(),
            redirects: BTreeSet::new(),
            naming: None,
            versions: BTreeMap::new(),
            next_release: 1,
        }
    }

    /// Asks for a new release of these services.
    pub(crate) fn deploy(
        &mut self,
        services: Vec<RenderedService>,
        settings: Settings,
    ) -> DeploymentNumber {
        let services = services
            .into_iter()
            .map(|one| (one.spec.service.clone(), one))
            .collect();
        let rendering = Rendering {
            services,
            secrets: BTreeMap::new(),
            settings,
            ..Rendering::default()
        };
        let release = ReleaseNumber(self.next_release);
        self.next_release += 1;
        self.request(Kind::Release, release, Arc::new(rendering))
    }

    /// Asks for the release in play with this number to come back.
    pub(crate) fn rollback(&mut self, release: u32, rendering: Arc<Rendering>) -> DeploymentNumber {
        self.request(Kind::Rollback, ReleaseNumber(release), rendering)
    }

    fn request(
        &mut self,
        kind: Kind,
        release: ReleaseNumber,
        rendering: Arc<Rendering>,
    ) -> DeploymentNumber {
        let request = Request {
            kind,
            release,
            rendering,
            settings: None,
            peers: BTreeMap::new(),
            actor: "ada".to_owned(),
            automatic: self.automatic,
        };
        let (number, change) = self.environment.request(request, self.now).unwrap();
        self.events.extend(change.events);
        self.finished.extend(change.finished);
        number
    }

    /// Takes one step: observes, writes down, does.
    pub(crate) fn step(&mut self) {
        let present = (self.now, self.running.clone());
        let (at, instances) = self.stale.clone().unwrap_or(present);
        let artifact = |release| {
            if self.building.contains(&release) {
                ArtifactState::Building
            } else {
                ArtifactState::Ready
            }
        };
        let observation = Observation {
            at,
            instances: instances.into_values().collect(),
            artifacts: (1..self.next_release)
                .map(|release| (ReleaseNumber(release), artifact(ReleaseNumber(release))))
                .collect(),
            probes: self
                .running
                .keys()
                .map(|id| (id.clone(), self.probe(id)))
                .collect(),
            router: (!self.silent).then(|| self.report.clone()),
            redirects: Some(self.redirects.clone()),
            networks: self.networks(),
        };
        let mut next = step(&self.environment, &observation, self.now);
        if let Some(id) = next.unheard() {
            let line = format!("{} is ill", id.local());
            next.hear(&[line]);
        }
        self.environment = next.environment;
        self.events.extend(next.events);
        self.finished.extend(next.finished);
        for action in next.actions {
            self.act(action);
        }
        self.listen();
        self.check();
    }

    /// Has the router try the sockets of its table, as it does all the time.
    fn listen(&mut self) {
        let holds = |name: &String| {
            let mut all = self.running.values();
            all.any(|one| {
                one.id.local() == *name && matches!(one.state, InstanceState::Running { .. })
            })
        };
        let sockets = self.environment.listens_on().into_iter();
        let faults = sockets.filter(|socket| self.held.get(socket).is_some_and(holds));
        self.report.faults = faults
            .map(|address| ListenerFault {
                address,
                reason: "address in use".to_owned(),
            })
            .collect();
    }

    fn probe(&self, id: &InstanceId) -> ProbeRecord {
        if self
            .versions
            .get(id)
            .is_some_and(|one| self.unhealthy.contains(one))
        {
            let last_error = Some("answered 500".to_owned());
            ProbeRecord {
                failures: 3,
                counted_failures: 3,
                last_error,
                ..ProbeRecord::default()
            }
        } else {
            ProbeRecord {
                successes: 1,
                ..ProbeRecord::default()
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Prepare(_) => {}
            Action::Publish if self.silent => {}
            Action::Publish => {
                let generation = self.environment.published.generation;
                self.report
                    .environments
                    .insert(self.environment.id.clone(), generation);
            }
            Action::Adopt(one) => {
                self.deeds.push(format!("adopt {}", one.id.local()));
                let Command::Exec(words) = &one.spec.command else {
                    panic!("worlds exec")
                };
                self.versions.insert(one.id.clone(), words[0].clone());
                let address = SocketAddr::from(([172, 18, 0, 2], 80));
                let since = self.now;
                let state = InstanceState::Running { address, since };
                let observed = ObservedInstance::new(one.id.clone(), one.workload, state);
                self.running.insert(one.id, observed);
            }
            Action::LetGo(id) => {
                self.deeds.push(format!("let go {}", id.local()));
                self.running.remove(&id);
            }
            Action::Redirect(wanted) => self.redirects = wanted,
            Action::Start(start) => {
                self.deeds.push(format!("start {}", start.id.local()));
                let building = self.building.contains(&start.release);
                assert!(!building, "{} has no artifacts", start.id);
                let Command::Exec(words) = &start.spec.command else {
                    panic!("worlds exec")
                };
                let version = words[0].clone();
                let job = version.starts_with("job");
                let state = if self.hanging.contains(&version) {
                    InstanceState::Starting
                } else if self.crashing.contains(&version) {
                    exited(1, self.now)
                } else if job {
                    exited(0, self.now)
                } else {
                    let address = SocketAddr::from(([127, 0, 0, 1], 30_000));
                    InstanceState::Running {
                        address,
                        since: self.now,
                    }
                };
                self.versions.insert(start.id.clone(), version);
                let observed = ObservedInstance::new(start.id.clone(), start.workload, state);
                assert!(
                    self.running.insert(start.id, observed).is_none(),
                    "started twice"
                );
            }
            Action::Stop { id, .. } => {
                self.note_stop(&id);
                self.running.get_mut(&id).unwrap().state = exited(0, self.now);
            }
            Action::Remove(id) => {
                self.running.remove(&id);
            }
        }
    }

    /// Ends an instance from outside.
    pub(crate) fn kill(&mut self, instance: &str) {
        let id = self.id(instance);
        self.running.get_mut(&id).unwrap().state = exited(137, self.now);
    }

    /// Ends all instances of a version from outside.
    pub(crate) fn kill_all(&mut self, version: &str) {
        for (id, one) in &mut self.running {
            if self.versions.get(id).is_some_and(|it| it == version) {
                one.state = exited(137, self.now);
            }
        }
    }

    /// Has the engine run something that the record does not know.
    pub(crate) fn stranger(&mut self, id: &str) {
        let id: InstanceId = id.parse().unwrap();
        let state = InstanceState::Running {
            address: SocketAddr::from(([127, 0, 0, 1], 30_001)),
            since: self.now,
        };
        let workload = service(id.service.as_str(), "unknown", 1).workload;
        let observed = ObservedInstance::new(id.clone(), workload, state);
        self.running.insert(id, observed);
    }

    fn id(&self, instance: &str) -> InstanceId {
        format!("{}/{instance}", self.environment.id)
            .parse()
            .unwrap()
    }

    /// What must hold after every step: whoever has weight and is named in the table is healthy.
    fn check(&self) {
        for published in &self.environment.published.routes {
            for backend in published
                .route
                .targets
                .iter()
                .flat_map(|target| &target.backends)
            {
                let observed = &self.running[&backend.instance];
                assert!(
                    !self.unhealthy.contains(&self.versions[&observed.id]),
                    "{} is routed and not healthy",
                    backend.instance
                );
            }
        }
    }

    /// Takes steps of 50 ms until `done`, 30 minutes at most.
    pub(crate) fn run_until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        for _ in 0..36_000 {
            if done(self) {
                return;
            }
            self.step();
            self.now = self.now.checked_add(Duration::from_millis(50)).unwrap();
        }
        panic!(
            "never {what}: {:#?}\n{:#?}",
            self.environment.deployment, self.environment.instances
        );
    }

    /// Takes steps until the deployment ended, and returns how.
    pub(crate) fn finish(&mut self, number: DeploymentNumber) -> Deployment {
        self.run_until("finished", |world| {
            world.finished.iter().any(|one| one.number == number)
        });
        self.finished
            .iter()
            .find(|one| one.number == number)
            .unwrap()
            .clone()
    }

    /// Takes steps until nothing changes any more.
    pub(crate) fn settle(&mut self) {
        self.pass(Duration::from_millis(2_500));
    }

    /// Takes steps for so long.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now.checked_add(time).unwrap();
        while self.now < end {
            self.step();
            self.now = self.now.checked_add(Duration::from_millis(50)).unwrap();
        }
    }

    /// Takes steps until the active deployment is in this state.
    pub(crate) fn run_to(&mut self, state: State) {
        self.run_until(&state.to_string(), |world| {
            world.environment.deployment.as_ref().map(Deployment::state) == Some(state)
        });
    }

    /// Counts requests for everything that the table gives weight, as good and bad answers.
    pub(crate) fn count(&mut self, service: &str, version: &str, good: u64, bad: u64) {
        let name: ServiceName = service.parse().unwrap();
        let workload = self
            .environment
            .renderings
            .values()
            .filter_map(|rendering| rendering.services.get(&name))
            .find(|one| one.spec.command == Command::Exec(vec![version.to_owned()]))
            .unwrap()
            .workload
            .clone();
        let mut counters = TrafficCounters {
            classes: [0, good, 0, 0, bad],
            ..Default::default()
        };
        for _ in 0..good + bad {
            counters.latency.record(Duration::from_millis(5));
        }
        let environment = self.environment.id.clone();
        let route = format!("{service}:8080");
        let known = self
            .report
            .traffic
            .iter_mut()
            .find(|one| one.workload == workload);
        match known {
            Some(traffic) => traffic.counters.merge(&counters),
            None => self.report.traffic.push(RouteTraffic {
                environment,
                route,
                workload,
                counters,
            }),
        }
    }

    /// Makes an instance busy, or idle.
    pub(crate) fn load(&mut self, instance: &str, in_flight: u32, upgraded: u32) {
        let id = self.id(instance);
        self.report.loads.retain(|load| load.instance != id);
        self.report.loads.push(BackendLoad {
            instance: id,
            in_flight,
            upgraded,
            answering: true,
        });
    }

    /// Returns the weights of a service's sides, by version.
    pub(crate) fn weights(&self, service: &str) -> BTreeMap<String, u32> {
        let name: ServiceName = service.parse().unwrap();
        self.environment
            .shares
            .get(&name)
            .into_iter()
            .flatten()
            .map(|share| {
                let service = self.environment.service(share.release, &name).unwrap();
                let Command::Exec(words) = &service.spec.command else {
                    panic!("worlds exec")
                };
                (words[0].clone(), share.weight)
            })
            .collect()
    }

    /// Returns how many instances of a version run.
    pub(crate) fn count_running(&self, version: &str) -> usize {
        let runs = |one: &&ObservedInstance| matches!(one.state, InstanceState::Running { .. });
        self.running
            .values()
            .filter(runs)
            .filter(|one| self.versions.get(&one.id).is_some_and(|it| it == version))
            .count()
    }
}

fn exited(code: i32, at: Timestamp) -> InstanceState {
    InstanceState::Exited(Exit {
        code: Some(code),
        signal: None,
        error: None,
        is_by_hand: false,
        note: None,
        at,
        log_tail: vec!["the last line".to_owned()],
    })
}
