//! Ctrl-C and its kin: the first asks everything to stop, the second stops at once.

use super::failure::Code;
use crate::base::Cancel;
use nix::sys::signal::{SigSet, Signal};

/// Blocks SIGINT, SIGTERM and SIGHUP in this thread (and so in those it starts; child processes begin with none
/// blocked) and starts one that waits for them and sets `cancel`. Must run while there is one thread only.
pub fn watch(cancel: &Cancel) {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    if signals.thread_block().is_err() {
        return;
    }
    let flag = cancel.clone();
    let waiter = std::thread::Builder::new().name("signals".into()).spawn(move || {
        while signals.wait().is_ok() {
            if flag.is_set() {
                std::process::exit(i32::from(Code::Interrupted as u8));
            }
            flag.cancel();
        }
    });
    if waiter.is_err() {
        // Without the thread nobody would ever see the signals: let them end the process as usual.
        let _ = signals.thread_unblock();
    }
}
