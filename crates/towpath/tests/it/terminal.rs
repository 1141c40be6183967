//! A terminal at which somebody sits who types and reads. Not what runs in it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd;
use std::process::{Child, Command};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::site::{LONGEST, PROGRAM, Site};

/// The terminal's size, as `stty size` says it.
pub(crate) const SIZE: &str = "35 91";

/// A client of Towpath in a terminal of its own.
pub(crate) struct Terminal {
    client: Child,
    screen: File,
    shown: String,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.client.kill().ok();
        self.client.wait().ok();
    }
}

impl Terminal {
    /// Runs a command in a terminal.
    pub(crate) fn run(site: &Site, words: &[&str]) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let window = Winsize {
            ws_row: 35,
            ws_col: 91,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, window).unwrap();
        let end = ioctl_tiocgptpeer(&master, flags).unwrap();
        assert!(echoes(&master));
        let client = Command::new(PROGRAM)
            .args(words)
            .current_dir(site.root().join("app"))
            .env("TOWPATH_HOME", site.home())
            .env("TERM", "xterm")
            .stdin(end.try_clone().unwrap())
            .stdout(end.try_clone().unwrap())
            .stderr(end)
            .spawn()
            .unwrap();
        Self {
            client,
            screen: File::from(master),
            shown: String::new(),
        }
    }

    /// Waits until something is shown that was not read before.
    pub(crate) fn until(&mut self, said: &str) {
        let mut buffer = [0; 1024];
        loop {
            if let Some((_, rest)) = self.shown.split_once(said) {
                self.shown = rest.to_owned();
                return;
            }
            let read = self.screen.read(&mut buffer);
            let count =
                read.unwrap_or_else(|error| panic!("{error} before {said}: {}", self.shown));
            self.shown
                .push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    }

    /// Types.
    pub(crate) fn write(&mut self, keys: &[u8]) {
        self.screen.write_all(keys).unwrap();
    }

    /// Returns the exit code of the client, which leaves the terminal as it was.
    pub(crate) fn code(&mut self) -> Option<i32> {
        let code = self.client.wait().unwrap().code();
        assert!(echoes(&self.screen));
        code
    }

    /// Has somebody sit at the terminal, who is not to sit there for long.
    pub(crate) async fn sit<T: Send + 'static>(
        mut self,
        at: impl FnOnce(&mut Self) -> T + Send + 'static,
    ) -> T {
        let client = i32::try_from(self.client.id()).unwrap();
        let mut sitting = tokio::task::spawn_blocking(move || at(&mut self));
        let sat = tokio::time::timeout(LONGEST, &mut sitting).await;
        if sat.is_err() {
            // Whoever reads gets no more, and says what there was.
            kill_process(Pid::from_raw(client).unwrap(), Signal::KILL).ok();
            sitting.await.unwrap();
        }
        sat.expect("nobody sits there for so long").unwrap()
    }
}

fn echoes(terminal: impl AsFd) -> bool {
    let modes = tcgetattr(terminal).unwrap().local_modes;
    modes.contains(LocalModes::ECHO)
}
