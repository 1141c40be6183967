//! Compose files in, normalised project out. Knows nothing of Towpath, the network or a runtime.

mod canonical;
mod consistency;
mod defaults;
pub mod diagnostic;
pub mod dotenv;
mod environment;
pub mod files;
mod interpolate;
mod load;
mod loader;
mod locate;
mod merge;
pub mod model;
mod normalise;
mod options;
pub mod output;
mod paths;
mod project_name;
mod reset;
mod schema;
mod shell;
pub mod source;
mod spans;
pub mod template;
mod tree;
mod typed;
mod unicity;
pub mod yaml;

pub use self::diagnostic::{Diagnostic, Diagnostics, Severity, Style};
pub use self::files::{Files, MemoryFiles, RealFiles};
pub use self::load::{Loaded, Model, load, load_model};
pub use self::model::{Project, Service};
pub use self::options::{FILE_NAMES, LoadOptions, OVERRIDE_NAMES, Step};
pub use self::project_name::normal as normal_project_name;
pub use self::source::{Position, Source, Span};
pub use self::spans::SpanTable;
