//! Hands descriptors from the control plane to a supervisor and from that to the program: the ends of
//! a command's streams, or its terminal. Not the making of them.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The most descriptors that are handed over: the three standard streams.
const DESCRIPTORS: usize = 3;

/// Sends bytes, at least one, with descriptors. Returns how many bytes were taken.
pub(crate) fn send(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors"));
    }
    let slices = [IoSlice::new(bytes)];
    Ok(sendmsg(socket, &slices, &mut control, SendFlags::NOSIGNAL)?)
}

/// Receives bytes, and the descriptors that come with them. Returns how many bytes there are. What is
/// no socket hands over none.
pub(crate) fn receive(
    socket: impl AsFd,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(buffer)];
    let received = recvmsg(&socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC);
    match received {
        Ok(received) => {
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(handed) = message {
                    descriptors.extend(handed);
                }
            }
            Ok(received.bytes)
        }
        Err(Errno::NOTSOCK) => Ok(rustix::io::read(socket, buffer)?),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_descriptor_that_is_handed_over_is_the_same_pipe() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut read, write) = io::pipe().unwrap();
        let sent = send(&ours, b"xy", &[write.as_fd()]).unwrap();
        drop((ours, write));
        let (mut buffer, mut handed) = ([0; 8], Vec::new());
        let count = receive(&theirs, &mut buffer, &mut handed).unwrap();
        assert_eq!((sent, buffer.get(..count)), (2, Some(&b"xy"[..])));
        let end = handed.pop().unwrap();
        std::fs::File::from(end).write_all(b"through").unwrap();
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
        assert_eq!(receive(&theirs, &mut buffer, &mut handed).unwrap(), 0);
    }

    #[test]
    fn a_pipe_hands_over_bytes_alone() {
        let (read, mut write) = io::pipe().unwrap();
        write.write_all(b"ab").unwrap();
        let (mut buffer, mut handed) = ([0; 8], Vec::new());
        assert_eq!(receive(&read, &mut buffer, &mut handed).unwrap(), 2);
        assert!(handed.is_empty());
    }
}
