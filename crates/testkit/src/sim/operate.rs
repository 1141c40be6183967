//! The people of a simulation: what they ask of the environment, at random.

use towpath_model::command::{Change, Refusal, Request};
use towpath_model::deployment::Kind;
use towpath_model::environment::Environment;
use towpath_model::id::{ReleaseNumber, ServiceName};
use towpath_model::routing::RouteMode;

use super::app::App;
use super::chance::Chance;
use super::check;
use super::clock::{Ms, moment};
use super::invariant::{Broken, Invariant};
use super::plane::{Memory, Plane, Turn};
use super::world::World;

/// What somebody asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Deploy,
    DeployNothing,
    Redeploy,
    Rollback,
    RollbackTo,
    Abort,
    Pause,
    Resume,
    Scale,
    ScaleToNothing,
    TakeDown,
    Hold,
    ReleaseHold,
    Maintenance,
}

const WISHES: [(u32, Wish); 14] = [
    (30, Wish::Deploy),
    (1, Wish::DeployNothing),
    (3, Wish::Redeploy),
    (8, Wish::Rollback),
    (4, Wish::RollbackTo),
    (6, Wish::Abort),
    (4, Wish::Pause),
    (6, Wish::Resume),
    (8, Wish::Scale),
    (1, Wish::ScaleToNothing),
    (2, Wish::TakeDown),
    (1, Wish::Hold),
    (2, Wish::ReleaseHold),
    (1, Wish::Maintenance),
];

/// What the environment answers.
type Answer = Result<Change, Refusal>;

/// The people.
#[derive(Debug)]
pub(super) struct People {
    next: Ms,
    /// The mean time between two wishes.
    patience: Ms,
}

impl People {
    pub(super) fn new(chance: &mut Chance) -> Self {
        Self {
            next: 0,
            patience: chance.between(2_000, 20_000),
        }
    }

    pub(super) fn due(&self) -> Ms {
        self.next
    }
}

impl World {
    /// Has the control plane serve the wish that is due, when it is there and not busy.
    pub(super) fn act_as_people(&mut self) -> Result<(), Broken> {
        if self.people.next > self.now {
            return Ok(());
        }
        let idle =
            matches!(&self.plane, Plane::Up(memory) if matches!(memory.turn, Turn::Idle { .. }));
        if !idle {
            self.people.next = self.now + 50;
            return Ok(());
        }
        let spread = self.people.patience * 2;
        self.people.next = self.now + self.chance.between(100, spread);
        let first = self.app.releases.is_empty();
        let wish = if first {
            Wish::Deploy
        } else {
            self.chance.weighted(&WISHES).unwrap_or(Wish::Deploy)
        };
        self.grant(wish)
    }

    fn grant(&mut self, wish: Wish) -> Result<(), Broken> {
        let plane = std::mem::replace(&mut self.plane, Plane::Down { until: Ms::MAX });
        let Plane::Up(mut memory) = plane else {
            self.plane = plane;
            return Ok(());
        };
        let done = self.edit(&mut memory, wish);
        memory.turn = Turn::Idle { wake: self.now };
        self.plane = Plane::Up(memory);
        done
    }

    fn edit(&mut self, memory: &mut Memory, wish: Wish) -> Result<(), Broken> {
        let mut edited = memory.environment.clone();
        let answer = self.ask(&mut edited, wish)?;
        let Some(change) = answer else {
            return Ok(());
        };
        match change {
            Ok(change) => {
                self.note(|| format!("{wish:?}"));
                if let Some(sabotage) = self.sabotage {
                    sabotage.edit(&mut edited, &memory.environment, wish);
                }
                self.ledger.figures.wishes += 1;
                self.commit(edited.clone(), &change, None)?;
                memory.environment = edited;
            }
            Err(refusal) => self.note(|| format!("{wish:?} is refused: {refusal}")),
        }
        Ok(())
    }

    /// Asks. Nothing is returned where the wish makes no sense now.
    fn ask(&mut self, environment: &mut Environment, wish: Wish) -> Result<Option<Answer>, Broken> {
        let at = moment(self.now);
        let numbered = |answer: Result<(_, Change), Refusal>| answer.map(|(_, change)| change);
        Ok(Some(match wish {
            Wish::Deploy => {
                let (release, _) = self.app.release(&mut self.chance);
                self.request(environment, Kind::Release, release)?
            }
            Wish::DeployNothing => self.deploy_nothing(environment)?,
            Wish::Redeploy | Wish::RollbackTo => {
                let brought: Vec<ReleaseNumber> = environment.history.clone();
                let Some(release) = self.chance.pick(&brought) else {
                    return Ok(None);
                };
                let kind = if wish == Wish::Redeploy {
                    Kind::Release
                } else {
                    Kind::Rollback
                };
                self.request(environment, kind, release)?
            }
            Wish::Rollback => {
                let Some(release) = environment.rollback_target() else {
                    return Ok(None);
                };
                check::rollout::is_a_baseline(self, release)?;
                self.request(environment, Kind::Rollback, release)?
            }
            Wish::Abort => {
                let answer = environment.abort("ada", at);
                if let Ok((number, _)) = &answer
                    && let Some(row) = self.ledger.rows.get_mut(number)
                {
                    row.aborted = true;
                }
                numbered(answer)
            }
            Wish::Pause => numbered(environment.pause("ada", at)),
            Wish::Resume => numbered(environment.resume("ada", at)),
            Wish::Scale | Wish::ScaleToNothing => {
                let most = if wish == Wish::Scale { 5 } else { 0 };
                let count = self.chance.count(most.min(1), most);
                let Some(name) = self.some_service(environment) else {
                    return Ok(None);
                };
                environment.rescale(&name, count, "ada", at)
            }
            Wish::TakeDown => Ok(environment.take_down("ada", at)),
            Wish::Hold => Ok(environment.put_on_hold("a feast".to_owned(), "ada", at)),
            Wish::ReleaseHold => environment.release_hold("ada", at),
            Wish::Maintenance => {
                let mode = if environment.traffic == RouteMode::Serving {
                    RouteMode::Maintenance {
                        page: None,
                        retry_after_s: 10,
                    }
                } else {
                    RouteMode::Serving
                };
                Ok(environment.set_traffic(mode, "ada", at))
            }
        }))
    }

    fn some_service(&mut self, environment: &Environment) -> Option<ServiceName> {
        let rendering = environment
            .stable_rendering()
            .or_else(|| environment.candidate_rendering())?;
        let names: Vec<ServiceName> = rendering.services.keys().cloned().collect();
        self.chance.pick(&names)
    }

    fn request(
        &mut self,
        environment: &mut Environment,
        kind: Kind,
        release: ReleaseNumber,
    ) -> Result<Answer, Broken> {
        let Some(rendering) = self.app.releases.get(&release).cloned() else {
            return Invariant::WrongBaseline.broken(format!("release {release} was never made"));
        };
        let automatic = kind == Kind::Release && self.chance.hits(300);
        let held = environment.hold.is_some();
        let answer = environment.request(
            Request {
                kind,
                release,
                peers: App::peers(&rendering),
                rendering,
                settings: None,
                actor: "ada".to_owned(),
                automatic,
            },
            moment(self.now),
        );
        if held && automatic && answer.is_ok() {
            return Invariant::WrongBaseline
                .broken("an automatic deployment was accepted while on hold");
        }
        Ok(answer.map(|(number, change)| {
            self.note(|| format!("{kind:?} of release {release} is asked for as {number}"));
            self.ledger.asked_for.insert(number);
            change
        }))
    }

    /// An empty render must be refused: it would remove everything.
    fn deploy_nothing(&mut self, environment: &mut Environment) -> Result<Answer, Broken> {
        let (release, rendering) = self.app.release(&mut self.chance);
        let mut empty = (*rendering).clone();
        empty.services.clear();
        self.app.releases.remove(&release);
        let request = Request {
            kind: Kind::Release,
            release,
            rendering: std::sync::Arc::new(empty),
            settings: None,
            peers: std::collections::BTreeMap::new(),
            actor: "ada".to_owned(),
            automatic: false,
        };
        match environment.request(request, moment(self.now)) {
            Ok(_) => Invariant::DataHarmed.broken("a release without any service was accepted"),
            Err(refusal) => Ok(Err(refusal)),
        }
    }
}
