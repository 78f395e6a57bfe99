//! What a bug looks like to the user.

use super::failure::Code;
use std::io::Write;

/// Makes a panic print what to report, and exit with [`Code::Bug`].
pub fn install() {
    std::panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
        let place = info.location().map(|l| format!(" at {}:{}", l.file(), l.line())).unwrap_or_default();
        let mut message = format!("\nerror: this is a bug in rbuild {}: {text}{place}\n", env!("CARGO_PKG_VERSION"));
        if std::env::var_os("RUST_BACKTRACE").is_some() {
            message += &format!("{}\n", std::backtrace::Backtrace::capture());
        }
        message += &format!(
            "help: please report it at {}/issues with the lines above and, if you can, the Dockerfile\n",
            env!("CARGO_PKG_REPOSITORY")
        );
        let _ = std::io::stderr().write_all(message.as_bytes());
        // No unwinding: what a build leaves behind is garbage for `prune`, never a dangling name.
        std::process::exit(i32::from(Code::Bug as u8));
    }));
}
