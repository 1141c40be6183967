//! Draws a diagnostic for a terminal. Not where it goes: that is for the caller.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::{Diagnostic, Severity};
use crate::source::Span;

/// Whether a drawing has colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Text alone.
    Plain,
    /// With ANSI colours.
    Coloured,
}

/// A line that is longer than this is shown in part.
const WIDTH: usize = 120;

/// How many bytes of a long line before and behind a place are looked at.
const SHOWN: usize = 1000;

pub(super) fn render(diagnostic: &Diagnostic, style: Style) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let renderer = match style {
        Style::Plain => Renderer::plain(),
        Style::Coloured => Renderer::styled(),
    }
    .term_width(WIDTH);
    let mut group = Group::with_level(level);
    if let Some(excerpt) = diagnostic.span.as_ref().and_then(excerpt) {
        group = group.element(excerpt);
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    let title = match style {
        Style::Plain => diagnostic.to_string(),
        Style::Coloured => coloured_title(diagnostic),
    };
    if group.is_empty() {
        return title;
    }
    format!("{title}\n{}", renderer.render(&[group]))
}

fn coloured_title(diagnostic: &Diagnostic) -> String {
    let title = diagnostic.to_string();
    let (severity, colour) = match diagnostic.severity {
        Severity::Error => ("error: ", "31"),
        Severity::Warning => ("warning: ", "33"),
        Severity::Note => ("note: ", "36"),
    };
    let marked = format!("\u{1b}[1;{colour}m{severity}\u{1b}[0m");
    title.replacen(severity, &marked, 1)
}

/// Moves a place in a text forward to where a character begins.
fn boundary(text: &str, at: usize) -> usize {
    (at..text.len())
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(text.len())
}

/// Cuts the first line of the place out of its text, and marks the place in it.
fn excerpt(span: &Span) -> Option<Snippet<'_, annotate_snippets::Annotation<'_>>> {
    let text = span.source().text();
    let start = usize::try_from(span.start.offset).ok()?;
    let end = usize::try_from(span.end.offset).ok()?.max(start);
    let before = text.get(..start)?;
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line_end = text
        .get(start..)?
        .find('\n')
        .map_or(text.len(), |at| start + at);
    let (from, to) = (
        boundary(text, line_start.max(start.saturating_sub(SHOWN))),
        boundary(text, line_end.min(start.saturating_add(SHOWN))),
    );
    let line = text.get(from..to)?;
    let marked = (start - from)..(end.clamp(start, to.max(start)) - from);
    Some(
        Snippet::source(line)
            .line_start(usize::try_from(span.start.line).ok()?)
            .annotation(AnnotationKind::Primary.span(marked)),
    )
}
