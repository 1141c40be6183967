//! The variables of an instance: those that the engine gives, and their use in those of the
//! specification. Not secrets, whose values are added last ([`super::start`]).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use towpath_model::id::ServiceName;
use towpath_model::port::InstanceStart;
use towpath_model::workload::Command;

/// The prefix of a secret's path as container images expect it.
const CONTAINER_SECRETS: &str = "/run/secrets/";

/// Returns the variables that the engine gives an instance, but for the paths.
pub(super) fn given(start: &InstanceStart, port: u16) -> BTreeMap<String, String> {
    let mut given: BTreeMap<String, String> = BTreeMap::new();
    for (service, address) in &start.peers {
        given.extend(peer(service, *address));
    }
    let own = [
        ("HOST", "127.0.0.1".to_owned()),
        ("PORT", port.to_string()),
        ("TOWPATH_APP", start.id.environment.app.to_string()),
        ("TOWPATH_ENVIRONMENT", start.id.environment.name.to_string()),
        ("TOWPATH_INSTANCE", start.id.to_string()),
        ("TOWPATH_RELEASE", start.release.to_string()),
        ("TOWPATH_SERVICE", start.id.service.to_string()),
    ];
    given.extend(own.map(|(name, value)| (name.to_owned(), value)));
    given
}

fn peer(service: &ServiceName, address: SocketAddr) -> [(String, String); 3] {
    let name = variable_name(service.as_str());
    [
        (format!("{name}_HOST"), address.ip().to_string()),
        (format!("{name}_PORT"), address.port().to_string()),
        (format!("{name}_ADDR"), address.to_string()),
    ]
}

/// Returns a name as a part of a variable's name: upper case, all but letters and digits as `_`.
pub(super) fn variable_name(name: &str) -> String {
    let upper = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    };
    name.chars().map(upper).collect()
}

/// Replaces `${NAME}` for every name that is given, and nothing else. What is put in is not
/// looked at again.
pub(super) fn expand(text: &str, given: &BTreeMap<String, String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        expanded.push_str(before);
        let value = after
            .split_once('}')
            .and_then(|(name, behind)| Some((given.get(name)?, behind)));
        rest = if let Some((value, behind)) = value {
            expanded.push_str(value);
            behind
        } else {
            expanded.push_str("${");
            after
        };
    }
    expanded.push_str(rest);
    expanded
}

/// Returns the environment of an instance: `base`, then the specification's, then what is given.
/// Values may refer to what is given. A path under `/run/secrets` in a variable whose name ends
/// in `_FILE` becomes the real one, when a secret of that name is mounted.
pub(super) fn environment(
    base: &BTreeMap<String, String>,
    specified: &BTreeMap<String, String>,
    given: &BTreeMap<String, String>,
    secrets: (&Path, &[String]),
) -> BTreeMap<String, String> {
    let specified = specified.iter().map(|(name, value)| {
        let value = secret_path(name, value, secrets).unwrap_or_else(|| expand(value, given));
        (name.clone(), value)
    });
    let mut all = base.clone();
    all.extend(specified);
    all.extend(given.clone());
    all
}

fn secret_path(name: &str, value: &str, secrets: (&Path, &[String])) -> Option<String> {
    let (directory, files) = secrets;
    let file = value.strip_prefix(CONTAINER_SECRETS)?;
    let mounted = name.ends_with("_FILE") && files.iter().any(|mounted| mounted == file);
    mounted.then(|| directory.join(file).to_string_lossy().into_owned())
}

/// Returns the words of a command, and whether the first is a shell.
pub(super) fn words(command: &Command, given: &BTreeMap<String, String>) -> (Vec<String>, bool) {
    match command {
        // The shell expands variables by itself.
        Command::Shell(line) => (
            vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()],
            true,
        ),
        Command::Exec(words) => (
            words.iter().map(|word| expand(word, given)).collect(),
            false,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        entries.iter().map(owned).collect()
    }

    #[test]
    fn only_given_names_in_braces_are_expanded() {
        let given = map(&[("PORT", "1"), ("A", "${PORT}")]);
        for (text, expected) in [
            ("x${PORT}y${PORT}", "x1y1"),
            ("$PORT ${OTHER} ${PORT", "$PORT ${OTHER} ${PORT"),
            ("${${PORT}}", "${1}"),
            ("${A}", "${PORT}"),
            ("${PORT:-2}", "${PORT:-2}"),
            ("", ""),
        ] {
            assert_eq!(expand(text, &given), expected, "{text}");
        }
    }

    #[test]
    fn peers_are_named_in_upper_case() {
        let service = ServiceName::new("my-store.v2").unwrap();
        let pairs = peer(&service, "127.0.0.1:70".parse().unwrap());
        let expected = map(&[
            ("MY_STORE_V2_HOST", "127.0.0.1"),
            ("MY_STORE_V2_PORT", "70"),
            ("MY_STORE_V2_ADDR", "127.0.0.1:70"),
        ]);
        assert_eq!(BTreeMap::from(pairs), expected);
    }

    #[test]
    fn what_is_given_wins_over_what_is_specified_and_that_over_the_base() {
        let all = environment(
            &map(&[("PATH", "/bin"), ("LANG", "C")]),
            &map(&[
                ("LANG", "pl"),
                ("PORT", "80"),
                ("URL", "http://${HOST}:${PORT}"),
            ]),
            &map(&[("PORT", "1"), ("HOST", "h")]),
            (Path::new("/s"), &[]),
        );
        let expected = map(&[
            ("PATH", "/bin"),
            ("LANG", "pl"),
            ("PORT", "1"),
            ("HOST", "h"),
            ("URL", "http://h:1"),
        ]);
        assert_eq!(all, expected);
    }

    #[test]
    fn the_path_of_a_mounted_secret_is_translated_in_file_variables() {
        let secrets = (Path::new("/s"), &["key".to_owned()][..]);
        assert_eq!(
            secret_path("DB_FILE", "/run/secrets/key", secrets).as_deref(),
            Some("/s/key")
        );
        assert_eq!(secret_path("DB", "/run/secrets/key", secrets), None);
        assert_eq!(secret_path("DB_FILE", "/run/secrets/other", secrets), None);
    }

    #[test]
    fn the_words_of_a_list_are_expanded_and_a_line_is_left_to_the_shell() {
        let given = map(&[("PORT", "1")]);
        let list = Command::Exec(vec!["a".to_owned(), "-p${PORT}".to_owned()]);
        assert_eq!(
            words(&list, &given),
            (vec!["a".to_owned(), "-p1".to_owned()], false)
        );
        let (line, shell) = words(&Command::Shell("a ${PORT}".to_owned()), &given);
        assert_eq!(
            (line.last().map(String::as_str), shell),
            (Some("a ${PORT}"), true)
        );
    }
}
