//! Platform names, `os/arch[/variant]`, normalised as containerd does.

use std::fmt;

/// `os/arch[/variant]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// GOARCH: `amd64`, `arm64`.
    pub arch: String,
    /// `v7`; may be empty.
    pub variant: String,
}

impl Default for Platform {
    /// The host's.
    fn default() -> Platform {
        let (arch, variant) = arch(std::env::consts::ARCH, "");
        Platform { os: "linux".into(), arch, variant }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.arch)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

impl Platform {
    /// Reads `linux/arm64/v8`, `amd64` or `linux`; what is not said is `host`'s. `None`: not a platform.
    pub fn parse(text: &str, host: &Platform) -> Option<Platform> {
        let parts: Vec<&str> = text.split('/').collect();
        let plain = |part: &&str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        };
        if !parts.iter().all(plain) {
            return None;
        }
        let os = |word: &str| match word.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        match parts[..] {
            [one] if known_os(&os(one)) => {
                Some(Platform { os: os(one), arch: host.arch.clone(), variant: host.variant.clone() })
            }
            [one] if known_arch(&arch(one, "").0) => {
                let (arch, variant) = arch(one, "");
                Some(Platform { os: host.os.clone(), arch, variant })
            }
            [system, machine] | [system, machine, _] => {
                let (arch, variant) = arch(machine, parts.get(2).copied().unwrap_or(""));
                Some(Platform { os: os(system), arch, variant })
            }
            _ => None,
        }
    }
}

/// The GOARCH and variant that stand for a machine's many names. A variant that the architecture implies is dropped
/// (`arm64/v8`) and one that it needs is added (`arm` is `arm/v7`).
fn arch(name: &str, variant: &str) -> (String, String) {
    let (name, variant) = (name.to_ascii_lowercase(), variant.to_ascii_lowercase());
    let (arch, variant) = match (name.as_str(), variant.as_str()) {
        ("x86_64" | "x86-64" | "amd64", "" | "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", v) => ("amd64", v),
        ("i386" | "i686" | "x86" | "386", _) => ("386", ""),
        ("aarch64" | "arm64", "" | "8" | "v8") => ("arm64", ""),
        ("aarch64" | "arm64", v) => ("arm64", v),
        ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("powerpc64" | "ppc64", v) => ("ppc64", v),
        ("powerpc64le" | "ppc64le", v) => ("ppc64le", v),
        (other, v) => (other, v),
    };
    (arch.to_owned(), variant.to_owned())
}

fn known_os(os: &str) -> bool {
    matches!(os, "linux" | "windows" | "darwin" | "freebsd" | "openbsd" | "netbsd" | "wasip1" | "js")
}

fn known_arch(arch: &str) -> bool {
    let known = ["amd64", "386", "arm64", "arm", "ppc64", "ppc64le", "riscv64", "s390x", "mips64le", "loong64", "wasm"];
    known.contains(&arch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_machine_has_one_name() {
        let host = Platform { os: "linux".into(), arch: "amd64".into(), variant: String::new() };
        let cases = [
            ("linux/x86_64", Some("linux/amd64")),
            ("amd64", Some("linux/amd64")),
            ("linux", Some("linux/amd64")),
            ("linux/arm64/v8", Some("linux/arm64")),
            ("linux/arm", Some("linux/arm/v7")),
            ("Linux/AArch64", Some("linux/arm64")),
            ("linux/arm/v6", Some("linux/arm/v6")),
            ("windows", Some("windows/amd64")),
            ("linux//amd64", None),
            ("", None),
            ("lnux", None),
            ("a/b/c/d", None),
        ];
        for (text, want) in cases {
            let got = Platform::parse(text, &host).map(|p| p.to_string());
            assert_eq!(got.as_deref(), want, "{text}");
        }
    }
}
