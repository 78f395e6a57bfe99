//! `rbuild shell`.

use super::Session;
use super::failure::Failure;
use super::secret::SecretArg;
use super::values::SshArg;
use crate::container::{self, ShellOptions, Wanted};
use crate::ops::run::Policy;
use crate::snapshot::{Choice, Lazy};
use crate::store::Access;
use crate::ui::{report, sanitize};
use clap::Args;
use std::collections::BTreeMap;
use std::io::IsTerminal;

/// What docker exits with when the container could not be made.
const NO_CONTAINER: u8 = 125;

/// Arguments of `shell`.
#[derive(Debug, Args)]
#[command(
    group = clap::ArgGroup::new("place").required(true),
    after_help = "\
The process has the step's environment, user, working directory, network and mounts. What it changes is thrown away.
Its exit code becomes rbuild's.

Examples:
  rbuild shell --failed                      where the last step failed
  rbuild shell --before 3                    before step #3 of the last build
  rbuild shell --after 'RUN make' -- ls -l   a command after the step with this in its label
  rbuild shell --failed --secret id=token,src=token.txt"
)]
pub struct ShellArgs {
    /// Where a step failed: the latest, or the one of this ID (the name of its log)
    #[arg(long, value_name = "ID", group = "place", num_args = 0..=1, default_missing_value = "")]
    failed: Option<String>,

    /// Before a step of the last build: its number, or a part of its label
    #[arg(long, value_name = "STEP", group = "place")]
    before: Option<String>,

    /// After a step of the last build
    #[arg(long, value_name = "STEP", group = "place")]
    after: Option<String>,

    /// USER[:GROUP], by name or number, instead of the step's
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,

    /// A secret for the step's mounts: id=ID[,src=FILE|,env=VAR]
    #[arg(long = "secret", value_name = "SECRET", value_parser = SecretArg::parse)]
    secrets: Vec<SecretArg>,

    /// An ssh agent for the step's mounts: `default` (SSH_AUTH_SOCK), ID, ID=SOCKET or ID=KEYFILE
    #[arg(long = "ssh", value_name = "ID[=SOCKET|KEY]", value_parser = SshArg::parse)]
    ssh: Vec<SshArg>,

    /// How its writable root is made [default: auto]
    #[arg(long, value_enum, value_name = "KIND")]
    snapshotter: Option<Choice>,

    /// Command and arguments, instead of the step's shell
    #[arg(value_name = "COMMAND", last = true)]
    command: Vec<String>,
}

/// Opens a shell in a step's place; gives its exit code. As with `run`, other failures have codes of their own.
pub fn run(args: &ShellArgs, session: &Session) -> Result<u8, Failure> {
    start(args, session).map_err(|failure| Failure { code: failure.code.max(NO_CONTAINER), ..failure })
}

fn start(args: &ShellArgs, session: &Session) -> Result<u8, Failure> {
    session.enter_to_write()?;
    let options = args.options()?;
    let store = session.open_store(Access::Shared)?;
    let snapshotter = Lazy::new(args.snapshotter.or(session.config.snapshotter).unwrap_or_default());
    let tell = |text: &str| report::show(&format!("{}\n", sanitize::line(text)));
    let code = container::shell(&store, &snapshotter, &options, &tell)?;
    Ok(u8::try_from(code).unwrap_or(NO_CONTAINER))
}

impl ShellArgs {
    fn options(&self) -> Result<ShellOptions, Failure> {
        let wanted = match (&self.failed, &self.before, &self.after) {
            (_, Some(step), _) => Wanted::Before(step.clone()),
            (_, _, Some(step)) => Wanted::After(step.clone()),
            (id, None, None) => Wanted::Failed(id.clone().filter(|id| !id.is_empty())),
        };
        let mut secrets = BTreeMap::new();
        for secret in &self.secrets {
            secrets.insert(secret.id.clone(), secret.read()?);
        }
        let mut run = Policy::default();
        for agent in &self.ssh {
            run.ssh.insert(agent.id.clone(), agent.agent()?);
        }
        Ok(ShellOptions {
            wanted,
            command: self.command.clone(),
            user: self.user.clone(),
            secrets,
            run,
            tty: std::io::stdin().is_terminal() && std::io::stdout().is_terminal(),
        })
    }
}
