//! Takes what the program writes and hands it on as lines. Not where the lines go.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::log::Lines;

const READ_BYTES: usize = 16 * 1024;

/// One output of the program.
pub(super) struct Pump {
    /// `stdout` or `stderr`.
    pub(super) stream: &'static str,
    pipe: Option<OwnedFd>,
    lines: Lines,
}

impl Pump {
    /// Reads from `pipe`, which must not block.
    pub(super) fn new(stream: &'static str, pipe: OwnedFd) -> rustix::io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&pipe)?;
        rustix::fs::fcntl_setfl(&pipe, flags | rustix::fs::OFlags::NONBLOCK)?;
        Ok(Self {
            stream,
            pipe: Some(pipe),
            lines: Lines::default(),
        })
    }

    /// Returns what to wait for; `None` after the end.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Reads once. Tells whether there may be more at once.
    pub(super) fn read(&mut self, each: impl FnMut(&str)) -> bool {
        let Some(pipe) = &self.pipe else { return false };
        let mut buffer = [0_u8; READ_BYTES];
        match rustix::io::read(pipe, &mut buffer) {
            Ok(0) => {
                self.close(each);
                false
            }
            Ok(count) => {
                self.lines
                    .feed(buffer.get(..count).unwrap_or_default(), each);
                true
            }
            Err(Errno::AGAIN) => false,
            Err(Errno::INTR) => true,
            Err(_) => {
                self.close(each);
                false
            }
        }
    }

    /// Hands over the line that was not ended, and reads no more.
    pub(super) fn close(&mut self, each: impl FnMut(&str)) {
        self.pipe = None;
        self.lines.flush(each);
    }
}
