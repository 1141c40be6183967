//! Digests of services as `docker compose config --hash` prints them, and as Compose labels containers
//! with them (`com.docker.compose.config-hash`). Not what our own releases compare.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::model::Project;
use crate::output;

/// What can change of a service without its containers becoming others.
const LEFT_OUT: [&str; 5] = ["build", "depends_on", "profiles", "pull_policy", "scale"];

/// Attributes in the order of the digested bytes; others follow by name.
const ORDER: [&str; 86] = [
    "annotations",
    "attach",
    "develop",
    "blkio_config",
    "cap_add",
    "cap_drop",
    "cgroup_parent",
    "cgroup",
    "cpu_count",
    "cpu_percent",
    "cpu_period",
    "cpu_quota",
    "cpu_rt_period",
    "cpu_rt_runtime",
    "cpus",
    "cpuset",
    "cpu_shares",
    "command",
    "configs",
    "container_name",
    "credential_spec",
    "deploy",
    "device_cgroup_rules",
    "devices",
    "dns",
    "dns_opt",
    "dns_search",
    "domainname",
    "entrypoint",
    "provider",
    "environment",
    "env_file",
    "expose",
    "external_links",
    "extra_hosts",
    "group_add",
    "gpus",
    "hostname",
    "healthcheck",
    "image",
    "init",
    "ipc",
    "isolation",
    "labels",
    "label_file",
    "links",
    "logging",
    "mem_limit",
    "mem_reservation",
    "memswap_limit",
    "mem_swappiness",
    "mac_address",
    "models",
    "network_mode",
    "networks",
    "oom_kill_disable",
    "oom_score_adj",
    "pid",
    "pids_limit",
    "platform",
    "ports",
    "privileged",
    "read_only",
    "restart",
    "runtime",
    "secrets",
    "security_opt",
    "shm_size",
    "stdin_open",
    "stop_grace_period",
    "stop_signal",
    "storage_opt",
    "sysctls",
    "tmpfs",
    "tty",
    "ulimits",
    "use_api_socket",
    "user",
    "userns_mode",
    "uts",
    "volumes",
    "volumes_from",
    "working_dir",
    "pre_start",
    "post_start",
    "pre_stop",
];

/// Returns the digest of each service: SHA-256, in hexadecimal.
pub fn service_digests(project: &Project) -> BTreeMap<String, String> {
    let mut document = output::plain(project);
    let services = document.get_mut("services").and_then(Value::as_object_mut);
    services
        .into_iter()
        .flatten()
        .map(|(name, service)| (name.clone(), digest(service)))
        .collect()
}

fn digest(service: &mut Value) -> String {
    let mut bytes = String::new();
    if let Some(service) = service.as_object_mut() {
        service.retain(|key, _| !LEFT_OUT.contains(&key.as_str()));
        if let Some(deploy) = service.get_mut("deploy").and_then(Value::as_object_mut) {
            deploy.shift_remove("replicas");
        }
        complete(service);
        let mut attributes: Vec<_> = std::mem::take(service).into_iter().collect();
        attributes.sort_by_key(|(key, _)| {
            let place = ORDER.iter().position(|known| known == key);
            (place.unwrap_or(ORDER.len()), key.clone())
        });
        service.extend(attributes);
        write_map(service, &mut bytes);
    }
    let digest = Sha256::digest(bytes.as_bytes());
    let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

/// Brings into the digested form what is printed otherwise: a watch always has the command that it runs,
/// and whether a hook runs for each instance is its last attribute.
fn complete(service: &mut Map<String, Value>) {
    let watched = service
        .get_mut("develop")
        .and_then(|it| it.get_mut("watch"));
    let watched = watched.and_then(Value::as_array_mut).into_iter().flatten();
    for watch in watched.filter_map(Value::as_object_mut) {
        if !watch.contains_key("exec") {
            let place = ["path", "action", "target"].map(|key| watch.contains_key(key));
            let place = place.into_iter().filter(|there| *there).count();
            watch.shift_insert(place, "exec".to_owned(), json!({"command": null}));
        }
    }
    let hooks = service.get_mut("pre_start").and_then(Value::as_array_mut);
    for hook in hooks.into_iter().flatten().filter_map(Value::as_object_mut) {
        if let Some(each) = hook.shift_remove("per_replica") {
            hook.insert("per_replica".to_owned(), each);
        }
    }
}

fn write_map(map: &Map<String, Value>, text: &mut String) {
    text.push('{');
    for (at, (key, value)) in map.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        write_text(key, text);
        text.push(':');
        write_value(value, text);
    }
    text.push('}');
}

/// Writes JSON as Go's `encoding/json` does: fractions of zero left out, and what HTML would read
/// escaped.
fn write_value(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => write_map(map, text),
        Value::Array(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                write_value(item, text);
            }
            text.push(']');
        }
        Value::String(one) => write_text(one, text),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(fraction) => text.push_str(&fraction.to_string()),
            None => text.push_str(&number.to_string()),
        },
        Value::Null | Value::Bool(_) => text.push_str(&value.to_string()),
    }
}

fn write_text(one: &str, text: &mut String) {
    let quoted = Value::from(one).to_string();
    for character in quoted.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LoadOptions, MemoryFiles, load};

    fn digests(text: &str) -> BTreeMap<String, String> {
        let files = MemoryFiles::default().with("/w/compose.yaml", text);
        let options = LoadOptions {
            working_directory: "/w".into(),
            ..LoadOptions::default()
        };
        service_digests(&load(&options, &files).unwrap().project)
    }

    #[test]
    fn digests_are_those_of_docker_compose() {
        let text = r#"
services:
  plain: {image: db}
  texts: {image: x, command: sh -c "a && b <x>", environment: {A: "pa$$word", B: "é"}}
  limits: {image: x, cpus: 1.0, mem_limit: 10m, deploy: {replicas: 2, resources: {reservations: {memory: 5m}}}}
  check: {image: x, healthcheck: {test: x, interval: 90s}, hostname: h, gpus: all, ports: ["8080:80"]}
  hooks: {image: x, post_start: [{command: ls}], working_dir: /w, stop_grace_period: 90s}
"#;
        let recorded = [
            (
                "check",
                "0ecc516e51f63a14bace9d5a7cf3ff68bcff27b9ffea9f1b391a0c7494ee02c5",
            ),
            (
                "hooks",
                "dc7522546a5145893919e25733d9255ddb9ee26007f9794dfc3927e5d9618962",
            ),
            (
                "limits",
                "9c8fef0372cf7239b90ae1d743343265ec7d8e2af0d415b8e4e987cc18f7bd9a",
            ),
            (
                "plain",
                "ac877af033022d998a9d31761708628841ef768d3fe5edb46b46c07ae1052339",
            ),
            (
                "texts",
                "d74723ab04e8717a5e2ae6d8fd6056699225210fa05d09ac54499b9f5b6de3b4",
            ),
        ];
        for (name, digest) in recorded {
            assert_eq!(digests(text).get(name).unwrap(), digest, "{name}");
        }
    }

    #[test]
    fn how_many_there_are_and_how_they_are_built_changes_no_digest() {
        let one = digests("services: {a: {image: x}}");
        let other = digests(
            "services: {a: {image: x, scale: 3, pull_policy: always, profiles: [], build: .}}",
        );
        assert_eq!(one, other);
    }
}
