//! The checks of the 14 rules, against the truth. [`standing`] runs after every micro step, the
//! others when a record is written down, an action is executed, or a table comes into force.

pub(super) mod audit;
pub(super) mod capacity;
pub(super) mod data;
pub(super) mod jobs;
pub(super) mod liveness;
pub(super) mod naming;
pub(super) mod rollout;
pub(super) mod routing;
pub(super) mod stopping;

use towpath_model::command::Change;
use towpath_model::environment::Environment;
use towpath_model::observation::Observation;
use towpath_model::step::Action;

use super::invariant::{Broken, Invariant};
use super::store::Draft;
use super::world::World;

/// What must hold at every moment.
pub(super) fn standing(world: &World) -> Result<(), Broken> {
    data::never_two_stateful(world)?;
    routing::nobody_told_to_stop_is_routed(world)?;
    liveness::no_phase_lasts_for_ever(world)
}

/// What must hold of a record, and of what changed since the last one. `observation` is what the
/// step saw; there is none when people changed the record.
pub(super) fn on_commit(
    world: &mut World,
    after: &Environment,
    draft: &Draft,
    change: &Change,
    observation: Option<&Observation>,
) -> Result<(), Broken> {
    data::no_secret(draft, change)?;
    audit::rows(world, after)?;
    audit::trail(world, after, change)?;
    rollout::stable(world, after, change)?;
    rollout::hold(world, after, change)?;
    rollout::needs_are_kept(after)?;
    if let Some(observation) = observation {
        routing::table_agrees_with_what_was_seen(world, after, observation)?;
        naming::names_agree_with_what_was_seen(after, observation)?;
        capacity::shifts(world, after)?;
        capacity::decisions(world, after, observation)?;
        capacity::keeps(world, after, observation)?;
        rollout::advances(world, after)?;
        rollout::no_way_back_from_a_rollback(world, after)?;
        jobs::none_is_skipped(world, after)?;
        rollout::outcomes(world, after, change)?;
    }
    liveness::note_phase(world, after);
    Ok(())
}

/// What must hold of an action that is about to be executed.
pub(super) fn on_action(
    world: &World,
    environment: &Environment,
    action: &Action,
) -> Result<(), Broken> {
    let text = serde_json::to_string(action).unwrap_or_default();
    data::hides_the_secret(&text, "an action")?;
    match action {
        Action::Start(start) => rollout::start_is_whole(world, start),
        Action::Stop { id, .. } => {
            data::is_ours(environment, id)?;
            stopping::may_stop(world, environment, id)
        }
        Action::Remove(id) => data::is_ours(environment, id),
        // Rule 12: what was not started here is stopped, removed and routed only where the record says
        // that it was taken over, and in this world nothing ever is.
        Action::Adopt(_) | Action::LetGo(_) | Action::Redirect(_) => {
            Invariant::DataHarmed.broken("something is taken over that nobody asked for")
        }
        Action::Prepare(_) | Action::Publish => Ok(()),
    }
}
