//! The Docker engine under the contract of all engines.

use std::collections::BTreeMap;

use async_trait::async_trait;
use towpath_model::console::Console;
use towpath_model::id::ServiceName;
use towpath_model::port::{Engine, ImageRequest};
use towpath_model::workload::{Command, WorkloadSpec};
use towpath_testkit::contract::{
    Behaviour, ConsoleSubject, Subject, console_contract, engine_contract,
};

use super::daemon::IMAGE;
use super::support::{World, built, inline, pulled, spec, web};

/// `None` only while the engine is replaced.
struct Containers(Option<World>);

#[async_trait]
impl Subject for Containers {
    fn engine(&self) -> &dyn Engine {
        &*self.0.as_ref().unwrap().engine
    }

    fn spec(&self, behaviour: Behaviour) -> WorkloadSpec {
        match behaviour {
            // The first process of a container has no default action for signals.
            Behaviour::Serves => spec("trap 'exit 0' TERM; while :; do sleep 0.05; done"),
            Behaviour::Stubborn => spec("trap '' TERM; while :; do sleep 0.05; done"),
            Behaviour::Ends { lines, code } => {
                let say = |line: &String| format!("echo '{line}'; ");
                spec(&format!(
                    "{}exit {code}",
                    lines.iter().map(say).collect::<String>()
                ))
            }
            Behaviour::Broken => {
                let mut broken = spec("");
                if let Some(container) = &mut broken.container {
                    container.entrypoint = Some(vec!["/no/such/program".to_owned()]);
                }
                broken
            }
        }
    }

    fn build(&self, succeeds: bool) -> Command {
        Command::Shell(succeeds.to_string())
    }

    fn images(&self, builds: &[Command]) -> BTreeMap<ServiceName, ImageRequest> {
        let step = builds.iter().find_map(|build| match build {
            Command::Shell(line) => Some(line.clone()),
            Command::Exec(_) => None,
        });
        let image = match step {
            None => pulled(IMAGE),
            Some(step) => built(inline(&format!("FROM {IMAGE}\nRUN {step}\n"))),
        };
        BTreeMap::from([(web(), image)])
    }

    async fn restart(&mut self) {
        self.0 = self.0.take().map(World::reopen);
    }
}

impl ConsoleSubject for Containers {
    fn console(&self) -> &dyn Console {
        &*self.0.as_ref().unwrap().engine
    }
}

#[tokio::test]
async fn containers_keep_the_contracts_of_engines_and_consoles() {
    let make = async || {
        let directory = tempfile::tempdir().unwrap();
        Containers(Some(World::of(directory, "shop/dev").await))
    };
    // One after the other: on one Docker there is one container of a name.
    engine_contract(make).await;
    console_contract(make).await;
}
