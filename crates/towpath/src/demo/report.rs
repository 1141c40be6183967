//! How the story is told, and the table at its end. Not what happens in it.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::act::Act;
use super::side_by_side::Side;

/// Everything that the demo measured.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Report {
    /// The acts in their order.
    pub(crate) acts: Vec<Act>,
    /// What was measured beside them.
    pub(crate) measures: Vec<Measure>,
    /// One release in our way and in others, where there was another way to compare with.
    pub(crate) side_by_side: Vec<Side>,
    /// What was left when everything was taken down: processes, things on Docker.
    pub(crate) left_behind: Vec<String>,
}

/// One figure with the goal that it is held against.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measure {
    /// What was measured.
    pub(crate) name: String,
    /// The figure.
    pub(crate) value: f64,
    /// Its unit.
    pub(crate) unit: &'static str,
    /// What it should be below.
    pub(crate) goal: f64,
}

impl Measure {
    /// Makes a measure of time in seconds.
    pub(crate) fn seconds(name: &str, value: Duration, goal: f64) -> Self {
        Self {
            name: name.to_owned(),
            value: value.as_secs_f64(),
            unit: "s",
            goal,
        }
    }

    fn is_met(&self) -> bool {
        self.value < self.goal
    }
}

impl Report {
    /// Tells whether every act ended as it should without a lost request, and nothing was left
    /// behind. Measures are for people: they depend on the machine.
    pub(crate) fn is_good(&self) -> bool {
        self.acts.iter().all(Act::is_good) && self.left_behind.is_empty()
    }
}

/// Tells the story as it happens, or keeps silent until its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Teller {
    json: bool,
    colour: bool,
}

impl Teller {
    /// Makes one that tells for people, or for programs.
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            colour: std::io::stdout().is_terminal(),
        }
    }

    /// Opens the story.
    pub(crate) fn title(self, text: &str) {
        self.print(&format!("{}\n", self.painted("1", text)));
    }

    /// Tells one thing.
    pub(crate) fn line(self, text: &str) {
        self.print(&format!("  {text}"));
    }

    /// Opens an act.
    pub(crate) fn opens(self, number: usize, name: &str) {
        self.print(&format!(
            "\n{}",
            self.painted("1;36", &format!("{number:>2}. {name}"))
        ));
    }

    /// Opens what is no act of the story.
    pub(crate) fn side_note(self, name: &str) {
        self.print(&format!("\n    {}", self.painted("1;36", name)));
    }

    /// Closes an act. `cut` says what ended with an instance, if something did.
    pub(crate) fn closes(self, act: &Act, cut: &str) {
        let (colour, mark) = if act.is_good() {
            ("32", "ok")
        } else {
            ("31", "NOT as it should")
        };
        let own = if act.own_errors > 0 {
            format!(", {} errors of the release itself", act.own_errors)
        } else {
            String::new()
        };
        let cut = if act.cut > 0 {
            format!(", {} {cut} ended with it", act.cut)
        } else {
            String::new()
        };
        let counts = format!("{} requests, {} failed{own}{cut}", act.requests, act.failed);
        self.line(&format!(
            "{}  {} in {:.2} s; {counts}",
            self.painted(colour, mark),
            act.outcome,
            act.seconds
        ));
        for failure in &act.failures {
            self.line(&format!("   lost: {failure}"));
        }
    }

    /// Prints the table, or the JSON.
    pub(crate) fn report(self, report: &Report) -> Result<()> {
        if self.json {
            let json = serde_json::to_string_pretty(report).context("cannot write the report")?;
            return writeln!(std::io::stdout(), "{json}").context("cannot print the report");
        }
        self.print(&format!("\n{}\n", table(report)));
        if !report.side_by_side.is_empty() {
            self.line("the same release, under the same load:");
            self.print(&format!("\n{}\n", sides(&report.side_by_side)));
        }
        for measure in &report.measures {
            let word = if measure.is_met() {
                "goal: below"
            } else {
                "MISSED, goal: below"
            };
            self.line(&format!(
                "{}: {:.3} {} ({word} {} {})",
                measure.name, measure.value, measure.unit, measure.goal, measure.unit
            ));
        }
        let orphans = match report.left_behind.as_slice() {
            [] => "nothing was left behind".to_owned(),
            left => format!("LEFT BEHIND: {}", left.join(", ")),
        };
        self.line(&orphans);
        Ok(())
    }

    fn painted(self, colour: &str, text: &str) -> String {
        if self.colour {
            format!("\u{1b}[{colour}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    fn print(self, text: &str) {
        if !self.json {
            // Whoever closed the pipe wants no more of the story; the demo still clears up.
            drop(writeln!(std::io::stdout(), "{text}"));
        }
    }
}

fn sides(sides: &[Side]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "way",
        "seconds",
        "requests",
        "failed",
        "longest without an answer, s",
    ]);
    for side in sides {
        table.add_row([
            side.way.clone(),
            format!("{:.2}", side.seconds),
            side.requests.to_string(),
            side.failed.to_string(),
            format!("{:.2}", side.silence_seconds),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn table(report: &Report) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "act",
        "outcome",
        "seconds",
        "requests",
        "failed",
        "release's own 5xx",
    ]);
    for act in &report.acts {
        table.add_row([
            act.name.clone(),
            act.outcome.clone(),
            format!("{:.2}", act.seconds),
            act.requests.to_string(),
            act.failed.to_string(),
            act.own_errors.to_string(),
        ]);
    }
    let total = |count: fn(&Act) -> u64| report.acts.iter().map(count).sum::<u64>().to_string();
    table.add_row([
        "all".to_owned(),
        String::new(),
        format!(
            "{:.1}",
            report.acts.iter().map(|act| act.seconds).sum::<f64>()
        ),
        total(|act| act.requests),
        total(|act| act.failed),
        total(|act| act.own_errors),
    ]);
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
