//! Typed names and identifiers. Not how they are allocated: numbers come from the aggregate that
//! owns the sequence (an app for releases, an environment for deployments and instances).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A string that is not a valid name or identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid {kind}: {rule}")]
pub struct InvalidId {
    /// What the text was meant to be.
    pub kind: &'static str,
    /// The text that was refused.
    pub text: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

impl InvalidId {
    fn new(kind: &'static str, text: &str, rule: &'static str) -> Self {
        Self {
            kind,
            text: text.to_owned(),
            rule,
        }
    }
}

const DNS_LABEL: &str = "use 1 to 63 lower-case letters, digits and inner hyphens";
const SERVICE: &str =
    "use 1 to 63 letters, digits, `.`, `_` and `-`, starting with a letter or digit";

fn is_dns_label(text: &str) -> bool {
    let alphanumeric = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|&c| alphanumeric(c) || c == b'-')
        && bytes.first().is_some_and(|&c| alphanumeric(c))
        && bytes.last().is_some_and(|&c| alphanumeric(c))
}

fn is_service_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|&c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-'))
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $check:ident, $rule:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        // Shared, because records that are full of names are copied at every step.
        pub struct $name(Arc<str>);

        impl $name {
            /// Accepts `text` when it follows the rule of this kind of name.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                if $check(&text) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidId::new($kind, &text, $rule))
                }
            }

            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        text_conversions!($name);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }
    };
}

macro_rules! text_conversions {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}

name!(
    /// The name of an app: a DNS label (RFC 1123 section 2.1).
    AppName, "app name", is_dns_label, DNS_LABEL
);
name!(
    /// The name of an environment of an app: a DNS label (RFC 1123 section 2.1).
    EnvironmentName, "environment name", is_dns_label, DNS_LABEL
);
name!(
    /// The name of a job of a pipeline: a DNS label (RFC 1123 section 2.1).
    JobName, "job name", is_dns_label, DNS_LABEL
);
name!(
    /// The name of a Compose service.
    ServiceName, "service name", is_service_name, SERVICE
);
name!(
    /// The name of a target of notifications: a DNS label (RFC 1123 section 2.1).
    TargetName, "target name", is_dns_label, DNS_LABEL
);
name!(
    /// The name of a secret within an environment.
    SecretName, "secret name", is_service_name, SERVICE
);

/// One environment of one app, written `app/environment`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EnvironmentId {
    /// The app.
    pub app: AppName,
    /// The environment within the app.
    pub name: EnvironmentName,
}

impl EnvironmentId {
    /// Joins an app and an environment of it.
    pub fn new(app: AppName, name: EnvironmentName) -> Self {
        Self { app, name }
    }
}

text_conversions!(EnvironmentId);

impl fmt::Display for EnvironmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.app, self.name)
    }
}

impl FromStr for EnvironmentId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let (app, name) = text
            .split_once('/')
            .ok_or_else(|| InvalidId::new("environment id", text, "write app/environment"))?;
        Ok(Self {
            app: app.parse()?,
            name: name.parse()?,
        })
    }
}

/// The sequence number of a release within its app, from 1.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct ReleaseNumber(pub u32);

impl fmt::Display for ReleaseNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The sequence number of a deployment within its environment, from 1.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct DeploymentNumber(pub u32);

impl fmt::Display for DeploymentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The sequence number of a run of an app's pipeline within its app, from 1.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct RunNumber(pub u32);

impl fmt::Display for RunNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One run of one app.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunId {
    /// The app.
    pub app: AppName,
    /// The number within the app.
    pub number: RunNumber,
}

impl RunId {
    /// Joins an app and the number of a run of it.
    pub fn new(app: AppName, number: RunNumber) -> Self {
        Self { app, number }
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} run {}", self.app, self.number)
    }
}

/// The version of a secret within its environment, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretVersion(pub u32);

impl fmt::Display for SecretVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A SHA-256 digest in lower-case hexadecimal, 64 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// Hashes `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        use std::fmt::Write as _;
        let mut text = String::with_capacity(64);
        for byte in sha2::Sha256::digest(bytes) {
            write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        }
        Self(text)
    }

    /// Returns all 64 hexadecimal characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the first 12 characters: enough for people and for names within one environment.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

text_conversions!(Digest);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Digest {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let hexadecimal = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if text.len() == 64 && text.bytes().all(hexadecimal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId::new(
                "digest",
                text,
                "write 64 lower-case hexadecimal characters",
            ))
        }
    }
}

/// One service of one release in one environment, written `service@digest`.
///
/// The digest is the short form of the digest of the rendered specification, so two releases that
/// render a service to the same specification share the workload: nothing has to be replaced.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkloadId {
    /// The service.
    pub service: ServiceName,
    digest: Arc<str>,
}

impl WorkloadId {
    /// Names the workload of `service` whose rendered specification has this digest.
    pub fn new(service: ServiceName, digest: &Digest) -> Self {
        Self {
            service,
            digest: digest.short().into(),
        }
    }

    /// Returns the short digest of the specification.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

text_conversions!(WorkloadId);

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.service, self.digest)
    }
}

impl FromStr for WorkloadId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId::new("workload id", text, "write service@digest");
        let (service, digest) = text.rsplit_once('@').ok_or_else(invalid)?;
        if digest.len() != 12 || !digest.bytes().all(|c| c.is_ascii_hexdigit()) {
            return Err(invalid());
        }
        Ok(Self {
            service: service.parse()?,
            digest: digest.into(),
        })
    }
}

/// One running copy of a workload, written `app/environment/service-number`.
///
/// The number is unique within the environment for ever: an instance is never started twice under
/// one id, which is what lets an engine adopt what a crashed control plane had already started.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceId {
    /// The environment it runs in.
    pub environment: EnvironmentId,
    /// The service it is a copy of.
    pub service: ServiceName,
    /// The sequence number within the environment, from 1.
    pub number: u32,
}

impl InstanceId {
    /// Returns `service-number`, which is unique within the environment.
    pub fn local(&self) -> String {
        format!("{}-{}", self.service, self.number)
    }
}

text_conversions!(InstanceId);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}-{}", self.environment, self.service, self.number)
    }
}

impl FromStr for InstanceId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid =
            || InvalidId::new("instance id", text, "write app/environment/service-number");
        let (environment, local) = text.rsplit_once('/').ok_or_else(invalid)?;
        let (service, number) = local.rsplit_once('-').ok_or_else(invalid)?;
        Ok(Self {
            environment: environment.parse()?,
            service: service.parse()?,
            number: number.parse().map_err(|_| invalid())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_their_rules() {
        assert!(AppName::new("launches").is_ok());
        assert!(AppName::new("Launches").is_err());
        assert!(AppName::new("-x").is_err());
        assert!(AppName::new("x".repeat(64)).is_err());
        assert!(ServiceName::new("web_1.a").is_ok());
        assert!(ServiceName::new("").is_err());
    }

    #[test]
    fn ids_survive_a_round_trip_through_text() {
        let id: InstanceId = "shop/production/web-api-12".parse().unwrap();
        assert_eq!((id.service.as_str(), id.number), ("web-api", 12));
        assert_eq!(id.to_string(), "shop/production/web-api-12");
        let workload = WorkloadId::new(id.service, &Digest::of(b"x"));
        assert_eq!(
            workload.to_string().parse::<WorkloadId>().unwrap(),
            workload
        );
    }

    #[test]
    fn a_digest_is_that_of_fips_180_4() {
        assert_eq!(
            Digest::of(b"abc").as_str(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
