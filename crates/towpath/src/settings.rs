//! What the environment says: the one place that reads it. Not what the arguments say.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The variable that names a file of authorities.
pub(crate) const CA: &str = "TOWPATH_CA";

/// Everything that is read from the environment.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The data directory.
    pub(crate) home: PathBuf,
    /// The master key of the secrets, in base64, where it is not in the data directory.
    pub(crate) master_key: Option<String>,
    /// The control plane elsewhere that is asked.
    pub(crate) remote: Option<Remote>,
    /// Who asks, for the audit trail.
    pub(crate) actor: String,
    /// What is logged, as `tracing-subscriber` reads it.
    pub(crate) log: Option<String>,
    /// All variables, for Compose's interpolation.
    pub(crate) variables: BTreeMap<String, String>,
}

/// A control plane elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    /// Where it is.
    pub(crate) address: String,
    /// The token for it.
    pub(crate) token: String,
    /// The file of the authorities that it may be certified by, besides those of the machine.
    pub(crate) authorities: Option<PathBuf>,
}

impl Settings {
    /// Reads the environment.
    pub(crate) fn from_environment() -> Self {
        let variables = variables();
        let get = |name: &str| {
            variables
                .get(name)
                .filter(|value| !value.is_empty())
                .cloned()
        };
        Self {
            home: home(&get),
            master_key: get("TOWPATH_MASTER_KEY"),
            remote: get("TOWPATH_SERVER").map(|address| Remote {
                address,
                token: get("TOWPATH_TOKEN").unwrap_or_default(),
                authorities: get(CA).map(PathBuf::from),
            }),
            actor: get("TOWPATH_ACTOR")
                .or_else(|| get("USER"))
                .unwrap_or_else(|| "root".to_owned()),
            log: get("TOWPATH_LOG"),
            variables,
        }
    }
}

/// Returns the data directory: `TOWPATH_HOME`, else `towpath` in the user's data directory (XDG
/// Base Directory Specification).
fn home(get: &impl Fn(&str) -> Option<String>) -> PathBuf {
    let data = || {
        let user = PathBuf::from(get("HOME").unwrap_or_else(|| "/root".to_owned()));
        get("XDG_DATA_HOME").map_or_else(|| user.join(".local/share"), PathBuf::from)
    };
    get("TOWPATH_HOME").map_or_else(|| data().join("towpath"), PathBuf::from)
}

/// Returns all variables; what is not UTF-8 is replaced.
pub(crate) fn variables() -> BTreeMap<String, String> {
    let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
    std::env::vars_os()
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home_of(pairs: &[(&str, &str)]) -> PathBuf {
        home(&|name| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_data_directory_is_the_most_specific_one_that_is_named() {
        assert_eq!(
            home_of(&[("HOME", "/h")]),
            PathBuf::from("/h/.local/share/towpath")
        );
        let xdg = [("HOME", "/h"), ("XDG_DATA_HOME", "/x")];
        assert_eq!(home_of(&xdg), PathBuf::from("/x/towpath"));
        let own = [
            ("HOME", "/h"),
            ("XDG_DATA_HOME", "/x"),
            ("TOWPATH_HOME", "/t"),
        ];
        assert_eq!(home_of(&own), PathBuf::from("/t"));
    }
}
