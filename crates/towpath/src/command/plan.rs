//! `towpath plan`: what a deployment would change. Nothing is made, and no value is shown.

use std::process::ExitCode;

use anyhow::Result;
use towpath_api::{Plan, PlanRequest, ServicePlan};

use super::deploy::{Release, open_for};
use super::table::table;
use super::{connect, print};
use crate::arguments;
use crate::settings::Settings;

/// Prints the plan of bringing this directory to an environment.
pub(crate) async fn run(arguments: &arguments::Plan, settings: &Settings) -> Result<ExitCode> {
    let app = open_for(&arguments.choice, &arguments.files, settings)?;
    let request = PlanRequest {
        draft: Release::of_directory(&app)?.draft,
    };
    let plan = connect::client(settings)?.plan(&app.id, &request).await?;
    if arguments.json {
        return print(&format!("{}\n", serde_json::to_string(&plan)?));
    }
    print(&describe(&plan))
}

fn describe(plan: &Plan) -> String {
    let rows = plan.services.iter().map(row);
    let columns = ["service", "change", "instances", "what differs"];
    let mut text = format!("{}  {}\n\n", plan.environment, plan.strategy.words());
    text.push_str(&table(&columns, rows));
    text.push('\n');
    if plan.irreversible {
        text.push_str("\na release job is irreversible: no automatic rollback once it ran\n");
    }
    if plan.empty {
        text.push_str("\nnothing would change\n");
    }
    text
}

fn row(service: &ServicePlan) -> Vec<String> {
    let instances = if service.replicas_before == service.replicas {
        service.replicas.to_string()
    } else {
        format!("{} -> {}", service.replicas_before, service.replicas)
    };
    let mut differs = service.fields.join(", ");
    if let Some(exclusive) = service
        .exclusive
        .as_ref()
        .filter(|_| !service.fields.is_empty())
    {
        differs.push_str(&format!(
            "; no rolling release: it {exclusive}, so it stops before it starts"
        ));
    }
    vec![
        service.service.clone(),
        service.change.words().to_owned(),
        instances,
        differs,
    ]
}

#[cfg(test)]
mod tests {
    use towpath_api::{Change, Strategy};

    use super::*;

    #[test]
    fn a_plan_names_what_differs_and_what_cannot_be_undone() {
        let text = describe(&Plan {
            environment: "shop/dev".to_owned(),
            strategy: Strategy::BlueGreen,
            empty: false,
            irreversible: true,
            services: vec![ServicePlan {
                service: "web".to_owned(),
                change: Change::Replaced,
                fields: vec!["environment.A".to_owned()],
                replicas_before: 1,
                replicas: 2,
                stateful: true,
                exclusive: Some("writes to the volume `data` (compose.yaml:7:9)".to_owned()),
            }],
        });
        for words in [
            "blue-green",
            "replaced",
            "1 -> 2",
            "environment.A",
            "no rolling release: it writes to the volume `data` (compose.yaml:7:9)",
            "irreversible",
        ] {
            assert!(text.contains(words), "{words} in {text}");
        }
    }
}
