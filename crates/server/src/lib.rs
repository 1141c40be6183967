//! HTTP over control: endpoints, uploads, event streams, who may connect. Not what is done, which
//! is control's, and no database or engine.
//!
//! [`serve`] is the whole server; [`openapi`] is the document of what it serves.

mod actor;
mod app;
mod carry;
mod certificate;
mod endpoint;
mod extract;
mod git;
mod listen;
mod map;
mod problem;
mod tls;
mod webhook;

pub use app::{Context, openapi};
pub use certificate::{Certificate, CertificateError};
pub use listen::{Config, Error, Listeners, serve};
