//! Several platforms: indexes in a registry, programs for other machines.

use crate::env::{self, Need, Place, contains, same};
use crate::registry::Registry;
use libtest_mimic::{Failed, Trial};
use std::path::Path;

const NEEDS: [Need; 3] = [Need::Busybox, Need::Sandbox, Need::Registry];

pub fn trials() -> Vec<Trial> {
    vec![
        env::trial("platforms::of_an_index_in_a_registry_the_right_image_is_taken", &NEEDS[2..], registry),
        env::trial("platforms::a_layout_is_a_context_for_each_platform", &[], layout),
        env::trial("platforms::a_process_for_another_machine_is_refused_with_a_way_out", &NEEDS[..2], foreign),
    ]
}

/// The one line that a template gives.
fn told(place: &Place, arguments: &[&str]) -> Result<String, Failed> {
    Ok(place.ok(arguments)?.trim().to_owned())
}

fn registry() -> Result<(), Failed> {
    let place = Place::new();
    let registry = Registry::start(&place, "}")?;
    let name = format!("{}/team/app:1", registry.name);
    place.write("a", "a");
    place.write("Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY a /$TARGETARCH\n");
    place.ok(&["build", "-q", "--platform", "linux/amd64,linux/arm64,linux/s390x", "-t", &name, "--push", "."])?;
    // What is pushed lists the images as the registry has them, and none of them is sent again.
    let again = place.ok(&["push", &name])?;
    contains(&again, "(0 blobs sent")?;
    place.ok(&["rmi", &name])?;

    place.ok(&["pull", "-q", "--platform", "linux/arm64", &name])?;
    same("one image", told(&place, &["images", "--format", "{{.Platform}}"])?, "linux/arm64".to_owned())?;
    // Another one joins it under the same name.
    place.ok(&["pull", "-q", "--platform", "linux/s390x", &name])?;
    same("two", told(&place, &["images", "--format", "{{.Platform}}"])?, "linux/arm64,linux/s390x".to_owned())?;
    let refused = place.fails(1, &["push", &name])?;
    contains(&refused, "linux/amd64 missing")?;

    place.write("Dockerfile", format!("FROM {name}\nARG TARGETARCH\nCOPY --from={name} /$TARGETARCH /again\n"));
    let platforms = "linux/amd64,linux/arm64,linux/s390x";
    place.ok(&["build", "-q", "--pull", "missing", "--platform", platforms, "-t", "next", "."])?;
    for arch in ["amd64", "arm64", "s390x"] {
        let platform = format!("linux/{arch}");
        let tar = place.path().join(format!("{arch}.tar"));
        place.ok(&["export", "--platform", &platform, "-o", &tar.display().to_string(), "next"])?;
        let listed = std::process::Command::new("tar").arg("tf").arg(&tar).output()?;
        same(arch, String::from_utf8_lossy(&listed.stdout).into_owned(), format!("again\n{arch}\n"))?;
    }
    place.ok(&["pull", "-q", "--all-platforms", &name])?;
    place.ok(&["push", &name]).map(drop)
}

/// Of an index in an OCI layout each platform gets its own image, whatever this machine is.
fn layout() -> Result<(), Failed> {
    let place = Place::new();
    place.write("a", "a");
    place.write("Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY a /$TARGETARCH\n");
    let (to, from) = ("type=oci,tar=false,dest=layout", "base=oci-layout://layout");
    place.ok(&["build", "-q", "--platform", "linux/amd64,linux/s390x", "-o", to, "."])?;
    place.write("Dockerfile", "FROM base\nCOPY a /next\n");
    let next = Place::new();
    let next_root = next.store().display().to_string();
    let at_next = |arguments: &[&str]| place.ok(&[&["--root", &next_root], arguments].concat());
    for platforms in ["linux/s390x", "linux/amd64", "linux/amd64,linux/s390x"] {
        at_next(&["build", "-q", "--platform", platforms, "--build-context", from, "-t", "next", "."])?;
        for platform in platforms.split(',') {
            let tar = place.path().join("next.tar").display().to_string();
            at_next(&["export", "--platform", platform, "-o", &tar, "next"])?;
            let listed = std::process::Command::new("tar").args(["tf", &tar]).output()?;
            let mut files: Vec<&str> = std::str::from_utf8(&listed.stdout)?.lines().collect();
            files.sort_by_key(|file| *file == "next");
            same(platform, files, vec![platform.trim_start_matches("linux/"), "next"])?;
        }
    }
    Ok(())
}

/// A machine that this one has no emulator for.
fn stranger() -> Option<&'static str> {
    let known = [("loong64", "loongarch64"), ("s390x", "s390x"), ("riscv64", "riscv64"), ("arm64", "aarch64")];
    let registered = |name: &str| Path::new("/proc/sys/fs/binfmt_misc").join(format!("qemu-{name}")).exists();
    known.into_iter().find(|(_, qemu)| !registered(qemu)).map(|(arch, _)| arch)
}

fn foreign() -> Result<(), Failed> {
    let place = Place::new();
    place.busybox()?;
    let arch = stranger().ok_or("there is an emulator for every machine that is asked for")?;
    let platform = format!("linux/{arch}");
    place.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /bin/sh\nRUN true\n");
    let said = place.fails(5, &["build", "--platform", &platform, "."])?;
    for part in ["no-emulator", "Dockerfile:3", &platform, "apt-get install qemu-user-static", "$BUILDPLATFORM"] {
        contains(&said, part)?;
    }
    // What is not run needs no emulator, and what runs here may be in the same file.
    place.write(
        "Dockerfile",
        "FROM --platform=$BUILDPLATFORM busybox AS tools\nARG TARGETARCH\nRUN echo $TARGETARCH > /out\n\
         FROM scratch\nCOPY --from=tools /out /out\n",
    );
    place.ok(&["build", "-q", "--platform", &format!("{platform},linux/amd64"), "-t", "both", "."])?;
    let out = place.path().join("out");
    place.ok(&["export", "--platform", &platform, "-o", &format!("{}/", out.display()), "both"])?;
    same("what was cross-built", std::fs::read_to_string(out.join("out"))?, format!("{arch}\n"))?;
    let said = place.fails(125, &["run", "--rm", "--platform", &platform, "both", "/out"])?;
    contains(&said, "can't be run on")
}
