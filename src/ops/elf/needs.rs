//! What an ELF file says that it needs: interpreter and dynamic section (elf(5)), read with limits on every length.

use super::damaged;
use crate::base::fs::Context as _;
use crate::ops::OpError;
use crate::ops::source::{Item, Source};
use object::elf::{
    DT_NEEDED, DT_RPATH, DT_RUNPATH, DT_SONAME, DT_STRSZ, DT_STRTAB, FileHeader32, FileHeader64, PT_DYNAMIC, PT_INTERP,
    PT_LOAD,
};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endianness, ReadCache, ReadRef};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Limits, in entries or bytes; real files stay far below.
const SEGMENTS: usize = 4096;
const DYNAMIC: u64 = 1 << 20;
const STRING: u64 = 4096;
const NEEDED: usize = 1024;

/// What must be the same in a program and its libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Machine {
    /// e_machine.
    pub machine: u16,
    /// ELFCLASS64.
    pub is_64: bool,
    /// ELFDATA2LSB.
    pub is_little: bool,
}

/// What an object needs and where it says to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Needs {
    pub machine: Machine,
    /// PT_INTERP.
    pub interpreter: Option<Vec<u8>>,
    /// DT_NEEDED in order.
    pub needed: Vec<Vec<u8>>,
    /// DT_SONAME.
    pub soname: Option<Vec<u8>>,
    /// DT_RPATH, split at colons.
    pub rpath: Vec<Vec<u8>>,
    /// DT_RUNPATH, split at colons; its presence switches DT_RPATH off.
    pub runpath: Option<Vec<Vec<u8>>>,
}

impl Needs {
    /// Whether it is made for musl's loader: by its interpreter, or by the name of the libc that it needs.
    pub fn is_musl(&self) -> bool {
        match &self.interpreter {
            Some(path) => crate::ops::source::file_name(path).starts_with(b"ld-musl-"),
            None => self.needed.iter().any(|n| n == b"libc.so" || n.starts_with(b"libc.musl-")),
        }
    }
}

/// The interpreter of a script (execve(2), "Interpreter scripts").
pub(super) fn script(source: &Source<'_>, item: &Item) -> Result<Option<String>, OpError> {
    let start = start(source, item)?;
    let Some(rest) = start.strip_prefix(b"#!") else { return Ok(None) };
    let line = rest.split(|b| *b == b'\n').next().unwrap_or_default();
    let word = line.split(u8::is_ascii_whitespace).find(|w| !w.is_empty()).unwrap_or_default();
    Ok(Some(String::from_utf8_lossy(word).into_owned()))
}

/// Reads an object; `None` if the file does not begin as ELF does, or is no program or library.
pub(super) fn read(source: &Source<'_>, item: &Item) -> Result<Option<Needs>, OpError> {
    let start = start(source, item)?;
    if !start.starts_with(b"\x7fELF") {
        return Ok(None);
    }
    let data = ReadCache::new(source.open_file(item)?);
    let needs = match start.get(4) {
        Some(1) => parse::<FileHeader32<Endianness>>(&data),
        Some(2) => parse::<FileHeader64<Endianness>>(&data),
        _ => Err("its class is neither 32 nor 64 bits".into()),
    };
    needs.map(Some).map_err(|reason| damaged(source, item, &reason))
}

/// The first bytes of a file.
fn start(source: &Source<'_>, item: &Item) -> Result<Vec<u8>, OpError> {
    let file = source.open_file(item)?;
    let mut buffer = [0; 256];
    let n = file.read_at(&mut buffer, 0).at("read", source.show(&item.path))?;
    Ok(buffer[..n].to_vec())
}

type Data<'d> = &'d ReadCache<File>;

fn parse<Elf: FileHeader<Endian = Endianness>>(data: Data<'_>) -> Result<Needs, String> {
    let text = |e: object::Error| e.to_string();
    let header = Elf::parse(data).map_err(text)?;
    let endian = header.endian().map_err(text)?;
    if header.phnum(endian, data).map_err(text)? > SEGMENTS {
        return Err(format!("it has more than {SEGMENTS} segments"));
    }
    let segments = header.program_headers(endian, data).map_err(text)?;
    let mut needs = Needs {
        machine: Machine {
            machine: header.e_machine(endian),
            is_64: header.is_class_64(),
            is_little: header.is_little_endian(),
        },
        interpreter: None,
        needed: Vec::new(),
        soname: None,
        rpath: Vec::new(),
        runpath: None,
    };
    for segment in segments {
        let size: u64 = segment.p_filesz(endian).into();
        match segment.p_type(endian) {
            PT_INTERP => {
                let path = bytes(data, segment.p_offset(endian).into(), size.min(STRING))?;
                needs.interpreter = path.split(|b| *b == 0).next().filter(|p| !p.is_empty()).map(<[u8]>::to_vec);
            }
            PT_DYNAMIC if size > DYNAMIC => return Err("its dynamic section is too large".into()),
            PT_DYNAMIC => {
                let entries = segment.dynamic(endian, data).map_err(text)?.unwrap_or_default();
                dynamic::<Elf>(&mut needs, entries, segments, endian, data)?;
            }
            _ => {}
        }
    }
    Ok(needs)
}

fn dynamic<Elf: FileHeader<Endian = Endianness>>(
    needs: &mut Needs,
    entries: &[Elf::Dyn],
    segments: &[Elf::ProgramHeader],
    endian: Endianness,
    data: Data<'_>,
) -> Result<(), String> {
    let entries = || entries.iter().map(|e| (e.tag32(endian).unwrap_or(0), e.d_val(endian).into()));
    let value = |tag: u32| entries().take_while(|(t, _)| *t != 0).find(|(t, _)| *t == tag).map(|(_, v): (u32, u64)| v);
    let (Some(address), Some(length)) = (value(DT_STRTAB), value(DT_STRSZ)) else { return Ok(()) };
    let table = segments
        .iter()
        .filter(|s| s.p_type(endian) == PT_LOAD)
        .find_map(|s| {
            let into = address.checked_sub(s.p_vaddr(endian).into())?;
            let (start, size): (u64, u64) = (s.p_offset(endian).into(), s.p_filesz(endian).into());
            (into < size).then(|| start.checked_add(into)).flatten()
        })
        .ok_or("its string table is in no segment")?;
    let string = |at: u64| -> Result<Vec<u8>, String> {
        let left = length.checked_sub(at).ok_or("a name lies outside of its string table")?;
        let start = table.checked_add(at).ok_or("a name lies outside of the file")?;
        let found = bytes(data, start, left.min(STRING))?;
        match found.iter().position(|b| *b == 0) {
            Some(end) => Ok(found[..end].to_vec()),
            None => Err("a name has no end".into()),
        }
    };
    let list = |at: u64| -> Result<Vec<Vec<u8>>, String> {
        let text = string(at)?;
        Ok(text.split(|b| *b == b':').filter(|d| !d.is_empty()).map(<[u8]>::to_vec).collect())
    };
    for (tag, at) in entries().take_while(|(tag, _)| *tag != 0) {
        match tag {
            DT_NEEDED if needs.needed.len() == NEEDED => return Err(format!("it needs more than {NEEDED} libraries")),
            DT_NEEDED => needs.needed.push(string(at)?),
            DT_SONAME => needs.soname = Some(string(at)?),
            DT_RPATH => needs.rpath = list(at)?,
            DT_RUNPATH => needs.runpath = Some(list(at)?),
            _ => {}
        }
    }
    needs.needed.retain(|n| !n.is_empty());
    Ok(())
}

/// At most `length` bytes at `start`: less at the end of the file.
fn bytes<'d>(data: Data<'d>, start: u64, length: u64) -> Result<&'d [u8], String> {
    let cut = || "it is cut off".to_owned();
    let end = data.len().map_err(|()| cut())?;
    let left = end.checked_sub(start).ok_or_else(cut)?;
    data.read_bytes_at(start, length.min(left)).map_err(|()| cut())
}
