//! Programs for other machines: whether the kernel starts them, by itself or by an emulator that is registered with
//! binfmt_misc (Linux, Documentation/admin-guide/binfmt-misc.rst).

use super::SandboxError;
use crate::image::Platform;
use std::path::Path;

/// Where the kernel lists what is registered.
const REGISTERED: &str = "/proc/sys/fs/binfmt_misc";

/// How much of a program a format is recognised by: the kernel reads no more.
const HEADER: usize = 256;

/// What is wrong with the emulators of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Lack {
    /// binfmt_misc can't be seen.
    Unmounted,
    /// It is switched off.
    Off,
    /// None is registered for the machine.
    None,
    /// The emulator of this name is looked for in the image, not on the host.
    NotFixed(String),
    /// What its programs look like is not known.
    Unknown,
}

/// Refuses a platform whose programs this host does not start, with a way out.
///
/// # Errors
/// [`SandboxError::Host`].
pub fn check(platform: &Platform) -> Result<(), SandboxError> {
    let host = Platform::default();
    if is_native(&host, platform) {
        return Ok(());
    }
    match lack(Path::new(REGISTERED), &platform.arch) {
        None if platform.os == host.os => Ok(()),
        lack => Err(refusal(&host, platform, lack.unwrap_or(Lack::Unknown))),
    }
}

/// Whether the processor itself runs such programs; of its variants only that knows.
fn is_native(host: &Platform, platform: &Platform) -> bool {
    platform.os == host.os && (platform.arch == host.arch || host.accepted().contains(platform))
}

fn refusal(host: &Platform, platform: &Platform, lack: Lack) -> SandboxError {
    let Platform { arch, .. } = platform;
    let install = format!(
        "install emulators, as root: `apt-get install qemu-user-static` (Debian, Ubuntu), `dnf install qemu-user-static` \
         (Fedora), or `docker run --privileged --rm tonistiigi/binfmt --install {arch}`"
    );
    let mount = format!("as root: `mount -t binfmt_misc binfmt_misc {REGISTERED}`");
    let (reason, help) = match lack {
        Lack::Unmounted => {
            ("what emulators there are can't be seen: binfmt_misc is not mounted".to_owned(), vec![mount, install])
        }
        Lack::Off => {
            ("emulators are switched off".to_owned(), vec![format!("as root: `echo 1 > {REGISTERED}/status`")])
        }
        Lack::None => ("no emulator is registered for it".to_owned(), vec![install]),
        Lack::NotFixed(name) => (
            format!("its emulator `{name}` is registered without the flag F, so it would have to be in the image"),
            vec![format!("register it anew with that flag, as root: `echo -1 > {REGISTERED}/{name}`, then: {install}")],
        ),
        Lack::Unknown => ("it is not known how such programs are started".to_owned(), Vec::new()),
    };
    let avoid = "or leave what runs to this machine: FROM --platform=$BUILDPLATFORM, and cross-compile for $TARGETARCH";
    let help = help.into_iter().chain([avoid.to_owned()]).collect();
    SandboxError::Host { reason: format!("programs for {platform} can't be run on {host}: {reason}"), help }
}

/// What keeps a machine's programs from being started; `None`: nothing.
fn lack(registered: &Path, arch: &str) -> Option<Lack> {
    let Some(header) = header(arch) else { return Some(Lack::Unknown) };
    match std::fs::read_to_string(registered.join("status")) {
        Err(_) => return Some(Lack::Unmounted),
        Ok(status) if status.trim() != "enabled" => return Some(Lack::Off),
        Ok(_) => {}
    }
    let mut lack = Lack::None;
    for entry in std::fs::read_dir(registered).into_iter().flatten().flatten() {
        let Ok(text) = std::fs::read_to_string(entry.path()) else { continue };
        match Handler::parse(&text) {
            Some(handler) if handler.takes(&header) && handler.fixed => return None,
            Some(handler) if handler.takes(&header) => {
                lack = Lack::NotFixed(entry.file_name().to_string_lossy().into_owned());
            }
            _ => {}
        }
    }
    Some(lack)
}

/// An enabled entry that goes by the beginning of a file.
#[derive(Debug, PartialEq, Eq)]
struct Handler {
    /// Flag F: the interpreter was opened when it was registered.
    fixed: bool,
    offset: usize,
    magic: Vec<u8>,
    mask: Option<Vec<u8>>,
}

impl Handler {
    /// Reads an entry as the kernel shows it.
    fn parse(text: &str) -> Option<Handler> {
        let mut lines = text.lines();
        if lines.next()?.trim() != "enabled" {
            return None;
        }
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        Some(Handler {
            fixed: value("flags:")?.contains('F'),
            offset: value("offset ")?.parse().ok()?,
            magic: hex::decode(value("magic ")?).ok()?,
            mask: value("mask ").map(hex::decode).transpose().ok()?,
        })
    }

    fn takes(&self, header: &[u8; HEADER]) -> bool {
        let bit = |at: usize| self.mask.as_ref().map_or(0xff, |mask| mask.get(at).copied().unwrap_or(0xff));
        let Some(part) = header.get(self.offset..).and_then(|rest| rest.get(..self.magic.len())) else { return false };
        part.iter().zip(&self.magic).enumerate().all(|(at, (a, b))| (a ^ b) & bit(at) == 0)
    }
}

/// The beginning of an executable of a machine (System V ABI, "ELF Header").
fn header(arch: &str) -> Option<[u8; HEADER]> {
    const WIDE: u8 = 2;
    const NARROW: u8 = 1;
    const LITTLE: u8 = 1;
    const BIG: u8 = 2;
    let (class, order, machine): (u8, u8, u16) = match arch {
        "amd64" => (WIDE, LITTLE, 62),
        "386" => (NARROW, LITTLE, 3),
        "arm64" => (WIDE, LITTLE, 183),
        "arm" => (NARROW, LITTLE, 40),
        "riscv64" => (WIDE, LITTLE, 243),
        "loong64" => (WIDE, LITTLE, 258),
        "ppc64le" => (WIDE, LITTLE, 21),
        "ppc64" => (WIDE, BIG, 21),
        "s390x" => (WIDE, BIG, 22),
        "mips64le" => (WIDE, LITTLE, 8),
        "mips64" => (WIDE, BIG, 8),
        _ => return None,
    };
    let number = |n: u16| if order == LITTLE { n.to_le_bytes() } else { n.to_be_bytes() };
    let executable = 2;
    let mut header = [0; HEADER];
    header[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, order, 1]);
    header[16..18].copy_from_slice(&number(executable));
    header[18..20].copy_from_slice(&number(machine));
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARM64: &str = "interpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POCF\noffset 0\n\
                         magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";

    fn registered(entries: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in entries {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    #[test]
    fn emulators_are_known_by_what_they_take_not_by_their_name() {
        let enabled = format!("enabled\n{ARM64}");
        let disabled = format!("disabled\n{ARM64}");
        let unfixed = enabled.replace("POCF", "POC");
        let on = ("status", "enabled\n");
        for (entries, arch, want) in [
            (vec![], "arm64", Some(Lack::Unmounted)),
            (vec![("status", "disabled\n"), ("x", &enabled[..])], "arm64", Some(Lack::Off)),
            (vec![on], "arm64", Some(Lack::None)),
            (vec![on, ("x", &disabled)], "arm64", Some(Lack::None)),
            (vec![on, ("x", &enabled)], "arm64", None),
            (vec![on, ("x", &enabled)], "arm", Some(Lack::None)),
            (vec![on, ("x", &unfixed)], "arm64", Some(Lack::NotFixed("x".into()))),
            (vec![on, ("cli", "enabled\ninterpreter /bin/cli\nflags: \nextension .exe\n")], "s390x", Some(Lack::None)),
            (vec![on, ("x", &enabled)], "pdp11", Some(Lack::Unknown)),
        ] {
            let dir = registered(&entries);
            assert_eq!(lack(dir.path(), arch), want, "{arch} with {entries:?}");
        }
    }

    #[test]
    fn the_processors_own_programs_need_no_emulator() {
        let host = Platform::new("linux", "amd64", "");
        for (platform, native) in
            [("linux/amd64", true), ("linux/amd64/v3", true), ("linux/386", true), ("linux/arm64", false)]
        {
            assert_eq!(is_native(&host, &Platform::parse(platform, &host).unwrap()), native, "{platform}");
        }
        assert!(!is_native(&host, &Platform::new("windows", "amd64", "")));
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let host = Platform::new("linux", "amd64", "");
        let SandboxError::Host { reason, help } = refusal(&host, &Platform::new("linux", "arm64", ""), Lack::None)
        else {
            panic!()
        };
        assert!(reason.contains("linux/arm64") && reason.contains("no emulator"), "{reason}");
        assert!(help[0].contains("apt-get install qemu-user-static") && help[1].contains("BUILDPLATFORM"), "{help:?}");
    }
}
