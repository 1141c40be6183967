//! The control plane's loop in micro steps: observe, step and write down, then one action after
//! the other. Between any two of them it may be killed.

use std::collections::VecDeque;

use towpath_model::command::Change;
use towpath_model::environment::{Environment, Published};
use towpath_model::id::ReleaseNumber;
use towpath_model::observation::Observation;
use towpath_model::step::{Action, Step, step};

use super::check;
use super::clock::{Ms, moment, since_start};
use super::invariant::Broken;
use super::ledger::Row;
use super::plane::{LONGEST_WAIT, Memory, Plane, RETRY_AFTER, Turn};
use super::prober::Prober;
use super::world::World;

impl World {
    /// Does what is due of the control plane.
    pub(super) fn advance_plane(&mut self) -> Result<(), Broken> {
        if self.plane.due() > self.now {
            return Ok(());
        }
        let plane = std::mem::replace(&mut self.plane, Plane::Down { until: Ms::MAX });
        let Plane::Up(mut memory) = plane else {
            self.plane = Plane::Up(Box::new(self.start_plane()?));
            return Ok(());
        };
        if memory.prober.advance(self.now, &self.engine)
            && let Turn::Idle { wake } = &mut memory.turn
        {
            *wake = self.now;
        }
        if memory.turn.due() > self.now {
            self.plane = Plane::Up(memory);
            return Ok(());
        }
        if self.chance.hits(self.faults.crash) {
            let until = self.now + self.chance.between(10, 6_000);
            self.note(|| format!("the control plane is killed, back at {until}"));
            self.plane = Plane::Down { until };
            return Ok(());
        }
        let turn = std::mem::replace(&mut memory.turn, Turn::Idle { wake: self.now });
        memory.turn = match turn {
            Turn::Idle { .. } => self.observe(&mut memory),
            Turn::Observed { observation, .. } => self.step(&mut memory, *observation)?,
            Turn::Acting { actions, wake, .. } => self.act(&mut memory, actions, wake)?,
        };
        self.plane = Plane::Up(memory);
        Ok(())
    }

    fn start_plane(&mut self) -> Result<Memory, Broken> {
        self.note(|| "the control plane starts".to_owned());
        Ok(Memory {
            environment: self.store.read(&self.ledger.record)?,
            prober: Prober::default(),
            report: None,
            seen: None,
            turn: Turn::Idle { wake: self.now },
            heard: false,
            up_since: self.now,
        })
    }

    fn observe(&mut self, memory: &mut Memory) -> Turn {
        memory.heard = false;
        if self.chance.hits(self.faults.observe_fails) {
            return Turn::Idle {
                wake: self.now + RETRY_AFTER,
            };
        }
        let stale = self.chance.hits(self.faults.stale_report) && memory.report.is_some();
        if !stale {
            memory.report = self.router.report(self.now);
        }
        let stale = self.chance.hits(self.faults.stale_engine);
        let seen = memory.seen.take().filter(|_| stale).unwrap_or_else(|| {
            let (instances, artifacts) = self.engine.observe();
            (self.now, instances, artifacts, self.engine.networks())
        });
        memory.seen = Some(seen.clone());
        let (at, instances, artifacts, networks) = seen;
        let observation = Observation {
            at: moment(at),
            instances,
            artifacts,
            probes: memory.prober.records(),
            router: memory.report.clone(),
            redirects: None,
            networks,
        };
        Turn::Observed {
            at: self.now + self.pause(),
            observation: Box::new(observation),
        }
    }

    /// The time between two micro steps: mostly none.
    fn pause(&mut self) -> Ms {
        if self.chance.hits(100) {
            self.chance.between(1, 100)
        } else {
            0
        }
    }

    fn step(&mut self, memory: &mut Memory, mut observation: Observation) -> Result<Turn, Broken> {
        if let Some(sabotage) = self.sabotage {
            sabotage.observation(&mut observation, &memory.environment);
        }
        self.ledger.figures.steps += 1;
        let mut next = step(&memory.environment, &observation, moment(self.now));
        if next.unheard().is_some() {
            next.hear(&[]);
        }
        if let Some(sabotage) = self.sabotage {
            sabotage.step(&mut next, &memory.environment);
        }
        let Step {
            environment,
            actions,
            events,
            finished,
            wake_at,
        } = next;
        check::rollout::has_a_deadline(self, &environment, wake_at)?;
        let ended = !finished.is_empty();
        if environment != memory.environment || !events.is_empty() {
            if self.chance.hits(self.faults.commit_fails) {
                return Ok(Turn::Idle {
                    wake: self.now + RETRY_AFTER,
                });
            }
            let change = Change { events, finished };
            self.commit(environment.clone(), &change, Some(&observation))?;
            memory.environment = environment;
        }
        memory
            .prober
            .watch(memory.environment.probe_targets(), self.now);
        let wake = wake_at.map_or(self.now + LONGEST_WAIT, |at| {
            since_start(at).clamp(self.now + 5, self.now + LONGEST_WAIT)
        });
        if ended {
            self.prune(&memory.environment);
        }
        Ok(Turn::Acting {
            at: self.now + self.pause(),
            actions: actions.into(),
            wake,
        })
    }

    /// Writes the record down with its deployments and events, after the checks of what changed.
    pub(super) fn commit(
        &mut self,
        mut environment: Environment,
        change: &Change,
        observation: Option<&Observation>,
    ) -> Result<(), Broken> {
        for event in &change.events {
            self.note(|| {
                let arrow = match (&event.from, &event.to) {
                    (Some(from), Some(to)) => format!(" {from} -> {to}"),
                    _ => String::new(),
                };
                let reason = event.reason.as_deref().unwrap_or("");
                format!("  {} {}{arrow} {reason}", event.what, event.subject)
            });
        }
        let rows = change
            .finished
            .iter()
            .chain(&environment.deployment)
            .chain(&environment.waiting);
        for deployment in rows {
            let before = self.ledger.rows.get(&deployment.number);
            check::rollout::row(before, deployment)?;
            check::rollout::abort_is_heard(before, deployment)?;
            let aborted = before.is_some_and(|row| row.aborted);
            let row = Row {
                deployment: deployment.clone(),
                aborted,
            };
            self.ledger.rows.insert(deployment.number, row);
        }
        let draft = self.store.draft(&mut environment)?;
        check::on_commit(self, &environment, &draft, change, observation)?;
        self.store.write(draft, &environment);
        self.ledger.figures.commits += 1;
        self.ledger.record = environment;
        Ok(())
    }

    /// Removes the artifacts that nothing in play and nothing in the history needs.
    fn prune(&mut self, environment: &Environment) {
        let kept: Vec<ReleaseNumber> = environment
            .releases_in_play()
            .into_iter()
            .chain(environment.history.iter().copied())
            .collect();
        self.engine.keep_artifacts(&kept);
    }

    fn act(
        &mut self,
        memory: &mut Memory,
        mut actions: VecDeque<Action>,
        mut wake: Ms,
    ) -> Result<Turn, Broken> {
        let Some(action) = actions.pop_front() else {
            if std::mem::take(&mut memory.heard) {
                wake = wake.min(self.now + 5);
            }
            return Ok(Turn::Idle { wake });
        };
        let lost = self.chance.hits(self.faults.action_lost);
        let answer_lost = lost || self.chance.hits(self.faults.answer_lost);
        if !lost {
            let times = if self.chance.hits(self.faults.action_twice) {
                2
            } else {
                1
            };
            for _ in 0..times {
                self.execute(memory, &action)?;
            }
        }
        if answer_lost {
            wake = wake.min(self.now + RETRY_AFTER);
        } else if action == Action::Publish {
            memory.report = self.router.report(self.now);
            wake = self.now + 5;
        }
        Ok(Turn::Acting {
            at: self.now + self.pause(),
            actions,
            wake,
        })
    }

    fn execute(&mut self, memory: &Memory, action: &Action) -> Result<(), Broken> {
        check::on_action(self, &memory.environment, action)?;
        match action {
            Action::Prepare(artifacts) => {
                self.engine.prepare(artifacts, self.now, &mut self.chance);
            }
            Action::Publish => return self.publish(memory.environment.published.clone()),
            Action::Start(start) => {
                let launched = self.engine.start(start, self.now, &mut self.chance);
                if launched {
                    self.note(|| {
                        format!(
                            "    start {} {:?}",
                            start.id.local(),
                            super::nature::Nature::of(&start.spec)
                        )
                    });
                    check::jobs::launched(self, &memory.environment, start)?;
                }
            }
            Action::Stop { id, stop } => {
                self.note(|| format!("    stop {}", id.local()));
                self.engine.stop(id, stop, self.now, &mut self.chance);
                self.ledger.told_to_stop.insert(id.clone());
            }
            Action::Remove(id) => {
                self.engine.remove(id);
            }
            // Nothing is taken over in this world: environments begin empty.
            Action::Adopt(_) | Action::LetGo(_) | Action::Redirect(_) => {}
        }
        Ok(())
    }

    fn publish(&mut self, table: Published) -> Result<(), Broken> {
        if !self.router.is_up(self.now) {
            return Ok(());
        }
        if self.chance.hits(self.faults.publish_late) {
            let at = self.now + self.chance.between(5, 3_000);
            self.router.delay(at, table, self.now);
            return Ok(());
        }
        self.put_table(table, self.now)
    }

    /// Puts a table in force, after the checks of what that changes.
    pub(super) fn put_table(&mut self, table: Published, written_at: Ms) -> Result<(), Broken> {
        let before_written_at = self.router.written_at;
        let Some(before) = self.router.put(table, written_at, self.now) else {
            return Ok(());
        };
        let line = self.describe_table();
        self.note(|| line);
        check::routing::on_table(self, &before, before_written_at)
    }

    fn describe_table(&self) -> String {
        let targets = self.router.table.routes.iter().map(|one| {
            let sides = one.route.targets.iter().map(|target| {
                let backends: Vec<String> = target
                    .backends
                    .iter()
                    .map(|backend| backend.instance.number.to_string())
                    .collect();
                format!(
                    "{}={}[{}]",
                    target.workload,
                    target.weight,
                    backends.join(",")
                )
            });
            let sides: Vec<String> = sides.collect();
            format!(
                "{} {:?} {}",
                one.route.name,
                one.route.mode,
                sides.join(" ")
            )
        });
        let targets: Vec<String> = targets.collect();
        format!(
            "    table {}: {}",
            self.router.table.generation,
            targets.join("; ")
        )
    }
}
