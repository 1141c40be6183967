//! Diagnostics as people read them: paths within the working directory are shown as one would type
//! them. Not for programs, which get whole paths.

use std::path::{Path, PathBuf};

use towpath_compose::{Diagnostic, Diagnostics, Source, Span, Style};

/// Returns a diagnostic with its paths relative to the working directory, where they are in it.
pub(crate) fn from_here(diagnostic: &Diagnostic) -> Diagnostic {
    let Ok(here) = std::env::current_dir() else {
        return diagnostic.clone();
    };
    relative_to(&here, diagnostic)
}

/// Draws diagnostics, an empty line between two.
pub(crate) fn drawn(diagnostics: &Diagnostics, style: Style) -> String {
    let drawn = diagnostics.iter().map(|one| from_here(one).render(style));
    drawn.collect::<Vec<_>>().join("\n\n")
}

fn relative_to(here: &Path, diagnostic: &Diagnostic) -> Diagnostic {
    let shorten = |path: &Path| -> PathBuf {
        let below = path.strip_prefix(here).unwrap_or(path);
        if below.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            below.to_owned()
        }
    };
    let mut shown = diagnostic.clone();
    shown.file = diagnostic.file.as_deref().map(shorten);
    shown.span = diagnostic.span.as_ref().map(|span| {
        let source = Source::new(shorten(span.path()), span.source().text());
        Span::new(source, span.start, span.end)
    });
    if let Some(prefix) = here.to_str().filter(|here| *here != "/") {
        let prefix = format!("{prefix}/");
        shown.message = shown.message.replace(&prefix, "");
        shown.help = shown.help.map(|help| help.replace(&prefix, ""));
    }
    shown
}

#[cfg(test)]
mod tests {
    use towpath_compose::Position;

    use super::*;

    #[test]
    fn paths_in_the_working_directory_are_shown_from_there() {
        let at = |path: &str| {
            let source = Source::new(path, "services: {}\n");
            let start = Position::default();
            Diagnostic::error("bad", format!("{path} is bad")).at(&Span::new(source, start, start))
        };
        let shown = relative_to(
            Path::new("/home/ada/shop"),
            &at("/home/ada/shop/sub/c.yaml"),
        );
        assert_eq!(shown.span.unwrap().path(), Path::new("sub/c.yaml"));
        assert_eq!(shown.message, "sub/c.yaml is bad");
        let shown = relative_to(Path::new("/home/ada/shop"), &at("/home/ada/shop2/c.yaml"));
        assert_eq!(
            shown.span.unwrap().path(),
            Path::new("/home/ada/shop2/c.yaml")
        );
        assert_eq!(shown.message, "/home/ada/shop2/c.yaml is bad");
        let shown = relative_to(Path::new("/"), &at("/c.yaml"));
        assert_eq!(shown.span.unwrap().path(), Path::new("c.yaml"));
    }
}
