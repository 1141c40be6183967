//! Adoptions, for the wire.

use towpath_api as api;
use towpath_model::adoption::found::{FoundProject, FoundState};
use towpath_model::adoption::plan::Plan;
use towpath_model::adoption::takeover::{Stage, Takeover};
use towpath_model::environment::Environment;
use towpath_model::id::EnvironmentId;

pub(crate) fn project(found: &FoundProject) -> api::ComposeProject {
    let running = |one: &&_| is_running(one);
    api::ComposeProject {
        name: found.name.clone(),
        working_directory: found.working_directory().map(str::to_owned),
        files: found.config_files().to_vec(),
        containers: count(found.containers.len()),
        running: count(found.containers.iter().filter(running).count()),
    }
}

fn is_running(container: &towpath_model::adoption::found::FoundContainer) -> bool {
    container.state == FoundState::Running
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

pub(crate) fn plan(id: &EnvironmentId, plan: &Plan) -> api::AdoptionPlan {
    api::AdoptionPlan {
        environment: id.to_string(),
        project: plan.project.clone(),
        possible: plan.refusals.is_empty(),
        containers: plan
            .containers
            .iter()
            .map(|one| api::AdoptedContainer {
                service: one.service.to_string(),
                container: one.name.clone(),
                differs: one.differs.clone(),
            })
            .collect(),
        volumes: plan.volumes.clone(),
        networks: plan.networks.clone(),
        ports: plan
            .ports
            .iter()
            .map(|one| api::AdoptedPort {
                service: one.service.to_string(),
                address: one.listen.to_string(),
                via: None,
                stage: api::PortStage::Container,
            })
            .collect(),
        notes: plan.notes.clone(),
        refusals: plan.refusals.clone(),
    }
}

pub(crate) fn state(environment: &Environment) -> api::AdoptionState {
    let adopted = environment.adopted.as_ref();
    let takeovers = adopted.map_or(&[][..], |adopted| &adopted.takeovers);
    api::AdoptionState {
        environment: environment.id.to_string(),
        project: adopted.map(|adopted| adopted.project.clone()),
        containers: count(adopted.map_or(0, |adopted| adopted.containers.len())),
        ports: takeovers.iter().map(port).collect(),
        leaving: environment.is_leaving(),
    }
}

fn port(takeover: &Takeover) -> api::AdoptedPort {
    api::AdoptedPort {
        service: takeover.service.to_string(),
        address: takeover.listen.to_string(),
        via: takeover.via,
        stage: match takeover.stage {
            Stage::Waiting => api::PortStage::Container,
            Stage::Moved => api::PortStage::Redirected,
            Stage::Binding => api::PortStage::Binding,
            Stage::Closing { .. } => api::PortStage::Closing,
        },
    }
}
