//! Who of the jobs of a group has its turn. What is known here follows from the records of runs: jobs that
//! run or are ready to. So nothing of it is written down; it is made anew at a start, before any run
//! moves.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use towpath_model::id::{AppName, RunNumber};
use towpath_model::pipeline::run::Run;

/// A job: its run, and its number within that. The older run goes first.
type Member = (RunNumber, u32);

/// By the app and the name of the group.
type ByName = BTreeMap<(AppName, String), Group>;

/// The groups of all apps.
#[derive(Debug, Default)]
pub(crate) struct Groups(Mutex<ByName>);

#[derive(Debug, Default)]
struct Group {
    /// Those that run or wait, in the order of their turns.
    members: Vec<Member>,
    /// Whose turn it is.
    turn: Option<Member>,
}

impl Group {
    /// Has it be somebody's turn, where it is nobody's. Returns whether that changed anything.
    fn go_on(&mut self) -> bool {
        if self.turn.is_some_and(|turn| self.members.contains(&turn)) {
            return false;
        }
        let before = self.turn;
        self.turn = self.members.iter().min().copied();
        self.turn != before
    }
}

impl Groups {
    /// Takes in what a run's record says now. Returns whether it is somebody else's turn than before.
    pub(super) fn update(&self, run: &Run) -> bool {
        let mut groups = self.lock();
        let of_app = |(app, _): &(AppName, String)| app == &run.app;
        for (_, group) in groups.iter_mut().filter(|(key, _)| of_app(key)) {
            group.members.retain(|(number, _)| *number != run.number);
        }
        for (name, job, runs) in run.turns() {
            let key = (run.app.clone(), name.to_owned());
            let group = groups.entry(key).or_default();
            group.members.push((run.number, job));
            if runs && group.turn.is_none() {
                group.turn = Some((run.number, job));
            }
        }
        let mut has_changed = false;
        groups.retain(|key, group| {
            if of_app(key) {
                has_changed |= group.go_on();
            }
            !group.members.is_empty()
        });
        has_changed
    }

    /// Takes in the records of all runs at a start: those that run have their turn.
    pub(super) fn take_up<'r>(&self, runs: impl Iterator<Item = &'r Run> + Clone) {
        // Whoever is taken in first must not get the turn of one that runs.
        for run in runs.clone() {
            let mut groups = self.lock();
            for (name, job, _) in run.turns().into_iter().filter(|(_, _, runs)| *runs) {
                let group = groups
                    .entry((run.app.clone(), name.to_owned()))
                    .or_default();
                group.members.push((run.number, job));
                group.turn = Some((run.number, job));
            }
        }
        for run in runs {
            self.update(run);
        }
    }

    /// Returns the numbers of a run's jobs whose turn it is.
    pub(super) fn turns(&self, run: &Run) -> Vec<u32> {
        let groups = self.lock();
        let own = groups.iter().filter(|((app, _), _)| app == &run.app);
        let turns = own.filter_map(|(_, group)| group.turn);
        turns
            .filter(|(number, _)| *number == run.number)
            .map(|(_, job)| job)
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, ByName> {
        // The map is whole between any two statements that hold the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use towpath_model::delivery::Delivery;
    use towpath_model::id::{Digest, ReleaseNumber};
    use towpath_model::pipeline::plan::plan;
    use towpath_model::pipeline::run::JobState;
    use towpath_model::pipeline::{Push, Reference};

    use super::*;

    /// A run with a job in each of two groups, and two in a third.
    fn run(number: u32) -> Run {
        let text = "pipeline:\n  - { name: a, run: x, concurrency: one }\n  \
            - { name: b, run: x, concurrency: two }\n  - { name: c, run: x, concurrency: three }\n  \
            - { name: d, run: x, concurrency: three }\n";
        let source = towpath_compose::Source::new("towpath.yaml", text.to_owned());
        let file = Delivery::parse(&source).unwrap().file;
        let push = Push {
            app: "shop".parse().unwrap(),
            source: Digest::of(b"tree"),
            commit: String::new(),
            reference: Reference::WorkingTree,
            changed: None,
            author: String::new(),
            message: String::new(),
            actor: String::new(),
        };
        let plan = plan(&file, &push).unwrap();
        Run {
            app: push.app.clone(),
            number: RunNumber(number),
            push,
            release: ReleaseNumber(1),
            is_promotion: false,
            warnings: Vec::new(),
            is_hotfix: false,
            reach: plan.reach,
            created_at: jiff::Timestamp::UNIX_EPOCH,
            jobs: plan.jobs,
            targets: Vec::new(),
            stop: None,
            outcome: None,
            finished_at: None,
        }
    }

    fn end(run: &mut Run, job: usize) {
        run.jobs[job].state = JobState::Succeeded;
    }

    #[test]
    fn the_oldest_run_goes_first_and_another_one_when_it_has_ended() {
        let groups = Groups::default();
        let (mut first, second) = (run(1), run(2));
        assert!(groups.update(&second));
        assert_eq!(groups.turns(&second), [1, 3, 2]);
        assert!(!groups.update(&first), "nobody is put off who has it");
        assert_eq!(groups.turns(&first), [0; 0]);
        let mut second = second;
        for job in [0, 2, 3] {
            end(&mut second, job);
        }
        assert!(groups.update(&second));
        assert_eq!(groups.turns(&first), [1, 3]);
        assert_eq!(groups.turns(&second), [2]);
        end(&mut first, 2);
        assert!(groups.update(&first));
        assert_eq!(groups.turns(&first), [1, 4]);
        let mut other = run(3);
        other.app = "other".parse().unwrap();
        groups.update(&other);
        assert_eq!(groups.turns(&other), [1, 3, 2], "another app's are others");
    }

    #[test]
    fn at_a_start_those_that_run_have_their_turn_whoever_is_older() {
        let groups = Groups::default();
        let (first, mut second) = (run(1), run(2));
        second.jobs[3].state = JobState::Active;
        groups.take_up([&first, &second].into_iter());
        assert_eq!(groups.turns(&first), [1, 2]);
        assert_eq!(groups.turns(&second), [4]);
    }
}
