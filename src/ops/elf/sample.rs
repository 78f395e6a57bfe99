//! Small ELF files and loader caches for tests.

/// An ELF file of 64 bits, little-endian, that says what it needs and does nothing.
#[derive(Clone, Copy)]
pub struct Sample<'s> {
    /// e_machine.
    pub machine: u16,
    /// PT_INTERP; empty: none.
    pub interpreter: &'s str,
    /// DT_NEEDED.
    pub needed: &'s [&'s str],
    /// DT_RPATH.
    pub rpath: Option<&'s str>,
    /// DT_RUNPATH.
    pub runpath: Option<&'s str>,
    /// Instead of all that: a loader cache.
    pub raw: Option<&'s [(&'s str, &'s str, u64)]>,
}

impl Default for Sample<'_> {
    fn default() -> Self {
        Sample { machine: object::elf::EM_X86_64, interpreter: "", needed: &[], rpath: None, runpath: None, raw: None }
    }
}

const EHDR: usize = 64;
const PHDR: usize = 56;

impl Sample<'_> {
    /// Its bytes. Addresses are offsets, in one segment that holds the whole file.
    pub fn build(&self) -> Vec<u8> {
        if let Some(entries) = self.raw {
            return cache(entries);
        }
        let mut strings = vec![0];
        let mut dynamic: Vec<(u64, u64)> = Vec::new();
        let mut add = |tag: u32, text: &str| {
            dynamic.push((tag.into(), strings.len() as u64));
            strings.extend_from_slice(text.as_bytes());
            strings.push(0);
        };
        use object::elf::{DT_NEEDED, DT_RPATH, DT_RUNPATH, DT_STRSZ, DT_STRTAB};
        self.needed.iter().for_each(|n| add(DT_NEEDED, n));
        self.rpath.iter().for_each(|p| add(DT_RPATH, p));
        self.runpath.iter().for_each(|p| add(DT_RUNPATH, p));
        let segments = if self.interpreter.is_empty() { 2 } else { 3 };
        let at = EHDR + segments * PHDR;
        let dynamic_size = (dynamic.len() + 3) * 16;
        let string_at = at + dynamic_size;
        dynamic.push((DT_STRTAB.into(), string_at as u64));
        dynamic.push((DT_STRSZ.into(), strings.len() as u64));
        dynamic.push((0, 0));
        let interpreter_at = string_at + strings.len();
        let interpreter = [self.interpreter.as_bytes(), b"\0"].concat();
        let total = interpreter_at + interpreter.len();

        let mut out = b"\x7fELF\x02\x01\x01".to_vec();
        out.resize(16, 0);
        out.extend_from_slice(&object::elf::ET_DYN.to_le_bytes());
        out.extend_from_slice(&self.machine.to_le_bytes());
        out.extend_from_slice(&1u32.to_le_bytes());
        for number in [0, EHDR as u64, 0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&0u32.to_le_bytes());
        for number in [EHDR, PHDR, segments, 0, 0, 0] {
            out.extend_from_slice(&(number as u16).to_le_bytes());
        }
        let mut segment = |kind: u32, start: usize, size: usize| {
            out.extend_from_slice(&kind.to_le_bytes());
            out.extend_from_slice(&4u32.to_le_bytes());
            for number in [start, start, start, size, size, 8] {
                out.extend_from_slice(&(number as u64).to_le_bytes());
            }
        };
        segment(object::elf::PT_LOAD, 0, total);
        segment(object::elf::PT_DYNAMIC, at, dynamic_size);
        if segments == 3 {
            segment(object::elf::PT_INTERP, interpreter_at, interpreter.len());
        }
        for (tag, value) in dynamic {
            out.extend_from_slice(&tag.to_le_bytes());
            out.extend_from_slice(&value.to_le_bytes());
        }
        out.extend(strings);
        out.extend(interpreter);
        out
    }
}

/// A cache as ldconfig(8) writes it: name, path and hardware of each library.
pub fn cache(entries: &[(&str, &str, u64)]) -> Vec<u8> {
    let mut strings = Vec::new();
    let mut table = Vec::new();
    let base = 48 + entries.len() * 24;
    for (name, path, hardware) in entries {
        let mut put = |text: &str| {
            let at = (base + strings.len()) as u32;
            strings.extend_from_slice(text.as_bytes());
            strings.push(0);
            at
        };
        let (name, path) = (put(name), put(path));
        for number in [0x303u32, name, path, 0] {
            table.extend_from_slice(&number.to_le_bytes());
        }
        table.extend_from_slice(&hardware.to_le_bytes());
    }
    let mut bytes = b"glibc-ld.so.cache1.1".to_vec();
    bytes.extend_from_slice(&(entries.len() as u32).to_le_bytes());
    bytes.resize(48, 0);
    bytes.extend(table);
    bytes.extend(strings);
    bytes
}
