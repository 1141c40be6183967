//! Who one is at a registry: what `docker login` wrote down, and the programs that keep it. The
//! format is that of the Docker CLI's `config.json`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::config::DockerConfig;

/// How Docker Hub is named in references, and in the file.
const HUB: &str = "docker.io";
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// The longest that a program may take to hand out credentials.
const PATIENCE: Duration = Duration::from_secs(30);

/// The user name by which a program says that the password is an identity token.
const TOKEN_USER: &str = "<token>";

/// An image reference, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    /// The registry.
    pub(super) host: String,
    /// All but the tag; with the digest, where it has one.
    pub(super) name: String,
    /// The tag, `latest` where nothing is said, absent beside a digest.
    pub(super) tag: Option<String>,
}

impl Reference {
    /// Takes a reference apart.
    pub(super) fn parse(reference: &str) -> Self {
        let host = match reference.split_once('/') {
            Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
            _ => HUB,
        };
        let (name, tag) = if reference.contains('@') {
            (reference, None)
        } else {
            match reference.rsplit_once(':') {
                Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
                _ => (reference, Some("latest")),
            }
        };
        Self {
            host: host.to_owned(),
            name: name.to_owned(),
            tag: tag.map(str::to_owned),
        }
    }
}

/// The parts of `config.json` that matter.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct File {
    auths: BTreeMap<String, Entry>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entry(***)")
    }
}

/// What a program that keeps credentials answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Looks up who one is at a registry; nobody where nothing is written down.
pub(super) async fn find(
    config: &DockerConfig,
    host: &str,
) -> Result<Option<DockerCredentials>, String> {
    let Some(directory) = &config.credentials else {
        return Ok(None);
    };
    let file = read(&directory.join("config.json"))?;
    of(&file, config, host).await
}

/// Looks up who one is at all registries that the file names, for a build.
pub(super) async fn all(
    config: &DockerConfig,
) -> Result<HashMap<String, DockerCredentials>, String> {
    let Some(directory) = &config.credentials else {
        return Ok(HashMap::new());
    };
    let file = read(&directory.join("config.json"))?;
    let mut found = HashMap::new();
    for key in file.auths.keys().chain(file.cred_helpers.keys()) {
        if let Some(credentials) = of(&file, config, bare(key)).await? {
            found.insert(key.clone(), credentials);
        }
    }
    Ok(found)
}

fn read(path: &Path) -> Result<File, String> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(File::default()),
        Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
    };
    serde_json::from_slice(&text)
        .map_err(|error| format!("{} is not readable: {error}", path.display()))
}

async fn of(
    file: &File,
    config: &DockerConfig,
    host: &str,
) -> Result<Option<DockerCredentials>, String> {
    let key = if host == HUB { HUB_KEY } else { host };
    let helper = file
        .cred_helpers
        .get(key)
        .or_else(|| file.cred_helpers.get(host));
    if let Some(helper) = helper.or(file.creds_store.as_ref()) {
        return ask(helper, config, key).await;
    }
    let entry = file.auths.iter().find(|(name, _)| bare(name) == bare(key));
    let Some((name, entry)) = entry else {
        return Ok(None);
    };
    written(name, entry, key).map(Some)
}

/// Returns the host of a key of the file, which may be a URL.
fn bare(key: &str) -> &str {
    let key = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    key.split('/').next().unwrap_or(key)
}

fn written(name: &str, entry: &Entry, key: &str) -> Result<DockerCredentials, String> {
    let mut credentials = DockerCredentials {
        username: entry.username.clone(),
        password: entry.password.clone(),
        identitytoken: entry.identitytoken.clone(),
        serveraddress: Some(key.to_owned()),
        ..DockerCredentials::default()
    };
    if let Some(auth) = entry.auth.as_deref().filter(|auth| !auth.is_empty()) {
        let decoded = STANDARD.decode(auth).ok();
        let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
        let (user, password) =
            pair.ok_or_else(|| format!("what `docker login` wrote for {name} is not readable"))?;
        credentials.username = Some(user.to_owned());
        credentials.password = Some(password.trim_end_matches('\0').to_owned());
    }
    Ok(credentials)
}

/// Asks `docker-credential-NAME`, whose protocol is: `get`, the registry on the standard input.
async fn ask(
    helper: &str,
    config: &DockerConfig,
    key: &str,
) -> Result<Option<DockerCredentials>, String> {
    let program = format!("docker-credential-{helper}");
    if helper.contains('/') {
        return Err(format!(
            "`{helper}` is not the name of a program that keeps credentials"
        ));
    }
    let mut command = Command::new(&program);
    if let Some(path) = &config.search_path {
        command.env("PATH", path);
    }
    let child = command
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let mut child = child.map_err(|error| format!("cannot run {program}: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read says so by its exit code.
        drop(stdin.write_all(key.as_bytes()).await);
    }
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output())
        .await
        .map_err(|_| format!("{program} does not answer"))?
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        if said.contains("credentials not found") {
            return Ok(None);
        }
        // What it said may be a part of a secret.
        return Err(format!("{program} failed: {}", output.status));
    }
    let answer: Answer = serde_json::from_slice(&output.stdout)
        .map_err(|_| format!("what {program} answers is not understood"))?;
    let mut credentials = DockerCredentials {
        serveraddress: Some(key.to_owned()),
        ..DockerCredentials::default()
    };
    if answer.username == TOKEN_USER {
        credentials.identitytoken = Some(answer.secret);
    } else {
        credentials.username = Some(answer.username);
        credentials.password = Some(answer.secret);
    }
    Ok(Some(credentials))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_reference_is_taken_apart_as_docker_does_it() {
        let digest = "ghcr.io/a/b@sha256:00";
        for (reference, host, name, tag) in [
            ("postgres", HUB, "postgres", Some("latest")),
            ("postgres:16", HUB, "postgres", Some("16")),
            ("library/postgres:16", HUB, "library/postgres", Some("16")),
            ("localhost/a", "localhost", "localhost/a", Some("latest")),
            (
                "host:5000/a/b",
                "host:5000",
                "host:5000/a/b",
                Some("latest"),
            ),
            ("host:5000/a/b:c", "host:5000", "host:5000/a/b", Some("c")),
            (digest, "ghcr.io", digest, None),
        ] {
            let expected = Reference {
                host: host.to_owned(),
                name: name.to_owned(),
                tag: tag.map(str::to_owned),
            };
            assert_eq!(Reference::parse(reference), expected);
        }
    }

    fn config(directory: &Path, content: &str) -> DockerConfig {
        std::fs::write(directory.join("config.json"), content).unwrap();
        let mut config = DockerConfig::new(None);
        config.credentials = Some(directory.to_owned());
        config
    }

    #[tokio::test]
    async fn what_docker_login_wrote_down_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let auth = STANDARD.encode("me:pass:word");
        let config = config(
            directory.path(),
            &format!(r#"{{"auths": {{"https://host:5000/v1/": {{"auth": "{auth}"}}}}}}"#),
        );
        let found = find(&config, "host:5000").await.unwrap().unwrap();
        assert_eq!(found.username.as_deref(), Some("me"));
        assert_eq!(found.password.as_deref(), Some("pass:word"));
        assert_eq!(find(&config, "other").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_program_that_keeps_credentials_is_asked_for_its_registry_only() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("docker-credential-test");
        let script = "#!/bin/sh\nread -r host || true\necho \"{\\\"Username\\\": \\\"$host\\\", \\\"Secret\\\": \\\"s\\\"}\"\n";
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut config = config(directory.path(), r#"{"credHelpers": {"host": "test"}}"#);
        let path = format!("{}:/usr/bin:/bin", directory.path().display());
        config.search_path = Some(path.into());
        let found = find(&config, "host").await.unwrap().unwrap();
        assert_eq!(found.username.as_deref(), Some("host"));
        assert_eq!(find(&config, "other").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_file_that_is_broken_is_said_so() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path(), "{");
        assert!(find(&config, "host").await.is_err());
    }
}
