//! How things are named and labelled on Docker. What carries these labels with the identity of this
//! data directory is ours; nothing else is ever changed or removed.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use towpath_model::id::{
    AppName, Digest, EnvironmentId, EnvironmentName, InstanceId, ReleaseNumber, ServiceName,
    WorkloadId,
};

pub(super) const APP: &str = "towpath.app";
pub(super) const ENVIRONMENT: &str = "towpath.environment";
pub(super) const DATA: &str = "towpath.data";
pub(super) const SERVICE: &str = "towpath.service";
pub(super) const INSTANCE: &str = "towpath.instance";
pub(super) const WORKLOAD: &str = "towpath.workload";
pub(super) const RELEASE: &str = "towpath.release";
/// The id of a one-off, which is no instance.
pub(super) const RUN: &str = "towpath.run";
/// The port that the instance is reached at.
pub(super) const PORT: &str = "towpath.port";
/// The network in which it is reached.
pub(super) const NETWORK: &str = "towpath.network";

/// Returns the name of an instance's container. It is the lock of the start: Docker has one of it.
pub(super) fn container(id: &InstanceId) -> String {
    let EnvironmentId { app, name } = &id.environment;
    format!("{app}-{name}-{}-{}", id.service, id.number)
}

/// Returns the name of an environment's volume on the machine.
pub(super) fn volume(environment: &EnvironmentId, volume: &str) -> String {
    format!("{}-{}_{volume}", environment.app, environment.name)
}

/// Returns the repository and the tag that keep the image of a release.
pub(super) fn image(
    environment: &EnvironmentId,
    service: &ServiceName,
    release: ReleaseNumber,
) -> (String, String) {
    let name = format!("{}-{}-{service}", environment.app, environment.name);
    let repository = format!("towpath/{}", repository_component(&name));
    (repository, format!("r{release}"))
}

/// Returns a name as a component of a repository's: lower case letters, digits, and single
/// separators. A name that has to be changed for it gets a digest, so that it stays the only one.
fn repository_component(name: &str) -> String {
    let mut component = String::new();
    for c in name.chars() {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            component.push(c);
        } else if c.is_ascii_uppercase() {
            component.push(c.to_ascii_lowercase());
        } else if component.ends_with(|last: char| last.is_ascii_alphanumeric()) {
            component.push(if c == '_' || c == '.' { c } else { '-' });
        }
    }
    let component = component.trim_end_matches(['-', '_', '.']).to_owned();
    if component == name {
        return component;
    }
    format!("{component}-{}", Digest::of(name.as_bytes()).short())
}

/// Returns the labels of everything of an environment.
pub(super) fn labels(data: &str, environment: &EnvironmentId) -> HashMap<String, String> {
    HashMap::from([
        (DATA.to_owned(), data.to_owned()),
        (APP.to_owned(), environment.app.to_string()),
        (ENVIRONMENT.to_owned(), environment.name.to_string()),
    ])
}

/// Returns the labels of an environment as a filter has them.
pub(super) fn filter(data: &str, environment: &EnvironmentId) -> Vec<String> {
    vec![
        format!("{DATA}={data}"),
        format!("{APP}={}", environment.app),
        format!("{ENVIRONMENT}={}", environment.name),
    ]
}

/// Reads whose something is that carries our labels.
pub(super) fn environment_of(labels: &HashMap<String, String>) -> Option<EnvironmentId> {
    let app = AppName::new(labels.get(APP)?.clone()).ok()?;
    let name = EnvironmentName::new(labels.get(ENVIRONMENT)?.clone()).ok()?;
    Some(EnvironmentId::new(app, name))
}

/// What the labels of a container say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Labelled {
    pub(super) id: InstanceId,
    pub(super) workload: WorkloadId,
    pub(super) release: ReleaseNumber,
    pub(super) port: u16,
    pub(super) network: Option<String>,
}

impl Labelled {
    /// Reads the labels of a container.
    pub(super) fn read(labels: &HashMap<String, String>) -> Option<Self> {
        let id: InstanceId = labels.get(INSTANCE)?.parse().ok()?;
        (environment_of(labels)? == id.environment).then_some(())?;
        Some(Self {
            id,
            workload: labels.get(WORKLOAD)?.parse().ok()?,
            release: ReleaseNumber(labels.get(RELEASE)?.parse().ok()?),
            port: labels.get(PORT).and_then(|port| port.parse().ok())?,
            network: labels.get(NETWORK).cloned(),
        })
    }

    /// Returns the labels of a container.
    pub(super) fn labels(&self, data: &str) -> HashMap<String, String> {
        let mut labels = labels(data, &self.id.environment);
        let own = [
            (SERVICE, self.id.service.to_string()),
            (INSTANCE, self.id.to_string()),
            (WORKLOAD, self.workload.to_string()),
            (RELEASE, self.release.to_string()),
            (PORT, self.port.to_string()),
        ];
        labels.extend(own.map(|(name, value)| (name.to_owned(), value)));
        labels.extend(self.network.clone().map(|name| (NETWORK.to_owned(), name)));
        labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_labels_say_is_read_back() {
        let labelled = Labelled {
            id: "shop/dev/web-7".parse().unwrap(),
            workload: WorkloadId::new(
                ServiceName::new("web").unwrap(),
                &Digest::of(b"specification"),
            ),
            release: ReleaseNumber(3),
            port: 80,
            network: Some("shop-dev_default".to_owned()),
        };
        let labels = labelled.labels("abc");
        assert_eq!(Labelled::read(&labels), Some(labelled));
        assert_eq!(labels.get(DATA).map(String::as_str), Some("abc"));
    }

    #[test]
    fn a_container_whose_labels_contradict_one_another_is_nobodys() {
        let mut labels = labels("abc", &"shop/dev".parse().unwrap());
        labels.insert(INSTANCE.to_owned(), "shop/production/web-7".to_owned());
        assert_eq!(Labelled::read(&labels), None);
    }

    #[test]
    fn a_repository_has_lower_case_and_stays_the_only_one_of_its_name() {
        let environment = "shop/dev".parse().unwrap();
        let name = |service: &str| {
            let service = ServiceName::new(service).unwrap();
            image(&environment, &service, ReleaseNumber(3)).0
        };
        assert_eq!(name("web"), "towpath/shop-dev-web");
        assert_ne!(name("Web"), name("web"));
        assert!(name("a_.b").starts_with("towpath/shop-dev-a_b-"));
    }
}
