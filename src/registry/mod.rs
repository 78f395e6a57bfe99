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
pub mod lazy;
pub mod peek;
pub mod pull;
pub mod push;
pub mod referrers;
mod settings;
#[cfg(test)]
mod tests;
mod upload;

pub use artifact::Repository;
pub use credentials::{Credential, Keyring};
pub use error::RegistryError;
pub use peek::{Peeked, current, peek};
pub use pull::{Platforms, Pulled, pull};
pub use push::{Pushed, push};
pub use referrers::{Said, attestations};
pub use settings::{Host, Settings};

use crate::base::Cancel;
use crate::image::Reference;
use crate::net::transfer::{News, Watch};

/// How registries are reached, and who hears of what is done with them.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations)]
pub struct Registries<'r> {
    /// What the configuration says of each.
    pub settings: &'r Settings,
    /// The user's credentials.
    pub keyring: &'r Keyring,
    /// Is told how it goes, under the familiar name of the image.
    pub watch: &'r Watch<'r>,
    /// Stop flag.
    pub cancel: &'r Cancel,
}

impl Registries<'_> {
    /// The registry that a name leads to, and who we are there.
    fn connect(&self, name: &Reference) -> Result<client::Remote, RegistryError> {
        let credential = self.keyring.find(&name.registry, &name.repository)?;
        client::Remote::connect(&name.registry, credential, self.settings, self.cancel)
    }

    /// Tells that an exchange begins, does it, and tells that it has ended.
    fn told<T>(&self, name: &str, act: &'static str, exchange: impl FnOnce() -> T) -> T {
        (self.watch)(name, News::Begun { act });
        let result = exchange();
        (self.watch)(name, News::Ended);
        result
    }
}

/// Asks a registry whether it takes these credentials.
///
/// # Errors
/// It does not, or cannot be asked.
pub fn check_login(
    registry: &str,
    credential: &Credential,
    settings: &Settings,
    cancel: &Cancel,
) -> Result<(), RegistryError> {
    let remote = client::Remote::connect(registry, Some(credential.clone()), settings, cancel)?;
    remote.ping()
}
