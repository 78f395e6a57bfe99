//! `--secret`: where its value comes from, and reading it.

use crate::base::fs::{self, Context};
use crate::base::{IoError, text};
use std::collections::BTreeMap;
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

/// The values of several secrets, by id.
///
/// # Errors
/// One of them can't be read.
pub fn read_all(secrets: &[SecretArg]) -> Result<BTreeMap<String, Vec<u8>>, SecretError> {
    secrets.iter().map(|secret| Ok((secret.id.clone(), secret.read()?))).collect()
}

impl SecretArg {
    /// For clap.
    pub fn parse(list: &str) -> Result<SecretArg, String> {
        let (mut id, mut file, mut env, mut kind) = (None, None, None, None);
        for (key, value) in text::pairs(list)? {
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
}
