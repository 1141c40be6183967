//! Fetches from repositories elsewhere: which way, as whom, within which limits. Not when.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use towpath_model::port::PortError;
use towpath_model::repository::outside::{Remote, Transport, Wanted, pull_request_reference};

use crate::authorities::trusted;
use crate::git::{Answer, Git};

/// How long a fetch may take: a first one of a large repository takes minutes.
const DEADLINE: Duration = Duration::from_mins(15);

/// The slowest transfer, in bytes a second, that is not given up after a minute.
const BYTES_PER_SECOND_MIN: &str = "1000";

/// Gives Git the credential when it is asked for one; any name goes with a token.
const HELPER: &str = r#"!f() { test "$1" = get && printf 'username=%s\npassword=%s\n' git "$TOWPATH_GIT_CREDENTIAL"; }; f"#;

/// Variables of a process, by their names.
type Variables = Vec<(&'static str, OsString)>;

/// Fetches into a repository.
pub(crate) async fn fetch(git: &Git<'_>, remote: &Remote, wanted: Wanted) -> Result<(), PortError> {
    let (specifications, prune): (Vec<String>, _) = match wanted {
        Wanted::BranchesAndTags => {
            let all = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];
            (all.map(str::to_owned).to_vec(), "--prune")
        }
        Wanted::PullRequest(forge, number) => {
            let head = forge.head(number).ok_or_else(|| {
                PortError::Refused("this forge keeps no heads of pull requests".to_owned())
            })?;
            let kept = pull_request_reference(number);
            (vec![format!("+{head}:{kept}")], "--no-prune")
        }
    };
    let file = memory_file(remote).map_err(|error| cannot(&error))?;
    let git = git.outside(variables(git.directory(), remote, file.as_ref())?, DEADLINE);
    let words = [
        "fetch",
        "--quiet",
        "--no-tags",
        "--no-write-fetch-head",
        "--no-recurse-submodules",
        "--no-auto-maintenance",
        prune,
        "--end-of-options",
        remote.url.as_str(),
    ];
    let words: Vec<&str> = words
        .into_iter()
        .chain(specifications.iter().map(String::as_str))
        .collect();
    match git.answer(&words).await? {
        Answer::Good(_) => Ok(()),
        Answer::Refused(_, complaint) => Err(PortError::Failed {
            attempted: format!("fetch from {}", remote.url),
            reason: last_lines(&complaint),
        }),
    }
}

fn cannot(error: &std::io::Error) -> PortError {
    PortError::Failed {
        attempted: "keep a file for Git in memory".to_owned(),
        reason: error.to_string(),
    }
}

/// Returns the variables of a fetch: only one way is open, nobody else's program is run, and what
/// comes is checked.
fn variables(
    directory: &Path,
    remote: &Remote,
    file: Option<&MemoryFile>,
) -> Result<Variables, PortError> {
    let way = match remote.url.transport() {
        Transport::Https => "https",
        Transport::Http => "http",
        Transport::Ssh => "ssh",
        Transport::File => "file",
    };
    let mut settings = vec![
        ("fetch.fsckObjects", "true"),
        ("fetch.fsck.zeroPaddedFilemode", "ignore"),
        ("fetch.fsck.missingSpaceBeforeDate", "ignore"),
        ("fetch.fsck.badTimezone", "ignore"),
        ("http.followRedirects", "false"),
        ("http.lowSpeedLimit", BYTES_PER_SECOND_MIN),
        ("http.lowSpeedTime", "60"),
        // A directory that another user owns may be read.
        ("safe.directory", "*"),
    ];
    let mut variables: Variables = vec![("GIT_ALLOW_PROTOCOL", way.into())];
    match (remote.url.transport(), &remote.credential) {
        (Transport::Https | Transport::Http, Some(credential)) => {
            let text = std::str::from_utf8(credential.expose()).map(str::trim);
            let text = text.ok().filter(|text| !text.contains(char::is_control));
            let text = text.ok_or_else(|| {
                let message = "the credential is no token: it is to be one line of text";
                PortError::Refused(message.to_owned())
            })?;
            settings.push(("credential.helper", HELPER));
            variables.push(("TOWPATH_GIT_CREDENTIAL", text.into()));
        }
        (Transport::Ssh, _) => variables.push(("GIT_SSH_COMMAND", ssh(directory, file))),
        _ => {}
    }
    if let (Transport::Https, Some(file)) = (remote.url.transport(), file) {
        variables.push(("GIT_SSL_CAINFO", file.0.clone().into()));
    }
    variables.push(("GIT_CONFIG_COUNT", settings.len().to_string().into()));
    for ((name, value), (key, text)) in settings.iter().zip(SETTINGS) {
        variables.push((key, (*name).into()));
        variables.push((text, (*value).into()));
    }
    Ok(variables)
}

/// The variables that each setting is in: its name and its value.
const SETTINGS: [(&str, &str); 9] = [
    ("GIT_CONFIG_KEY_0", "GIT_CONFIG_VALUE_0"),
    ("GIT_CONFIG_KEY_1", "GIT_CONFIG_VALUE_1"),
    ("GIT_CONFIG_KEY_2", "GIT_CONFIG_VALUE_2"),
    ("GIT_CONFIG_KEY_3", "GIT_CONFIG_VALUE_3"),
    ("GIT_CONFIG_KEY_4", "GIT_CONFIG_VALUE_4"),
    ("GIT_CONFIG_KEY_5", "GIT_CONFIG_VALUE_5"),
    ("GIT_CONFIG_KEY_6", "GIT_CONFIG_VALUE_6"),
    ("GIT_CONFIG_KEY_7", "GIT_CONFIG_VALUE_7"),
    ("GIT_CONFIG_KEY_8", "GIT_CONFIG_VALUE_8"),
];

/// Returns the command for SSH: with our own list of known hosts, which a host enters when it is met
/// first, and nothing of the user's.
fn ssh(directory: &Path, key: Option<&MemoryFile>) -> OsString {
    let known = directory.with_file_name("known_hosts");
    let identity = match key {
        Some(key) => format!("-i {} -o IdentitiesOnly=yes", quoted(&key.0)),
        None => "-o IdentityFile=none".to_owned(),
    };
    let known = quoted(&known);
    format!(
        "ssh -F none -o BatchMode=yes -o ConnectTimeout=20 -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile={known} {identity}"
    )
    .into()
}

/// Quotes a path for the shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

/// Returns the file that the way to a repository needs: a private key for SSH, or for HTTPS the
/// authorities, where others than the machine's are trusted too.
fn memory_file(remote: &Remote) -> std::io::Result<Option<MemoryFile>> {
    match remote.url.transport() {
        Transport::Ssh => {
            let key = remote.credential.as_ref();
            key.map(|key| MemoryFile::write(key.expose())).transpose()
        }
        Transport::Https => {
            let own = remote.authorities.as_ref();
            own.map(|own| MemoryFile::write(&trusted(own))).transpose()
        }
        Transport::Http | Transport::File => Ok(None),
    }
}

/// A file in memory, as long as Git or SSH needs it.
#[derive(Debug)]
struct MemoryFile(PathBuf);

impl MemoryFile {
    fn write(content: &[u8]) -> std::io::Result<Self> {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("towpath-git-{}-{number}", std::process::id());
        let path = Path::new("/dev/shm").join(name);
        let mut file = std::fs::File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let written = Self(path);
        file.write_all(content)?;
        // OpenSSH wants a line end after the last line.
        file.write_all(b"\n")?;
        Ok(written)
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// Returns the end of what Git complains of, on one line: there it says why. What SSH draws around a
/// warning, and what Git advises whatever was met, says nothing.
fn last_lines(complaint: &str) -> String {
    let says_nothing = |line: &str| {
        line.is_empty()
            || line.starts_with('@')
            || line.starts_with("Please make sure you have the correct access rights")
            || line == "and the repository exists."
    };
    let lines = complaint.lines().map(str::trim);
    let mut lines: Vec<&str> = lines
        .filter(|line| !says_nothing(line))
        .rev()
        .take(3)
        .collect();
    lines.reverse();
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use towpath_model::workload::SecretValue;

    use super::*;

    fn remote(url: &str, credential: Option<&str>) -> Remote {
        Remote {
            url: url.parse().unwrap(),
            credential: credential.map(|text| SecretValue::new(text.into())),
            authorities: None,
        }
    }

    #[test]
    fn only_the_way_of_the_address_is_open() {
        let of =
            |url| variables(Path::new("/data/git/shop.git"), &remote(url, None), None).unwrap();
        for (url, way) in [
            ("https://git.example.com/shop", "https"),
            ("git@git.example.com:shop", "ssh"),
            ("file:///srv/shop", "file"),
        ] {
            let ways = of(url);
            assert!(ways.contains(&("GIT_ALLOW_PROTOCOL", way.into())), "{url}");
        }
        let ssh = of("git@git.example.com:shop");
        let command = ssh.iter().find(|(name, _)| *name == "GIT_SSH_COMMAND");
        let command = command.unwrap().1.to_str().unwrap();
        assert!(command.contains("'/data/git/known_hosts'"), "{command}");
    }

    #[test]
    fn a_credential_is_in_a_variable_of_its_own_and_every_setting_has_its_place() {
        let url = "https://git.example.com/shop";
        let of = |credential| {
            variables(
                Path::new("/data/git/shop.git"),
                &remote(url, credential),
                None,
            )
        };
        let variables = of(Some("token\n")).unwrap();
        let with = variables.iter().filter(|(_, value)| value == "token");
        assert_eq!(with.count(), 1);
        let count = variables
            .iter()
            .find(|(name, _)| *name == "GIT_CONFIG_COUNT");
        let settings = variables
            .iter()
            .filter(|(name, _)| name.starts_with("GIT_CONFIG_KEY"));
        assert_eq!(count.unwrap().1, settings.count().to_string().as_str());
        assert!(of(Some("two\nlines")).is_err());
    }

    #[test]
    fn authorities_of_ones_own_are_given_to_git_over_https_only() {
        let given = |url: &str| {
            let remote = Remote {
                authorities: Some(SecretValue::new(b"PEM".to_vec())),
                ..remote(url, None)
            };
            let file = memory_file(&remote).unwrap();
            let variables = variables(Path::new("/data/git/shop.git"), &remote, file.as_ref());
            let variables = variables.unwrap();
            let named = variables.iter().find(|(name, _)| *name == "GIT_SSL_CAINFO");
            named.map(|(_, path)| std::fs::read_to_string(path).unwrap())
        };
        let trusted = given("https://git.example.com/shop").unwrap();
        assert!(trusted.ends_with("PEM\n\n"), "{trusted}");
        assert_eq!(given("http://git.example.com/shop"), None);
        assert_eq!(given("git@git.example.com:shop"), None);
    }

    #[test]
    fn what_ssh_complains_of_is_told_and_not_what_git_advises() {
        let complaint = "\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
Offending ED25519 key in /data/git/known_hosts:1
Host key for git.example.com has changed and you have requested strict checking.
Host key verification failed.\r
fatal: Could not read from remote repository.

Please make sure you have the correct access rights
and the repository exists.
";
        assert_eq!(
            last_lines(complaint),
            "Host key for git.example.com has changed and you have requested strict checking.; \
             Host key verification failed.; fatal: Could not read from remote repository."
        );
    }

    #[test]
    fn a_key_is_gone_when_it_is_not_needed() {
        let key = MemoryFile::write(b"key").unwrap();
        let path = key.0.clone();
        assert_eq!(std::fs::read(&path).unwrap(), b"key\n");
        drop(key);
        assert!(!path.exists());
    }
}
