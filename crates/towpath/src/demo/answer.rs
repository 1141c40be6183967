//! What the commands' answers say: the state of a deployment, whether a service is scaled. Not how
//! the commands are run.

use serde_json::Value;

use super::command_line::Answer;

/// Returns the deployment that an answer is about.
pub(super) fn deployment(answer: &Answer) -> &Value {
    let json = &answer.json;
    if json["deployment"].is_object() {
        &json["deployment"]
    } else {
        json
    }
}

/// Returns the words for the state of the deployment that an answer is about.
pub(super) fn deployment_state(answer: &Answer) -> &'static str {
    state_words(deployment(answer)["state"].as_str().unwrap_or("unknown"))
}

/// Returns the words for the state of a deployment.
pub(super) fn words(deployment: &Value) -> String {
    state_words(deployment["state"].as_str().unwrap_or("unknown")).to_owned()
}

/// A deployment whose traffic is on its release but which clears up is as good as done.
fn state_words(state: &str) -> &'static str {
    match state {
        "succeeded" | "draining" | "baking" => "succeeded",
        "rolled_back" => "failed (rolled back)",
        "failed" => "failed",
        "aborted" => "aborted",
        "rollback_failed" => "rollback failed",
        "paused" => "paused",
        _ => "not ended",
    }
}

/// Tells whether a service serves with exactly so many instances, all healthy. Others may be on their
/// way out: they get no new requests.
pub(super) fn is_scaled(status: &Value, service: &str, count: &str) -> bool {
    let count: u64 = count.parse().unwrap_or(u64::MAX);
    let staying = of(status, service).filter(|one| !is_going(one)).count();
    let mut services = status["services"].as_array().into_iter().flatten();
    services.any(|one| one["name"] == service && one["wanted"] == count && one["healthy"] == count)
        && u64::try_from(staying) == Ok(count)
}

/// Tells whether an instance of a service is on its way out.
pub(super) fn is_thinning(status: &Value, service: &str) -> bool {
    of(status, service).any(is_going)
}

fn of<'a>(status: &'a Value, service: &str) -> impl Iterator<Item = &'a Value> {
    let instances = status["instances"].as_array().into_iter().flatten();
    instances.filter(move |one| one["service"] == service)
}

fn is_going(instance: &Value) -> bool {
    ["draining", "stopping"].contains(&instance["phase"].as_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_is_scaled_when_so_many_are_healthy_and_the_others_are_on_their_way_out() {
        let status = |healthy: u64, phases: &[&str]| {
            let instances = phases.iter();
            let instances: Vec<Value> = instances
                .map(|phase| json!({ "service": "web", "phase": phase }))
                .collect();
            json!({
                "services": [{ "name": "web", "wanted": 2, "healthy": healthy }],
                "instances": instances,
            })
        };
        let two = ["running", "running"];
        assert!(is_scaled(&status(2, &two), "web", "2"));
        assert!(!is_scaled(&status(1, &two), "web", "2"));
        assert!(!is_scaled(&status(2, &["running"; 3]), "web", "2"));
        assert!(!is_thinning(&status(2, &two), "web"));
        for phase in ["draining", "stopping"] {
            let thinning = status(2, &["running", phase, "running"]);
            assert!(is_scaled(&thinning, "web", "2"));
            assert!(is_thinning(&thinning, "web"));
        }
    }
}
