//! Reasons of misses that a transcript can't bring about; the others are in `cases/why`.

use crate::env::{Need, Place, check, contains, same, trial};
use crate::remote::{Daemon, free_port, script};
use libtest_mimic::{Failed, Trial};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

/// All tests of reasons.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("why/a-source-on-the-network-is-named", &[], network),
        trial("why/a-commit-is-named", &[Need::Git], commit),
    ]
}

/// Serves a text at every address, until the process ends.
fn serve(text: Arc<Mutex<String>>) -> Result<SocketAddr, Failed> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(&stream).lines();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let text = text.lock().unwrap_or_else(|e| e.into_inner()).clone();
            let _ = write!(&stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", text.len());
            let _ = write!(&stream, "Connection: close\r\n\r\n{text}");
        }
    });
    Ok(address)
}

/// Builds, and gives the reason of every step that missed.
fn misses(place: &Place) -> Result<Vec<String>, Failed> {
    let output = place.rbuild(&["build", "--progress", "plain", "--explain", "."]).output()?;
    check(&["build"], &output)?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(stderr.lines().filter_map(|line| line.split_once("MISS ")).map(|(_, reason)| reason.to_owned()).collect())
}

fn commit() -> Result<(), Failed> {
    let (served, place) = (Place::new(), Place::new());
    let daemon = Daemon::start(&served.work(), free_port()?)?;
    let commit = |text: &str| script(&served, &format!("cd r; echo {text} > f; git add f; git commit -qm {text}"));
    script(&served, "git init -q -b main r; ln -s r/.git r.git")?;
    commit("one")?;
    place.write("Dockerfile", format!("FROM scratch\nADD {}/r.git /r\n", daemon.1));
    same("first build", misses(&place)?, vec!["first build of this Dockerfile, context and target".to_owned(); 2])?;
    same("nothing changed", misses(&place)?, Vec::<String>::new())?;
    commit("two")?;
    let source = format!("`{}/r.git` gives something else: /f has other contents", daemon.1);
    same("another commit", misses(&place)?, vec![source, "file f has other contents (from step 2)".to_owned()])
}

fn network() -> Result<(), Failed> {
    let place = Place::new();
    let text = Arc::new(Mutex::new("one".to_owned()));
    let address = serve(text.clone())?;
    place.write("Dockerfile", format!("FROM scratch\nADD http://{address}/f /f\n"));
    let misses = || misses(&place);
    same("first build", misses()?, vec!["first build of this Dockerfile, context and target".to_owned(); 2])?;
    contains(&place.ok(&["plan", "."])?, "a hit unless the source has changed")?;
    *text.lock().unwrap_or_else(|e| e.into_inner()) = "another".to_owned();
    let source = format!("`http://{address}/f` gives something else: /f has other contents");
    same("changed", misses()?, vec![source, "file f has other contents (from step 2)".to_owned()])
}
