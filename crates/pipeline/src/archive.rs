//! The files of a commit as a stream: the output of `git archive`, and how that ended. Not what
//! becomes of the files.

use std::io::{self, Read};
use std::process::{Child, ChildStdout, Command};

/// The most that is shown of what Git complains of.
const COMPLAINT_BYTES_MAX: u64 = 4 << 10;

/// What a running `git archive` writes. Its end is an error when Git failed. Git is killed when it is
/// dropped.
#[derive(Debug)]
pub(crate) struct Archive {
    child: Child,
    output: ChildStdout,
}

impl Archive {
    /// Starts it. The command's output and complaints have to be pipes.
    pub(crate) fn open(mut command: Command) -> io::Result<Self> {
        let mut child = command.spawn()?;
        match child.stdout.take() {
            Some(output) => Ok(Self { child, output }),
            None => Err(io::Error::other("its output is no pipe")),
        }
    }
}

impl Read for Archive {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.output.read(buffer)?;
        if length > 0 || buffer.is_empty() {
            return Ok(length);
        }
        // It has closed its output: what it complains of fits the pipe, or it ends for good.
        let status = self.child.wait()?;
        if status.success() {
            return Ok(0);
        }
        let mut complaint = String::new();
        if let Some(stderr) = &mut self.child.stderr {
            stderr
                .take(COMPLAINT_BYTES_MAX)
                .read_to_string(&mut complaint)?;
        }
        Err(io::Error::other(format!(
            "git archive: {}",
            complaint.trim()
        )))
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        // One that has ended cannot be killed, which is as well.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
