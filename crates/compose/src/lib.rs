//! Compose files in, normalised project out. Knows nothing of Towpath, the network or a runtime.

pub mod diagnostic;
pub mod model;
pub mod source;
pub mod yaml;

pub use self::diagnostic::{Diagnostic, Diagnostics, Severity, Style};
pub use self::model::{Project, Service};
pub use self::source::{Position, Source, Span};
