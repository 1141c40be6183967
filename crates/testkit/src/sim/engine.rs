//! The simulated engine: processes that start late, fail, crash and stop slowly. It keeps the
//! contract of [`towpath_model::port::Engine`] and knows the truth about every process.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use towpath_model::id::{InstanceId, ReleaseNumber, WorkloadId};
use towpath_model::observation::{ArtifactState, Exit, InstanceState, Network, ObservedInstance};
use towpath_model::port::{Artifacts, InstanceStart, Stop};
use towpath_model::workload::{Command, WorkloadSpec};

use super::app::App;
use super::chance::Chance;
use super::clock::{Ms, moment, ms};
use super::nature::Nature;

/// Returns the id of an instance of another environment, which the engine shows to everybody.
pub(super) fn foreign() -> InstanceId {
    "shop/staging/web-1".parse().expect("a valid instance id")
}

/// One process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) id: InstanceId,
    pub(super) workload: WorkloadId,
    pub(super) spec: Arc<WorkloadSpec>,
    pub(super) nature: Nature,
    pub(super) state: State,
    pub(super) address: SocketAddr,
    pub(super) told_to_stop: Option<Ms>,
}

/// What a process does.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum State {
    Starting { until: Ms },
    Running { since: Ms },
    Stopping { since: Ms, until: Ms },
    Exited(Exit),
}

impl Process {
    /// Tells whether there is a process at all.
    pub(super) fn is_alive(&self) -> bool {
        !matches!(self.state, State::Exited(_))
    }

    /// Tells whether it would answer a health check now. One that was told to stop still does.
    pub(super) fn answers(&self, now: Ms) -> bool {
        self.running_since()
            .is_some_and(|since| self.nature.answers(now.saturating_sub(since)))
    }

    /// Tells whether it may be given requests: it answers and nobody told it to stop.
    pub(super) fn is_well(&self, now: Ms) -> bool {
        self.told_to_stop.is_none() && self.answers(now)
    }

    /// Returns since when it runs, if it does.
    pub(super) fn running_since(&self) -> Option<Ms> {
        match self.state {
            State::Running { since } | State::Stopping { since, .. } => Some(since),
            State::Starting { .. } | State::Exited(_) => None,
        }
    }

    fn due(&self) -> Option<Ms> {
        match self.state {
            State::Starting { until } | State::Stopping { until, .. } => Some(until),
            State::Running { since } => self
                .nature
                .ends(self.id.number)
                .map(|(after, _)| since + after),
            State::Exited(_) => None,
        }
    }
}

#[derive(Debug, Clone)]
enum Build {
    Running { until: Ms, fails: bool },
    Over(ArtifactState),
}

/// The engine.
#[derive(Debug, Default)]
pub(super) struct Engine {
    pub(super) processes: BTreeMap<InstanceId, Process>,
    builds: BTreeMap<ReleaseNumber, Build>,
    next_port: u16,
    /// How often anything was truly started.
    pub(super) launches: u64,
    /// Instances ask for one another by name.
    named: bool,
}

/// Returns the address of an instance in the network in which names are asked for.
pub(super) fn network_address(number: u32) -> IpAddr {
    let [_, high, middle, low] = (number + 1).to_be_bytes();
    [10, high, middle, low].into()
}

impl Engine {
    /// Makes an engine on which another environment runs something already.
    pub(super) fn new(chance: &mut Chance) -> Self {
        let mut engine = Self::default();
        let spec = App::foreign();
        let start = InstanceStart {
            id: foreign(),
            workload: spec.id(),
            release: ReleaseNumber(1),
            spec: Arc::new(spec),
            fixed_port: None,
            peers: BTreeMap::new(),
        };
        engine.start(&start, 0, chance);
        engine.named = chance.hits(600);
        engine
    }

    pub(super) fn due(&self) -> Option<Ms> {
        let builds = self.builds.values().filter_map(|build| match build {
            Build::Running { until, .. } => Some(*until),
            Build::Over(_) => None,
        });
        self.processes
            .values()
            .filter_map(Process::due)
            .chain(builds)
            .min()
    }

    /// Lets time pass. Returns whether anything that [`Engine::observe`] shows changed.
    pub(super) fn advance(&mut self, now: Ms) -> bool {
        let mut changed = false;
        for process in self.processes.values_mut() {
            if process.due().is_some_and(|due| due <= now) {
                progress(process, now);
                changed = true;
            }
        }
        for build in self.builds.values_mut() {
            if let Build::Running { until, fails } = *build
                && until <= now
            {
                changed = true;
                *build = Build::Over(if fails {
                    ArtifactState::Failed {
                        reason: "the build step exited with code 1".to_owned(),
                        log_tail: vec!["error: it does not compile".to_owned()],
                        at: moment(now),
                    }
                } else {
                    ArtifactState::Ready
                });
            }
        }
        changed
    }

    pub(super) fn observe(
        &self,
    ) -> (
        Vec<ObservedInstance>,
        BTreeMap<ReleaseNumber, ArtifactState>,
    ) {
        let instances = self.processes.values().map(|process| ObservedInstance {
            id: process.id.clone(),
            workload: process.workload.clone(),
            state: match &process.state {
                State::Starting { .. } => InstanceState::Starting,
                State::Running { since } => InstanceState::Running {
                    address: process.address,
                    since: moment(*since),
                },
                State::Stopping { .. } => InstanceState::Stopping,
                State::Exited(exit) => InstanceState::Exited(exit.clone()),
            },
            limits: None,
        });
        let artifacts = self.builds.iter().map(|(release, build)| {
            let state = match build {
                Build::Running { .. } => ArtifactState::Building,
                Build::Over(state) => state.clone(),
            };
            (*release, state)
        });
        (instances.collect(), artifacts.collect())
    }

    /// Returns the networks in which instances ask for one another by name.
    pub(super) fn networks(&self) -> BTreeMap<String, Network> {
        if !self.named {
            return BTreeMap::new();
        }
        let members = self
            .processes
            .values()
            .filter(|process| process.id != foreign() && process.running_since().is_some());
        let network = Network {
            server: Ok([10, 0, 0, 1].into()),
            members: members
                .map(|one| (one.id.clone(), vec![network_address(one.id.number)]))
                .collect(),
            guests: BTreeSet::new(),
        };
        [("shop-production_default".to_owned(), network)].into()
    }

    pub(super) fn has_artifacts(&self, release: ReleaseNumber) -> bool {
        matches!(
            self.builds.get(&release),
            Some(Build::Over(ArtifactState::Ready))
        )
    }

    pub(super) fn prepare(&mut self, artifacts: &Artifacts, now: Ms, chance: &mut Chance) {
        let there = matches!(
            self.builds.get(&artifacts.release),
            Some(Build::Running { .. } | Build::Over(ArtifactState::Ready))
        );
        if there {
            return;
        }
        let fails = artifacts
            .builds
            .iter()
            .any(|(_, command)| *command == Command::Shell("false".to_owned()));
        let until = now + chance.between(10, 3_000);
        self.builds
            .insert(artifacts.release, Build::Running { until, fails });
    }

    pub(super) fn keep_artifacts(&mut self, kept: &[ReleaseNumber]) {
        self.builds.retain(|release, _| kept.contains(release));
    }

    /// Starts an instance unless one with its id is known. Returns whether it was truly started.
    pub(super) fn start(&mut self, start: &InstanceStart, now: Ms, chance: &mut Chance) -> bool {
        if self.processes.contains_key(&start.id) {
            return false;
        }
        self.launches += 1;
        self.next_port = (self.next_port + 1) % 20_000;
        let port = start.fixed_port.unwrap_or(20_000 + self.next_port);
        let until = now
            + if chance.hits(100) {
                chance.between(500, 5_000)
            } else {
                chance.between(1, 200)
            };
        let process = Process {
            id: start.id.clone(),
            workload: start.workload.clone(),
            spec: Arc::clone(&start.spec),
            nature: Nature::of(&start.spec),
            state: State::Starting { until },
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            told_to_stop: None,
        };
        self.processes.insert(start.id.clone(), process);
        true
    }

    /// Tells an instance to stop; it is killed after its grace period.
    pub(super) fn stop(&mut self, id: &InstanceId, stop: &Stop, now: Ms, chance: &mut Chance) {
        let Some(process) = self.processes.get_mut(id).filter(|one| one.is_alive()) else {
            return;
        };
        if process.told_to_stop.is_some() {
            return;
        }
        process.told_to_stop = Some(now);
        let grace = ms(stop.grace);
        let takes = if chance.hits(150) {
            grace
        } else {
            chance.between(1, grace / 4)
        };
        let since = match process.state {
            State::Running { since } => since,
            State::Starting { .. } | State::Stopping { .. } | State::Exited(_) => now,
        };
        process.state = State::Stopping {
            since,
            until: now + takes,
        };
    }

    /// Forgets an instance that ended. Refused while it runs.
    pub(super) fn remove(&mut self, id: &InstanceId) -> bool {
        if self.processes.get(id).is_some_and(Process::is_alive) {
            return false;
        }
        self.processes.remove(id);
        true
    }

    /// Kills an instance from outside.
    pub(super) fn kill(&mut self, id: &InstanceId, now: Ms) {
        if let Some(process) = self.processes.get_mut(id).filter(|one| one.is_alive()) {
            process.state = State::Exited(exit(None, Some(9), None, now));
        }
    }
}

fn progress(process: &mut Process, now: Ms) {
    process.state = match process.state {
        State::Starting { .. } if process.nature == Nature::CannotStart => {
            State::Exited(exit(None, None, Some("no such file"), now))
        }
        State::Starting { .. } => State::Running { since: now },
        State::Running { .. } => {
            let code = process.nature.ends(process.id.number).map(|(_, code)| code);
            State::Exited(exit(code, None, None, now))
        }
        State::Stopping { .. } | State::Exited(_) => State::Exited(exit(None, Some(15), None, now)),
    };
}

fn exit(code: Option<i32>, signal: Option<i32>, error: Option<&str>, now: Ms) -> Exit {
    Exit {
        code,
        signal,
        error: error.map(str::to_owned),
        is_by_hand: false,
        note: None,
        at: moment(now),
        log_tail: vec!["the last line".to_owned()],
    }
}
