//! Which conversion each key has.

use super::convert::{
    choice, command, count, decimal, delay, devices, duration, flag, groups, hosts, int, mode,
    natural, plain_map, positive, repeated, size, ssh, test, text, text_map, texts, ulimit,
    variables, weight,
};
use super::{Table, listed, named, shape};
use crate::diagnostic::Diagnostics;
use crate::yaml::{Map, Node, Value};

type Converted = Result<Option<Value>, Diagnostics>;

pub(super) const PROJECT: Table = &[
    ("services", |node| named(node, service)),
    ("jobs", |node| named(node, job)),
    ("networks", |node| {
        named(node, |node| empty_or(network(node)))
    }),
    ("volumes", |node| named(node, |node| empty_or(volume(node)))),
    ("secrets", |node| {
        named(node, |node| empty_or(file_object(node)))
    }),
    ("configs", |node| {
        named(node, |node| empty_or(file_object(node)))
    }),
    ("models", |node| named(node, model)),
];

/// Converts a map by tables; nothing says nothing.
fn object(node: &Node, tables: &[Table]) -> Converted {
    if node.is_null() {
        return Ok(None);
    }
    shape(node, tables).map(Some)
}

/// A resource that nothing is said of is one all the same.
fn empty_or(converted: Converted) -> Converted {
    Ok(Some(converted?.unwrap_or_else(|| Value::Map(Map::new()))))
}

#[expect(clippy::unnecessary_wraps, reason = "it is one of the conversions")]
fn left_out(_node: &Node) -> Converted {
    Ok(None)
}

const CONTAINER: Table = &[
    ("annotations", text_map),
    ("blkio_config", |node| object(node, &[BLKIO])),
    ("cap_add", texts),
    ("cap_drop", texts),
    ("command", command),
    ("configs", |node| listed(node, file_mount)),
    ("cpu_count", int),
    ("cpu_percent", decimal),
    ("cpu_period", int),
    ("cpu_quota", int),
    ("cpu_rt_period", int),
    ("cpu_rt_runtime", int),
    ("cpu_shares", int),
    ("cpus", decimal),
    ("credential_spec", |node| object(node, &[])),
    ("device_cgroup_rules", texts),
    ("devices", |node| listed(node, |node| object(node, &[]))),
    ("dns", texts),
    ("dns_opt", texts),
    ("dns_search", texts),
    ("entrypoint", command),
    ("env_file", |node| {
        listed(node, |node| object(node, &[&[("required", choice)]]))
    }),
    ("environment", variables),
    ("extra_hosts", hosts),
    ("gpus", |node| listed(node, device_request)),
    ("group_add", groups),
    ("init", choice),
    ("label_file", texts),
    ("labels", text_map),
    ("logging", |node| object(node, &[&[("options", text_map)]])),
    ("mem_limit", size),
    ("mem_reservation", size),
    ("mem_swappiness", size),
    ("memswap_limit", size),
    ("models", |node| named(node, |node| object(node, &[]))),
    ("networks", |node| named(node, service_network)),
    ("oom_kill_disable", flag),
    ("oom_score_adj", int),
    ("pids_limit", int),
    ("privileged", flag),
    ("read_only", flag),
    ("secrets", |node| listed(node, file_mount)),
    ("security_opt", texts),
    ("shm_size", size),
    ("stop_grace_period", duration),
    ("storage_opt", plain_map),
    ("sysctls", text_map),
    ("tmpfs", texts),
    ("ulimits", |node| named(node, ulimit)),
    ("use_api_socket", flag),
    ("volumes", |node| listed(node, mount)),
    ("volumes_from", texts),
];

const WORKLOAD: Table = &[
    ("build", |node| object(node, &[BUILD])),
    ("depends_on", |node| named(node, dependency)),
    ("expose", texts),
    ("healthcheck", |node| object(node, &[HEALTHCHECK])),
    ("ports", |node| {
        listed(node, |node| object(node, &[&[("target", natural)]]))
    }),
    ("stdin_open", flag),
    ("tty", flag),
];

fn service(node: &Node) -> Converted {
    object(
        node,
        &[
            CONTAINER,
            WORKLOAD,
            &[
                ("attach", choice),
                ("deploy", |node| object(node, &[DEPLOY])),
                ("develop", |node| {
                    object(node, &[&[("watch", |node| listed(node, watch))]])
                }),
                ("extends", left_out),
                ("external_links", texts),
                ("links", texts),
                ("post_start", |node| listed(node, hook)),
                ("pre_start", |node| {
                    listed(node, |node| {
                        object(node, &[CONTAINER, &[("per_replica", flag)]])
                    })
                }),
                ("pre_stop", |node| listed(node, hook)),
                ("profiles", texts),
                ("provider", |node| object(node, &[&[("options", repeated)]])),
                ("scale", natural),
            ],
        ],
    )
}

fn job(node: &Node) -> Converted {
    object(
        node,
        &[
            CONTAINER,
            WORKLOAD,
            &[
                ("extends", left_out),
                ("profiles", texts),
                ("triggers", |node| {
                    object(
                        node,
                        &[&[
                            ("manual", choice),
                            ("schedule", |node| listed(node, |node| object(node, &[]))),
                        ]],
                    )
                }),
            ],
        ],
    )
}

const BLKIO: Table = &[
    ("weight", weight),
    ("weight_device", |node| {
        listed(node, |node| object(node, &[&[("weight", weight)]]))
    }),
    ("device_read_bps", |node| listed(node, throttle)),
    ("device_read_iops", |node| listed(node, throttle)),
    ("device_write_bps", |node| listed(node, throttle)),
    ("device_write_iops", |node| listed(node, throttle)),
];

fn throttle(node: &Node) -> Converted {
    object(node, &[&[("rate", size)]])
}

fn file_mount(node: &Node) -> Converted {
    object(node, &[&[("mode", mode)]])
}

fn device_request(node: &Node) -> Converted {
    object(
        node,
        &[&[
            ("capabilities", texts),
            ("count", devices),
            ("device_ids", texts),
            ("options", text_map),
        ]],
    )
}

fn service_network(node: &Node) -> Converted {
    object(
        node,
        &[&[
            ("aliases", texts),
            ("driver_opts", text_map),
            ("gw_priority", int),
            ("link_local_ips", texts),
            ("priority", int),
        ]],
    )
}

fn mount(node: &Node) -> Converted {
    object(
        node,
        &[&[
            ("read_only", flag),
            ("bind", |node| {
                object(node, &[&[("create_host_path", choice)]])
            }),
            ("volume", |node| {
                object(node, &[&[("labels", text_map), ("nocopy", flag)]])
            }),
            ("tmpfs", |node| {
                object(node, &[&[("size", size), ("mode", positive)]])
            }),
            ("image", |node| object(node, &[])),
        ]],
    )
}

const BUILD: Table = &[
    ("entitlements", texts),
    ("args", variables),
    ("ssh", ssh),
    ("labels", text_map),
    ("cache_from", texts),
    ("cache_to", texts),
    ("no_cache", flag),
    ("no_cache_filter", texts),
    ("additional_contexts", text_map),
    ("pull", flag),
    ("extra_hosts", hosts),
    ("secrets", |node| listed(node, file_mount)),
    ("shm_size", size),
    ("tags", texts),
    ("ulimits", |node| named(node, ulimit)),
    ("platforms", texts),
    ("privileged", flag),
];

fn dependency(node: &Node) -> Converted {
    object(node, &[&[("restart", flag), ("required", choice)]])
}

const HEALTHCHECK: Table = &[
    ("test", test),
    ("timeout", duration),
    ("interval", duration),
    ("retries", natural),
    ("start_period", duration),
    ("start_interval", duration),
    ("disable", flag),
];

const DEPLOY: Table = &[
    ("replicas", natural),
    ("labels", text_map),
    ("update_config", |node| object(node, &[UPDATE])),
    ("rollback_config", |node| object(node, &[UPDATE])),
    ("resources", |node| {
        object(node, &[&[("limits", resource), ("reservations", resource)]])
    }),
    ("restart_policy", |node| {
        object(
            node,
            &[&[
                ("delay", duration),
                ("max_attempts", natural),
                ("window", duration),
            ]],
        )
    }),
    ("placement", |node| {
        object(
            node,
            &[&[
                ("constraints", texts),
                ("preferences", |node| listed(node, |node| object(node, &[]))),
                ("max_replicas_per_node", positive),
            ]],
        )
    }),
];

const UPDATE: Table = &[
    ("parallelism", natural),
    ("delay", delay),
    ("monitor", delay),
    ("max_failure_ratio", decimal),
];

fn resource(node: &Node) -> Converted {
    object(
        node,
        &[&[
            ("cpus", decimal),
            ("memory", size),
            ("pids", int),
            ("devices", |node| listed(node, device_request)),
            ("generic_resources", |node| {
                listed(node, |node| {
                    object(
                        node,
                        &[&[("discrete_resource_spec", |node| {
                            object(node, &[&[("kind", kind), ("value", count)]])
                        })]],
                    )
                })
            }),
        ]],
    )
}

/// A text that is there even when it is empty.
fn kind(node: &Node) -> Converted {
    Ok(Some(text(node)?.unwrap_or(Value::Text(String::new()))))
}

fn watch(node: &Node) -> Converted {
    object(
        node,
        &[&[
            ("exec", hook),
            ("include", texts),
            ("ignore", texts),
            ("initial_sync", flag),
        ]],
    )
}

fn hook(node: &Node) -> Converted {
    object(
        node,
        &[&[
            ("command", command),
            ("privileged", flag),
            ("environment", variables),
        ]],
    )
}

fn network(node: &Node) -> Converted {
    object(
        node,
        &[&[
            ("driver_opts", text_map),
            ("ipam", |node| {
                object(
                    node,
                    &[&[
                        ("config", |node| {
                            listed(node, |node| object(node, &[&[("aux_addresses", text_map)]]))
                        }),
                        ("options", text_map),
                    ]],
                )
            }),
            ("external", flag),
            ("internal", flag),
            ("attachable", flag),
            ("labels", text_map),
            ("enable_ipv4", choice),
            ("enable_ipv6", choice),
        ]],
    )
}

fn volume(node: &Node) -> Converted {
    object(
        node,
        &[&[
            ("driver_opts", text_map),
            ("external", flag),
            ("labels", text_map),
        ]],
    )
}

fn file_object(node: &Node) -> Converted {
    volume(node)
}

fn model(node: &Node) -> Converted {
    object(node, &[&[("context_size", int), ("runtime_flags", texts)]])
}
