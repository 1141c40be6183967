//! The keys of a file, and of what services share.

use super::service::{JOB, SERVICE};
use super::{BOOL, Form, LIST_OR_MAP, OPTIONS, Object, TEXT, TEXTS, Type};

pub(super) static FILE: Object = Object::new(
    "a Compose file",
    &[&[
        ("version", TEXT),
        ("name", TEXT),
        ("include", INCLUDES),
        ("services", Form::Named(&Form::Object(&SERVICE))),
        ("jobs", Form::Named(&Form::Object(&JOB))),
        ("models", Form::Named(&Form::Object(&MODEL))),
        (
            "networks",
            Form::Named(&Form::Either(&[Form::Object(&NETWORK), NULL])),
        ),
        (
            "volumes",
            Form::Named(&Form::Either(&[Form::Object(&VOLUME), NULL])),
        ),
        ("secrets", Form::Named(&Form::Object(&SECRET))),
        ("configs", Form::Named(&Form::Object(&CONFIG))),
    ]],
);

const NULL: Form = Form::Scalar(&[Type::Null]);

pub(super) const INCLUDES: Form = Form::List(&Form::Either(&[TEXT, Form::Object(&INCLUDE), NULL]));

const PATHS: Form = Form::Either(&[TEXT, TEXTS, NULL]);

pub(super) static INCLUDE: Object = Object::new(
    "an include",
    &[&[
        ("path", PATHS),
        ("env_file", PATHS),
        (
            "project_directory",
            Form::Scalar(&[Type::Text, Type::Int, Type::Null]),
        ),
    ]],
)
.lax();

const EXTERNAL: Form = Form::Either(&[BOOL, Form::Object(&EXTERNAL_NAME)]);
static EXTERNAL_NAME: Object = Object::new("`external`", &[&[("name", TEXT)]]);

const OPEN_EXTERNAL: Form = Form::Either(&[BOOL, Form::Object(&OPEN_EXTERNAL_NAME)]);
static OPEN_EXTERNAL_NAME: Object = Object::new("`external`", &[&[("name", TEXT)]]).lax();

static NETWORK: Object = Object::new(
    "a network",
    &[&[
        ("name", TEXT),
        ("driver", TEXT),
        ("driver_opts", OPTIONS),
        ("ipam", Form::Object(&IPAM)),
        ("external", EXTERNAL),
        ("internal", BOOL),
        ("enable_ipv4", BOOL),
        ("enable_ipv6", BOOL),
        ("attachable", BOOL),
        ("labels", LIST_OR_MAP),
    ]],
);

static IPAM: Object = Object::new(
    "`ipam`",
    &[&[
        ("driver", TEXT),
        ("config", Form::List(&Form::Object(&POOL))),
        ("options", Form::Map(&TEXT)),
    ]],
);

static POOL: Object = Object::new(
    "a pool of addresses",
    &[&[
        ("subnet", TEXT),
        ("ip_range", TEXT),
        ("gateway", TEXT),
        ("aux_addresses", Form::Map(&TEXT)),
    ]],
);

static VOLUME: Object = Object::new(
    "a volume",
    &[&[
        ("name", TEXT),
        ("driver", TEXT),
        ("driver_opts", OPTIONS),
        ("external", EXTERNAL),
        ("labels", LIST_OR_MAP),
    ]],
);

static SECRET: Object = Object::new(
    "a secret",
    &[&[
        ("name", TEXT),
        ("environment", TEXT),
        ("file", TEXT),
        ("external", OPEN_EXTERNAL),
        ("labels", LIST_OR_MAP),
        ("driver", TEXT),
        ("driver_opts", OPTIONS),
        ("template_driver", TEXT),
    ]],
);

static CONFIG: Object = Object::new(
    "a config",
    &[&[
        ("name", TEXT),
        ("content", TEXT),
        ("environment", TEXT),
        ("file", TEXT),
        ("external", OPEN_EXTERNAL),
        ("labels", LIST_OR_MAP),
        ("template_driver", TEXT),
    ]],
);

static MODEL: Object = Object::new(
    "a model",
    &[&[
        ("name", TEXT),
        ("model", TEXT),
        ("context_size", Form::Scalar(&[Type::Int])),
        ("runtime_flags", Form::List(&TEXT)),
    ]],
)
.required(&["model"]);
