//! What goes wrong in a simulation and how often. Each seed draws its own mixture, so that some
//! runs are calm but for one kind of fault.

use super::chance::Chance;

/// How often each fault is met, in cases of a thousand.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults {
    /// The engine's last answer is returned again.
    pub(super) stale_engine: u32,
    /// The router's last report is returned again.
    pub(super) stale_report: u32,
    /// Observing fails.
    pub(super) observe_fails: u32,
    /// An action is not executed.
    pub(super) action_lost: u32,
    /// An action is executed and its answer is lost.
    pub(super) answer_lost: u32,
    /// An action is executed twice.
    pub(super) action_twice: u32,
    /// A table comes into force late.
    pub(super) publish_late: u32,
    /// Writing down fails.
    pub(super) commit_fails: u32,
    /// The control plane is killed before its next micro step.
    pub(super) crash: u32,
    /// Nobody tells the control plane of a change.
    pub(super) wake_lost: u32,
    /// At a visit of misfortune: the router restarts.
    pub(super) router_restart: u32,
    /// At a visit of misfortune: an instance is killed.
    pub(super) instance_killed: u32,
}

impl Faults {
    /// Draws the mixture of a seed.
    pub(super) fn draw(chance: &mut Chance) -> Self {
        let mut one = |likely: u32, most: u32| {
            if chance.hits(likely) {
                chance.count(1, most)
            } else {
                0
            }
        };
        Self {
            stale_engine: one(400, 200),
            stale_report: one(400, 200),
            observe_fails: one(200, 50),
            action_lost: one(400, 150),
            answer_lost: one(300, 100),
            action_twice: one(200, 100),
            publish_late: one(400, 300),
            commit_fails: one(200, 50),
            crash: one(600, 40),
            wake_lost: one(300, 200),
            router_restart: one(300, 300),
            instance_killed: one(400, 600),
        }
    }
}
