//! The roles that are processes of their own: the control plane, the data plane, and those that
//! are never typed. Not the commands that speak to them.

pub(crate) mod clock;
pub(crate) mod ports;
pub(crate) mod pre_receive;
pub(crate) mod router;
pub(crate) mod serve;

use std::path::{Path, PathBuf};

/// The supervisor of one instance.
pub(crate) const SHIM: &str = "__shim";

/// The hook that Git runs before it takes a push.
pub(crate) const PRE_RECEIVE: &str = "__pre-receive";

/// A service of the example app.
pub(crate) const LAUNCHES: &str = "__launches";

/// Returns where the control plane answers.
pub(crate) fn api_socket(data: &Path) -> PathBuf {
    data.join("towpath.sock")
}

/// Returns where the router answers the control plane.
pub(crate) fn router_socket(data: &Path) -> PathBuf {
    data.join("router.sock")
}
