//! `rbuild completion`.

use super::Cli;
use super::failure::Failure;
use clap::{Args, CommandFactory, ValueEnum};

/// Arguments of `completion`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rbuild completion bash > /etc/bash_completion.d/rbuild
  rbuild completion zsh > ~/.zfunc/_rbuild
  rbuild completion fish > ~/.config/fish/completions/rbuild.fish")]
pub struct CompletionArgs {
    /// For which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Shells with a script.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Prints the script.
pub fn run(args: &CompletionArgs) -> Result<(), Failure> {
    let shell = match args.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rbuild", &mut script);
    crate::ui::out::write(&script)?;
    Ok(())
}
