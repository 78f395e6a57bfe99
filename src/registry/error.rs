//! What can go wrong between a registry and the store.

use super::credentials::CredentialError;
use crate::base::{Digest, IoError};
use crate::export::ExportError;
use crate::net::NetError;
use crate::store::StoreError;

/// A failed pull, push or login. Its text names registry and repository, and never a credential.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry cannot be reached.
    #[error("registry {registry}: {source}")]
    Net {
        /// As the name has it.
        registry: String,
        /// Why.
        source: NetError,
    },
    /// It answers, but not what the protocol has.
    #[error("registry {registry} does not {what}: status {status}{detail}")]
    Status {
        /// As the name has it.
        registry: String,
        /// What was asked of it: `give the manifest of a/b:1`.
        what: String,
        /// HTTP status.
        status: u16,
        /// What it says of that itself, shortened; begins with `: ` unless it is empty.
        detail: String,
    },
    /// It wants other credentials, or any.
    #[error("registry {registry} refuses to {what}: {}", if *known { "the credentials are not accepted" } else { "it asks for credentials" })]
    Unauthorized {
        /// As the name has it.
        registry: String,
        /// What was asked of it.
        what: String,
        /// Whether credentials were sent.
        known: bool,
    },
    /// There is no such image.
    #[error("no image '{name}' is in its registry")]
    NotFound {
        /// Familiar name.
        name: String,
    },
    /// The image is for other machines.
    #[error("image '{name}' is not for {wanted}; it is for {}", found.join(", "))]
    Platform {
        /// Familiar name.
        name: String,
        /// `os/arch`.
        wanted: String,
        /// What there is.
        found: Vec<String>,
    },
    /// What came contradicts what announced it.
    #[error("{place}: {reason}")]
    Contents {
        /// The image's name, or a blob's digest with the registry.
        place: String,
        /// How.
        reason: String,
    },
    /// A name with a digest cannot be pushed to.
    #[error("'{0}' carries a digest; an image is pushed to a name and tag")]
    Pinned(String),
    /// A blob that the image needs is not in the store.
    #[error("blob {digest} of image {name} is not in the store")]
    BlobMissing {
        /// Which.
        digest: Digest,
        /// Familiar name.
        name: String,
    },
    /// The user's credentials cannot be read or written.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// An image could not be stored or read.
    #[error(transparent)]
    Export(ExportError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoError),
    /// Stopped.
    #[error("cancelled")]
    Cancelled,
}

/// How a download that is read as a stream failed: travels inside an [`std::io::Error`].
#[derive(Debug, thiserror::Error)]
#[error("{place}: {reason}")]
pub(super) struct Fault {
    pub place: String,
    pub reason: String,
}

/// What is wrong where only a layer's digest is known.
const A_LAYER: &str = "a layer of the image";

impl From<ExportError> for RegistryError {
    /// Finds the failed download below what failed for want of it.
    fn from(error: ExportError) -> RegistryError {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(this) = cause {
            let inner = this.downcast_ref::<std::io::Error>().and_then(|e| e.get_ref());
            if let Some(Fault { place, reason }) = inner.and_then(|e| e.downcast_ref::<Fault>()) {
                return RegistryError::Contents { place: place.clone(), reason: reason.clone() };
            }
            cause = this.source();
        }
        match error {
            // What the store cannot have announced wrongly: the other side did.
            ExportError::Store(e @ (StoreError::Mismatch { .. } | StoreError::TooLong { .. })) => {
                RegistryError::Contents { place: A_LAYER.into(), reason: e.to_string() }
            }
            ExportError::Archive { archive, reason } => {
                RegistryError::Contents { place: archive.display().to_string(), reason }
            }
            ExportError::Document { place, reason } => RegistryError::Contents { place, reason: reason.to_string() },
            other => RegistryError::Export(other),
        }
    }
}

impl RegistryError {
    /// What failed, with the image's name where it is not named.
    pub(super) fn of_image(error: ExportError, name: &str) -> RegistryError {
        match RegistryError::from(error) {
            RegistryError::Contents { place, reason } if place == A_LAYER => {
                RegistryError::Contents { place: format!("a layer of {name}"), reason }
            }
            other => other,
        }
    }

    /// Whether something that was named is not there (exit code 4).
    pub fn is_not_found(&self) -> bool {
        match self {
            RegistryError::NotFound { .. } => true,
            RegistryError::Export(e) => e.is_not_found(),
            _ => false,
        }
    }

    /// Whether the other side or the way to it is to blame (exit code 7).
    pub fn is_network(&self) -> bool {
        matches!(
            self,
            RegistryError::Net { .. }
                | RegistryError::Status { .. }
                | RegistryError::Unauthorized { .. }
                | RegistryError::Contents { .. }
        )
    }

    /// What the user could do about it.
    pub fn help(&self) -> Vec<String> {
        match self {
            RegistryError::Unauthorized { registry, known: false, .. } => {
                vec![format!("log in: `rbuild login {registry}`")]
            }
            RegistryError::Unauthorized { registry, known: true, .. } => {
                vec![format!("log in as somebody who may: `rbuild login {registry}`")]
            }
            RegistryError::NotFound { .. } => {
                vec!["a private image also looks absent to who is not logged in: `rbuild login`".to_owned()]
            }
            RegistryError::Net { registry, source } => vec![net_help(registry, source)],
            RegistryError::Status { status: 429 | 500..=599, .. } => {
                vec!["it may be better later; it was asked several times".to_owned()]
            }
            RegistryError::Status { .. } => vec!["check the name, and what the registry supports".to_owned()],
            RegistryError::Contents { .. } => {
                vec![
                    "nothing of it was kept; try again, or tell whoever runs the registry, its mirror or a proxy"
                        .to_owned(),
                ]
            }
            RegistryError::Export(e) => e.help(),
            _ => Vec::new(),
        }
    }
}

/// A way out where the registry cannot be reached.
fn net_help(registry: &str, error: &NetError) -> String {
    let reason = match error {
        NetError::Failed { reason, .. } => reason.as_str(),
        NetError::Redirect { .. } => {
            return "tell whoever runs the registry: its redirects are not safe to follow".into();
        }
        NetError::Offline { .. } => return "leave out --offline".into(),
        _ => "",
    };
    let table = format!("[registry.\"{registry}\"]");
    if reason.contains(crate::net::CA_AS_SERVER) {
        // What `openssl req -x509` makes unless it is told otherwise.
        return format!(
            "make a certificate with `openssl req -x509 … -addext basicConstraints=critical,CA:FALSE` and name it as `ca` \
             under {table} in the configuration file"
        );
    }
    if reason.contains("certificate") {
        return format!("name the CA that vouches for it as `ca` under {table} in the configuration file");
    }
    "check the name, the network and the proxy that the environment names".to_owned()
}
