//! Platforms, `os/arch[/variant]`, normalised and chosen from indexes as containerd does.

use super::{Descriptor, ImageIndex};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt;

/// `os/arch[/variant]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
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
    /// A platform of these names, normalised.
    pub fn new(os: &str, machine: &str, variant: &str) -> Platform {
        let (arch, variant) = arch(machine, variant);
        Platform { os: os_name(os), arch, variant }
    }

    /// Reads the `platform` of a descriptor (OCI image-spec, "Image Index"); `None` if it names no system and machine.
    pub fn of(value: &Value) -> Option<Platform> {
        let field = |name: &str| value.get(name).and_then(Value::as_str);
        Some(Platform::new(field("os")?, field("architecture")?, field("variant").unwrap_or_default()))
    }

    /// As the `platform` of a descriptor.
    pub fn to_value(&self) -> Value {
        let mut value = json!({ "architecture": self.arch, "os": self.os });
        if !self.variant.is_empty() {
            value["variant"] = Value::String(self.variant.clone());
        }
        value
    }

    /// The platforms whose programs run on this one without emulation, the best first: itself, older variants, and the
    /// 32-bit machine that a 64-bit one also is (containerd's `platforms.Only`).
    pub fn accepted(&self) -> Vec<Platform> {
        let with = |arch: &str, variant: String| Platform { os: self.os.clone(), arch: arch.to_owned(), variant };
        let level = |text: &str| text.strip_prefix('v').and_then(|n| n.parse::<u32>().ok());
        let mut all = vec![self.clone()];
        match (self.arch.as_str(), level(&self.variant)) {
            ("amd64", own) => {
                all.extend((2..own.unwrap_or(1)).rev().map(|n| with("amd64", format!("v{n}"))));
                if own.is_some_and(|own| own > 1) {
                    all.push(with("amd64", String::new()));
                }
                all.push(with("386", String::new()));
            }
            ("arm64", own) => {
                all.extend(own.is_some_and(|own| own > 8).then(|| with("arm64", String::new())));
                all.extend((5..=8).rev().map(|n| with("arm", format!("v{n}"))));
            }
            ("arm", Some(own)) => all.extend((5..own.min(9)).rev().map(|n| with("arm", format!("v{n}")))),
            _ => {}
        }
        all
    }

    /// Reads `linux/arm64/v8`, `amd64` or `linux`; what is not said is `host`'s. `None`: not a platform.
    pub fn parse(text: &str, host: &Platform) -> Option<Platform> {
        let parts: Vec<&str> = text.split('/').collect();
        let plain = |part: &&str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        };
        if !parts.iter().all(plain) {
            return None;
        }
        let os = os_name;
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

fn os_name(word: &str) -> String {
    match word.to_ascii_lowercase().as_str() {
        "macos" => "darwin".to_owned(),
        other => other.to_owned(),
    }
}

impl ImageIndex {
    /// The images that it lists, with what they are for.
    pub fn images(&self) -> impl Iterator<Item = (&Descriptor, Option<Platform>)> {
        let platform = |d: &Descriptor| d.platform.as_ref().and_then(Platform::of);
        self.manifests.iter().filter(|d| d.is_image()).map(move |d| (d, platform(d)))
    }

    /// The image that fits `wanted` best; one that does not say what it is for fits where no other does.
    pub fn pick(&self, wanted: &Platform) -> Option<&Descriptor> {
        let fitting = |accepted: &Platform| self.images().find(|(_, is)| is.as_ref() == Some(accepted));
        let unsaid = || self.images().find(|(_, is)| is.is_none());
        Some(wanted.accepted().iter().find_map(fitting).or_else(unsaid)?.0)
    }

    /// The images that fit `wanted` best, all images if nothing is wanted.
    ///
    /// # Errors
    /// A platform for which there is none.
    pub fn pick_all(&self, wanted: &[Platform]) -> Result<Vec<(&Descriptor, Option<Platform>)>, Platform> {
        if wanted.is_empty() {
            return Ok(self.images().collect());
        }
        let one = |wanted: &Platform| Ok((self.pick(wanted).ok_or_else(|| wanted.clone())?, Some(wanted.clone())));
        wanted.iter().map(one).collect()
    }

    /// The platforms of its images, for people.
    pub fn platforms(&self) -> Vec<String> {
        self.images().map(|(_, is)| is.map_or("unknown".into(), |is| is.to_string())).collect()
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
    use crate::base::Digest;
    use crate::image::manifest::media;

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

    #[test]
    fn an_index_gives_what_runs_best() {
        let host = Platform::new("linux", "amd64", "");
        let index = |platforms: &[&str]| {
            let manifest = |text: &&str| {
                let mut manifest = Descriptor::new(media::MANIFEST, Digest::of(text.as_bytes()), 1);
                manifest.platform = Platform::parse(text, &host).map(|platform| platform.to_value());
                manifest
            };
            ImageIndex::new(platforms.iter().map(manifest).collect())
        };
        for (wanted, listed, expected) in [
            ("linux/amd64", &["linux/arm64", "linux/amd64"][..], Some("linux/amd64")),
            ("linux/amd64", &["linux/386", "linux/arm/v7"], Some("linux/386")),
            ("linux/amd64", &["linux/amd64/v3"], None),
            ("linux/amd64/v3", &["linux/amd64", "linux/amd64/v2"], Some("linux/amd64/v2")),
            ("linux/arm64", &["linux/arm/v6", "linux/arm/v7"], Some("linux/arm/v7")),
            ("linux/arm/v6", &["linux/arm/v7", "linux/arm/v5"], Some("linux/arm/v5")),
            ("linux/arm64", &["windows/arm64"], None),
            ("linux/s390x", &["linux/amd64", "?"], Some("?")),
        ] {
            let index = index(listed);
            let found = index.pick(&Platform::parse(wanted, &host).unwrap()).map(|found| found.digest);
            assert_eq!(found, expected.map(|text| Digest::of(text.as_bytes())), "{wanted} of {listed:?}");
        }
    }
}
