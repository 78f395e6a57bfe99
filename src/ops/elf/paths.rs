//! Where a root's loader looks for libraries: the cache that ldconfig(8) wrote (or what it would have been made from),
//! musl's path file, and the directories built into the loaders.

use super::needs::Machine;
use crate::ops::OpError;
use crate::ops::source::{Source, components, file_name, join, parent};
use object::elf::{EM_386, EM_AARCH64, EM_ARM, EM_LOONGARCH, EM_MIPS, EM_PPC64, EM_RISCV, EM_S390, EM_X86_64};

/// The largest list that is read, in bytes.
const LIST_LIMIT: u64 = 16 << 20;

/// How many files ld.so.conf may include, nested ones counted.
const INCLUDES: usize = 256;

const CACHE: &[u8] = b"etc/ld.so.cache";
const OLD_MAGIC: &[u8] = b"ld.so-1.7.0\0";
const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";

/// What a root says about its library directories.
#[derive(Debug, Default)]
pub(super) struct Paths {
    /// ld.so.cache: library name and path, plain ones before those for special processors.
    cache: Option<Vec<(Vec<u8>, Vec<u8>)>>,
    /// ld.so.conf, where there is no cache.
    conf: Vec<Vec<u8>>,
    /// /etc/ld-musl-ARCH.path by ARCH.
    musl: Vec<(String, Vec<Vec<u8>>)>,
}

impl Paths {
    /// Reads the lists of a root; a damaged one counts as absent, as the loader has it.
    pub fn read(source: &Source<'_>) -> Result<Paths, OpError> {
        let mut paths = Paths::default();
        if let Some(bytes) = source.read(CACHE, LIST_LIMIT)? {
            paths.cache = parse_cache(&bytes);
        }
        if paths.cache.is_none() {
            let mut left = INCLUDES;
            read_conf(source, b"etc/ld.so.conf", &mut paths.conf, &mut left)?;
        }
        if let Some(etc) = source.find(b"etc", true)?.filter(|i| i.is_dir()) {
            for item in source.children(&etc)? {
                let arch = item.name().strip_prefix(b"ld-musl-").and_then(|n| n.strip_suffix(b".path"));
                let Some(arch) = arch else { continue };
                if let Some(text) = source.read(&item.path, LIST_LIMIT)? {
                    let dirs = text.split(|b| matches!(b, b':' | b'\n')).filter(|d| !d.is_empty());
                    let dirs = dirs.map(|d| components(d).fold(Vec::new(), |at, part| join(&at, part))).collect();
                    paths.musl.push((String::from_utf8_lossy(arch).into_owned(), dirs));
                }
            }
        }
        Ok(paths)
    }

    /// Paths that the lists give for a library, in the order in which the loader tries them.
    pub fn listed(&self, name: &[u8], musl: bool, machine: Machine) -> Vec<Vec<u8>> {
        if musl {
            let dirs = self.musl_dirs(machine);
            return dirs.into_iter().flatten().map(|d| join(d, name)).collect();
        }
        match &self.cache {
            Some(cache) => cache.iter().filter(|(n, _)| n == name).map(|(_, path)| path.clone()).collect(),
            None => self.conf.iter().map(|d| join(d, name)).collect(),
        }
    }

    /// The file without which the loader of an image does not find what [`Paths::listed`] finds.
    pub fn list_file(&self, musl: bool, machine: Machine) -> Option<Vec<u8>> {
        match musl {
            true => Some(format!("etc/ld-musl-{}.path", musl_arch(machine)?).into_bytes()),
            false => self.cache.as_ref().map(|_| CACHE.to_vec()),
        }
    }

    fn musl_dirs(&self, machine: Machine) -> Option<&Vec<Vec<u8>>> {
        let arch = musl_arch(machine)?;
        self.musl.iter().find(|(a, _)| a == arch).map(|(_, dirs)| dirs)
    }
}

/// The directories built into the loader, relative to the root.
pub(super) fn default_dirs(musl: bool, machine: Machine) -> Vec<Vec<u8>> {
    let text = |dirs: &[&str]| dirs.iter().map(|d| d.as_bytes().to_vec()).collect::<Vec<_>>();
    if musl {
        return text(&["lib", "usr/local/lib", "usr/lib"]);
    }
    let mut dirs = Vec::new();
    for triplet in triplets(machine) {
        dirs.extend([format!("lib/{triplet}").into_bytes(), format!("usr/lib/{triplet}").into_bytes()]);
    }
    if machine.is_64 {
        dirs.extend(text(&["lib64", "usr/lib64"]));
    }
    dirs.extend(text(&["lib", "usr/lib"]));
    dirs
}

/// Replaces `$ORIGIN`, `$LIB` and `$PLATFORM` (ld.so(8), "Dynamic string tokens"). What a loader was built with for
/// `$LIB` can't be known, so that all usual values are given.
pub(super) fn expand(text: &[u8], origin: &[u8], machine: Machine) -> Vec<Vec<u8>> {
    let origin = [b"/", origin].concat();
    let mut ways = vec![text.to_vec()];
    let mut values: Vec<(&str, Vec<Vec<u8>>)> = vec![("ORIGIN", vec![origin])];
    let mut libs: Vec<Vec<u8>> = triplets(machine).iter().map(|t| format!("lib/{t}").into_bytes()).collect();
    if machine.is_64 {
        libs.push(b"lib64".to_vec());
    }
    libs.push(b"lib".to_vec());
    values.push(("LIB", libs));
    values.push(("PLATFORM", vec![platform(machine).as_bytes().to_vec()]));
    for (token, values) in values {
        for token in [format!("${{{token}}}"), format!("${token}")] {
            if ways.iter().any(|w| find(w, token.as_bytes()).is_some()) {
                ways = ways
                    .iter()
                    .flat_map(|way| values.iter().map(|value| replace(way, token.as_bytes(), value)))
                    .collect();
            }
        }
    }
    ways
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|w| w == word)
}

fn replace(text: &[u8], word: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = find(rest, word) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(value);
        rest = &rest[at + word.len()..];
    }
    out.extend_from_slice(rest);
    out
}

/// Names that musl's loader answers itself: they are all parts of its libc.
pub(super) fn is_musl_itself(name: &[u8]) -> bool {
    let parts = ["c.", "pthread.", "rt.", "m.", "dl.", "util.", "xnet."];
    name.strip_prefix(b"lib").is_some_and(|n| parts.iter().any(|p| n.starts_with(p.as_bytes())))
}

/// Debian's names for the machine, which are directories below /lib.
fn triplets(machine: Machine) -> &'static [&'static str] {
    match (machine.machine, machine.is_64, machine.is_little) {
        (EM_X86_64, true, _) => &["x86_64-linux-gnu"],
        (EM_X86_64, false, _) => &["x86_64-linux-gnux32"],
        (EM_386, ..) => &["i386-linux-gnu"],
        (EM_AARCH64, ..) => &["aarch64-linux-gnu"],
        (EM_ARM, ..) => &["arm-linux-gnueabihf", "arm-linux-gnueabi"],
        (EM_RISCV, true, _) => &["riscv64-linux-gnu"],
        (EM_PPC64, _, true) => &["powerpc64le-linux-gnu"],
        (EM_S390, true, _) => &["s390x-linux-gnu"],
        (EM_LOONGARCH, true, _) => &["loongarch64-linux-gnu"],
        (EM_MIPS, true, true) => &["mips64el-linux-gnuabi64"],
        _ => &[],
    }
}

fn platform(machine: Machine) -> &'static str {
    match machine.machine {
        EM_X86_64 => "x86_64",
        EM_386 => "i686",
        EM_AARCH64 => "aarch64",
        EM_ARM => "v7l",
        EM_PPC64 => "power9",
        EM_S390 => "z13",
        _ => "",
    }
}

fn musl_arch(machine: Machine) -> Option<&'static str> {
    Some(match (machine.machine, machine.is_64, machine.is_little) {
        (EM_X86_64, true, _) => "x86_64",
        (EM_X86_64, false, _) => "x32",
        (EM_386, ..) => "i386",
        (EM_AARCH64, ..) => "aarch64",
        (EM_ARM, ..) => "armhf",
        (EM_RISCV, true, _) => "riscv64",
        (EM_PPC64, _, true) => "powerpc64le",
        (EM_S390, true, _) => "s390x",
        (EM_LOONGARCH, true, _) => "loongarch64",
        _ => return None,
    })
}

/// Reads ld.so.cache in the format of glibc 2.2 and later, also behind the older one. `None`: not understood.
///
/// A header of 48 bytes (magic, number of entries, length of the strings), entries of 24 (flags, offset of the name,
/// offset of the path, OS version, hardware), then the strings; offsets count from the header.
fn parse_cache(bytes: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    const HEADER: usize = 48;
    const ENTRY: usize = 24;
    let number = |at: usize, bytes: &[u8]| -> Option<u32> {
        Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
    };
    let bytes = match bytes.starts_with(OLD_MAGIC) {
        true => {
            let old = (number(12, bytes)? as usize).checked_mul(12)?.checked_add(16)?;
            bytes.get(old.checked_next_multiple_of(8)?..)?
        }
        false => bytes,
    };
    if !bytes.starts_with(MAGIC) {
        return None;
    }
    let count = number(MAGIC.len(), bytes)? as usize;
    let entries = bytes.get(HEADER..HEADER.checked_add(count.checked_mul(ENTRY)?)?)?;
    let string = |at: u32| -> Option<Vec<u8>> {
        let rest = bytes.get(at as usize..)?;
        let end = rest.iter().take(4096).position(|b| *b == 0)?;
        Some(rest[..end].to_vec())
    };
    let (mut plain, mut special) = (Vec::new(), Vec::new());
    for entry in entries.chunks_exact(ENTRY) {
        let (Some(name), Some(path)) = (string(number(4, entry)?), string(number(8, entry)?)) else { continue };
        let path = components(&path).fold(Vec::new(), |at, part| join(&at, part));
        let hardware = u64::from(number(16, entry)?) | u64::from(number(20, entry)?) << 32;
        // What any processor can run is taken first: the image may run on another one than this.
        if hardware == 0 { &mut plain } else { &mut special }.push((name, path));
    }
    plain.append(&mut special);
    Some(plain)
}

/// Reads ld.so.conf (ldconfig(8)): directories, one a line, and `include PATTERN`.
fn read_conf(source: &Source<'_>, path: &[u8], dirs: &mut Vec<Vec<u8>>, left: &mut usize) -> Result<(), OpError> {
    let Some(text) = source.read(path, LIST_LIMIT)? else { return Ok(()) };
    if *left == 0 {
        return Ok(());
    }
    *left -= 1;
    for line in text.split(|b| *b == b'\n') {
        let line = line.split(|b| *b == b'#').next().unwrap_or_default().trim_ascii();
        match line.strip_prefix(b"include").filter(|rest| rest.first().is_some_and(u8::is_ascii_whitespace)) {
            Some(patterns) => {
                for pattern in patterns.split(u8::is_ascii_whitespace).filter(|p| !p.is_empty()) {
                    for file in included(source, parent(path), pattern)? {
                        read_conf(source, &file, dirs, left)?;
                    }
                }
            }
            None if line.starts_with(b"/") => {
                dirs.push(components(line).fold(Vec::new(), |at, part| join(&at, part)));
            }
            None => {}
        }
    }
    Ok(())
}

/// The files that an `include` names; wildcards in the last component alone, as everywhere in use.
fn included(source: &Source<'_>, here: &[u8], pattern: &[u8]) -> Result<Vec<Vec<u8>>, OpError> {
    let base: &[u8] = if pattern.starts_with(b"/") { b"" } else { here };
    let pattern = components(pattern).fold(base.to_vec(), |at, part| join(&at, part));
    let Some(dir) = source.find(parent(&pattern), true)?.filter(|i| i.is_dir()) else { return Ok(Vec::new()) };
    let matches = |name: &[u8]| crate::dockerfile::ignore::go_match(file_name(&pattern), name).unwrap_or(false);
    Ok(source.children(&dir)?.into_iter().filter(|i| matches(i.name())).map(|i| i.path).collect())
}

#[cfg(test)]
mod tests {
    use super::super::sample::cache;
    use super::*;

    const X86_64: Machine = Machine { machine: EM_X86_64, is_64: true, is_little: true };

    #[test]
    fn the_cache_gives_what_any_processor_runs_first() {
        let bytes = cache(&[("libm.so.6", "/opt/hw/libm.so.6", 1 << 62), ("libm.so.6", "/lib/libm.so.6", 0)]);
        let mut old = OLD_MAGIC.to_vec();
        old.extend_from_slice(&1u32.to_le_bytes());
        old.resize(32, 0); // 16 + one entry of 12, padded to 8
        old.extend_from_slice(&bytes);
        for bytes in [bytes, old] {
            let found = parse_cache(&bytes).unwrap();
            assert_eq!(found[0].1, b"lib/libm.so.6");
            assert_eq!(found[1].1, b"opt/hw/libm.so.6");
        }
    }

    #[test]
    fn a_damaged_cache_counts_as_none_and_never_reads_outside() {
        let good = cache(&[("a.so", "/lib/a.so", 0)]);
        for length in 0..good.len() {
            let cut = parse_cache(&good[..length]);
            assert!(cut.is_none_or(|c| c.is_empty()), "{length} bytes");
        }
        let mut huge = good.clone();
        huge[MAGIC.len()..MAGIC.len() + 4].fill(0xff);
        assert!(parse_cache(&huge).is_none());
        let mut outside = good;
        outside[48 + 4..48 + 8].fill(0xff);
        assert!(parse_cache(&outside).unwrap().is_empty());
    }

    #[test]
    fn tokens_are_replaced_in_both_spellings() {
        assert_eq!(expand(b"$ORIGIN/../lib", b"opt/app/bin", X86_64), [b"/opt/app/bin/../lib".to_vec()]);
        let ways = expand(b"${ORIGIN}/$LIB", b"opt", X86_64);
        assert_eq!(ways[0], b"/opt/lib/x86_64-linux-gnu");
        assert_eq!(ways.len(), 3);
        assert_eq!(expand(b"/plain", b"x", X86_64), [b"/plain".to_vec()]);
    }

    #[test]
    fn musl_answers_for_its_own_parts() {
        assert!(is_musl_itself(b"libc.musl-x86_64.so.1"));
        assert!(is_musl_itself(b"libpthread.so.0"));
        assert!(!is_musl_itself(b"libcrypto.so.3"));
        assert!(!is_musl_itself(b"libz.so.1"));
    }
}
