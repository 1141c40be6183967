//! What `adopt` says to people.

use std::fmt::Write as _;
use std::path::PathBuf;

use towpath_api::{AdoptionPlan, AdoptionState, PortStage};
use towpath_model::delivery::FILE_NAME;

use crate::command::table::table;

/// Describes what an adoption would do.
pub(super) fn plan(plan: &AdoptionPlan) -> String {
    let mut text = format!("{} becomes {}\n\n", plan.project, plan.environment);
    let rows = plan.containers.iter().map(|one| {
        let differs = if one.differs.is_empty() {
            "as the files say".to_owned()
        } else {
            format!("differs: {}", one.differs.join(", "))
        };
        vec![one.service.clone(), one.container.clone(), differs]
    });
    text.push_str(&table(&["service", "container", "what it is"], rows));
    text.push('\n');
    if plan.containers.iter().any(|one| !one.differs.is_empty()) {
        text.push_str("what differs goes on as it runs; the next release replaces it\n");
    }
    kept(&mut text, "volumes", plan.volumes.values());
    kept(&mut text, "networks", plan.networks.values());
    for port in &plan.ports {
        line(
            &mut text,
            &format!(
                "{} of {} is served by the router",
                port.address, port.service
            ),
        );
    }
    for note in &plan.notes {
        line(&mut text, &format!("note: {note}"));
    }
    text
}

fn kept<'a>(text: &mut String, what: &str, names: impl Iterator<Item = &'a String>) {
    let names: Vec<&str> = names.map(String::as_str).collect();
    if !names.is_empty() {
        line(text, &format!("{what} that are kept: {}", names.join(", ")));
    }
}

fn line(text: &mut String, words: &str) {
    writeln!(text, "{words}").expect("writing to a string cannot fail");
}

/// Describes what was done.
pub(super) fn done(state: &AdoptionState, written: Option<&PathBuf>) -> String {
    let mut text = format!(
        "\n{} has {} containers of `{}`; nothing was stopped\n",
        state.environment,
        state.containers,
        state.project.as_deref().unwrap_or_default()
    );
    for port in &state.ports {
        let where_to = match (port.stage, port.via) {
            (PortStage::Redirected, Some(via)) => {
                format!("new connections go to the router (on port {via})")
            }
            _ => "stays with its container for now".to_owned(),
        };
        line(&mut text, &format!("  {}  {where_to}", port.address));
    }
    if let Some(directory) = written {
        line(
            &mut text,
            &format!("wrote {}", directory.join(FILE_NAME).display()),
        );
    }
    let (_, name) = state
        .environment
        .split_once('/')
        .unwrap_or(("", &state.environment));
    line(
        &mut text,
        &format!("next: towpath deploy {name}    to go back: towpath adopt --undo --env {name}"),
    );
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use towpath_api::{AdoptedContainer, AdoptedPort};

    use super::*;

    #[test]
    fn a_plan_names_containers_volumes_ports_and_what_differs() {
        let text = plan(&AdoptionPlan {
            environment: "shop/production".to_owned(),
            project: "shop".to_owned(),
            possible: true,
            containers: vec![AdoptedContainer {
                service: "web".to_owned(),
                container: "shop-web-1".to_owned(),
                differs: vec!["environment.A".to_owned()],
            }],
            volumes: BTreeMap::from([("data".to_owned(), "shop_data".to_owned())]),
            networks: BTreeMap::new(),
            ports: vec![AdoptedPort {
                service: "web".to_owned(),
                address: "0.0.0.0:8080".to_owned(),
                via: None,
                stage: PortStage::Container,
            }],
            notes: vec!["one".to_owned()],
            refusals: Vec::new(),
        });
        for words in [
            "shop-web-1",
            "environment.A",
            "shop_data",
            "0.0.0.0:8080",
            "the next release replaces it",
            "note: one",
        ] {
            assert!(text.contains(words), "{words} in {text}");
        }
    }
}
