//! The process engine under the contract of all engines.

use async_trait::async_trait;
use towpath_model::console::Console;
use towpath_model::port::Engine;
use towpath_model::workload::{Command, WorkloadSpec};
use towpath_testkit::contract::{
    Behaviour, ConsoleSubject, Subject, console_contract, engine_contract,
};

use crate::support::{World, spec};

/// `None` only while the engine is replaced.
struct Processes(Option<World>);

#[async_trait]
impl Subject for Processes {
    fn engine(&self) -> &dyn Engine {
        &*self.0.as_ref().unwrap().engine
    }

    fn spec(&self, behaviour: Behaviour) -> WorkloadSpec {
        match behaviour {
            Behaviour::Serves => spec("exec sleep 1000"),
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
                broken.command = Command::Exec(vec!["/no/such/program".to_owned()]);
                broken
            }
        }
    }

    fn build(&self, succeeds: bool) -> Command {
        Command::Shell(succeeds.to_string())
    }

    async fn restart(&mut self) {
        self.0 = self.0.take().map(World::reopen);
    }
}

impl ConsoleSubject for Processes {
    fn console(&self) -> &dyn Console {
        &*self.0.as_ref().unwrap().engine
    }
}

#[tokio::test]
async fn processes_keep_the_contract_of_consoles() {
    console_contract(async || Processes(Some(World::without_release()))).await;
}

#[tokio::test]
async fn processes_keep_the_contract_of_engines() {
    engine_contract(async || Processes(Some(World::without_release()))).await;
}
