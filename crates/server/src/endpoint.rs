//! The endpoints, one file for each family. Each reads the request, asks the platform, and maps the
//! answer; no rule is here.

pub(crate) mod adoption;
pub(crate) mod approval;
pub(crate) mod cache;
pub(crate) mod console;
pub(crate) mod deployment;
pub(crate) mod environment;
pub(crate) mod event;
pub(crate) mod log;
pub(crate) mod notify;
pub(crate) mod preview;
pub(crate) mod release;
pub(crate) mod repository;
pub(crate) mod run;
pub(crate) mod secret;
pub(crate) mod server;
pub(crate) mod source;
pub(crate) mod stream;
pub(crate) mod token;
