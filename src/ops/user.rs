//! USER and `--chown`: names to ids by the image's own /etc/passwd and /etc/group.

use super::OpError;
use crate::tree::View;

/// Who a process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Home directory from passwd; `/` without an entry.
    pub home: String,
}

/// USER: `u`, `u:g`, names or numbers (dockerfile.md 1.9). Empty: root.
pub fn resolve(view: &View<'_>, user: &str) -> Result<Identity, OpError> {
    let _ = (view, user);
    unreachable!("skeleton")
}

/// `--chown`: owner and group (dockerfile.md C17). Unknown names are an error with a suggestion.
pub fn chown(view: &View<'_>, text: &str) -> Result<(u32, u32), OpError> {
    let _ = (view, text);
    unreachable!("skeleton")
}
