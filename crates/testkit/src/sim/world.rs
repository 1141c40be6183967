//! A simulated world: one environment, its engine, router, control plane and people, on one
//! virtual clock. It knows the truth, which the checks compare with what was done.

use towpath_model::environment::Environment;
use towpath_model::id::EnvironmentId;

use super::app::App;
use super::chance::Chance;
use super::check;
use super::clock::Ms;
use super::engine::{Engine, foreign};
use super::fault::Faults;
use super::invariant::{Breach, Broken};
use super::ledger::Ledger;
use super::operate::People;
use super::plane::Plane;
use super::router::Router;
use super::sabotage::Sabotage;
use super::store::Store;
use super::{Figures, traffic};

/// For so long people do things and things go wrong.
const BUSY: Ms = 90_000;

/// After that everything must come to rest within this time: the longest chain is a pause that
/// expires, a way back that meets its deadline, and a crash loop's longest delay.
const REST: Ms = 420_000;

/// The lines of the trace that are kept.
const TRACE: usize = 150;

/// A world.
#[derive(Debug)]
pub(super) struct World {
    pub(super) now: Ms,
    pub(super) chance: Chance,
    pub(super) faults: Faults,
    pub(super) app: App,
    pub(super) engine: Engine,
    pub(super) router: Router,
    pub(super) plane: Plane,
    pub(super) people: People,
    pub(super) ledger: Ledger,
    pub(super) store: Store,
    pub(super) sabotage: Option<Sabotage>,
    traffic_at: Ms,
    misfortune_at: Ms,
    quiet: bool,
    trace: Option<std::collections::VecDeque<String>>,
}

impl World {
    pub(super) fn new(seed: u64, sabotage: Option<Sabotage>, traced: bool) -> Self {
        let id: EnvironmentId = "shop/production".parse().expect("a valid environment id");
        let mut chance = Chance::new(seed);
        let faults = if chance.hits(100) {
            Faults::default()
        } else {
            Faults::draw(&mut chance)
        };
        let mut record = Environment::new(id.clone());
        Self {
            now: 0,
            faults,
            app: App::new(&mut chance),
            engine: Engine::new(&mut chance),
            router: Router::new(id),
            plane: Plane::Down { until: 0 },
            people: People::new(&mut chance),
            ledger: Ledger::new(&record),
            store: Store::new(&mut record),
            sabotage,
            traffic_at: 0,
            misfortune_at: chance.between(1_000, 10_000),
            quiet: false,
            trace: traced.then(std::collections::VecDeque::new),
            chance,
        }
    }

    /// Adds a line to the trace, made only when somebody wants it.
    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            if trace.len() >= TRACE {
                trace.pop_front();
            }
            trace.push_back(format!("{:>7} {}", self.now, line()));
        }
    }

    /// Runs to the end, or to the first breach.
    pub(super) fn run(mut self, seed: u64) -> Result<Figures, Box<Breach>> {
        match self.live() {
            Ok(()) => Ok(self.ledger.figures),
            Err(broken) => Err(Box::new(Breach {
                seed,
                at_ms: self.now,
                broken,
                trace: self.trace.take().into_iter().flatten().collect(),
            })),
        }
    }

    fn live(&mut self) -> Result<(), Broken> {
        let end = BUSY + REST;
        while self.now < end {
            self.pass_time()?;
            if self.quiet && check::liveness::is_at_rest(self) {
                break;
            }
        }
        self.store.read(&self.ledger.record)?;
        check::liveness::at_the_end(self)
    }

    /// Goes to the next moment at which anything is due, and does it.
    fn pass_time(&mut self) -> Result<(), Broken> {
        let due = [
            Some(self.plane.due()),
            self.engine.due(),
            self.router.due(self.now),
            Some(self.traffic_at),
            Some(if self.quiet {
                Ms::MAX
            } else {
                self.misfortune_at.min(self.people.due()).min(BUSY)
            }),
        ];
        let next = due.into_iter().flatten().min().unwrap_or(Ms::MAX);
        self.now = self.now.max(next);
        self.ledger.figures.micro_steps += 1;
        if self.engine.advance(self.now) {
            self.wake();
        }
        self.route_late_tables()?;
        if self.router.land(self.now) {
            self.wake();
        }
        if !self.quiet {
            self.misfortune();
            self.act_as_people()?;
        }
        if self.traffic_at <= self.now {
            traffic::flow(self)?;
            let step = if self.ledger.record.deployment.is_some() {
                200
            } else {
                1_000
            };
            self.traffic_at = self.now + step;
        }
        self.advance_plane()?;
        check::standing(self)?;
        if !self.quiet && self.now >= BUSY {
            self.calm_down();
        }
        Ok(())
    }

    /// Tells the control plane that something changed, unless that is lost.
    pub(super) fn wake(&mut self) {
        if !self.chance.hits(self.faults.wake_lost) {
            let at = self.now + self.chance.between(0, 20);
            self.plane.wake(at);
        }
    }

    fn route_late_tables(&mut self) -> Result<(), Broken> {
        while let Some((table, written_at)) = self.router.take_delayed(self.now) {
            self.put_table(table, written_at)?;
            self.wake();
        }
        Ok(())
    }

    /// Something of the world outside goes wrong.
    fn misfortune(&mut self) {
        if self.misfortune_at > self.now {
            return;
        }
        self.misfortune_at = self.now + self.chance.between(2_000, 15_000);
        if self.chance.hits(self.faults.router_restart) {
            let back = self.now + self.chance.between(10, 8_000);
            self.note(|| format!("the router restarts, back at {back}"));
            self.router.restart(back);
        }
        if self.chance.hits(self.faults.instance_killed) {
            let alive: Vec<_> = self
                .engine
                .processes
                .values()
                .filter(|one| one.is_alive() && one.id != foreign())
                .map(|one| one.id.clone())
                .collect();
            if let Some(id) = self.chance.pick(&alive) {
                self.note(|| format!("kill -9 {}", id.local()));
                self.engine.kill(&id, self.now);
                self.wake();
            }
        }
    }

    /// Ends all faults: from now on everything works, and must come to rest.
    fn calm_down(&mut self) {
        self.quiet = true;
        self.faults = Faults::default();
        self.note(|| "no faults from here on".to_owned());
        if let Plane::Down { until } = &mut self.plane {
            *until = (*until).min(self.now + 1_000);
        }
        self.ledger.calm_since = Some(self.now);
    }
}
