//! Package URLs (package-url/purl-spec): names of packages that every tool understands.

use crate::base::Digest;
use crate::image::Reference;
use crate::image::reference::DEFAULT_REGISTRY;
use std::collections::BTreeMap;
use std::fmt;

/// A package URL in its canonical form.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Purl {
    kind: &'static str,
    namespace: Vec<String>,
    name: String,
    version: Option<String>,
    qualifiers: BTreeMap<&'static str, String>,
}

impl Purl {
    /// `pkg:KIND/NAME`. Letter case is settled as the type's definition has it.
    pub fn new(kind: &'static str, name: &str) -> Purl {
        let name = match kind {
            "deb" | "apk" | "oci" => name.to_lowercase(),
            "pypi" => name.to_lowercase().replace('_', "-"),
            _ => name.to_owned(),
        };
        Purl { kind, name, ..Purl::default() }
    }

    /// Puts it into a namespace, its parts separated by `/`.
    pub fn within(mut self, namespace: &str) -> Purl {
        let parts = namespace.split('/').filter(|part| !part.is_empty());
        self.namespace =
            parts.map(|part| if self.kind == "docker" { part.to_owned() } else { part.to_lowercase() }).collect();
        self
    }

    /// Gives it a version.
    pub fn version(mut self, version: &str) -> Purl {
        self.version = Some(version.to_owned()).filter(|version| !version.is_empty());
        self
    }

    /// Adds a qualifier, unless it is empty.
    pub fn with(mut self, key: &'static str, value: &str) -> Purl {
        if !value.is_empty() {
            self.qualifiers.insert(key, value.to_owned());
        }
        self
    }

    /// An image in a registry (type `docker`): the tag is the version, or the digest where the name has no tag.
    pub fn of_image(name: &Reference, platform: &str) -> Purl {
        let familiar = Reference { registry: DEFAULT_REGISTRY.into(), ..name.clone() }.familiar_name();
        let (namespace, last) = familiar.rsplit_once('/').unwrap_or(("", &familiar));
        let version = name.tag.clone().or_else(|| name.digest.as_ref().map(Digest::to_string)).unwrap_or_default();
        let registry = if name.registry == DEFAULT_REGISTRY { "" } else { &name.registry };
        let purl = Purl::new("docker", last).within(namespace).version(&version);
        purl.with("repository_url", registry).with("platform", platform)
    }
}

impl fmt::Display for Purl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pkg:{}/", self.kind)?;
        for part in &self.namespace {
            write!(f, "{}/", Encoded(part))?;
        }
        write!(f, "{}", Encoded(&self.name))?;
        if let Some(version) = &self.version {
            write!(f, "@{}", Encoded(version))?;
        }
        for (index, (key, value)) in self.qualifiers.iter().enumerate() {
            write!(f, "{}{key}={}", if index == 0 { '?' } else { '&' }, Encoded(value))?;
        }
        Ok(())
    }
}

/// Percent-encoded, but for what never needs it: letters, digits, `.-_~`, and the colon.
struct Encoded<'e>(&'e str);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.bytes().try_for_each(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' | b':' => {
                write!(f, "{}", char::from(byte))
            }
            other => write!(f, "%{other:02X}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_urls_are_canonical() {
        let deb =
            Purl::new("deb", "libstdc++6").within("debian").version("1:12.2.0-14+deb12u1~x").with("arch", "amd64");
        let cases = [
            (
                deb.with("distro", "debian-12"),
                "pkg:deb/debian/libstdc%2B%2B6@1:12.2.0-14%2Bdeb12u1~x?arch=amd64&distro=debian-12",
            ),
            (Purl::new("npm", "core").within("@babel").version("7.0.0"), "pkg:npm/%40babel/core@7.0.0"),
            (Purl::new("pypi", "Foo_Bar").version("1"), "pkg:pypi/foo-bar@1"),
            (Purl::new("cargo", "serde_json"), "pkg:cargo/serde_json"),
        ];
        for (purl, expected) in cases {
            assert_eq!(purl.to_string(), expected);
        }
    }

    #[test]
    fn images_are_named_as_their_registries_have_them() {
        let cases = [
            ("debian:12", "pkg:docker/debian@12?platform=linux%2Famd64"),
            ("me/app", "pkg:docker/me/app@latest?platform=linux%2Famd64"),
            ("ghcr.io/me/app", "pkg:docker/me/app@latest?platform=linux%2Famd64&repository_url=ghcr.io"),
            ("localhost:5000/a:1", "pkg:docker/a@1?platform=linux%2Famd64&repository_url=localhost:5000"),
        ];
        for (name, expected) in cases {
            assert_eq!(Purl::of_image(&name.parse().unwrap(), "linux/amd64").to_string(), expected, "{name}");
        }
    }
}
