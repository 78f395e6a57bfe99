//! `RUN --mount=type=ssh`: the caller's agent, behind a socket that belongs to the step.
//!
//! The agent's own socket is not shown to the step: its owner and mode are the caller's, and an agent talks only to its
//! owner's processes, which a step's user is not. So rbuild listens itself and passes bytes on.

use crate::base::fs::Context;
use crate::ops::OpError;
use crate::store::Store;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid};
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A socket that leads to an agent for as long as this lives.
#[derive(Debug)]
pub(super) struct Forward {
    /// Where it is on the host.
    pub socket: PathBuf,
    _dir: tempfile::TempDir,
    /// Its end tells the listener to stop.
    _stop: UnixStream,
}

impl Forward {
    /// Listens on behalf of the agent at `agent`, on a socket with this mode and owner.
    pub fn new(store: &Store, agent: &Path, mode: u32, uid: u32, gid: u32) -> Result<Forward, OpError> {
        let dir = store.temp_dir()?;
        let socket = dir.path().join("agent");
        // By descriptor, since a socket's address has room for 107 bytes of path only.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(dir.path(), flags, Mode::empty()).at("open directory", dir.path())?;
        let listener = UnixListener::bind(format!("/proc/self/fd/{}/agent", handle.as_raw_fd()))
            .at("listen for an ssh client at", &socket)?;
        rustix::fs::chownat(
            CWD,
            &socket,
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .at("set owner of", &socket)?;
        rustix::fs::chmod(&socket, Mode::from_raw_mode(mode)).at("set permissions of", &socket)?;
        let (stop, stopped) = UnixStream::pair().at("watch", &socket)?;
        let agent = agent.to_owned();
        std::thread::Builder::new()
            .name("ssh-agent".into())
            .spawn(move || listen(&listener, &stopped, &agent))
            .at("forward", &socket)?;
        Ok(Forward { socket, _dir: dir, _stop: stop })
    }
}

/// Serves until the other end of `stopped` is closed.
fn listen(listener: &UnixListener, stopped: &UnixStream, agent: &Path) {
    loop {
        let mut polled =
            [PollFd::new(listener.as_fd(), PollFlags::POLLIN), PollFd::new(stopped.as_fd(), PollFlags::POLLIN)];
        match nix::poll::poll(&mut polled, PollTimeout::NONE) {
            Err(nix::Error::EINTR) => continue,
            Err(_) => return,
            Ok(_) if polled[1].any() == Some(true) => return,
            Ok(_) => {}
        }
        // A client that has gone, or an agent that does not answer: the client sees its connection end.
        let Ok((client, _)) = listener.accept() else { continue };
        let Ok(agent) = UnixStream::connect(agent) else { continue };
        let _ = join(client, agent);
    }
}

/// Passes bytes both ways until both sides have ended.
fn join(client: UnixStream, agent: UnixStream) -> io::Result<()> {
    let pass = |mut from: UnixStream, mut to: UnixStream| {
        move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        }
    };
    let (asks, answers) = (pass(client.try_clone()?, agent.try_clone()?), pass(agent, client));
    std::thread::Builder::new().spawn(asks)?;
    std::thread::Builder::new().spawn(answers)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Access;
    use std::io::{Read, Write};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn bytes_go_to_the_agent_and_back_until_the_forward_ends() {
        let dir = tempfile::tempdir().unwrap();
        // A path longer than a socket's address may be.
        let store = Store::open(&dir.path().join("s".repeat(120)), Access::Shared).unwrap();
        let agent = dir.path().join("agent");
        let listener = UnixListener::bind(&agent).unwrap();
        let echo = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 4];
            stream.read_exact(&mut asked).unwrap();
            stream.write_all(&asked.map(|b| b + 1)).unwrap();
        });
        let me = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let forward = Forward::new(&store, &agent, 0o640, me.0, me.1).unwrap();
        assert_eq!(std::fs::metadata(&forward.socket).unwrap().permissions().mode() & 0o777, 0o640);
        let dir = std::fs::File::open(forward.socket.parent().unwrap()).unwrap();
        let mut client = UnixStream::connect(format!("/proc/self/fd/{}/agent", dir.as_raw_fd())).unwrap();
        client.write_all(b"abcd").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "bcde");
        echo.join().unwrap();
    }
}
