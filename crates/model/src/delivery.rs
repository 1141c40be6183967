//! The delivery file, `towpath.yaml`: everything that Compose does not say. The documented types,
//! which are the source of the editor schema too. Not what they mean for a release:
//! [`crate::render`] says that.

mod check;
mod decode;
mod dockerfile;
mod notify;
pub mod pipeline;
mod preview;
mod reader;
mod scaffold;
mod schema;
mod text;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use towpath_compose::diagnostic::{Diagnostic, Diagnostics};
use towpath_compose::source::{Source, Span};
use towpath_compose::yaml;

use crate::id::{AppName, EnvironmentName, SecretName, ServiceName, TargetName};
use crate::rollout::Strategy;
use crate::routing::Protocol;
use crate::workload::Command;
use pipeline::{DeploySettings, JobSettings, MAIN_BRANCHES};
use reader::{Decode as _, Reader};

pub use dockerfile::dockerfile_of;
pub use notify::{IncomingWebhook, NotifySettings, SmtpSettings, WebhookSettings};
pub use preview::PreviewSettings;
pub use scaffold::{Surroundings, needs_containers, scaffold, scaffold_with};
pub use schema::schema;
pub(crate) use text::thousandths;
pub use text::{InvalidText, duration};

/// The name of the delivery file.
pub const FILE_NAME: &str = "towpath.yaml";

/// The environment of an app that has no delivery file, or whose delivery file names none.
pub const DEFAULT_ENVIRONMENT: &str = "dev";

/// The port on which the routes of `domains` listen where an environment does not say.
pub const DEFAULT_HTTP_PORT: u16 = 8080;

/// A delivery file and where everything in it stands.
#[derive(Debug, Clone, Default)]
pub struct Delivery {
    /// What it says.
    pub file: DeliveryFile,
    places: reader::Places,
}

impl Delivery {
    /// Reads a delivery file. Refuses it with everything that is wrong in it, each with its place.
    pub fn parse(source: &Arc<Source>) -> Result<Self, Diagnostics> {
        let node = yaml::parse(source)?;
        let mut reader = Reader::default();
        let file = DeliveryFile::decode(&node, &mut reader);
        Diagnostics::check(in_order(reader.found))?;
        let delivery = Self {
            file: file.unwrap_or_default(),
            places: reader.places,
        };
        Diagnostics::check(in_order(check::check(&delivery)))?;
        Ok(delivery)
    }

    /// Returns where the value at a path of keys stands; where the nearest one above it does, if
    /// the path goes on after the file does not.
    pub fn span(&self, path: &[&str]) -> Option<&Span> {
        (1..=path.len()).rev().find_map(|length| {
            let path: Vec<String> = path
                .iter()
                .take(length)
                .map(|&key| key.to_owned())
                .collect();
            self.places.get(&path)
        })
    }
}

/// Puts complaints into the order of the file.
fn in_order(mut found: Vec<Diagnostic>) -> Vec<Diagnostic> {
    found.sort_by_key(|one| one.span.as_ref().map(|span| span.start));
    found
}

/// How an app is delivered: its environments, how its releases are rolled out, and how its
/// services run where that differs from Compose.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema)]
#[schemars(deny_unknown_fields, title = "towpath.yaml")]
pub struct DeliveryFile {
    /// The name of the app: lower-case letters, digits and hyphens. Default: the Compose project's
    /// name.
    #[schemars(with = "Option<schema::AppNameText>")]
    pub app: Option<AppName>,
    /// The environments by name: isolated running copies of the app. Default: one, `dev`.
    #[schemars(with = "BTreeMap<String, EnvironmentSettings>", default)]
    pub environments: BTreeMap<EnvironmentName, EnvironmentSettings>,
    /// How releases are rolled out in every environment; an environment may change each setting.
    #[schemars(default)]
    pub rollout: Rollout,
    /// What Compose does not say about a volume, by its name.
    #[schemars(default)]
    pub volumes: BTreeMap<String, VolumeSettings>,
    /// How a service runs where that differs from Compose, by its name.
    #[schemars(with = "BTreeMap<String, ServiceSettings>", default)]
    pub services: BTreeMap<ServiceName, ServiceSettings>,
    /// The jobs that have to pass before a release is brought to an environment.
    #[schemars(default)]
    pub pipeline: Vec<JobSettings>,
    /// Who is in a group, by its name: those who may approve a deployment.
    #[schemars(default)]
    pub groups: BTreeMap<String, Vec<String>>,
    /// Previews: environments on demand and for pull requests, which go by themselves.
    #[schemars(default)]
    pub previews: PreviewSettings,
    /// Who is told of what happens: targets by name, each with what it wants to be told. Default:
    /// nobody.
    #[schemars(with = "BTreeMap<String, NotifySettings>", default)]
    pub notify: BTreeMap<TargetName, NotifySettings>,
}

impl DeliveryFile {
    /// Returns what brings releases to an environment. In a file where no environment says it,
    /// pushes to the main branch come to `dev`, or to the only environment.
    pub fn deploy(&self, name: &EnvironmentName) -> DeploySettings {
        let nobody_says = self.environments.values().all(|one| one.deploy.is_none());
        let names = self.environment_names();
        let is_first = names.len() == 1 || name.as_str() == DEFAULT_ENVIRONMENT;
        if nobody_says && is_first && names.contains(name) {
            return DeploySettings {
                branch: MAIN_BRANCHES.map(str::to_owned).to_vec(),
                ..DeploySettings::default()
            };
        }
        let environment = self.environments.get(name);
        environment
            .and_then(|one| one.deploy.clone())
            .unwrap_or_default()
    }

    /// Returns the settings of an environment: those written down, or the defaults for `dev` in a
    /// file that names no environment. `None` for one that the file does not name.
    pub fn environment(&self, name: &EnvironmentName) -> Option<EnvironmentSettings> {
        match self.environments.get(name) {
            Some(settings) => Some(settings.clone()),
            None if self.environments.is_empty() && name.as_str() == DEFAULT_ENVIRONMENT => {
                Some(EnvironmentSettings::default())
            }
            None => None,
        }
    }

    /// Returns the names of all environments, `dev` where the file names none.
    pub fn environment_names(&self) -> Vec<EnvironmentName> {
        if self.environments.is_empty() {
            EnvironmentName::new(DEFAULT_ENVIRONMENT)
                .into_iter()
                .collect()
        } else {
            self.environments.keys().cloned().collect()
        }
    }
}

/// One isolated running copy of the app: own network, data, secrets and domains.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct EnvironmentSettings {
    /// What the environment runs on: `process`, plain processes on this machine, or `docker`,
    /// containers of its Docker Engine. Default: `process`.
    #[schemars(default)]
    pub engine: Engine,
    /// The Compose files, later ones merged over earlier ones by Compose's rules; relative to this
    /// file. Default: those that Compose finds by itself.
    #[schemars(default)]
    pub compose: Vec<String>,
    /// Files of variables for interpolation, later ones winning. Default: `.env` where it exists.
    #[schemars(default)]
    pub env_files: Vec<String>,
    /// The Compose profiles that are active. Default: none.
    #[schemars(default)]
    pub profiles: Vec<String>,
    /// More variables for interpolation; they win over those of `env_files` and of the shell.
    #[schemars(with = "BTreeMap<String, schema::PlainText>", default)]
    pub variables: BTreeMap<String, String>,
    /// The host names of a service, one or a list, by the service's name. A leading `*.` stands for
    /// one more label. They are served on `http_port`.
    #[schemars(with = "BTreeMap<String, schema::OneOrMany>", default)]
    pub domains: BTreeMap<ServiceName, Vec<String>>,
    /// The port on which the host names of `domains` are served. Environments on one machine may
    /// share it: requests are told apart by their host. Default: 8080.
    pub http_port: Option<u16>,
    /// What this environment changes in the file's `rollout`.
    #[schemars(default)]
    pub rollout: Rollout,
    /// The number of instances of a service, by its name. Default: Compose's `deploy.replicas` or
    /// `scale`, else 1.
    #[schemars(with = "BTreeMap<String, u32>", default)]
    pub scale: BTreeMap<ServiceName, u32>,
    /// What brings releases to the environment. Default: a person; where no environment says
    /// anything, pushes to the main branch come to `dev`, or to the only environment.
    pub deploy: Option<DeploySettings>,
}

impl EnvironmentSettings {
    /// Returns the port on which the host names of `domains` are served.
    pub fn http_port(&self) -> u16 {
        self.http_port.unwrap_or(DEFAULT_HTTP_PORT)
    }
}

/// What an environment runs on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub enum Engine {
    /// Plain processes on this machine; nothing to install.
    #[default]
    Process,
    /// Containers of the Docker Engine on this machine.
    Docker,
}

impl Engine {
    /// Returns the name, as the delivery file has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Docker => "docker",
        }
    }
}

/// How instances and traffic move from one release to the next. Every setting that is absent is
/// taken from Compose's `deploy.update_config`, else has the default named here.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Rollout {
    /// `rolling`: a few instances at a time; `blue-green`: the whole new release beside the old one,
    /// then all traffic at once; `canary`: a growing share of the traffic, with a verdict at each
    /// step; `recreate`: stop, then start. Default: `rolling`.
    #[schemars(with = "Option<schema::StrategyText>")]
    pub strategy: Option<Strategy>,
    /// Canary: the shares of traffic, growing to 100%. Default: 5%, 25%, 50%, 100%.
    #[schemars(with = "Option<Vec<schema::StepText>>")]
    pub steps: Option<Vec<Step>>,
    /// Canary: how long each step lasts that does not say so itself. Default: 1m.
    #[schemars(with = "Option<schema::DurationText>")]
    pub soak: Option<Duration>,
    /// Rolling: instances above the wanted number while they are replaced. Default: 1.
    pub surge: Option<u32>,
    /// Rolling: instances that may be missing while they are replaced. Default: 0.
    pub unavailable: Option<u32>,
    /// The longest time without progress before the deployment is rolled back; it does not count
    /// while paused. Default: 10m.
    #[schemars(with = "Option<schema::DurationText>")]
    pub progress_deadline: Option<Duration>,
    /// How long the old release is kept warm after the full shift, for an instant rollback.
    /// Default: 5m.
    #[schemars(with = "Option<schema::DurationText>")]
    pub bake: Option<Duration>,
    /// How long requests in flight may take to end before their instance is stopped. Default: 30s.
    #[schemars(with = "Option<schema::DurationText>")]
    pub drain: Option<Duration>,
    /// How long WebSocket and other upgraded connections may take to end. Default: 5m.
    #[schemars(with = "Option<schema::DurationText>")]
    pub drain_websockets: Option<Duration>,
    /// Failures to start before the new release is given up. Default: 3.
    pub start_failures: Option<u32>,
    /// Whether a failed deployment is rolled back by itself; otherwise it pauses for a person.
    /// Default: true.
    pub automatic_rollback: Option<bool>,
    /// How long a pause for a person may last before the deployment is aborted. Default: 24h.
    #[schemars(with = "Option<schema::DurationText>")]
    pub pause_expiry: Option<Duration>,
    /// When the new release is given up for what the router measures of it.
    #[schemars(default)]
    pub abort_when: AbortWhen,
}

/// One step of a canary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The new release's share of the traffic, in hundredths of a percent.
    pub weight: u32,
    /// How long it lasts; the rollout's `soak` when absent.
    pub soak: Option<Duration>,
    /// Whether a person must resume before the next step.
    pub pause: bool,
}

/// When the new release is given up for what the router measures of it.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct AbortWhen {
    /// The share of failed requests, above that of the old release, as `"> 1%"`. Default: > 1%.
    #[schemars(with = "Option<schema::ShareLimitText>")]
    pub error_rate: Option<f64>,
    /// The latency of the slowest percent of requests, as `"> 800ms"`; of fewer than 400 requests the
    /// four slowest are left out, or a fifth of them. Default: no limit.
    #[schemars(with = "Option<schema::LatencyLimitText>")]
    pub p99: Option<Duration>,
    /// The latency of the slowest percent beside that of the old release, as `"> 2"` for more than
    /// twice as slow. Default: > 3.
    #[schemars(with = "Option<schema::RatioLimitText>")]
    pub p99_ratio: Option<f64>,
    /// Fewer requests than this in a step are no verdict: the deployment pauses. Default: 50.
    pub min_requests: Option<u64>,
}

/// What Compose does not say about a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct VolumeSettings {
    /// Whether several instances, and the old and the new release, may have the volume at once. A
    /// service that writes to a volume that is not shared never has two instances. Default: false.
    #[schemars(default)]
    pub shared: bool,
}

/// How a service runs where that differs from Compose.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ServiceSettings {
    /// How the service runs as a plain process.
    #[schemars(default)]
    pub process: ProcessSettings,
    /// How to tell that an instance is well. Default: Compose's `healthcheck`; else a TCP connection
    /// for a service that listens, and that the process runs for one that does not.
    pub health: Option<Health>,
    /// What the service speaks. Default: `tcp` for ports of well-known stores such as 5432, else
    /// `http`.
    #[schemars(with = "Option<schema::ProtocolText>")]
    pub protocol: Option<Protocol>,
    /// Whether the service listens on the port given to it as `PORT`. Default: true when Compose has
    /// `ports` or `expose` for it, or it has a health check or domains that need it.
    pub listen: Option<bool>,
    /// The port of Compose that `PORT` stands for, where a service has several: the others are not
    /// served. Default: the only one.
    pub port: Option<u16>,
    /// For a release job (a service that others wait for with `service_completed_successfully`):
    /// whether old code must not run on what it leaves behind. There is no automatic rollback once
    /// it ran. Default: false.
    #[schemars(default)]
    pub irreversible: bool,
    /// Secrets given to the service as variables: the secret's name, by the variable's.
    #[schemars(with = "BTreeMap<String, String>", default)]
    pub secrets: BTreeMap<String, SecretName>,
    /// Limits and timeouts of the requests to the service.
    #[schemars(default)]
    pub policy: Policy,
}

/// How a service runs as a plain process.
#[derive(Debug, Clone, Default, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ProcessSettings {
    /// Makes what the command needs, once for each release, in a copy of the source tree: a line for
    /// the shell, or a list of words. Default: nothing.
    #[schemars(with = "Option<schema::OneOrMany>")]
    pub build: Option<Command>,
    /// What to run: a line for the shell, which may use `$PORT`, or a list of words. Default:
    /// Compose's `entrypoint` and `command`.
    #[schemars(with = "Option<schema::OneOrMany>")]
    pub command: Option<Command>,
    /// More variables, which win over Compose's. `${PORT}` and `${<SERVICE>_ADDR}`, `_HOST` and
    /// `_PORT` are replaced when the instance starts.
    #[schemars(with = "BTreeMap<String, schema::PlainText>", default)]
    pub environment: BTreeMap<String, String>,
    /// The directory to run in, relative to the source tree. Default: the source tree.
    pub working_directory: Option<String>,
    /// The user, and group after a colon, to run as. Default: Compose's `user`.
    #[schemars(with = "Option<schema::PlainText>")]
    pub user: Option<String>,
    /// Whether the service runs in the source tree, so that a change of the source makes a new
    /// version of it. Default: true when it has a build step, Compose's `build`, or a directory of
    /// the tree mounted into it.
    pub source: Option<bool>,
}

/// How to tell that an instance is well: at most one of `http`, `tcp`, `command` and `none`.
#[derive(Debug, Clone, Default, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Health {
    /// A path that is answered 200 to 399.
    pub http: Option<String>,
    /// The port accepts connections. Write `true`.
    #[schemars(with = "Option<schema::True>")]
    pub tcp: Option<bool>,
    /// A line for the shell, or a list of words, that exits 0.
    #[schemars(with = "Option<schema::OneOrMany>")]
    pub command: Option<Command>,
    /// Nothing is tried: an instance is well when it runs. Write `true`.
    #[schemars(with = "Option<schema::True>")]
    pub none: Option<bool>,
    /// The time between two tries while the instance serves. Default: 5s.
    #[schemars(with = "Option<schema::DurationText>")]
    pub interval: Option<Duration>,
    /// The time between two tries while the instance starts. Default: 100ms.
    #[schemars(with = "Option<schema::DurationText>")]
    pub start_interval: Option<Duration>,
    /// The longest that one try may take. Default: 30s.
    #[schemars(with = "Option<schema::DurationText>")]
    pub timeout: Option<Duration>,
    /// Failed tries in a row that make an instance unhealthy. Default: 3.
    pub retries: Option<u32>,
    /// How long an instance may take to become well for the first time; `retries` times `interval` where
    /// that is longer. A new release of which one instance does not is given up. Default: 30s.
    #[schemars(with = "Option<schema::DurationText>")]
    pub start_period: Option<Duration>,
}

/// Limits and timeouts of the requests to a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Policy {
    /// To open a connection to an instance. Default: 2s.
    #[schemars(with = "Option<schema::DurationText>")]
    pub connect_timeout: Option<Duration>,
    /// From the end of the request to the start of the answer. Default: 60s.
    #[schemars(with = "Option<schema::DurationText>")]
    pub response_timeout: Option<Duration>,
    /// The longest silence of a body or a WebSocket. Default: 5m.
    #[schemars(with = "Option<schema::DurationText>")]
    pub idle_timeout: Option<Duration>,
    /// The largest request body, as `10MiB`; larger ones are answered 413. Default: 1GiB.
    #[schemars(with = "Option<schema::SizeText>")]
    pub max_body: Option<u64>,
    /// Requests in a second to the whole service; more are answered 429. Default: no limit.
    pub rate_limit: Option<u32>,
    /// Whether a client goes back to the release that answered it first. Default: false.
    pub sticky: Option<bool>,
}
