//! Secrets stay out: the bytes of every secret that the build was given are searched in what a step wrote, and masked in
//! what it says; as they are, and in the forms in which programs like to keep them: base64 (both alphabets, wherever the
//! secret starts within the encoded text) and hexadecimal.
//!
//! Secrets shorter than [`MIN_LEN`] bytes are not looked for: they would be found everywhere.

use super::{Cx, OpError};
use crate::base::IoError;
use crate::base::fs::Context;
use regex::bytes::{Regex, RegexBuilder};
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The shortest secret that is looked for, in bytes.
pub const MIN_LEN: usize = 8;

/// So many bytes of a secret tell it from all else; more would make the search slow.
const TELLING: usize = 256;

/// Files are read in pieces of this size.
const PIECE: usize = 1 << 20;

/// What stands for a secret in output.
const MASK: &[u8] = b"***";

/// One form of one secret.
#[derive(Debug)]
struct Needle {
    id: String,
    form: &'static str,
    bytes: Vec<u8>,
}

impl Needle {
    fn head(&self) -> &[u8] {
        &self.bytes[..self.bytes.len().min(TELLING)]
    }
}

/// All forms of all secrets, ready to be searched for.
#[derive(Debug, Default)]
pub struct Secrets {
    needles: Vec<Needle>,
    /// Finds the head of any needle; `None`: they are too many for one pattern, and are sought one by one.
    heads: Option<Regex>,
}

/// A secret where it should not be.
#[derive(Debug, PartialEq, Eq)]
struct Find {
    id: String,
    form: &'static str,
    /// Offset in what was searched.
    start: usize,
}

impl Secrets {
    /// Prepares the search for these values by id.
    pub fn new(values: &BTreeMap<String, Vec<u8>>) -> Secrets {
        let mut needles: Vec<Needle> = Vec::new();
        for (id, value) in values {
            // A file's last line feed is seldom part of what is secret.
            let end = value.iter().rposition(|b| !matches!(b, b'\n' | b'\r')).map_or(0, |last| last + 1);
            let value = &value[..end];
            if value.len() < MIN_LEN {
                continue;
            }
            let mut add = |form, bytes: Vec<u8>| needles.push(Needle { id: id.clone(), form, bytes });
            add("as it is", value.to_vec());
            add("in hexadecimal", hex::encode(value).into_bytes());
            add("in hexadecimal", hex::encode_upper(value).into_bytes());
            for alphabet in [BASE64, BASE64_URL] {
                for shift in 0..3 {
                    add("in base64", base64_inner(value, shift, alphabet));
                }
            }
        }
        // Of two that match at one place the longer one is meant.
        needles.sort_by_key(|needle| std::cmp::Reverse(needle.bytes.len()));
        let alternatives: Vec<String> = needles.iter().map(|n| literal(n.head())).collect();
        let heads = RegexBuilder::new(&alternatives.join("|")).unicode(false).size_limit(256 << 20).build();
        Secrets { heads: heads.ok().filter(|_| !needles.is_empty()), needles }
    }

    /// Whether there is anything to look for.
    pub fn is_empty(&self) -> bool {
        self.needles.is_empty()
    }

    /// The first needle's head at or after `from`: where, and which.
    fn find_at(&self, bytes: &[u8], from: usize) -> Option<(usize, &Needle)> {
        let start = match &self.heads {
            Some(heads) => heads.find_at(bytes, from)?.start(),
            None => from + self.needles.iter().filter_map(|n| position(&bytes[from..], n.head())).min()?,
        };
        let needle = self.needles.iter().find(|n| bytes[start..].starts_with(n.head()))?;
        Some((start, needle))
    }

    fn find(&self, bytes: &[u8]) -> Option<Find> {
        let (start, needle) = self.find_at(bytes, 0)?;
        Some(Find { id: needle.id.clone(), form: needle.form, start })
    }

    /// The longest end of `bytes` that a secret might begin with.
    fn begun_at_end(&self, bytes: &[u8]) -> usize {
        let most = bytes.len().min(TELLING);
        (1..=most)
            .rev()
            .find(|n| {
                let end = &bytes[bytes.len() - n..];
                self.needles.iter().any(|needle| needle.head().len() > *n && needle.head().starts_with(end))
            })
            .unwrap_or(0)
    }

    /// The first secret in a stream, and the number of its line.
    fn find_in(&self, mut from: impl Read) -> std::io::Result<Option<(Find, usize)>> {
        let mut buffer = Vec::with_capacity(PIECE + TELLING);
        let mut line = 1;
        loop {
            let kept = buffer.len();
            let read = from.by_ref().take(PIECE as u64).read_to_end(&mut buffer)?;
            if let Some(find) = self.find(&buffer) {
                line += count_lines(&buffer[..find.start]);
                return Ok(Some((find, line)));
            }
            if read == 0 {
                return Ok(None);
            }
            let keep = (kept + read).min(TELLING);
            let done = buffer.len() - keep;
            line += count_lines(&buffer[..done]);
            buffer.drain(..done);
        }
    }
}

fn position(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

fn count_lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|b| **b == b'\n').count()
}

/// A pattern that matches these bytes alone.
fn literal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!(r"(?-u:\x{byte:02x})")).collect()
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The digits of base64 that `value` alone decides when `shift` (modulo 3) other bytes stand before it.
fn base64_inner(value: &[u8], shift: usize, alphabet: &[u8; 64]) -> Vec<u8> {
    let bit = |at: usize| match at.checked_sub(shift * 8) {
        Some(at) => value.get(at / 8).map_or(0, |byte| byte >> (7 - at % 8) & 1),
        None => 0,
    };
    let (first, end) = ((shift * 8).div_ceil(6), (shift + value.len()) * 8 / 6);
    let digit = |n: usize| (0..6).fold(0, |digit: u8, i| digit << 1 | bit(n * 6 + i));
    (first..end).map(|n| alphabet[usize::from(digit(n))]).collect()
}

/// Fails if a secret is in what a step wrote: the directory `fs`, in overlay-upper layout.
///
/// # Errors
/// `secret-in-layer` with the path and line; not with `--allow secret-in-layer`.
pub fn check(cx: &Cx<'_>, fs: &Path) -> Result<(), OpError> {
    if cx.secrets.is_empty() || cx.run.allow_secret_in_layer {
        return Ok(());
    }
    let secrets = Secrets::new(cx.secrets);
    if secrets.is_empty() {
        return Ok(());
    }
    for entry in walkdir::WalkDir::new(fs).min_depth(1).follow_links(false).sort_by_file_name() {
        let entry = entry.map_err(|e| IoError { act: "list", path: fs.to_owned(), source: e.into() })?;
        if cx.cancel.is_set() {
            return Err(OpError::Cancelled);
        }
        let path = entry.path();
        let shown = || path.strip_prefix(fs).unwrap_or(path).display().to_string();
        if let Some(find) = secrets.find(entry.file_name().as_bytes()) {
            return Err(leaked(&find, format!("in the name of a file below /{}", parent(&shown()))));
        }
        let kind = entry.file_type();
        if kind.is_symlink() {
            let target = std::fs::read_link(path).at("read link", path)?;
            if let Some(find) = secrets.find(target.as_os_str().as_bytes()) {
                return Err(leaked(&find, format!("in the target of the link /{}", shown())));
            }
        }
        if kind.is_file() {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = File::from(rustix::fs::open(path, flags, Mode::empty()).at("open", path)?);
            if let Some((find, line)) = secrets.find_in(file).at("read", path)? {
                return Err(leaked(&find, format!("in /{}, line {line}", shown())));
            }
        }
    }
    Ok(())
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

fn leaked(find: &Find, place: String) -> OpError {
    OpError::input("secret-in-layer", format!("the step wrote the secret '{}' into the image", find.id))
        .note(format!("it stands {place}, {}", find.form))
        .note("the layer was not kept")
        .with_help("read the secret where it is mounted, and write nothing that holds it")
        .with_help("if it is no secret after all, build with --allow secret-in-layer")
}

/// Output on its way to people, with secrets masked. What might be the beginning of one is held back until it is known.
#[derive(Debug)]
pub struct Masker<'s> {
    secrets: &'s Secrets,
    held: Vec<u8>,
    /// The rest of a long secret whose head was seen.
    rest: Option<&'s [u8]>,
}

impl<'s> Masker<'s> {
    /// One for one stream.
    pub fn new(secrets: &'s Secrets) -> Masker<'s> {
        Masker { secrets, held: Vec::new(), rest: None }
    }

    /// Takes a piece of output and gives what may be shown by now.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.secrets.is_empty() {
            return bytes.to_vec();
        }
        self.held.extend_from_slice(bytes);
        self.release(false)
    }

    /// Gives what was held back, at the end of the stream.
    pub fn finish(&mut self) -> Vec<u8> {
        self.release(true)
    }

    fn release(&mut self, all: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.held.len());
        let mut at = self.skip_rest(0);
        while let Some((start, needle)) = self.secrets.find_at(&self.held, at) {
            out.extend_from_slice(&self.held[at..start]);
            out.extend_from_slice(MASK);
            let head = needle.head().len();
            self.rest = Some(&needle.bytes[head..]);
            at = self.skip_rest(start + head);
        }
        let held_back = if all { 0 } else { self.secrets.begun_at_end(&self.held[at..]) };
        let end = self.held.len() - held_back;
        out.extend_from_slice(&self.held[at..end]);
        self.held.drain(..end);
        out
    }

    /// Where the text goes on after what remains of a secret. The head is enough to mask it, so that a rest that differs
    /// is shown.
    fn skip_rest(&mut self, at: usize) -> usize {
        let Some(rest) = self.rest.take() else { return at };
        let same = self.held[at..].iter().zip(rest).take_while(|(a, b)| a == b).count();
        if at + same == self.held.len() && same < rest.len() {
            self.rest = Some(&rest[same..]);
        }
        at + same
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(values: &[(&str, &[u8])]) -> Secrets {
        Secrets::new(&values.iter().map(|(id, v)| ((*id).to_owned(), v.to_vec())).collect())
    }

    fn secrets_of_test() -> Vec<Needle> {
        secrets(&[("token", b"s3cr3t-\xff?>value\n"), ("short", b"abc1234")]).needles
    }

    #[test]
    fn a_secret_is_found_in_every_form_and_nothing_else_is() {
        let secrets = secrets(&[("token", b"s3cr3t-\xff?>value\n"), ("short", b"abc1234")]);
        // `printf 's3cr3t-\xff?>value' | base64`, with 0, 1 and 2 bytes before it, and the URL alphabet.
        for (text, form) in [
            (&b"x s3cr3t-\xff?>value y"[..], "as it is"),
            (b"czNjcjN0Lf8/PnZhbHVl", "in base64"),
            (b"dTpzM2NyM3Qt/z8+dmFsdWU=", "in base64"),
            (b"OnMzY3IzdC3/Pz52YWx1ZQ==", "in base64"),
            (b"czNjcjN0Lf8_PnZhbHVl", "in base64"),
            (b"7333637233742dff3f3e76616c7565", "in hexadecimal"),
            (b"7333637233742DFF3F3E76616C7565", "in hexadecimal"),
        ] {
            let find = secrets.find(text).unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(text)));
            assert_eq!((find.id.as_str(), find.form), ("token", form));
            let one_by_one = Secrets { heads: None, needles: secrets_of_test() };
            assert_eq!(one_by_one.find(text), Some(find));
        }
        for text in [&b"abc1234"[..], b"s3cr3t-", b"value", b""] {
            assert_eq!(secrets.find(text), None, "{}", String::from_utf8_lossy(text));
        }
        assert!(Secrets::new(&BTreeMap::new()).is_empty());
    }

    #[test]
    fn a_secret_across_two_pieces_of_a_file_is_found_with_its_line() {
        let secrets = secrets(&[("token", b"0123456789")]);
        for before in [PIECE - 5, PIECE - 1, PIECE, 2 * PIECE - 3] {
            let mut text = vec![b'\n'; before];
            text.extend_from_slice(b"0123456789\n");
            let (find, line) = secrets.find_in(&text[..]).unwrap().unwrap();
            assert_eq!((find.id.as_str(), line), ("token", before + 1));
        }
    }

    #[test]
    fn output_is_masked_however_it_is_cut() {
        let long: Vec<u8> = (0..1000u32).map(|i| b'a' + (i * i % 23) as u8).collect();
        let secrets = secrets(&[("a", b"password1"), ("b", &long)]);
        let text = [b"pass password1 password2 ", &long[..], b" end password"].concat();
        for size in [1, 2, 7, 100, 5000] {
            let mut masker = Masker::new(&secrets);
            let mut shown: Vec<u8> = text.chunks(size).flat_map(|piece| masker.push(piece)).collect();
            shown.extend(masker.finish());
            assert_eq!(String::from_utf8_lossy(&shown), "pass *** password2 *** end password", "{size}");
        }
    }
}
