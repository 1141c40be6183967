//! The terminal of this process: its size, and every key as it is typed. Not what is shown on it.

use std::io::IsTerminal as _;

use anyhow::{Context as _, Result};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use towpath_api::TerminalSize;

/// The size where the terminal does not say.
const COLUMNS: u16 = 80;
const ROWS: u16 = 24;

/// A terminal that this process reads from and writes to.
#[derive(Debug)]
pub(crate) struct Terminal {
    before: Termios,
}

/// A terminal that hands on every key. It is as it was before when this is dropped.
#[derive(Debug)]
pub(crate) struct Raw {
    before: Termios,
}

impl Terminal {
    /// Returns the terminal of this process; `None` when its input or output is none.
    pub(crate) fn of_this_process() -> Result<Option<Self>> {
        if !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
            return Ok(None);
        }
        let before = tcgetattr(std::io::stdin()).context("cannot read how the terminal is set")?;
        Ok(Some(Self { before }))
    }

    /// Returns the size of the terminal that this process writes to.
    pub(crate) fn size() -> TerminalSize {
        Self::known_size().unwrap_or(TerminalSize {
            columns: COLUMNS,
            rows: ROWS,
        })
    }

    /// Returns the size of the terminal that this process writes to, where it says.
    pub(crate) fn known_size() -> Option<TerminalSize> {
        let size = tcgetwinsize(std::io::stdout()).ok()?;
        (size.ws_col > 0 && size.ws_row > 0).then_some(TerminalSize {
            columns: size.ws_col,
            rows: size.ws_row,
        })
    }

    /// Has every key handed on, those that would end this process too.
    pub(crate) fn make_raw(self) -> Result<Raw> {
        let mut raw = self.before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw)
            .context("cannot set the terminal")?;
        Ok(Raw {
            before: self.before,
        })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone has no settings.
        tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before).ok();
    }
}
