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

/// Tells whether a service has exactly so many instances, all healthy, and wants no others.
pub(super) fn is_scaled(status: &Value, service: &str, count: &str) -> bool {
    let count: u64 = count.parse().unwrap_or(u64::MAX);
    let instances = status["instances"].as_array().into_iter().flatten();
    let of_service = instances.filter(|one| one["service"] == service).count();
    let mut services = status["services"].as_array().into_iter().flatten();
    services.any(|one| one["name"] == service && one["wanted"] == count && one["healthy"] == count)
        && u64::try_from(of_service) == Ok(count)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_is_scaled_when_all_its_instances_are_healthy_and_no_other_is_left() {
        let status = |healthy: u64, instances: usize| {
            json!({
                "services": [{ "name": "web", "wanted": 2, "healthy": healthy }],
                "instances": vec![json!({ "service": "web" }); instances],
            })
        };
        assert!(is_scaled(&status(2, 2), "web", "2"));
        assert!(!is_scaled(&status(1, 2), "web", "2"));
        assert!(!is_scaled(&status(2, 3), "web", "2"));
    }
}
