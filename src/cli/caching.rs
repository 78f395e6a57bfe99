//! `--cache-from`, `--cache-to`, `--cache-key`.

use super::failure::{Code, Failure};
use crate::base::fs;
use crate::cache::spec::{self, From as CacheFrom, To};
use crate::cache::{CacheError, Keys};
use crate::pipeline::Caching;
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;

/// Flags about caches outside the store.
#[derive(Debug, Args)]
pub struct CachingArgs {
    /// A cache to ask for steps that the store does not have: NAME in a registry (also of an image that carries its
    /// cache), or type=local,src=DIR[,tag=TAG]; may be given many times
    #[arg(long = "cache-from", value_name = "CACHE", value_parser = spec::from)]
    pub from: Vec<CacheFrom>,

    /// Where to add what this build knows: NAME in a registry, type=registry,ref=NAME, type=local,dest=DIR[,tag=TAG]
    /// or type=inline; with mode=min|max, compression=gzip|zstd|uncompressed, ignore-error=true; may be given many times
    #[arg(long = "cache-to", value_name = "CACHE", value_parser = spec::to)]
    pub to: Vec<To>,

    /// An Ed25519 key in PEM: a private one signs what --cache-to writes; --cache-from believes only what one of the
    /// given keys has signed
    #[arg(long = "cache-key", value_name = "FILE")]
    pub keys: Vec<PathBuf>,
}

impl CachingArgs {
    /// What is shared by all targets, with the keys read.
    pub fn caching(&self) -> Result<Caching, Failure> {
        let mut keys = Keys::default();
        for path in &self.keys {
            let failure = |e| Failure::usage(format!("--cache-key {}: {e}", path.display()));
            keys.add(&fs::read(path)?).map_err(failure)?;
        }
        if !self.to.is_empty() && !keys.is_empty() && !keys.can_sign() {
            return Err(Failure::usage("--cache-to signs what it writes, and no --cache-key is a private key")
                .help("make one: openssl genpkey -algorithm ed25519 -out cache.pem"));
        }
        Ok(Caching { from: self.from.clone(), keys: Arc::new(keys) })
    }
}

impl From<CacheError> for Failure {
    fn from(error: CacheError) -> Failure {
        match error {
            CacheError::Io(e) => e.into(),
            CacheError::Store(e) => e.into(),
            CacheError::Export(e) => e.into(),
            CacheError::Registry(e) => e.into(),
            error @ (CacheError::Bucket(_) | CacheError::Contents { .. }) => Failure::new(Code::Network, error)
                .help("a cache is only there for speed: with ignore-error=true a build goes on without writing it"),
        }
    }
}
