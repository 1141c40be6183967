//! The keys that services, jobs and `pre_start` hooks have in common.

use super::{
    BOOL, COMMAND, Form, INT, LIST_OR_MAP, NUMBER, OPTIONS, Object, TEXT, TEXT_OR_LIST, TEXTS, Type,
};

pub(super) const EXTRA_HOSTS: Form =
    Form::Either(&[Form::Map(&Form::Either(&[TEXT, Form::List(&TEXT)])), TEXTS]);

pub(super) const FILE_MOUNTS: Form = Form::List(&Form::Either(&[TEXT, Form::Object(&FILE_MOUNT)]));

static FILE_MOUNT: Object = Object::new(
    "a mounted file",
    &[&[
        ("source", TEXT),
        ("target", TEXT),
        ("uid", TEXT),
        ("gid", TEXT),
        ("mode", NUMBER),
    ]],
);

pub(super) const ULIMITS: Form = Form::Lowercase(&Form::Either(&[INT, Form::Object(&ULIMIT)]));

static ULIMIT: Object =
    Object::new("a limit", &[&[("hard", INT), ("soft", INT)]]).required(&["soft", "hard"]);

static BLKIO: Object = Object::new(
    "`blkio_config`",
    &[&[
        ("device_read_bps", Form::List(&Form::Object(&BLKIO_LIMIT))),
        ("device_read_iops", Form::List(&Form::Object(&BLKIO_LIMIT))),
        ("device_write_bps", Form::List(&Form::Object(&BLKIO_LIMIT))),
        ("device_write_iops", Form::List(&Form::Object(&BLKIO_LIMIT))),
        ("weight", INT),
        ("weight_device", Form::List(&Form::Object(&BLKIO_WEIGHT))),
    ]],
)
.closed();

static BLKIO_LIMIT: Object =
    Object::new("a limit of a device", &[&[("path", TEXT), ("rate", INT)]]).closed();

static BLKIO_WEIGHT: Object = Object::new(
    "a weight of a device",
    &[&[("path", TEXT), ("weight", INT)]],
)
.closed();

static CREDENTIAL_SPEC: Object = Object::new(
    "`credential_spec`",
    &[&[("config", TEXT), ("file", TEXT), ("registry", TEXT)]],
);

static DEVICE: Object = Object::new(
    "a device",
    &[&[("source", TEXT), ("target", TEXT), ("permissions", TEXT)]],
)
.required(&["source"]);

static ENV_FILE: Object = Object::new(
    "an env file",
    &[&[("path", TEXT), ("format", TEXT), ("required", BOOL)]],
)
.required(&["path"])
.closed();

const DEVICE_REQUEST_KEYS: &[(&str, Form)] = &[
    ("capabilities", TEXTS),
    ("count", INT),
    ("device_ids", TEXTS),
    ("driver", TEXT),
    ("options", LIST_OR_MAP),
];

pub(super) static DEVICE_REQUEST: Object =
    Object::new("a request for devices", &[DEVICE_REQUEST_KEYS]).required(&["capabilities"]);

static GPU: Object = Object::new("a request for GPUs", &[DEVICE_REQUEST_KEYS]);

static LOGGING: Object = Object::new(
    "`logging`",
    &[&[
        ("driver", TEXT),
        (
            "options",
            Form::AnyMap(&Form::Scalar(&[Type::Text, Type::Number, Type::Null])),
        ),
    ]],
);

static SERVICE_MODEL: Object = Object::new(
    "the use of a model",
    &[&[("endpoint_var", TEXT), ("model_var", TEXT)]],
);

static SERVICE_NETWORK: Object = Object::new(
    "the use of a network",
    &[&[
        ("aliases", TEXTS),
        ("interface_name", TEXT),
        ("ipv4_address", TEXT),
        ("ipv6_address", TEXT),
        ("link_local_ips", TEXTS),
        ("mac_address", TEXT),
        ("driver_opts", OPTIONS),
        ("priority", Form::Scalar(&[Type::Number])),
        ("gw_priority", Form::Scalar(&[Type::Number])),
    ]],
);

const NULL: Form = Form::Scalar(&[Type::Null]);

static MOUNT: Object = Object::new(
    "a mount",
    &[&[
        (
            "type",
            Form::Choice(&["bind", "volume", "tmpfs", "cluster", "npipe", "image"]),
        ),
        ("source", TEXT),
        ("target", TEXT),
        ("read_only", BOOL),
        ("consistency", TEXT),
        ("bind", Form::Object(&MOUNT_BIND)),
        ("volume", Form::Object(&MOUNT_VOLUME)),
        ("tmpfs", Form::Object(&MOUNT_TMPFS)),
        ("image", Form::Object(&MOUNT_IMAGE)),
    ]],
)
.required(&["type"]);

static MOUNT_BIND: Object = Object::new(
    "`bind`",
    &[&[
        ("propagation", TEXT),
        ("create_host_path", BOOL),
        (
            "recursive",
            Form::Choice(&["enabled", "disabled", "writable", "readonly"]),
        ),
        ("selinux", Form::Choice(&["z", "Z"])),
    ]],
);

static MOUNT_VOLUME: Object = Object::new(
    "`volume`",
    &[&[("labels", LIST_OR_MAP), ("nocopy", BOOL), ("subpath", TEXT)]],
);

static MOUNT_TMPFS: Object = Object::new(
    "`tmpfs`",
    &[&[("size", Form::Between(0, i64::MAX)), ("mode", NUMBER)]],
);

static MOUNT_IMAGE: Object = Object::new("`image`", &[&[("subpath", TEXT)]]);

fn is_pull_policy(text: &str) -> bool {
    if let Some(age) = text.strip_prefix("every_") {
        let mut digits = 0_usize;
        let mut groups = 0_usize;
        for c in age.chars() {
            match c {
                '0'..='9' => digits += 1,
                'w' | 'd' | 'h' | 'm' | 's' if digits > 0 => {
                    digits = 0;
                    groups += 1;
                }
                _ => return false,
            }
        }
        return groups > 0 && digits == 0;
    }
    matches!(
        text,
        "always"
            | "never"
            | "build"
            | "if_not_present"
            | "missing"
            | "refresh"
            | "daily"
            | "weekly"
    )
}

pub(super) const KEYS: &[(&str, Form)] = &[
    ("annotations", LIST_OR_MAP),
    ("blkio_config", Form::Object(&BLKIO)),
    ("cap_add", TEXTS),
    ("cap_drop", TEXTS),
    ("cgroup", Form::Choice(&["host", "private"])),
    ("cgroup_parent", TEXT),
    ("command", COMMAND),
    ("configs", FILE_MOUNTS),
    ("cpu_count", Form::Between(0, i64::MAX)),
    ("cpu_percent", Form::Between(0, 100)),
    ("cpu_shares", NUMBER),
    ("cpu_quota", NUMBER),
    ("cpu_period", NUMBER),
    ("cpu_rt_period", NUMBER),
    ("cpu_rt_runtime", NUMBER),
    ("cpus", NUMBER),
    ("cpuset", TEXT),
    ("credential_spec", Form::Object(&CREDENTIAL_SPEC)),
    ("device_cgroup_rules", TEXTS),
    (
        "devices",
        Form::List(&Form::Either(&[TEXT, Form::Object(&DEVICE)])),
    ),
    ("dns", TEXT_OR_LIST),
    ("dns_opt", TEXTS),
    ("dns_search", TEXT_OR_LIST),
    ("domainname", TEXT),
    ("entrypoint", COMMAND),
    (
        "env_file",
        Form::Either(&[
            TEXT,
            Form::List(&Form::Either(&[TEXT, Form::Object(&ENV_FILE)])),
        ]),
    ),
    ("label_file", Form::Either(&[TEXT, Form::List(&TEXT)])),
    ("environment", LIST_OR_MAP),
    ("extra_hosts", EXTRA_HOSTS),
    (
        "gpus",
        Form::Either(&[Form::Choice(&["all"]), Form::List(&Form::Object(&GPU))]),
    ),
    ("group_add", Form::Set(&NUMBER)),
    ("hostname", TEXT),
    ("image", TEXT),
    ("init", BOOL),
    ("ipc", TEXT),
    ("isolation", TEXT),
    ("labels", LIST_OR_MAP),
    ("logging", Form::Object(&LOGGING)),
    ("mac_address", TEXT),
    ("mem_limit", NUMBER),
    ("mem_reservation", INT),
    ("mem_swappiness", INT),
    ("memswap_limit", NUMBER),
    ("network_mode", TEXT),
    (
        "models",
        Form::Either(&[
            TEXTS,
            Form::Named(&Form::Either(&[Form::Object(&SERVICE_MODEL), NULL])),
        ]),
    ),
    (
        "networks",
        Form::Either(&[
            TEXTS,
            Form::Named(&Form::Either(&[Form::Object(&SERVICE_NETWORK), NULL])),
        ]),
    ),
    ("oom_kill_disable", BOOL),
    ("oom_score_adj", Form::Between(-1000, 1000)),
    ("pid", TEXT),
    ("pids_limit", NUMBER),
    ("platform", TEXT),
    ("privileged", BOOL),
    (
        "pull_policy",
        Form::Pattern(
            is_pull_policy,
            "always, never, build, if_not_present, missing, refresh, daily, weekly or every_ and an age like every_12h",
        ),
    ),
    ("pull_refresh_after", TEXT),
    ("read_only", BOOL),
    ("runtime", TEXT),
    ("security_opt", TEXTS),
    ("shm_size", NUMBER),
    ("secrets", FILE_MOUNTS),
    ("sysctls", LIST_OR_MAP),
    ("stop_grace_period", TEXT),
    ("stop_signal", TEXT),
    ("storage_opt", Form::AnyMap(&Form::Any)),
    ("tmpfs", TEXT_OR_LIST),
    ("ulimits", ULIMITS),
    ("use_api_socket", Form::Scalar(&[Type::Bool])),
    ("user", TEXT),
    ("uts", TEXT),
    ("userns_mode", TEXT),
    (
        "volumes",
        Form::Set(&Form::Either(&[TEXT, Form::Object(&MOUNT)])),
    ),
    ("volumes_from", TEXTS),
    ("working_dir", TEXT),
];
