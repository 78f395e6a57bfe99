//! Who wrote a list of records: Ed25519 signatures (RFC 8032) over its digest, with keys in PEM as `openssl genpkey
//! -algorithm ed25519` and `openssl pkey -pubout` write them (RFC 8410).

use crate::base::Digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

/// What stands before the digest in what is signed, so that the key's other signatures say nothing about caches.
const CONTEXT: &[u8] = b"rbuild cache list v1\n";
/// What stands before the 32 bytes of an Ed25519 key in its SubjectPublicKeyInfo.
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// Longest key file that is taken for one, in bytes.
const MAX_KEY: usize = 16 << 10;

/// A file that is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no Ed25519 key in PEM: {0}")]
pub struct KeyError(&'static str);

/// The keys of `--cache-key`: what they signed is believed; the first private one signs.
#[derive(Debug, Default)]
pub struct Keys {
    trusted: Vec<Vec<u8>>,
    signer: Option<Ed25519KeyPair>,
}

impl Keys {
    /// Adds a key, private (it signs, and is believed) or public (it is believed).
    ///
    /// # Errors
    /// It is no such key.
    pub fn add(&mut self, pem: &[u8]) -> Result<(), KeyError> {
        let text =
            std::str::from_utf8(pem).ok().filter(|text| text.len() <= MAX_KEY).ok_or(KeyError("it is no text"))?;
        if let Some(der) = section(text, "PRIVATE KEY")? {
            // What openssl writes has no public key in it: nothing to check it against.
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der)
                .map_err(|_| KeyError("its private key is of another kind"))?;
            self.trusted.push(pair.public_key().as_ref().to_vec());
            self.signer.get_or_insert(pair);
            return Ok(());
        }
        let der = section(text, "PUBLIC KEY")?.ok_or(KeyError("there is no PRIVATE KEY or PUBLIC KEY in it"))?;
        match der.strip_prefix(&SPKI) {
            Some(key) if key.len() == 32 => self.trusted.push(key.to_vec()),
            _ => return Err(KeyError("its public key is of another kind")),
        }
        Ok(())
    }

    /// Whether there is no key: then nothing is signed, and signatures do not matter.
    pub fn is_empty(&self) -> bool {
        self.trusted.is_empty()
    }

    /// Whether anything can be signed.
    pub fn can_sign(&self) -> bool {
        self.signer.is_some()
    }

    /// The signature of a list, as text.
    pub fn sign(&self, list: &Digest) -> Option<String> {
        Some(STANDARD.encode(self.signer.as_ref()?.sign(&message(list))))
    }

    /// Whether one of the keys made the signature.
    pub fn verify(&self, list: &Digest, signature: Option<&str>) -> bool {
        let Some(signature) = signature.and_then(|text| STANDARD.decode(text).ok()) else { return false };
        let message = message(list);
        self.trusted.iter().any(|key| UnparsedPublicKey::new(&ED25519, key).verify(&message, &signature).is_ok())
    }
}

fn message(list: &Digest) -> Vec<u8> {
    [CONTEXT, list.hex().as_bytes()].concat()
}

/// The bytes of a section of a PEM file (RFC 7468); `None`: there is no such section.
fn section(text: &str, label: &str) -> Result<Option<Vec<u8>>, KeyError> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let Some((_, rest)) = text.split_once(&begin) else { return Ok(None) };
    let (body, _) = rest.split_once(&end).ok_or(KeyError("its last line is missing"))?;
    let digits: String = body.split_whitespace().collect();
    STANDARD.decode(digits).map(Some).map_err(|_| KeyError("it is not valid base64"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `openssl genpkey -algorithm ed25519`, and `openssl pkey -pubout` of it.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIMok0kshHkdx+ynBDSBac7KqL5moTIJ2Y/yPMJh7RlX8\n-----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAMs8EcJ7X3yEAGK6HNkuE1p2ySeivEFmub7mfNgBY8x8=\n-----END PUBLIC KEY-----\n";

    fn keys(pem: &str) -> Keys {
        let mut keys = Keys::default();
        keys.add(pem.as_bytes()).unwrap();
        keys
    }

    #[test]
    fn what_the_private_key_signs_the_public_one_believes_and_nothing_else() {
        let (private, public) = (keys(PRIVATE), keys(PUBLIC));
        assert!(private.can_sign() && !public.can_sign());
        let list = Digest::of(b"list");
        let signature = private.sign(&list).unwrap();
        assert!(public.verify(&list, Some(&signature)) && private.verify(&list, Some(&signature)));
        assert!(!public.verify(&Digest::of(b"other"), Some(&signature)));
        assert!(!public.verify(&list, None));
        assert!(!public.verify(&list, Some("no base64!")));
        let mut forged = STANDARD.decode(&signature).unwrap();
        forged[7] ^= 1;
        assert!(!public.verify(&list, Some(&STANDARD.encode(forged))));
        assert_eq!(public.sign(&list), None);
        assert!(!Keys::default().verify(&list, Some(&signature)));
    }

    #[test]
    fn other_files_are_told_to_be_no_keys() {
        for (pem, reason) in [
            ("", "no PRIVATE KEY or PUBLIC KEY"),
            ("-----BEGIN PRIVATE KEY-----\nMC4C", "last line"),
            ("-----BEGIN PRIVATE KEY-----\n!!\n-----END PRIVATE KEY-----", "base64"),
            ("-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----", "another kind"),
            ("-----BEGIN PUBLIC KEY-----\nMC4C\n-----END PUBLIC KEY-----", "another kind"),
        ] {
            let error = Keys::default().add(pem.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(reason), "{pem}: {error}");
        }
    }
}
