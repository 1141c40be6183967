//! Diagnostics as people read them: paths within the working directory are shown as one would type
//! them. Not for programs, which get whole paths.

use towpath_compose::{Diagnostic, Diagnostics, Style};

/// Returns a diagnostic with its paths relative to the working directory, where they are in it.
pub(crate) fn from_here(diagnostic: &Diagnostic) -> Diagnostic {
    let Ok(here) = std::env::current_dir() else {
        return diagnostic.clone();
    };
    diagnostic.relative_to(&here)
}

/// Draws diagnostics, an empty line between two.
pub(crate) fn drawn(diagnostics: &Diagnostics, style: Style) -> String {
    let drawn = diagnostics.iter().map(|one| from_here(one).render(style));
    drawn.collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use towpath_compose::{Position, Source, Span};

    use super::*;

    #[test]
    fn paths_in_the_working_directory_are_shown_from_there() {
        let at = |path: &str| {
            let source = Source::new(path, "services: {}\n");
            let start = Position::default();
            Diagnostic::error("bad", format!("{path} is bad")).at(&Span::new(source, start, start))
        };
        let shown = at("/home/ada/shop/sub/c.yaml").relative_to(Path::new("/home/ada/shop"));
        assert_eq!(shown.span.unwrap().path(), Path::new("sub/c.yaml"));
        assert_eq!(shown.message, "sub/c.yaml is bad");
        let shown = at("/home/ada/shop2/c.yaml").relative_to(Path::new("/home/ada/shop"));
        assert_eq!(
            shown.span.unwrap().path(),
            Path::new("/home/ada/shop2/c.yaml")
        );
        assert_eq!(shown.message, "/home/ada/shop2/c.yaml is bad");
        let shown = at("/c.yaml").relative_to(Path::new("/"));
        assert_eq!(shown.span.unwrap().path(), Path::new("c.yaml"));
    }
}
