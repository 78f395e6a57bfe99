//! `build --push` and other outputs to a registry.

use crate::env::{self, Need, Place, contains, same};
use crate::registry::Registry;
use libtest_mimic::{Failed, Trial};

const NEEDS: [Need; 1] = [Need::Registry];

pub fn trials() -> Vec<Trial> {
    vec![env::trial("attest::a_build_pushes_what_it_made_and_says_where", &NEEDS, pushes)]
}

fn pushes() -> Result<(), Failed> {
    let place = Place::new();
    let registry = Registry::start(&place, "}")?;
    let (one, two) = (format!("{}/one:1", registry.name), format!("{}/two:2", registry.name));
    place.write("Dockerfile", "FROM scratch\nCOPY a /a\n");
    place.write("a", "hello\n");
    place.ok(&["build", "-q", "-t", &one, "--push", "--annotation", "org.x=1", "--metadata-file", "meta", "."])?;
    let zstd = format!("type=image,name={two},push=true,compression=zstd,annotation.org.y=2");
    place.ok(&["build", "-q", "-o", &zstd, "-o", "type=oci,dest=x.tar", "."])?;
    for (name, annotation, packing) in [(&one, "\"org.x\":\"1\"", "tar+gzip"), (&two, "\"org.y\":\"2\"", "tar+zstd")] {
        let fresh = Place::new();
        let pulled = fresh.ok(&["pull", name])?;
        let digest = pulled.lines().find_map(|line| line.strip_prefix("Digest: ")).ok_or("no digest")?;
        let blob = digest.strip_prefix("sha256:").ok_or("no sha256")?;

        let manifest = fresh.store().join("blobs/sha256").join(blob);
        let output = fresh.command("cat").arg(&manifest).output()?;
        env::check(&["cat"], &output)?;
        let manifest = String::from_utf8_lossy(&output.stdout).into_owned();
        contains(&manifest, annotation)?;
        contains(&manifest, packing)?;
        if name == &one {
            let metadata = std::fs::read_to_string(place.work().join("meta"))?;
            contains(&metadata, &format!("\"containerimage.digest\": \"{digest}\""))?;
        }
    }
    same("images here", place.ok(&["images"])?.lines().count(), 3)
}
