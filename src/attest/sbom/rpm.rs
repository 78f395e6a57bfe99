//! rpm's database: headers of packages in a table of SQLite (rpm 4.16 and newer). The older forms, Berkeley DB and NDB, are
//! told and not read.

mod sqlite;

use super::{Distribution, Inventory, MAX_FILE, Package};
use crate::attest::AttestError;
use crate::attest::purl::Purl;
use crate::tree::View;
use sqlite::{Database, Value};

/// Where the database lies: of old, and where images are updated as a whole.
const PLACES: [&str; 2] = ["var/lib/rpm", "usr/lib/sysimage/rpm"];
/// Databases of forms that are not read.
const OTHERS: [(&str, &str); 2] = [("Packages", "Berkeley DB"), ("Packages.db", "NDB")];

/// Tags of a header (rpmtag.h).
mod tag {
    pub const NAME: u32 = 1000;
    pub const VERSION: u32 = 1001;
    pub const RELEASE: u32 = 1002;
    pub const EPOCH: u32 = 1003;
    pub const VENDOR: u32 = 1011;
    pub const ARCH: u32 = 1022;
    pub const SOURCERPM: u32 = 1044;
}

pub fn read(view: &View<'_>, distribution: &Distribution, found: &mut Inventory) -> Result<(), AttestError> {
    for place in PLACES {
        let path = format!("{place}/rpmdb.sqlite");
        if let Some(bytes) = view.read(path.as_bytes(), MAX_FILE)? {
            let damaged = || AttestError::Database { path: path.clone(), reason: "it is damaged".to_owned() };
            for row in Database::new(&bytes).and_then(|database| database.table("Packages")).ok_or_else(damaged)? {
                let Some(Value::Bytes(blob)) = row.get(1) else { continue };
                let header = Header::new(blob).ok_or_else(damaged)?;
                found.packages.extend(package(&header, distribution, &path));
            }
            let log = format!("{path}-wal");
            if view.read(log.as_bytes(), MAX_FILE)?.is_some_and(|log| !log.is_empty()) {
                found.gaps.push(format!("/{log} was not read: what it holds is not yet in the database"));
            }
            // The other place is a link to the same.
            return Ok(());
        }
        for (name, form) in OTHERS {
            let path = format!("{place}/{name}");
            if view.find(path.as_bytes(), true)?.is_some_and(|found| !found.is_dir()) {
                found.gaps.push(format!("/{path} was not read: rpm databases in {form} form are not supported"));
                return Ok(());
            }
        }
    }
    Ok(())
}

fn package(header: &Header<'_>, distribution: &Distribution, path: &str) -> Option<Package> {
    let text = |tag| header.text(tag).filter(|text| !text.is_empty() && text != "(none)");
    let (name, version) = (text(tag::NAME)?, text(tag::VERSION)?);
    if name == "gpg-pubkey" {
        // A key that was imported, no software.
        return None;
    }
    let version = format!("{version}-{}", text(tag::RELEASE).unwrap_or_default());
    let epoch = header.number(tag::EPOCH).map(|epoch| epoch.to_string());
    let namespace = match distribution.id.as_str() {
        "rhel" => "redhat",
        id if id.starts_with("opensuse") => "opensuse",
        id => id,
    };
    let purl = Purl::new("rpm", &name)
        .within(namespace)
        .version(&version)
        .with("arch", &text(tag::ARCH).unwrap_or_default())
        .with("epoch", epoch.as_deref().unwrap_or_default())
        .with("distro", &distribution.qualifier());
    let shown = epoch.map_or_else(|| version.clone(), |epoch| format!("{epoch}:{version}"));
    Some(Package {
        purl,
        name,
        version: shown,
        maintainer: text(tag::VENDOR),
        source: text(tag::SOURCERPM),
        found_in: path.to_owned(),
    })
}

/// A package's header (rpm's docs/manual/format_header.md), without the magic number that it has in a file.
struct Header<'h> {
    index: &'h [u8],
    data: &'h [u8],
}

impl<'h> Header<'h> {
    fn new(blob: &'h [u8]) -> Option<Header<'h>> {
        let entries = usize::try_from(number(blob, 0)?).ok()?;
        let length = usize::try_from(number(blob, 4)?).ok()?;
        let index = blob.get(8..8_usize.checked_add(entries.checked_mul(16)?)?)?;
        let data = blob.get(8 + index.len()..)?.get(..length)?;
        Some(Header { index, data })
    }

    /// The data from where a tag's value begins.
    fn value(&self, tag: u32) -> Option<&'h [u8]> {
        let entry = self.index.chunks_exact(16).find(|entry| number(entry, 0) == Some(tag))?;
        self.data.get(usize::try_from(number(entry, 8)?).ok()?..)
    }

    fn text(&self, tag: u32) -> Option<String> {
        let value = self.value(tag)?;
        let end = value.iter().position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&value[..end]).into_owned())
    }

    fn number(&self, tag: u32) -> Option<u32> {
        number(self.value(tag)?, 0)
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three packages that rpm 4.18 built and installed, in a database with pages so small that each header overflows.
    const FIXTURE: &[u8] = include_bytes!("rpm/fixture.sqlite");

    #[test]
    fn packages_are_read_from_what_rpm_wrote() {
        let rows = Database::new(FIXTURE).unwrap().table("Packages").unwrap();
        let fedora = Distribution { id: "fedora".into(), version: "39".into() };
        let packages: Vec<Package> = rows
            .iter()
            .filter_map(|row| match row.get(1) {
                Some(Value::Bytes(blob)) => package(&Header::new(blob).unwrap(), &fedora, "db"),
                _ => None,
            })
            .collect();
        let purls: Vec<String> = packages.iter().map(|package| package.purl.to_string()).collect();
        let expected = [
            "pkg:rpm/fedora/gamma@1.2-3.fc39?arch=x86_64&distro=fedora-39&epoch=2",
            "pkg:rpm/fedora/alpha@1.2-3.fc39?arch=x86_64&distro=fedora-39",
            "pkg:rpm/fedora/beta-libs@1.2-3.fc39?arch=noarch&distro=fedora-39",
        ];
        assert_eq!(purls, expected);
        assert_eq!(packages[0].version, "2:1.2-3.fc39");
        assert_eq!(packages[2].maintainer.as_deref(), Some("Example Project"));
        assert_eq!(packages[1].source.as_deref(), Some("alpha-1.2-3.fc39.src.rpm"));
    }

    #[test]
    fn a_header_that_says_more_than_it_holds_is_none() {
        assert!(Header::new(&[0, 0, 0, 1, 0, 0, 0, 4, 0, 0]).is_none());
        assert!(Header::new(&[0xff; 16]).is_none());
    }
}
