//! What a build is entrusted with beside secrets: ssh agents, rights.

use crate::base::IoError;
use crate::base::fs::Context;
use crate::cli::failure::Failure;
use crate::ops::run::Agent;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

/// `--allow`: what a build may do only when its caller says so. The first two are BuildKit's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Right {
    /// RUN --security=insecure
    #[value(name = "security.insecure")]
    SecurityInsecure,
    /// RUN --network=host, which is allowed anyway
    #[value(name = "network.host")]
    NetworkHost,
    /// A layer with the bytes of a secret in it
    #[value(name = "secret-in-layer")]
    SecretInLayer,
}

/// `--ssh default|ID[=SOCKET|=KEY,…]`. Alone: the agent that SSH_AUTH_SOCK names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshArg {
    /// What `RUN --mount=type=ssh,id=…` asks for.
    pub id: String,
    /// As written.
    pub path: Option<PathBuf>,
}

impl SshArg {
    /// For clap.
    pub fn parse(text: &str) -> Result<SshArg, String> {
        let (id, path) = match text.split_once('=') {
            Some((id, path)) => (id, Some(path)),
            None => (text, None),
        };
        if id.is_empty() || path == Some("") {
            return Err("expected ID, ID=SOCKET or ID=KEYFILE, as in default or github=deploy_key".into());
        }
        Ok(SshArg { id: id.to_owned(), path: path.map(PathBuf::from) })
    }

    /// The agent: the one behind a socket, or one of our own for files that are keys.
    pub fn agent(&self) -> Result<Agent, Failure> {
        let path = match &self.path {
            Some(path) => path.clone(),
            None => std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty()).map(PathBuf::from).ok_or_else(
                || {
                    Failure::usage(format!("--ssh {}: SSH_AUTH_SOCK is not set", self.id))
                        .help("start an agent (`eval $(ssh-agent)`, `ssh-add`), or name its socket: --ssh ID=SOCKET")
                },
            )?,
        };
        let absolute = std::path::absolute(&path).at("find", &path)?;
        if std::fs::metadata(&absolute).is_ok_and(|metadata| metadata.file_type().is_socket()) {
            return Ok(Agent::at(absolute));
        }
        let keys = match absolute.to_str() {
            // As docker: several keys, if it is not one file of that name.
            Some(text) if !absolute.exists() => text.split(',').map(PathBuf::from).collect(),
            _ => vec![absolute],
        };
        let keys = keys.iter().map(|key| {
            let key = std::path::absolute(key).at("find", key)?;
            std::fs::metadata(&key).at("look at", &key)?;
            Ok(key)
        });
        let keys = keys.collect::<Result<Vec<PathBuf>, IoError>>()?;
        Agent::with_keys(keys).map_err(|error| {
            Failure::usage(format!("--ssh {}: {error}", self.id))
                .help("or give the key to an agent with ssh-add, and name the agent's socket: --ssh ID=SOCKET")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_have_an_id_and_maybe_a_socket() {
        let agent = |id: &str, path: Option<&str>| Ok(SshArg { id: id.into(), path: path.map(PathBuf::from) });
        assert_eq!(SshArg::parse("default"), agent("default", None));
        assert_eq!(SshArg::parse("git=/a=b"), agent("git", Some("/a=b")));
        for bad in ["", "=x", "x="] {
            assert!(SshArg::parse(bad).is_err(), "{bad}");
        }
    }
}
