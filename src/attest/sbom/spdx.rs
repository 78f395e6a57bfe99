//! SPDX 2.3 documents in JSON (spdx.github.io/spdx-spec/v2.3).

use super::{Inventory, Package};
use crate::attest::purl::Purl;
use crate::base::Digest;
use crate::image::Reference;
use serde_json::{Value, json};

/// Who writes it.
const CREATOR: &str = concat!("Tool: rbuild-", env!("CARGO_PKG_VERSION"));
/// The element that stands for the image.
const IMAGE: &str = "SPDXRef-Image";

/// The image that a document is about.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// Its name, if it has one.
    pub name: Option<&'a Reference>,
    /// Image ID, which also makes the document's namespace.
    pub id: &'a Digest,
    /// `os/arch[/variant]`.
    pub platform: &'a str,
    /// When it was made, RFC 3339: the document's own time, so that the same image gives the same document.
    pub created: &'a str,
}

/// The document: the image, its packages, and what was not read as an annotation that anybody sees.
pub fn document(about: &About<'_>, inventory: &Inventory) -> Value {
    let id = about.id.hex();
    let name = about.name.map_or_else(|| about.id.to_string(), Reference::familiar);
    let mut packages = vec![image(about, &name, &id)];
    let mut relationships = vec![related("SPDXRef-DOCUMENT", "DESCRIBES", IMAGE)];
    for package in &inventory.packages {
        let element = element(package);
        relationships.push(related(IMAGE, "CONTAINS", &element));
        packages.push(described(package, &element));
    }
    let mut document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": format!("https://spdx.org/spdxdocs/rbuild/{}-{id}", plain(&name)),
        "creationInfo": { "created": about.created, "creators": [CREATOR] },
        "packages": packages,
        "relationships": relationships,
    });
    if !inventory.gaps.is_empty() {
        let annotation = |gap: &String| {
            json!({
                "annotationDate": about.created,
                "annotationType": "OTHER",
                "annotator": CREATOR,
                "comment": format!("not complete: {gap}"),
            })
        };
        document["annotations"] = inventory.gaps.iter().map(annotation).collect();
    }
    document
}

fn image(about: &About<'_>, name: &str, id: &str) -> Value {
    let mut image = json!({
        "SPDXID": IMAGE,
        "name": name,
        "primaryPackagePurpose": "CONTAINER",
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "checksums": [{ "algorithm": "SHA256", "checksumValue": id }],
    });
    if let Some(name) = about.name {
        image["externalRefs"] = json!([external(&Purl::of_image(name, about.platform))]);
        if let Some(tag) = &name.tag {
            image["versionInfo"] = tag.as_str().into();
        }
    }
    image
}

fn described(package: &Package, element: &str) -> Value {
    let source = package.source.as_ref().map(|source| format!(", built from source {source}")).unwrap_or_default();
    let mut out = json!({
        "SPDXID": element,
        "name": package.name,
        "versionInfo": package.version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "sourceInfo": format!("listed in /{}{source}", package.found_in),
        "externalRefs": [external(&package.purl)],
    });
    if let Some(maintainer) = &package.maintainer {
        // The specification writes addresses in parentheses.
        let text = maintainer.replace('<', "(").replace('>', ")");
        out["supplier"] = format!("Organization: {text}").into();
    }
    out
}

fn external(purl: &Purl) -> Value {
    json!({
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": purl.to_string(),
    })
}

fn related(from: &str, how: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": how, "relatedSpdxElement": to })
}

/// An identifier: letters, digits, `.` and `-`; told apart by a digest, since that loses something.
fn element(package: &Package) -> String {
    let digest = Digest::of(format!("{} {}", package.purl, package.found_in).as_bytes()).hex();
    format!("SPDXRef-Package-{}-{}", plain(&package.name), &digest[..16])
}

fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_document_holds_what_the_specification_asks_for_and_is_the_same_again() {
        let package = |name: &str, found_in: &str| Package {
            purl: Purl::new("deb", name).within("debian").version("1+b"),
            name: name.into(),
            version: "1+b".into(),
            maintainer: Some("A <a@b>".into()),
            source: Some("src".into()),
            found_in: found_in.into(),
        };
        let inventory = Inventory {
            packages: vec![package("libstdc++6", "a"), package("libstdc--6", "a"), package("libstdc++6", "b")],
            gaps: vec!["x was not read".into()],
        };
        let (name, id) = ("me/app:1".parse().unwrap(), Digest::of(b"config"));
        let about = About { name: Some(&name), id: &id, platform: "linux/amd64", created: "1970-01-01T00:00:00Z" };
        let spdx = document(&about, &inventory);
        assert_eq!(spdx, document(&about, &inventory));
        for field in ["spdxVersion", "dataLicense", "SPDXID", "name", "documentNamespace", "creationInfo"] {
            assert!(spdx.get(field).is_some(), "{field}");
        }
        let namespace = spdx["documentNamespace"].as_str().unwrap();
        assert!(namespace.starts_with("https://spdx.org/spdxdocs/rbuild/me-app-1-") && namespace.ends_with(&id.hex()));
        let packages = spdx["packages"].as_array().unwrap();
        let ids: BTreeSet<&str> = packages.iter().map(|p| p["SPDXID"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), 4, "identifiers differ: {ids:?}");
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        assert!(ids.iter().all(|id| id.starts_with("SPDXRef-") && id.chars().all(allowed)), "{ids:?}");
        assert_eq!(packages[1]["supplier"], "Organization: A (a@b)");
        assert_eq!(packages[1]["externalRefs"][0]["referenceLocator"], "pkg:deb/debian/libstdc%2B%2B6@1%2Bb");
        assert_eq!(spdx["relationships"].as_array().unwrap().len(), 4);
        assert_eq!(spdx["annotations"][0]["comment"], "not complete: x was not read");
    }
}
