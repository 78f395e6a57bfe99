//! The command line before clap sees it: `rbuild -t x .` is `rbuild build -t x .`.

use super::failure::Failure;
use crate::diag::suggest::nearest;
use clap::CommandFactory;
use std::ffi::OsString;
use std::path::Path;

/// Inserts `build` where the first argument that is not a global option is no command. Gives the arguments and whether
/// the command was inserted.
pub fn with_default_command<C: CommandFactory>(mut args: Vec<OsString>) -> (Vec<OsString>, bool) {
    let command = C::command();
    let at = command_position(&command, &args);
    let is_build = match args.get(at).map(|a| a.to_str()) {
        None => false,
        Some(Some("help" | "-h" | "--help" | "-V" | "--version")) => false,
        Some(Some(word)) => command.find_subcommand(word).is_none(),
        Some(None) => true,
    };
    if is_build {
        args.insert(at, "build".into());
    }
    (args, is_build)
}

/// The command that is written out, whether or not there is one of that name.
pub fn command<C: CommandFactory>(args: &[OsString]) -> Option<&str> {
    args.get(command_position(&C::command(), args))?.to_str()
}

/// Where `build` was inserted before a word that looks like a command and is nothing in this directory: that it is none,
/// and which is meant.
pub fn mistyped<C: CommandFactory>(args: &[OsString]) -> Option<Failure> {
    let command = C::command();
    let word = args.get(command_position(&command, args) + 1)?.to_str()?;
    if !is_name(word) || Path::new(word).exists() {
        return None;
    }
    let failure = Failure::usage(format!("there is no command '{word}'"));
    Some(failure.help(meant(&command, word)))
}

/// Whether a word looks like a command's name, and not like a path.
pub fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase()) && word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
}

/// The command that a word may stand for.
pub fn meant(command: &clap::Command, word: &str) -> String {
    let names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    match nearest(word, names) {
        Some(name) => format!("did you mean the command `rbuild {name}`?"),
        None => "`rbuild --help` lists the commands".into(),
    }
}

/// Where the command stands: behind the program's name and the global options.
fn command_position(command: &clap::Command, args: &[OsString]) -> usize {
    let mut at = 1;
    while let Some(arg) = args.get(at) {
        let Some(text) = arg.to_str() else { break };
        let Some(name) = text.strip_prefix("--").map(|t| t.split('=').next().unwrap_or(t)) else { break };
        let Some(option) = command.get_arguments().find(|a| a.is_global_set() && a.get_long() == Some(name)) else {
            break;
        };
        let takes_value = option.get_action().takes_values() && !text.contains('=');
        at += if takes_value { 2 } else { 1 };
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;

    #[test]
    fn build_is_the_default_command() {
        let cases = [
            ("", ""),
            ("-t x .", "build -t x ."),
            (".", "build ."),
            ("--root /s -t x .", "--root /s build -t x ."),
            ("--root=/s .", "--root=/s build ."),
            ("--root /s version", "--root /s version"),
            ("--root", "--root"),
            ("build .", "build ."),
            ("--help", "--help"),
            ("help build", "help build"),
            ("-V", "-V"),
            ("--quiet .", "build --quiet ."),
        ];
        for (given, expected) in cases {
            let args = |text: &str| format!("rbuild {text}").split_whitespace().map(OsString::from).collect::<Vec<_>>();
            assert_eq!(with_default_command::<Cli>(args(given)).0, args(expected), "{given}");
        }
    }
}
