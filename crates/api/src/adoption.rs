//! The taking over of Docker Compose projects, on the wire. Never a value of a variable.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A project that somebody started with `docker compose` on the control plane's machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ComposeProject {
    /// Its name.
    pub name: String,
    /// The directory that it was started in.
    pub working_directory: Option<String>,
    /// The Compose files that it was started from, in their order.
    pub files: Vec<String>,
    /// How many of its containers there are.
    pub containers: u32,
    /// How many of them run.
    pub running: u32,
}

/// Asks to take a project over, or what that would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdoptRequest {
    /// The Compose project.
    pub project: String,
    /// What its files render to in this environment, as the client made it.
    #[schema(value_type = Object)]
    pub draft: towpath_model::render::Draft,
    /// The digest of the source tree, which was uploaded before.
    #[serde(default)]
    pub source: Option<String>,
    /// The commit that the tree is at, where it is a clean checkout.
    #[serde(default)]
    pub commit: Option<String>,
    /// Whether the published ports stay with the containers, in place of moving to the router.
    #[serde(default)]
    pub keep_ports: bool,
}

/// What the adoption of a project would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdoptionPlan {
    /// The environment, `app/environment`.
    pub environment: String,
    /// The project.
    pub project: String,
    /// Whether it can be done.
    pub possible: bool,
    /// The containers that become instances.
    pub containers: Vec<AdoptedContainer>,
    /// The volumes that are kept: by their names in the Compose file, their names on the machine.
    pub volumes: BTreeMap<String, String>,
    /// The networks that are kept, likewise.
    pub networks: BTreeMap<String, String>,
    /// The published ports that the router takes.
    pub ports: Vec<AdoptedPort>,
    /// What is good to know before.
    pub notes: Vec<String>,
    /// Why it cannot be done; empty when it can.
    pub refusals: Vec<String>,
}

/// A container that becomes an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdoptedContainer {
    /// The service.
    pub service: String,
    /// The container's name.
    pub container: String,
    /// What is not as the files say, in Compose's words: the next release replaces it. Never values.
    pub differs: Vec<String>,
}

/// A published port on its way to the router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdoptedPort {
    /// The service.
    pub service: String,
    /// The socket that is published.
    pub address: String,
    /// The port that the router listens on until the socket is free, where one was chosen.
    pub via: Option<u16>,
    /// How far it is.
    pub stage: PortStage,
}

/// How far a published port is on its way to the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PortStage {
    /// The container has it and its traffic.
    Container,
    /// The container has it, and new connections go to the router.
    Redirected,
    /// The container is gone, and the router takes it.
    Binding,
    /// The router has it, or it is given back; the redirect goes.
    Closing,
}

/// An adoption that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Adopted {
    /// The environment, `app/environment`.
    pub environment: String,
    /// The release that stands for what runs.
    pub release: u32,
}

/// What an environment took over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdoptionState {
    /// The environment, `app/environment`.
    pub environment: String,
    /// The project; absent where nothing was taken over.
    pub project: Option<String>,
    /// How many of its containers are still there.
    pub containers: u32,
    /// The published ports that the router does not have yet.
    pub ports: Vec<AdoptedPort>,
    /// Whether it is being let go.
    pub leaving: bool,
}
