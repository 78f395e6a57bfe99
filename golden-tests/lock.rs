//! `rbuild lock` and `vendor`, `build --locked` and `--offline`: against Debian's docker-registry, a server of this process
//! and a git daemon, whose contents change under the lock file.

use crate::env::{self, Need, Place, contains, same};
use crate::registry::Registry;
use crate::remote::{Daemon, free_port, repositories, script, script_output};
use crate::server::{Page, Server};
use libtest_mimic::{Failed, Trial};

pub fn trials() -> Vec<Trial> {
    let images = [Need::Busybox, Need::Sandbox, Need::Registry];
    vec![
        env::trial("lock/a-base-image-moves-in-its-registry", &images, images_move),
        env::trial("lock/an-index-is-locked-for-all-platforms", &[Need::Registry], platforms),
        env::trial("lock/a-file-changes-on-its-server", &[], files_change),
        env::trial("lock/a-branch-moves", &[Need::Git], branches_move),
        env::trial("lock/what-is-offline-and-not-here-is-named", &[], offline),
        env::trial("lock/a-damaged-vendor-directory-is-not-built-from", &[], damaged),
    ]
}

/// What a build prints that must be the same on every machine: the image ID.
fn id(place: &Place, further: &[&str]) -> Result<String, Failed> {
    place.ok(&[&["build", "-q", "--reproducible", "-t", "x"], further, &["."]].concat())
}

/// Pushes an image that holds `text`.
fn push(place: &Place, name: &str, text: &str) -> Result<(), Failed> {
    place.write("base/Dockerfile", format!("FROM busybox\nRUN echo {text} > /text\n"));
    place.ok(&["build", "-q", "-t", name, "base"])?;
    place.ok(&["push", name]).map(drop)
}

/// A machine with an empty store and the same files beside its Dockerfile.
fn another(place: &Place) -> Result<Place, Failed> {
    let fresh = Place::new();
    for name in ["Dockerfile", "rbuild.lock"] {
        fresh.write(name, std::fs::read(place.work().join(name))?);
    }
    Ok(fresh)
}

fn digest(text: &str) -> Option<&str> {
    let at = text.find("sha256:")?;
    text.get(at..at + 71)
}

fn images_move() -> Result<(), Failed> {
    let maker = Place::new();
    let registry = Registry::start(&maker, "}")?;
    let (base, tool) = (format!("{}/base:1", registry.name), format!("{}/tool", registry.name));
    maker.busybox()?;
    push(&maker, &base, "one")?;
    push(&maker, &tool, "tool")?;

    let place = Place::new();
    let dockerfile =
        format!("FROM {tool} AS unused\nFROM {base}\nCOPY --from={tool} /text /tool\nRUN cat /text > /out\n");
    place.write("Dockerfile", &dockerfile);
    contains(&place.fails(4, &["build", "--locked", "."])?, "there is no lock file rbuild.lock")?;
    let first = place.ok(&["lock"])?;
    let old = digest(&first).ok_or("a digest")?.to_owned();
    contains(&first, &format!("added    image {base}  sha256:"))?;
    contains(&first, &format!("added    image {tool}:latest  sha256:"))?;
    let text = std::fs::read_to_string(place.work().join("rbuild.lock"))?;
    contains(&text, &format!("[[image]]\nname = \"{base}\"\ndigest = \"{old}\"\n"))?;
    same("nothing more to lock", place.ok(&["lock"])?.as_str(), "")?;
    same("the same file", std::fs::read_to_string(place.work().join("rbuild.lock"))?, text)?;
    let built = id(&place, &["--pull", "missing"])?;
    same("locked", id(&place, &["--locked"])?, built.clone())?;
    contains(&place.ok(&["lock", "--check"])?, "up to date")?;

    push(&maker, &base, "two")?;
    let fresh = another(&place)?;
    same("the locked image is built on", id(&fresh, &["--pull", "missing"])?, built.clone())?;
    let checked = place.rbuild(&["lock", "--check"]).output()?;
    same("exit code of a check", checked.status.code(), Some(1))?;
    let told = String::from_utf8_lossy(&checked.stdout).into_owned();
    contains(&told, &format!("updated  image {base}  {old} → sha256:"))?;
    let new = told.split('→').nth(1).and_then(digest).ok_or("a digest")?;
    let refused = place.fails(3, &["build", "--locked", "."])?;
    for part in ["error[lock-drift]", "Dockerfile:2:6", &old, new, "rbuild lock --update"] {
        contains(&refused, part)?;
    }
    place.write("Dockerfile", format!("{dockerfile}COPY --from={}/other / /\n", registry.name));
    let refused = place.fails(3, &["build", "--locked", "."])?;
    contains(&refused, "error[not-locked]")?;
    contains(&refused, "Dockerfile:5:13")?;
    place.write("Dockerfile", &dockerfile);

    let vendor = place.path().join("vendored").display().to_string();
    contains(&place.ok(&["vendor", &vendor])?, "2 images")?;
    place.ok(&["vendor", &vendor])?;
    let index = std::fs::read_to_string(place.path().join("vendored/index.json"))?;
    contains(&index, &format!("\"org.opencontainers.image.ref.name\":\"{base}\""))?;
    // One name alone is looked up anew.
    let updated = place.ok(&["lock", &format!("--update={tool}")])?;
    same("nothing is new", updated.as_str(), "")?;
    let lock = std::fs::read(place.work().join("rbuild.lock"))?;
    contains(&place.ok(&["lock", &format!("--update={base}")])?, &format!("{old} → {new}"))?;
    contains(&place.fails(4, &["lock", "--update=nothing"])?, "'nothing' is no image")?;
    same("another image", id(&place, &["--locked", "--pull", "missing"])? == built, false)?;
    place.write("rbuild.lock", lock);

    drop(registry);
    contains(&place.fails(7, &["build", "--locked", "."])?, "could not be pulled")?;
    let fresh = another(&place)?;
    let refused = fresh.fails(4, &["build", "--offline", "."])?;
    for part in ["error[offline-missing]", "Dockerfile:2:6", &base, "--vendor DIR"] {
        contains(&refused, part)?;
    }
    same("from the vendor directory", id(&fresh, &["--offline", "--locked", "--vendor", &vendor])?, built.clone())?;
    same("from the store", id(&fresh, &["--offline"])?, built.clone())?;
    fresh.ok(&["fsck"])?;
    contains(&fresh.ok(&["load", "-i", &vendor])?, &base)?;
    // Without a lock file the vendor directory says what the names are.
    let fresh = another(&place)?;
    same("without a lock file", id(&fresh, &["--offline", "--no-lock", "--vendor", &vendor])?, built)
}

fn platforms() -> Result<(), Failed> {
    let maker = Place::new();
    let registry = Registry::start(&maker, "}")?;
    let base = format!("{}/base:1", registry.name);
    maker.write("Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /arch\n");
    maker.write("amd64", "a");
    maker.write("arm64", "b");
    maker.ok(&["build", "-q", "--platform", "linux/amd64,linux/arm64", "-t", &base, "."])?;
    maker.ok(&["push", &base])?;

    let place = Place::new();
    place.write("Dockerfile", format!("FROM {base}\nLABEL a=b\n"));
    place.ok(&["lock"])?;
    let lock = std::fs::read_to_string(place.work().join("rbuild.lock"))?;
    contains(&lock, "\"linux/amd64\" = \"sha256:")?;
    contains(&lock, "\"linux/arm64\" = \"sha256:")?;
    let vendor = place.path().join("vendored").display().to_string();
    let both = ["--platform", "linux/amd64,linux/arm64"];
    contains(&place.ok(&[&["vendor"][..], &both, &[&vendor]].concat())?, "2 images")?;
    let built = ["linux/amd64", "linux/arm64"].map(|platform| id(&place, &["--locked", "--platform", platform]));
    drop(registry);
    for (platform, built) in ["linux/amd64", "linux/arm64"].into_iter().zip(built) {
        let fresh = another(&place)?;
        let flags = ["--offline", "--vendor", &vendor, "--platform", platform];
        same(platform, id(&fresh, &flags)?, built?)?;
    }
    Ok(())
}

fn files_change() -> Result<(), Failed> {
    let (place, server) = (Place::new(), Server::plain());
    let time = vec![("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT".to_owned())];
    let page = |body: &str| Page { body: body.into(), headers: time.clone(), ..Page::default() };
    server.put("/f", page("one"));
    server.file("/g", b"same");
    place.write("Dockerfile", format!("FROM scratch\nADD {b}/f {b}/g /\n", b = server.base));
    let locked = place.ok(&["lock"])?;
    contains(&locked, &format!("added    file {}/f  sha256:", server.base))?;
    let text = std::fs::read_to_string(place.work().join("rbuild.lock"))?;
    contains(&text, "size = 3\n")?;
    let built = id(&place, &[])?;
    same("locked", id(&place, &["--locked"])?, built.clone())?;
    server.asked();
    same("again", id(&place, &[])?, built.clone())?;
    same("nobody is asked for what is locked and here", server.asked(), Vec::<String>::new())?;

    server.put("/f", Page { headers: Vec::new(), ..page("other") });
    let refused = place.fails(3, &["build", "--locked", "."])?;
    let found = "sha256:d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa";
    for part in ["error[lock-drift]", "Dockerfile:2:5", digest(&locked).ok_or("a digest")?, found] {
        contains(&refused, part)?;
    }
    same("without --locked what is here is used", id(&place, &[])?, built.clone())?;
    let fresh = another(&place)?;
    let refused = fresh.fails(1, &["build", "."])?;
    contains(&refused, "error[checksum-mismatch]")?;
    contains(&refused, "rbuild.lock says what it must be")?;

    let vendor = place.work().join("vendored").display().to_string();
    contains(&place.ok(&["vendor", &vendor])?, "2 files")?;
    contains(&std::fs::read_to_string(place.work().join("rbuild.lock"))?, "vendor = \"vendored\"\n")?;
    server.asked();
    let fresh = another(&place)?;
    script(&fresh, &format!("cp -r '{vendor}' vendored"))?;
    same("from the directory that the lock file names", id(&fresh, &["--offline", "--locked"])?, built.clone())?;
    same("nobody was asked", server.asked(), Vec::<String>::new())?;
    // A changed instruction is not what was locked.
    let dockerfile = std::fs::read_to_string(place.work().join("Dockerfile"))?;
    place.write("Dockerfile", format!("{dockerfile}ADD {}/h /\n", server.base));
    server.file("/h", b"new");
    contains(&place.fails(3, &["build", "--locked", "--offline", "."])?, "error[not-locked]")?;
    let told = place.rbuild(&["build", "."]).output()?;
    contains(&String::from_utf8_lossy(&told.stderr), "warning[not-locked]")?;
    place.write("Dockerfile", format!("FROM scratch\nADD {}/g /\n", server.base));
    let told = place.rbuild(&["build", "--locked", "."]).output()?;
    contains(&String::from_utf8_lossy(&told.stderr), "warning[lock-unused]")?;
    contains(&place.ok(&["lock"])?, "removed  file")
}

fn branches_move() -> Result<(), Failed> {
    let (place, port) = (Place::new(), free_port()?);
    repositories(&place, &format!("git://127.0.0.1:{port}/sub.git"))?;
    let daemon = Daemon::start(&place.work().join("git"), port)?;
    let base = daemon.1.clone();
    place.write(".dockerignore", "git\n");
    place.write("Dockerfile", format!("FROM scratch\nADD {base}/x.git#main /main\nADD {base}/x.git#v1:d /tagged\n"));
    let old = script_output(&place, "git -C git/x.git rev-parse main")?;
    contains(&place.ok(&["lock"])?, &format!("added    git {base}/x.git#main  {old}"))?;
    let built = id(&place, &["--locked"])?;
    script(&place, "cd git/x; echo 9 > a; git commit -qam four; git push -q ../x.git main")?;
    let new = script_output(&place, "git -C git/x.git rev-parse main")?;
    same("the locked commit is built on", id(&place, &["--no-cache"])?, built.clone())?;
    let refused = place.fails(3, &["build", "--locked", "."])?;
    for part in ["error[lock-drift]", "Dockerfile:2:5", &old, &new, "rbuild lock --update"] {
        contains(&refused, part)?;
    }
    // A context is an input, too.
    script(
        &place,
        "cd git/x; printf 'FROM scratch\\nCOPY a /\\n' > Dockerfile; git add .; git commit -qm five; git push -q ../x.git main",
    )?;
    let context = format!("{base}/x.git#main");
    let build = |place: &Place, file: &str, further: &[&str]| {
        place.ok(&[&["build", "-q", "--reproducible", "--lock-file", file], further, &[&context]].concat())
    };
    contains(&place.fails(2, &["lock", &context])?, "--lock-file FILE")?;
    contains(&place.ok(&["lock", "--lock-file", "context.lock", &context])?, "added    git ")?;
    let of_context = build(&place, "context.lock", &["--locked"])?;
    let taken = place.path().join("context").display().to_string();
    contains(&place.ok(&["vendor", "--lock-file", "context.lock", &taken, &context])?, "1 commit")?;
    script(&place, "cd git/x; echo 10 > a; git commit -qam six; git push -q ../x.git main")?;
    same("the locked commit is the context", build(&place, "context.lock", &[])?, of_context.clone())?;
    let refused = place.fails(3, &["build", "--lock-file", "context.lock", "--locked", &context])?;
    for part in ["error[lock-drift]", "<command line>:1:1"] {
        contains(&refused, part)?;
    }

    let vendor = place.path().join("vendored").display().to_string();
    contains(&place.ok(&["vendor", &vendor])?, "2 commits")?;
    drop(daemon);
    let fresh = another(&place)?;
    contains(&fresh.fails(4, &["build", "--offline", "."])?, "error[offline-missing]")?;
    for further in [["--locked"], ["--no-lock"]] {
        let fresh = another(&place)?;
        let flags = [&["--offline", "--vendor", &vendor][..], &further].concat();
        same("from the vendor directory", id(&fresh, &flags)?, built.clone())?;
        // Which is not what others take for the commit.
        contains(&fresh.fails(4, &["build", "--offline", "."])?, "error[offline-missing]")?;
    }
    let fresh = another(&place)?;
    let file = place.work().join("context.lock").display().to_string();
    same("the context, too", build(&fresh, &file, &["--offline", "--vendor", &taken])?, of_context)
}

fn offline() -> Result<(), Failed> {
    let (place, server) = (Place::new(), Server::plain());
    server.file("/f", b"one");
    for (dockerfile, named) in [
        ("FROM nowhere.example/base".to_owned(), "nowhere.example/base"),
        (format!("FROM scratch\nADD {}/f /", server.base), "/f is not in the store"),
        ("FROM scratch\nADD https://nowhere.example/x.git#main /".to_owned(), "https://nowhere.example/x.git"),
    ] {
        place.write("Dockerfile", dockerfile);
        let refused = place.fails(4, &["build", "--offline", "--pull", "always", "."])?;
        for part in ["error[offline-missing]", named, "--vendor DIR", "Dockerfile:"] {
            contains(&refused, part)?;
        }
    }
    contains(
        &place.fails(4, &["build", "--offline", &format!("{}/ctx.tar", server.base)])?,
        "--offline fetches nothing",
    )?;
    contains(&place.fails(4, &["build", "--offline", "--vendor", "nothing", "."])?, "is not there")?;
    same("nobody was asked", server.asked(), Vec::<String>::new())?;
    // What is here from last time will do.
    place.write("Dockerfile", format!("FROM scratch\nADD {}/f /\n", server.base));
    let built = id(&place, &[])?;
    server.asked();
    same("offline", id(&place, &["--offline"])?, built)?;
    same("nobody was asked", server.asked(), Vec::<String>::new())
}

fn damaged() -> Result<(), Failed> {
    let (place, server) = (Place::new(), Server::plain());
    server.file("/f", b"one");
    place.write("Dockerfile", format!("FROM scratch\nADD {}/f /\n", server.base));
    let vendor = place.path().join("vendored");
    let dir = vendor.display().to_string();
    place.ok(&["vendor", &dir])?;
    let blob = vendor.join("blobs/sha256/7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed");
    std::fs::write(&blob, "two")?;
    let fresh = another(&place)?;
    contains(&fresh.fails(1, &["build", "--offline", "--vendor", &dir, "."])?, "error[checksum-mismatch]")?;
    place.ok(&["vendor", &dir])?;
    fresh.ok(&["build", "--offline", "--vendor", &dir, "."])?;
    std::fs::write(vendor.join("index.json"), "{}")?;
    contains(&place.fails(1, &["vendor", &dir])?, "holds something else")?;
    place.write("rbuild.lock", "version = 1\n[[file]]\nurl = 3\n");
    contains(&place.fails(3, &["build", "."])?, "rbuild.lock:3:7")
}
