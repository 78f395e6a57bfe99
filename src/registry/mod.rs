//! Registries (OCI distribution-spec 1.1): images pulled into the store and pushed out of it, and the credentials for
//! that.
//!
//! Nothing that a server says is believed: documents and blobs are hashed as they come, lengths are bounded by what
//! announced them, and a document is read as what its descriptor or media type says or not at all. Credentials go to the
//! registry that they are for, and to the token service that it names over a connection of the same safety; never to
//! where a redirect leads.

pub mod artifact;
mod auth;
mod client;
pub mod credentials;
mod download;
mod error;
pub mod peek;
pub mod pull;
pub mod push;
mod settings;
#[cfg(test)]
mod tests;
mod upload;

pub use artifact::Repository;
pub use credentials::{Credential, Keyring};
pub use error::RegistryError;
pub use peek::{Peeked, current, peek};
pub use pull::{Pulled, pull};
pub use push::{Pushed, push};
pub use settings::{Host, Settings};

/// Who is told of each thing that takes a while, a line each.
pub type Tell<'t> = dyn Fn(&str) + Sync + 't;

/// Asks a registry whether it takes these credentials.
///
/// # Errors
/// It does not, or cannot be asked.
pub fn check_login(
    registry: &str,
    credential: &Credential,
    settings: &Settings,
    cancel: &crate::base::Cancel,
) -> Result<(), RegistryError> {
    let remote = client::Remote::connect(registry, Some(credential.clone()), settings, cancel)?;
    remote.ping()
}
