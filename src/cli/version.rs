//! `rbuild version`.

use super::failure::Failure;
use clap::Args;

/// Arguments of `version`.
#[derive(Debug, Args)]
pub struct VersionArgs {}

/// Prints the version and what it was built for.
pub fn run(_: &VersionArgs) -> Result<(), Failure> {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    crate::ui::out::line(&format!("rbuild {} ({os}/{arch})", env!("CARGO_PKG_VERSION")))?;
    Ok(())
}
