//! The app as it runs: real processes, real sockets, real files.

mod app;
mod site;
mod stopping;
mod storing;
