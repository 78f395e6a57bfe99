//! What a build is entrusted with: secrets, ssh agents, rights.

use super::pairs;
use crate::base::IoError;
use crate::base::fs::{self, Context};
use crate::cli::failure::Failure;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The most that a secret may hold, in bytes (BuildKit's limit).
pub const SECRET_LIMIT: u64 = 500 * 1024;

/// Where a secret's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A file.
    File(PathBuf),
    /// A variable of rbuild's environment.
    Env(String),
}

/// `--secret id=x[,src=path|,env=VAR]`. Without a source: the variable named as the id if it is set, else the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretArg {
    /// What `RUN --mount=type=secret,id=…` asks for.
    pub id: String,
    /// As written; `None`: by id.
    pub source: Option<SecretSource>,
}

/// A secret that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Its file can't be read.
    #[error("secret '{id}': {source}")]
    File {
        /// The id.
        id: String,
        /// Why.
        source: IoError,
    },
    /// Its variable is not set.
    #[error("secret '{id}': the variable '{name}' is not set")]
    Unset {
        /// The id.
        id: String,
        /// The variable.
        name: String,
    },
    /// Larger than [`SECRET_LIMIT`].
    #[error("secret '{id}' is larger than {} KiB", SECRET_LIMIT / 1024)]
    TooLarge {
        /// The id.
        id: String,
    },
}

impl SecretArg {
    /// For clap.
    pub fn parse(text: &str) -> Result<SecretArg, String> {
        let (mut id, mut file, mut env, mut kind) = (None, None, None, None);
        for (key, value) in pairs(text)? {
            let value = value.ok_or_else(|| format!("'{key}' needs a value, as in {key}=…"))?;
            match key.as_str() {
                "id" => id = Some(value),
                "src" | "source" => file = Some(value),
                "env" => env = Some(value),
                "type" if value == "file" || value == "env" => kind = Some(value),
                "type" => return Err(format!("unknown secret type '{value}' (file, env)")),
                other => return Err(format!("unknown key '{other}' (id, src, env, type)")),
            }
        }
        let id = id.filter(|id| !id.is_empty()).ok_or("a secret needs an id, as in id=token,src=token.txt")?;
        // type=env turns `src` into the name of a variable, as BuildKit has it.
        if kind.as_deref() == Some("env") && env.is_none() {
            env = Some(file.take().unwrap_or_else(|| id.clone()));
        }
        let source = match (file, env) {
            (Some(_), Some(_)) => return Err("a secret has either 'src' or 'env'".into()),
            (Some(path), None) => Some(SecretSource::File(path.into())),
            (None, Some(name)) => Some(SecretSource::Env(name)),
            (None, None) if kind.is_some() => Some(SecretSource::File(id.clone().into())),
            (None, None) => None,
        };
        Ok(SecretArg { id, source })
    }

    /// Reads the value.
    pub fn read(&self) -> Result<Vec<u8>, SecretError> {
        let by_id = || match std::env::var_os(&self.id) {
            Some(_) => SecretSource::Env(self.id.clone()),
            None => SecretSource::File(self.id.clone().into()),
        };
        let value = match self.source.clone().unwrap_or_else(by_id) {
            SecretSource::Env(name) => match std::env::var_os(&name) {
                Some(value) => std::os::unix::ffi::OsStringExt::into_vec(value),
                None => return Err(SecretError::Unset { id: self.id.clone(), name }),
            },
            SecretSource::File(path) => self.read_file(&path).map_err(|source| {
                let id = self.id.clone();
                SecretError::File { id, source }
            })?,
        };
        if value.len() as u64 > SECRET_LIMIT {
            return Err(SecretError::TooLarge { id: self.id.clone() });
        }
        Ok(value)
    }

    fn read_file(&self, path: &Path) -> Result<Vec<u8>, IoError> {
        let mut value = Vec::new();
        fs::open(path)?.take(SECRET_LIMIT + 1).read_to_end(&mut value).at("read", path)?;
        Ok(value)
    }
}

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

/// `--ssh default|ID[=SOCKET]`. Without a socket: the one that SSH_AUTH_SOCK names.
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
            return Err("expected ID or ID=SOCKET, as in default or github=/run/agent.sock".into());
        }
        Ok(SshArg { id: id.to_owned(), path: path.map(PathBuf::from) })
    }

    /// The agent's socket, which has to be there.
    pub fn socket(&self) -> Result<PathBuf, Failure> {
        use std::os::unix::fs::FileTypeExt;
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
        let metadata = std::fs::metadata(&absolute).at("look at", &absolute)?;
        if !metadata.file_type().is_socket() {
            return Err(Failure::usage(format!("--ssh {}: {} is no socket of an agent", self.id, path.display()))
                .help("give the key to an agent with ssh-add, and name the agent's socket"));
        }
        Ok(absolute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_name_a_file_a_variable_or_neither() {
        let file = |p: &str| Some(SecretSource::File(p.into()));
        let env = |n: &str| Some(SecretSource::Env(n.into()));
        let cases = [
            ("id=a", "a", None),
            ("id=a,src=b", "a", file("b")),
            ("id=a,source=b", "a", file("b")),
            ("id=a,env=B", "a", env("B")),
            ("id=a,type=env", "a", env("a")),
            ("type=env,id=a,src=B", "a", env("B")),
            ("id=a,type=file", "a", file("a")),
            (r#"id=a,"src=x,y""#, "a", file("x,y")),
        ];
        for (text, id, source) in cases {
            assert_eq!(SecretArg::parse(text), Ok(SecretArg { id: id.into(), source }), "{text}");
        }
        for bad in ["", "src=x", "id=", "id=a,src=b,env=c", "id=a,mode=1", "id=a,type=x", "id"] {
            assert!(SecretArg::parse(bad).is_err(), "{bad}");
        }
    }

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
