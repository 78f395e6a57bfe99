//! What caller and launcher say to each other over one socket: the specification there, reports back. Frames are a
//! four-byte length and JSON; a frame may bring one descriptor (unix(7), `SCM_RIGHTS`).
//!
//! The socket is the launcher's standard input, so nothing has to be inheritable for it: in a program with threads an
//! inheritable descriptor would reach whatever other program is being started at that moment.

use super::SandboxError;
use rustix::fs::{AtFlags, StatxFlags};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::ffi::OsStr;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// The act of a [`Failure`] that has an explanation of its own.
pub(super) const CREATE_NAMESPACES: &str = "create namespaces";

/// Longer frames are refused: far above any real specification (secrets and scripts are in it).
const FRAME_LIMIT: usize = 256 << 20;

/// What the launcher (`Started`) and process 1 (the rest) report. The end of the stream without `Failed` means that the
/// program was executed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// Process 1 of the sandbox exists, by this id in the caller's process namespace.
    Started {
        /// The id.
        pid: i32,
    },
    /// Mount points that had to be made in a plain directory root.
    Stubs(Vec<Stub>),
    /// The frame brings the master of the pseudo-terminal.
    Terminal,
    /// A step of the set-up failed.
    Failed(Failure),
    /// The program ended with this status.
    Exited(i32),
    /// The program was killed by this signal.
    Killed(i32),
}

/// Which inode it is, among those that had the number one after the other: number, and birth time in seconds and
/// nanoseconds (0 on file systems that keep none).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Inode(u64, i64, u32);

impl Inode {
    /// That of a name in a directory, or of the directory itself for an empty name.
    pub fn of(dir: impl AsFd, name: &OsStr) -> rustix::io::Result<Inode> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
        let stat = rustix::fs::statx(dir, name, flags, StatxFlags::INO | StatxFlags::BTIME)?;
        Ok(Inode(stat.stx_ino, stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec))
    }
}

/// A mount point that was made because it was missing, to be removed when the sandbox is gone if it is still that
/// inode and still empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stub {
    /// Path relative to the root, no links in it.
    pub path: Vec<u8>,
    /// See [`Inode`].
    pub inode: Inode,
    /// Modification time of the directory that holds it, before and after: seconds and nanoseconds.
    pub before: (i64, i64),
    /// See `before`.
    pub after: (i64, i64),
}

/// What failed while the sandbox was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failure {
    /// Executing the program is what failed; `subject` is its name.
    pub exec: bool,
    /// What was tried, as an infinitive.
    pub act: String,
    /// On what.
    pub subject: String,
    /// The kernel's reason.
    pub errno: i32,
}

impl From<Failure> for SandboxError {
    fn from(failure: Failure) -> SandboxError {
        let source = io::Error::from_raw_os_error(failure.errno);
        if failure.exec {
            return SandboxError::Exec { program: failure.subject, source };
        }
        if failure.act == CREATE_NAMESPACES {
            return super::probe::namespaces_refused(&source);
        }
        SandboxError::Setup { act: failure.act, subject: failure.subject, source }
    }
}

/// Attaches act and subject to a system call's error.
pub(super) trait Blame<T> {
    /// Names what was tried on what.
    fn blame(self, act: &str, subject: impl std::fmt::Display) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Blame<T> for Result<T, E> {
    fn blame(self, act: &str, subject: impl std::fmt::Display) -> Result<T, Failure> {
        self.map_err(|e| Failure {
            exec: false,
            act: act.to_owned(),
            subject: subject.to_string(),
            errno: e.into().raw_os_error().unwrap_or(libc::EIO),
        })
    }
}

/// Sends one frame.
pub(super) fn send(socket: &UnixStream, value: &impl Serialize, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let body = serde_json::to_vec(value)?;
    let length = u32::try_from(body.len()).map_err(|_| io::ErrorKind::InvalidInput)?.to_le_bytes();
    let descriptors: Vec<BorrowedFd<'_>> = descriptor.into_iter().collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    // NOSIGNAL: a peer that is gone is an error here, not a signal.
    // One call, so that the short frames of two senders (launcher and process 1) do not mix.
    let parts = [IoSlice::new(&length), IoSlice::new(&body)];
    let sent = rustix::net::sendmsg(socket, &parts, &mut ancillary, SendFlags::NOSIGNAL)?;
    let mut socket = socket;
    socket.write_all(&length[sent.min(4)..])?;
    socket.write_all(&body[sent.saturating_sub(4)..])
}

/// Receives one frame; `None` at the end of the stream.
pub(super) fn receive<T: DeserializeOwned>(socket: &UnixStream) -> io::Result<Option<(T, Option<OwnedFd>)>> {
    let mut length = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL;
    let got = loop {
        match rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut length)], &mut ancillary, flags) {
            Err(rustix::io::Errno::INTR) => continue,
            // A peer that died with unread data in its queue resets the connection.
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            other => break other?.bytes,
        }
    };
    if got == 0 {
        return Ok(None);
    }
    let mut socket = socket;
    socket.read_exact(&mut length[got..])?;
    let length = u32::from_le_bytes(length) as usize;
    if length > FRAME_LIMIT {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body)?;
    let descriptor = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut all) => all.next(),
        _ => None,
    });
    Ok(Some((serde_json::from_slice(&body)?, descriptor)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_arrive_in_order_and_bring_their_descriptor() {
        let (a, b) = UnixStream::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"x").unwrap();
        send(&a, &Report::Started { pid: 7 }, None).unwrap();
        send(&a, &Report::Terminal, Some(file.as_fd())).unwrap();
        drop(a);
        let (first, none) = receive::<Report>(&b).unwrap().unwrap();
        assert!(matches!(first, Report::Started { pid: 7 }) && none.is_none());
        let (second, descriptor) = receive::<Report>(&b).unwrap().unwrap();
        assert!(matches!(second, Report::Terminal));
        let copy = std::fs::File::from(descriptor.unwrap());
        assert_eq!(copy.metadata().unwrap().len(), 1);
        assert!(receive::<Report>(&b).unwrap().is_none());
    }
}
