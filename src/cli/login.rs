//! `rbuild login` and `rbuild logout`.

use super::Session;
use super::failure::{Code, Failure};
use crate::image::reference::DEFAULT_REGISTRY;
use crate::registry::{self, Credential, Keyring};
use crate::ui::{out, report};
use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use std::io::{BufRead, IsTerminal, Read};

/// The longest password, in bytes.
const MAX_PASSWORD: u64 = 64 << 10;

/// Arguments of `login`.
#[derive(Debug, Args)]
#[command(after_help = "\
The credentials are tried, and kept where docker and podman find them too: in the file that REGISTRY_AUTH_FILE names, else with
the credential helper that docker's config.json names, else in that file.

Examples:
  rbuild login ghcr.io
  rbuild login -u me --password-stdin localhost:5000 < token")]
pub struct LoginArgs {
    /// The user's name
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,

    /// Read the password, or an access token, from standard input
    #[arg(long)]
    password_stdin: bool,

    /// HOST[:PORT] of the registry [default: docker.io]
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
}

/// Arguments of `logout`.
#[derive(Debug, Args)]
pub struct LogoutArgs {
    /// HOST[:PORT] of the registry [default: docker.io]
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
}

/// Keeps credentials that a registry takes.
pub fn login(args: &LoginArgs, session: &Session) -> Result<(), Failure> {
    let registry = registry_name(args.registry.as_deref())?;
    let user = match &args.username {
        Some(name) => name.clone(),
        None if args.password_stdin => {
            return Err(Failure::usage("with --password-stdin the name is given with --username"));
        }
        None => ask("Username: ", true)?,
    };
    let password = match args.password_stdin {
        true => {
            let mut text = String::new();
            std::io::stdin().take(MAX_PASSWORD).read_to_string(&mut text)?;
            text.trim_end_matches(['\n', '\r']).to_owned()
        }
        false => ask("Password: ", false)?,
    };
    if user.is_empty() || password.is_empty() || user.contains(':') {
        return Err(Failure::usage("a name without ':' and a password are needed"));
    }
    let cancel = session.watch();
    let credential = Credential::Password { user: user.clone(), password: password.clone() };
    registry::check_login(&registry, &credential, &session.config.registries(), &cancel)?;
    let place =
        Keyring::from_environment().store(&registry, &user, &password).map_err(|e| Failure::new(Code::Step, e))?;
    out::line(&format!("Logged in to {registry} as {user}; kept in {place}"))?;
    Ok(())
}

/// Forgets credentials.
pub fn logout(args: &LogoutArgs) -> Result<(), Failure> {
    let registry = registry_name(args.registry.as_deref())?;
    if Keyring::from_environment().erase(&registry).map_err(|e| Failure::new(Code::Step, e))? {
        out::line(&format!("Logged out of {registry}"))?;
        return Ok(());
    }
    Err(Failure::new(Code::NotFound, format!("no credentials for {registry} are kept")))
}

/// A registry as image names have it.
fn registry_name(text: Option<&str>) -> Result<String, Failure> {
    let Some(text) = text else { return Ok(DEFAULT_REGISTRY.to_owned()) };
    let wrong =
        || Failure::usage(format!("'{text}' is not a registry")).help("write HOST or HOST:PORT, such as ghcr.io");
    // What follows a registry in a name makes it one; a bare word would be a part of the repository.
    let name: crate::image::Reference = format!("{text}/x").parse().map_err(|_| wrong())?;
    if name.repository != "x" && name.repository != "library/x" { Err(wrong()) } else { Ok(name.registry) }
}

/// Asks on the terminal.
fn ask(prompt: &str, echo: bool) -> Result<String, Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::usage("there is no terminal to ask on").help("use --username NAME --password-stdin"));
    }
    report::show(prompt);
    let before = if echo { None } else { Some(tcgetattr(&stdin).map_err(std::io::Error::from)?) };
    if let Some(before) = &before {
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Flush, &silent).map_err(std::io::Error::from)?;
    }
    let mut line = String::new();
    let read = stdin.lock().take(MAX_PASSWORD).read_line(&mut line);
    if let Some(before) = &before {
        tcsetattr(&stdin, OptionalActions::Flush, before).map_err(std::io::Error::from)?;
        report::show("\n");
    }
    read?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}
