//! The keys of `build`.

use super::container::{EXTRA_HOSTS, FILE_MOUNTS, ULIMITS};
use super::{BOOL, Form, INT, LIST_OR_MAP, Object, TEXT, TEXT_OR_LIST, Type};

const TEXT_LIST: Form = Form::List(&TEXT);
const ATTESTATION: Form = Form::Scalar(&[Type::Text, Type::Bool]);

pub(super) static BUILD: Object = Object::new(
    "`build`",
    &[&[
        ("context", TEXT),
        ("dockerfile", TEXT),
        ("dockerfile_inline", TEXT),
        ("entitlements", TEXT_LIST),
        ("args", LIST_OR_MAP),
        ("ssh", LIST_OR_MAP),
        ("labels", LIST_OR_MAP),
        ("cache_from", TEXT_LIST),
        ("cache_to", TEXT_LIST),
        ("no_cache", BOOL),
        ("no_cache_filter", TEXT_OR_LIST),
        ("additional_contexts", LIST_OR_MAP),
        ("network", TEXT),
        ("provenance", ATTESTATION),
        ("sbom", ATTESTATION),
        ("pull", BOOL),
        ("target", TEXT),
        ("shm_size", INT),
        ("extra_hosts", EXTRA_HOSTS),
        ("isolation", TEXT),
        ("privileged", BOOL),
        ("secrets", FILE_MOUNTS),
        ("tags", TEXT_LIST),
        ("ulimits", ULIMITS),
        ("platforms", TEXT_LIST),
    ]],
);
