//! Faults put into the system under test on purpose, to show that the checks bite. They tamper with
//! what it sees and decides; the product's code stays as it is.

mod deed;

use towpath_model::environment::Environment;
use towpath_model::observation::Observation;
use towpath_model::step::Step;

use super::invariant::Invariant;
use super::operate::Wish;

/// A way to break a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Instances are routed as soon as they run.
    RouteTheUnhealthy,
    /// Everybody is told of the instances of both sides.
    TellOfBothSides,
    /// The stable side is unrouted when the candidate starts.
    UnrouteTooEarly,
    /// The candidate is given all the traffic when it starts.
    ShiftTooEarly,
    /// One of several stable instances is retired when the candidate starts.
    ThinOutTooEarly,
    /// A deployment that goes back ends before its traffic went back.
    KeepTheFailedSide,
    /// Whoever is unrouted is stopped at once.
    StopWithoutDrain,
    /// Whoever drains is stopped as soon as no name is answered with it.
    StopTheLatelyNamed,
    /// Every table is held to be confirmed.
    SkipTheConfirmation,
    /// Requests that nobody sent are counted as good ones.
    InventData,
    /// The deployment that waits begins beside the active one.
    StartTwo,
    /// What was aborted half-way becomes the stable release.
    HalfReleasedBaseline,
    /// A release that failed is deployed again by itself.
    RedeployTheFailed,
    /// An abort is accepted and forgotten.
    IgnoreTheAbort,
    /// Nothing wakes a deployment that waits.
    ForgetTheDeadline,
    /// Instances get the next version of their secrets.
    MixTheSecrets,
    /// The stable release's rendering is pruned while a candidate is brought out.
    PruneTheStable,
    /// A job that runs is forgotten, as by a crash.
    ForgetTheJob,
    /// Jobs are held to be done.
    SkipTheJobs,
    /// A second instance gets a volume of its own kind.
    ShareTheVolume,
    /// What another environment has is stopped.
    TouchTheForeign,
    /// A secret's value is written into an event.
    ShowTheSecret,
    /// Moves of a deployment are not written down.
    HideTheMoves,
    /// A deployment that was rolled back is said to have succeeded.
    CallFailureSuccess,
}

impl Sabotage {
    /// Every sabotage, with the rule that it breaks.
    pub const ALL: [(Self, Invariant); 24] = [
        (Self::RouteTheUnhealthy, Invariant::RoutedToTheUnwell),
        (Self::TellOfBothSides, Invariant::RoutedToTheUnwell),
        (Self::UnrouteTooEarly, Invariant::LastHealthyGone),
        (Self::ShiftTooEarly, Invariant::ShiftWithoutCapacity),
        (Self::ThinOutTooEarly, Invariant::ShiftWithoutCapacity),
        (Self::KeepTheFailedSide, Invariant::WrongSideKept),
        (Self::StopWithoutDrain, Invariant::StoppedWhileInUse),
        (Self::StopTheLatelyNamed, Invariant::StoppedWhileInUse),
        (Self::SkipTheConfirmation, Invariant::AdvancedBlindly),
        (Self::InventData, Invariant::AdvancedBlindly),
        (Self::StartTwo, Invariant::TwoActive),
        (Self::HalfReleasedBaseline, Invariant::WrongBaseline),
        (Self::RedeployTheFailed, Invariant::WrongBaseline),
        (Self::IgnoreTheAbort, Invariant::Stuck),
        (Self::ForgetTheDeadline, Invariant::Stuck),
        (Self::MixTheSecrets, Invariant::IncompleteRollback),
        (Self::PruneTheStable, Invariant::IncompleteRollback),
        (Self::ForgetTheJob, Invariant::JobNotOnce),
        (Self::SkipTheJobs, Invariant::JobNotOnce),
        (Self::ShareTheVolume, Invariant::DataHarmed),
        (Self::TouchTheForeign, Invariant::DataHarmed),
        (Self::ShowTheSecret, Invariant::SecretShown),
        (Self::HideTheMoves, Invariant::NotInTheTrail),
        (Self::CallFailureSuccess, Invariant::NotInTheTrail),
    ];

    /// Tampers with what a step sees.
    pub(super) fn observation(self, observation: &mut Observation, before: &Environment) {
        match self {
            Self::SkipTheConfirmation => deed::confirm_everything(observation, before),
            Self::InventData => deed::invent_requests(observation, before),
            _ => {}
        }
    }

    /// Tampers with what a step decides.
    pub(super) fn step(self, next: &mut Step, before: &Environment) {
        match self {
            Self::RouteTheUnhealthy => deed::route_all(next),
            Self::TellOfBothSides => deed::tell_of_all(next),
            Self::UnrouteTooEarly => deed::unroute_stable(next),
            Self::ShiftTooEarly => deed::shift_all(next),
            Self::ThinOutTooEarly => deed::retire_one(next),
            Self::KeepTheFailedSide => deed::end_before_the_way_back(next, before),
            Self::StopWithoutDrain => deed::stop_the_draining(next),
            Self::StopTheLatelyNamed => deed::stop_the_lately_named(next),
            Self::InventData => deed::forget_the_baseline(next),
            Self::StartTwo => deed::start_the_waiting(next, before),
            Self::HalfReleasedBaseline => deed::make_the_failed_stable(next),
            Self::RedeployTheFailed => deed::redeploy(next),
            Self::ForgetTheDeadline => next.wake_at = None,
            Self::MixTheSecrets => deed::raise_secret_versions(next),
            Self::PruneTheStable => deed::prune_stable(next),
            Self::ForgetTheJob => deed::forget_jobs(next),
            Self::SkipTheJobs => deed::call_jobs_done(next),
            Self::ShareTheVolume => deed::start_stateful_twice(next),
            Self::TouchTheForeign => deed::stop_foreign(next),
            Self::ShowTheSecret => deed::show_secret(next),
            Self::HideTheMoves => next.events.retain(|event| event.what != "deployment.moved"),
            Self::CallFailureSuccess => deed::call_success(next),
            Self::SkipTheConfirmation | Self::IgnoreTheAbort => {}
        }
    }

    /// Tampers with what became of a wish.
    pub(super) fn edit(self, edited: &mut Environment, before: &Environment, wish: Wish) {
        if self == Self::IgnoreTheAbort && wish == Wish::Abort {
            edited.clone_from(before);
        }
    }
}
