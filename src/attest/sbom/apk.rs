//! apk's database (apk-tools, "installed database"): paragraphs of one-letter fields.

use super::control::paragraphs;
use super::{Distribution, Inventory, Package, text};
use crate::attest::AttestError;
use crate::attest::purl::Purl;
use crate::tree::View;

/// Of old and, since apk-tools 3, where /usr is merged.
const INSTALLED: [&str; 2] = ["lib/apk/db/installed", "usr/lib/apk/db/installed"];

pub fn read(view: &View<'_>, distribution: &Distribution, found: &mut Inventory) -> Result<(), AttestError> {
    for path in INSTALLED {
        let Some(installed) = text(view, path)? else { continue };
        for paragraph in paragraphs(&installed) {
            // Letter case counts here.
            let exact = |name: &str| paragraph.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
            let (Some(name), Some(version)) = (exact("P"), exact("V")) else { continue };
            let purl = Purl::new("apk", name)
                .within(&distribution.id)
                .version(version)
                .with("arch", exact("A").unwrap_or_default())
                .with("distro", &distribution.qualifier());
            found.packages.push(Package {
                purl,
                name: name.to_owned(),
                version: version.to_owned(),
                maintainer: exact("m").map(str::to_owned),
                source: exact("o").filter(|origin| *origin != name).map(str::to_owned),
                found_in: path.to_owned(),
            });
        }
        // The other path is a link to the same.
        break;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{found, purls};

    #[test]
    fn installed_packages_are_listed() {
        let found = found(&[
            "etc/",
            "etc/os-release=ID=alpine\nVERSION_ID=3.20.1",
            "lib/",
            "lib/apk/",
            "lib/apk/db/",
            "lib/apk/db/installed=C:Q1abc=\nP:musl\nV:1.2.5-r0\nA:x86_64\no:musl\nm:T <t@x>\np:so:libc=1\nF:lib\nR:x\n\n\
             P:libcrypto3\nV:3.3.1-r0\nA:x86_64\no:openssl\n",
        ]);
        let expected = [
            "pkg:apk/alpine/libcrypto3@3.3.1-r0?arch=x86_64&distro=alpine-3.20.1",
            "pkg:apk/alpine/musl@1.2.5-r0?arch=x86_64&distro=alpine-3.20.1",
        ];
        assert_eq!(purls(&found), expected);
        assert_eq!((found.packages[0].source.as_deref(), found.packages[1].source.as_deref()), (Some("openssl"), None));
    }
}
