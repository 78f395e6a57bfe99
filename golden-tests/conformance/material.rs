//! What a context is made of: files, directories, links, archives.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The modification time of everything in an archive, and the earliest in a context, in seconds since 1970.
const TIME: u64 = 1_000_000_000;

/// Something in a context directory.
pub struct Item {
    path: PathBuf,
    kind: Kind,
}

enum Kind {
    File { mode: u32, contents: Vec<u8> },
    Dir { mode: u32 },
    Link { target: String },
    Hard { target: String },
    Archive { members: String },
    Socket,
    Xattr { name: String, value: String },
    Setup { script: String },
}

impl Item {
    /// From the words of a section's title and the section's lines.
    pub fn read(words: &[&str], body: &str) -> Result<Item, String> {
        let (path, kind) = match *words {
            ["file", path] => (path, Kind::File { mode: 0o644, contents: body.into() }),
            ["file", path, "escaped"] => (path, Kind::File { mode: 0o644, contents: escaped(body)? }),
            ["file", path, mode] => (path, Kind::File { mode: octal(mode)?, contents: body.into() }),
            ["dir", path] => (path, Kind::Dir { mode: 0o755 }),
            ["dir", path, mode] => (path, Kind::Dir { mode: octal(mode)? }),
            ["link", path, "->", target] => (path, Kind::Link { target: target.into() }),
            ["hard", path, "->", target] => (path, Kind::Hard { target: target.into() }),
            ["socket", path] => (path, Kind::Socket),
            ["xattr", path, pair] => {
                let (name, value) = pair.split_once('=').ok_or("has no value")?;
                (path, Kind::Xattr { name: name.into(), value: value.into() })
            }
            ["tar", path] => (path, Kind::Archive { members: body.into() }),
            ["setup"] => ("", Kind::Setup { script: body.into() }),
            _ => return Err("is no section".into()),
        };
        let path = std::ffi::OsStr::from_bytes(&escaped(path)?).into();
        Ok(Item { path, kind })
    }

    /// Makes it below `root`.
    pub fn make(&self, root: &Path) -> Result<(), String> {
        self.try_make(root).map_err(|e| format!("{}: {e}", self.path.display()))
    }

    fn try_make(&self, root: &Path) -> std::io::Result<()> {
        let path = root.join(&self.path);
        parents(root, &path)?;
        let chmod = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode));
        match &self.kind {
            Kind::File { mode, contents } => {
                std::fs::write(&path, contents)?;
                chmod(*mode)
            }
            Kind::Dir { mode } => {
                std::fs::create_dir_all(&path)?;
                chmod(*mode)
            }
            Kind::Link { target } => symlink(target, &path),
            Kind::Hard { target } => std::fs::hard_link(root.join(target), &path),
            Kind::Archive { members } => {
                std::fs::write(&path, packed(&path, archive(members).map_err(std::io::Error::other)?)?)?;
                chmod(0o644)
            }
            Kind::Socket => std::os::unix::net::UnixListener::bind(&path).map(drop),
            Kind::Xattr { name, value } => {
                let flags = rustix::fs::XattrFlags::empty();
                Ok(rustix::fs::setxattr(&path, name.as_str(), value.as_bytes(), flags)?)
            }
            Kind::Setup { script } => {
                let status = Command::new("/bin/sh").args(["-ec", script]).current_dir(root).status()?;
                if status.success() { Ok(()) } else { Err(std::io::Error::other("the setup fails")) }
            }
        }
    }
}

/// Makes the directories above `path` as any umask would have them made: 0755.
fn parents(root: &Path, path: &Path) -> std::io::Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    if parent == root || parent.exists() {
        return Ok(());
    }
    parents(root, parent)?;
    std::fs::create_dir(parent)?;
    std::fs::set_permissions(parent, std::fs::Permissions::from_mode(0o755))
}

/// Gives everything below `root` one modification time, links too, unless a setup gave it an older one. Each case has
/// its own: BuildKit takes a file of the same name, size and time for the one that it was sent before.
pub fn settle(root: &Path, case: &str) -> Result<(), String> {
    let time = case.bytes().fold(0, |hash: u64, byte| (hash * 31 + u64::from(byte)) % 500_000_000) + TIME;
    let script = format!("find . -newermt @{TIME} -exec touch -h -d @{time} {{}} +");
    let status = Command::new("/bin/sh").args(["-c", &script]).current_dir(root).status();
    if status.is_ok_and(|s| s.success()) { Ok(()) } else { Err("cannot set times in a context".into()) }
}

/// Text whose lines are put together without what ends them, and in which `\n`, `\r`, `\t`, `\\` and `\xHH` stand for bytes.
pub fn escaped(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut rest = text.bytes().filter(|b| *b != b'\n');
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match rest.next() {
            Some(b'n') => out.push(b'\n'),
            Some(b'r') => out.push(b'\r'),
            Some(b't') => out.push(b'\t'),
            Some(b'\\') => out.push(b'\\'),
            Some(b'x') => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                out.push(u8::from_str_radix(&digits, 16).map_err(|_| format!("\\x{digits} is no byte"))?);
            }
            other => return Err(format!("\\{} stands for nothing", other.map_or(' ', char::from))),
        }
    }
    Ok(out)
}

fn octal(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8).map_err(|_| format!("'{text}' is no mode"))
}

/// A tar of the members that the lines name: `dir PATH MODE UID:GID`, `file PATH MODE UID:GID TEXT`, `link PATH TARGET`,
/// `hard PATH TARGET MODE UID:GID`, `fifo PATH MODE UID:GID`, `char PATH MODE UID:GID MAJOR,MINOR`.
fn archive(members: &str) -> Result<Vec<u8>, String> {
    let mut tar = tar::Builder::new(Vec::new());
    for line in members.lines().filter(|l| !l.trim().is_empty()) {
        let words: Vec<&str> = line.splitn(5, ' ').collect();
        let mut header = tar::Header::new_gnu();
        header.set_mtime(TIME);
        let mut owned = |mode: &str, owner: &str| -> Result<(), String> {
            let (uid, gid) = owner.split_once(':').ok_or_else(|| format!("'{owner}' is no owner"))?;
            header.set_mode(octal(mode)?);
            header.set_uid(uid.parse().map_err(|_| "no uid")?);
            header.set_gid(gid.parse().map_err(|_| "no gid")?);
            Ok(())
        };
        let added = match words[..] {
            ["dir", path, mode, owner] => {
                owned(mode, owner)?;
                header.set_entry_type(tar::EntryType::Directory);
                header.set_size(0);
                tar.append_data(&mut header, path, std::io::empty())
            }
            ["file", path, mode, owner, text] => {
                owned(mode, owner)?;
                let contents = escaped(text)?;
                header.set_size(contents.len() as u64);
                tar.append_data(&mut header, path, contents.as_slice())
            }
            ["fifo", path, mode, owner] => {
                owned(mode, owner)?;
                header.set_entry_type(tar::EntryType::Fifo);
                header.set_size(0);
                tar.append_data(&mut header, path, std::io::empty())
            }
            ["char", path, mode, owner, device] => {
                owned(mode, owner)?;
                let (major, minor) = device.split_once(',').ok_or_else(|| format!("'{device}' is no device"))?;
                header.set_device_major(major.parse().map_err(|_| "no major")?).map_err(|e| e.to_string())?;
                header.set_device_minor(minor.parse().map_err(|_| "no minor")?).map_err(|e| e.to_string())?;
                header.set_entry_type(tar::EntryType::Char);
                header.set_size(0);
                tar.append_data(&mut header, path, std::io::empty())
            }
            ["link", path, target] => {
                owned("777", "0:0")?;
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                tar.append_link(&mut header, path, target)
            }
            ["hard", path, target, mode, owner] => {
                owned(mode, owner)?;
                header.set_entry_type(tar::EntryType::Link);
                header.set_size(0);
                tar.append_link(&mut header, path, target)
            }
            _ => return Err(format!("'{line}' is no member")),
        };
        added.map_err(|e| e.to_string())?;
    }
    tar.into_inner().map_err(|e| e.to_string())
}

/// Compressed as the name's ending says.
fn packed(path: &Path, bytes: Vec<u8>) -> std::io::Result<Vec<u8>> {
    match path.extension().map(|e| e.as_bytes()) {
        Some(b"gz") => {
            let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            writer.write_all(&bytes)?;
            writer.finish()
        }
        Some(b"bz2") => {
            let mut writer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
            writer.write_all(&bytes)?;
            writer.finish()
        }
        Some(b"xz") => {
            let mut writer = liblzma::write::XzEncoder::new(Vec::new(), 6);
            writer.write_all(&bytes)?;
            writer.finish()
        }
        Some(b"zst") => zstd::encode_all(bytes.as_slice(), 3),
        _ => Ok(bytes),
    }
}
