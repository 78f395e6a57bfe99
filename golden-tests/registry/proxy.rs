//! Stands before a registry: remembers what it is asked, and delays or holds back what a test wants late.

use libtest_mimic::Failed;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How much of a held-back answer goes through, in bytes.
const LET_THROUGH: usize = 3 << 20;

/// A running proxy; it ends with the process.
#[derive(Clone)]
pub struct Proxy {
    /// `localhost:PORT`.
    pub name: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    requests: Mutex<String>,
    /// Seconds that the next upload is delayed.
    delay: AtomicU64,
    /// Whether answers stop in the middle.
    holds: AtomicBool,
}

impl Proxy {
    /// Begins to pass connections on to a registry, `localhost:PORT`.
    pub fn start(registry: &str) -> Result<Proxy, Failed> {
        let port: u16 = registry.rsplit(':').next().and_then(|port| port.parse().ok()).ok_or("no port")?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let name = format!("localhost:{}", listener.local_addr()?.port());
        let proxy = Proxy { name, state: Arc::default() };
        let state = proxy.state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = state.clone();
                std::thread::spawn(move || state.pass(client, port));
            }
        });
        Ok(proxy)
    }

    /// Delays the next upload that is begun.
    pub fn delay_next_upload(&self, seconds: u64) {
        self.state.delay.store(seconds, Ordering::SeqCst);
    }

    /// Whether that was done.
    pub fn has_delayed(&self) -> bool {
        self.state.delay.load(Ordering::SeqCst) == 0
    }

    /// Lets long answers stop in the middle, or go on.
    pub fn hold_back(&self, holds: bool) {
        self.state.holds.store(holds, Ordering::SeqCst);
    }

    /// What was asked since the last call.
    pub fn requests(&self) -> String {
        std::mem::take(&mut *self.state.requests.lock().expect("the requests"))
    }
}

impl State {
    fn pass(self: Arc<State>, mut client: TcpStream, port: u16) -> std::io::Result<()> {
        let mut registry = TcpStream::connect(("127.0.0.1", port))?;
        let (mut answers, mut back) = (registry.try_clone()?, client.try_clone()?);
        let state = self.clone();
        std::thread::spawn(move || {
            let _ = state.answer(&mut answers, &mut back);
            let _ = back.shutdown(Shutdown::Both);
        });
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let n = client.read(&mut buffer)?;
            if n == 0 {
                return registry.shutdown(Shutdown::Write);
            }
            let is_head = [&b"GET "[..], b"HEAD ", b"POST ", b"PUT ", b"PATCH "].iter().any(|m| buffer.starts_with(m));
            if is_head {
                let head = String::from_utf8_lossy(&buffer[..n.min(4096)]).into_owned();
                self.requests.lock().expect("the requests").push_str(&head);
                if head.starts_with("POST ") {
                    std::thread::sleep(Duration::from_secs(self.delay.swap(0, Ordering::SeqCst)));
                }
            }
            registry.write_all(&buffer[..n])?;
        }
    }

    fn answer(&self, from: &mut TcpStream, to: &mut TcpStream) -> std::io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        let mut passed = 0;
        loop {
            let n = from.read(&mut buffer)?;
            if n == 0 {
                return Ok(());
            }
            to.write_all(&buffer[..n])?;
            passed += n;
            while passed > LET_THROUGH && self.holds.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}
