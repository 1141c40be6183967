//! The keys of services and jobs that `pre_start` hooks do not have.

use super::build::BUILD;
use super::container::{self, DEVICE_REQUEST};
use super::{
    BOOL, COMMAND, Form, INT, LIST_OR_MAP, NUMBER, Object, TEXT, TEXT_OR_LIST, TEXTS, Type,
};

static DEPENDENCY: Object = Object::new(
    "a dependency",
    &[&[
        ("restart", BOOL),
        ("required", Form::Scalar(&[Type::Bool])),
        (
            "condition",
            Form::Choice(&[
                "service_started",
                "service_healthy",
                "service_completed_successfully",
            ]),
        ),
    ]],
)
.required(&["condition"]);

static HEALTHCHECK: Object = Object::new(
    "`healthcheck`",
    &[&[
        ("disable", BOOL),
        ("interval", TEXT),
        ("retries", NUMBER),
        ("test", Form::Either(&[TEXT, Form::List(&TEXT)])),
        ("timeout", TEXT),
        ("start_period", TEXT),
        ("start_interval", TEXT),
    ]],
);

static PORT: Object = Object::new(
    "a port",
    &[&[
        ("name", TEXT),
        ("mode", TEXT),
        ("host_ip", TEXT),
        ("target", INT),
        ("published", INT),
        ("protocol", TEXT),
        ("app_protocol", TEXT),
    ]],
);

const WORKLOAD: &[(&str, Form)] = &[
    ("build", Form::Either(&[TEXT, Form::Object(&BUILD)])),
    (
        "depends_on",
        Form::Either(&[TEXTS, Form::Named(&Form::Object(&DEPENDENCY))]),
    ),
    ("healthcheck", Form::Object(&HEALTHCHECK)),
    (
        "ports",
        Form::Set(&Form::Either(&[NUMBER, Form::Object(&PORT)])),
    ),
    ("expose", Form::Set(&NUMBER)),
    ("stdin_open", BOOL),
    ("tty", BOOL),
];

static WATCH: Object = Object::new(
    "a rule of `watch`",
    &[&[
        ("ignore", TEXT_OR_LIST),
        ("include", TEXT_OR_LIST),
        ("path", TEXT),
        (
            "action",
            Form::Choice(&["rebuild", "sync", "restart", "sync+restart", "sync+exec"]),
        ),
        ("target", TEXT),
        ("exec", Form::Object(&HOOK)),
        ("initial_sync", Form::Scalar(&[Type::Bool])),
    ]],
)
.required(&["path", "action"]);

static DEVELOP: Object = Object::new(
    "`develop`",
    &[&[("watch", Form::List(&Form::Object(&WATCH)))]],
);

static HOOK: Object = Object::new(
    "a hook",
    &[&[
        ("command", COMMAND),
        ("user", TEXT),
        ("privileged", BOOL),
        ("working_dir", TEXT),
        ("environment", LIST_OR_MAP),
    ]],
)
.required(&["command"]);

static PRE_START: Object = Object::new(
    "a `pre_start` hook",
    &[container::KEYS, &[("per_replica", BOOL)]],
);

static DEPLOY: Object = Object::new(
    "`deploy`",
    &[&[
        ("mode", TEXT),
        ("endpoint_mode", TEXT),
        ("replicas", INT),
        ("labels", LIST_OR_MAP),
        ("rollback_config", Form::Object(&UPDATE)),
        ("update_config", Form::Object(&UPDATE)),
        ("resources", Form::Object(&RESOURCES)),
        ("restart_policy", Form::Object(&RESTART_POLICY)),
        ("placement", Form::Object(&PLACEMENT)),
    ]],
);

static UPDATE: Object = Object::new(
    "an update",
    &[&[
        ("parallelism", INT),
        ("delay", TEXT),
        ("failure_action", TEXT),
        ("monitor", TEXT),
        ("max_failure_ratio", NUMBER),
        ("order", Form::Choice(&["start-first", "stop-first"])),
    ]],
);

static RESOURCES: Object = Object::new(
    "`resources`",
    &[&[
        ("limits", Form::Object(&LIMITS)),
        ("reservations", Form::Object(&RESERVATIONS)),
    ]],
);

static LIMITS: Object = Object::new(
    "`limits`",
    &[&[("cpus", NUMBER), ("memory", TEXT), ("pids", INT)]],
);

static RESERVATIONS: Object = Object::new(
    "`reservations`",
    &[&[
        ("cpus", NUMBER),
        ("memory", TEXT),
        (
            "generic_resources",
            Form::List(&Form::Object(&GENERIC_RESOURCE)),
        ),
        ("devices", Form::List(&Form::Object(&DEVICE_REQUEST))),
    ]],
);

static GENERIC_RESOURCE: Object = Object::new(
    "a generic resource",
    &[&[("discrete_resource_spec", Form::Object(&DISCRETE))]],
);

static DISCRETE: Object = Object::new(
    "`discrete_resource_spec`",
    &[&[("kind", TEXT), ("value", NUMBER)]],
);

static RESTART_POLICY: Object = Object::new(
    "`restart_policy`",
    &[&[
        ("condition", TEXT),
        ("delay", TEXT),
        ("max_attempts", INT),
        ("window", TEXT),
    ]],
);

static PLACEMENT: Object = Object::new(
    "`placement`",
    &[&[
        ("constraints", Form::List(&TEXT)),
        ("preferences", Form::List(&Form::Object(&PREFERENCE))),
        ("max_replicas_per_node", INT),
    ]],
);

static PREFERENCE: Object = Object::new("a preference", &[&[("spread", TEXT)]]);

static PROVIDER: Object = Object::new(
    "`provider`",
    &[&[
        ("type", TEXT),
        (
            "options",
            Form::Map(&Form::Either(&[
                Form::Scalar(&[Type::Text, Type::Number, Type::Bool]),
                Form::List(&Form::Scalar(&[Type::Text, Type::Number, Type::Bool])),
            ])),
        ),
    ]],
)
.required(&["type"]);

static EXTENDS: Object = Object::new("`extends`", &[&[("service", TEXT), ("file", TEXT)]])
    .required(&["service"])
    .closed();

const NULL: Form = Form::Scalar(&[Type::Null]);

fn is_container_name(text: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.' | b'-');
    text.as_bytes().windows(2).any(
        |pair| matches!(pair, [first, second] if first.is_ascii_alphanumeric() && allowed(*second)),
    )
}

pub(super) static SERVICE: Object = Object::new(
    "a service",
    &[
        container::KEYS,
        WORKLOAD,
        &[
            ("develop", Form::Either(&[Form::Object(&DEVELOP), NULL])),
            ("deploy", Form::Either(&[Form::Object(&DEPLOY), NULL])),
            ("attach", BOOL),
            (
                "container_name",
                Form::Pattern(
                    is_container_name,
                    "at least two letters, digits, `_`, `.` or `-`",
                ),
            ),
            ("extends", Form::Either(&[TEXT, Form::Object(&EXTENDS)])),
            ("provider", Form::Object(&PROVIDER)),
            ("external_links", TEXTS),
            ("links", TEXTS),
            ("pre_start", Form::List(&Form::Object(&PRE_START))),
            ("post_start", Form::List(&Form::Object(&HOOK))),
            ("pre_stop", Form::List(&Form::Object(&HOOK))),
            ("profiles", TEXTS),
            ("restart", TEXT),
            ("scale", INT),
        ],
    ],
);

static SCHEDULE: Object = Object::new(
    "a schedule",
    &[&[
        ("cron", TEXT),
        ("timezone", TEXT),
        ("concurrency", Form::Choice(&["forbid", "queue"])),
        ("missed_fires", Form::Choice(&["one", "skip"])),
    ]],
)
.required(&["cron"]);

static TRIGGERS: Object = Object::new(
    "`triggers`",
    &[&[
        ("manual", BOOL),
        (
            "schedule",
            Form::List(&Form::Either(&[TEXT, Form::Object(&SCHEDULE)])),
        ),
    ]],
);

pub(super) static JOB: Object = Object::new(
    "a job",
    &[
        container::KEYS,
        WORKLOAD,
        &[("profiles", TEXTS), ("triggers", Form::Object(&TRIGGERS))],
    ],
)
.required(&["triggers"]);
