//! dpkg's database: `/var/lib/dpkg/status`, and `status.d/` of images that were made without dpkg (distroless).

use super::control::{Paragraph, field, paragraphs};
use super::{Distribution, Inventory, Package, text};
use crate::attest::AttestError;
use crate::attest::purl::Purl;
use crate::tree::View;

const STATUS: &str = "var/lib/dpkg/status";
const STATUS_D: &str = "var/lib/dpkg/status.d";

pub fn read(view: &View<'_>, distribution: &Distribution, found: &mut Inventory) -> Result<(), AttestError> {
    if let Some(status) = text(view, STATUS)? {
        let packages = paragraphs(&status).filter(|paragraph| field(paragraph, "Status").is_some_and(is_there));
        found.packages.extend(packages.filter_map(|paragraph| package(&paragraph, distribution, STATUS)));
    }
    let Some(directory) = view.find(STATUS_D.as_bytes(), true)?.filter(|found| found.is_dir()) else { return Ok(()) };
    for entry in &view.node(&directory)?.entries {
        let Ok(name) = std::str::from_utf8(&entry.entry.path) else { continue };
        if name.ends_with(".md5sums") {
            continue;
        }
        let path = format!("{STATUS_D}/{name}");
        let Some(paragraph) = text(view, &path)? else { continue };
        found.packages.extend(paragraphs(&paragraph).filter_map(|p| package(&p, distribution, &path)));
    }
    Ok(())
}

/// Whether a package of this status (dpkg(1), "Package status") has files there, and not only its configuration.
fn is_there(status: &str) -> bool {
    let state = status.split_ascii_whitespace().next_back();
    !matches!(state, None | Some("not-installed" | "config-files"))
}

fn package(paragraph: &Paragraph<'_>, distribution: &Distribution, path: &str) -> Option<Package> {
    let (name, version) = (field(paragraph, "Package")?, field(paragraph, "Version")?);
    let arch = field(paragraph, "Architecture").unwrap_or_default();
    let purl = Purl::new("deb", name)
        .within(&distribution.id)
        .version(version)
        .with("arch", arch)
        .with("distro", &distribution.qualifier());
    Some(Package {
        purl,
        name: name.to_owned(),
        version: version.to_owned(),
        maintainer: field(paragraph, "Maintainer").map(str::to_owned),
        source: field(paragraph, "Source").map(str::to_owned),
        found_in: path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{found, purls};

    #[test]
    fn what_is_installed_is_listed_with_its_architecture() {
        let found = found(&[
            "etc/",
            "etc/os-release=ID=debian\nVERSION_ID=\"12\"",
            "var/",
            "var/lib/",
            "var/lib/dpkg/",
            "var/lib/dpkg/status=Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nSource: glibc\n\
             Version: 2.36-9+deb12u4\nMaintainer: GNU <g@x>\n\nPackage: gone\nStatus: deinstall ok config-files\n\
             Architecture: all\nVersion: 1\n\nPackage: half\nStatus: install ok unpacked\nArchitecture: all\n\
             Version: 1:2\n\nPackage: never\nStatus: unknown ok not-installed\nArchitecture: all\n",
            "var/lib/dpkg/status.d/",
            "var/lib/dpkg/status.d/tzdata=Package: tzdata\nArchitecture: all\nVersion: 2024a",
            "var/lib/dpkg/status.d/tzdata.md5sums=Package: no\nVersion: 1",
        ]);
        let expected = [
            "pkg:deb/debian/half@1:2?arch=all&distro=debian-12",
            "pkg:deb/debian/libc6@2.36-9%2Bdeb12u4?arch=amd64&distro=debian-12",
            "pkg:deb/debian/tzdata@2024a?arch=all&distro=debian-12",
        ];
        assert_eq!(purls(&found), expected);
        let libc = &found.packages[1];
        assert_eq!((libc.source.as_deref(), libc.maintainer.as_deref()), (Some("glibc"), Some("GNU <g@x>")));
        assert_eq!(found.gaps, [""; 0]);
    }
}
