//! SHA-256 digests, written `sha256:<64 hex digits>` (OCI image-spec, descriptor, "Digests").

use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

/// A SHA-256 digest. `Display` writes the OCI form `sha256:<hex>`; [`Digest::hex`] the digits alone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

/// Why a text is not a digest that rbuild accepts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Another algorithm than sha256.
    #[error("digest '{0}' is not of the form sha256:<64 hex digits>; other algorithms are refused")]
    Form(String),
}

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(sha2::Sha256::digest(bytes).into())
    }

    /// Wraps 32 raw bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Digest {
        Digest(bytes)
    }

    /// The 32 raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 lower-case hex digits, without the algorithm.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The first 12 hex digits, as docker and podman abbreviate an ID.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }

    /// Reads 64 lower-case hex digits without an algorithm prefix.
    pub fn from_hex(digits: &str) -> Result<Digest, DigestError> {
        let bad = || DigestError::Form(digits.to_owned());
        if digits.len() != 64 || digits.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(bad());
        }
        let mut out = [0; 32];
        hex::decode_to_slice(digits, &mut out).map_err(|_| bad())?;
        Ok(Digest(out))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Digest, DigestError> {
        let digits = text.strip_prefix("sha256:").ok_or_else(|| DigestError::Form(text.to_owned()))?;
        Digest::from_hex(digits).map_err(|_| DigestError::Form(text.to_owned()))
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Digest, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// An incremental SHA-256 that is also a writer and counts what it was given.
#[derive(Clone, Default)]
pub struct Hasher {
    state: sha2::Sha256,
    bytes: u64,
}

impl Hasher {
    /// A hasher of nothing yet.
    pub fn new() -> Hasher {
        Hasher::default()
    }

    /// Adds raw bytes.
    pub fn update(&mut self, bytes: &[u8]) -> &mut Hasher {
        self.state.update(bytes);
        self.bytes += bytes.len() as u64;
        self
    }

    /// Adds a field that can't run into its neighbour: its length as 8 little-endian bytes, then its bytes.
    /// Every digest over structured data in rbuild (keys, tree nodes, layer contents) is made of these.
    pub fn field(&mut self, bytes: &[u8]) -> &mut Hasher {
        self.update(&(bytes.len() as u64).to_le_bytes());
        self.update(bytes)
    }

    /// Adds a number as 8 little-endian bytes.
    pub fn number(&mut self, value: u64) -> &mut Hasher {
        self.update(&value.to_le_bytes())
    }

    /// How many bytes were hashed.
    pub fn len(&self) -> u64 {
        self.bytes
    }

    /// Whether nothing was hashed.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The digest of all that was added.
    pub fn finish(self) -> Digest {
        Digest(self.state.finalize().into())
    }

    /// Hashes a reader to its end; gives digest and length in bytes.
    pub fn read(reader: impl Read) -> io::Result<(Digest, u64)> {
        Hasher::read_with(reader, &mut Vec::new())
    }

    /// The same through a buffer of the caller's, which makes it as large as it should be: for many small files.
    pub fn read_with(mut reader: impl Read, buffer: &mut Vec<u8>) -> io::Result<(Digest, u64)> {
        let mut hasher = Hasher::new();
        buffer.resize(256 * 1024, 0);
        loop {
            match reader.read(buffer) {
                Ok(0) => break,
                Ok(n) => {
                    hasher.update(&buffer[..n]);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let bytes = hasher.len();
        Ok((hasher.finish(), bytes))
    }
}

/// A writer that hashes what goes through it: what was written, not what was meant to be.
pub struct Hashed<W> {
    /// Where it goes.
    pub out: W,
    /// Of all that went.
    pub hasher: Hasher,
}

impl<W> Hashed<W> {
    /// Nothing has gone through yet.
    pub fn new(out: W) -> Hashed<W> {
        Hashed { out, hasher: Hasher::new() }
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_other_algorithms_are_refused() {
        let digest = Digest::of(b"");
        let text = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse::<Digest>().unwrap(), digest);
        assert!("sha512:00".parse::<Digest>().is_err());
        assert!(text.to_uppercase().parse::<Digest>().is_err());
    }

    #[test]
    fn fields_do_not_run_together() {
        let join = |parts: &[&[u8]]| {
            let mut h = Hasher::new();
            for part in parts {
                h.field(part);
            }
            h.finish()
        };
        assert_ne!(join(&[b"ab", b"c"]), join(&[b"a", b"bc"]));
    }
}
