//! `--cache-to` and `--cache-from`: a second machine with an empty store gets every hit of the first.

use crate::env::{self, Need, Place, contains, same};
use crate::registry::Registry;
use libtest_mimic::{Failed, Trial};
use std::path::Path;

const NEEDS: [Need; 2] = [Need::Busybox, Need::Sandbox];
const WITH_REGISTRY: [Need; 3] = [Need::Busybox, Need::Sandbox, Need::Registry];

pub fn trials() -> Vec<Trial> {
    vec![
        env::trial("cache::a_pipeline_is_all_hits_on_a_fresh_machine", &WITH_REGISTRY, pipeline),
        env::trial("cache::an_image_carries_its_cache", &WITH_REGISTRY, carried),
        env::trial("cache::each_image_of_an_index_carries_its_cache", &WITH_REGISTRY, carried_by_each),
        env::trial("cache::a_base_image_that_nothing_needs_is_not_pulled", &WITH_REGISTRY, lazy_bases),
        env::trial("cache::exports_add_up_and_send_only_what_is_new", &NEEDS, add_up),
        env::trial("cache::damage_costs_a_miss", &NEEDS, damage),
        env::trial("cache::signatures", &WITH_REGISTRY, signatures),
        env::trial("cache::what_cannot_be_read_or_written_is_told", &NEEDS, unreachable),
    ]
}

/// Noise, as hex: what does not pack well.
const NOISE: &str = "head -c 3000000 /dev/urandom";

/// A base system, a server on it with a stage of its own that builds it, a site on that.
fn stages(place: &Place) -> [(&'static str, String); 3] {
    place.write("site/index.html", "<h1>hello</h1>\n");
    place.write("server.c", "int main() { return 0; }\n");
    let base = "FROM scratch\nCOPY --from=host /bin/busybox /bin/busybox\n\
                RUN [\"/bin/busybox\", \"sh\", \"-c\", \"/bin/busybox --install -s /bin\"]\n\
                RUN mkdir -p /etc && echo root:x:0:0:root:/root:/bin/sh > /etc/passwd\n";
    let server = format!(
        "FROM base AS builder\nCOPY server.c /src/\nRUN --mount=type=cache,target=/count echo x >> /count/n && {NOISE} > /src/objects && \
         head -c 100 /src/objects > /src/server\nFROM base\nCOPY --from=builder /src/server /usr/sbin/server\n\
         WORKDIR /var/www\nRUN --mount=type=cache,target=/count echo x >> /count/n && {NOISE} | head -c 50 > /etc/id\n"
    );
    let site = "FROM server\nCOPY site /var/www/\nRUN cat /var/www/index.html /etc/id > /tmp-seen\n";
    [("base", base.into()), ("server", server), ("site", site.into())]
}

/// Builds the pipeline; what the builds said, and the last image's ID.
fn build_all(place: &Place, flags: &[&str]) -> Result<(String, String), Failed> {
    let mut said = String::new();
    for (name, text) in stages(place) {
        let file = format!("{name}.Dockerfile");
        place.write(&file, text);
        let fixed = ["build", "--progress", "plain", "-t", name, "-f", &file, "--build-context", "host=/"];
        let arguments = [&fixed, flags, &["--iidfile", "id", "."]].concat();
        let output = place.rbuild(&arguments).output()?;
        env::check(&arguments, &output)?;
        said += &String::from_utf8_lossy(&output.stderr);
    }
    Ok((said, std::fs::read_to_string(place.work().join("id"))?))
}

/// Bytes that the builds read of their caches.
fn bytes_read(said: &str) -> u64 {
    let read = |line: &str| line.split_once("; ")?.1.split_once(" bytes in ")?.0.parse::<u64>().ok();
    said.lines().filter_map(read).sum()
}

fn pipeline() -> Result<(), Failed> {
    let place = Place::new();
    let registry = Registry::start(&place, "}")?;
    let cache = format!("{}/team/pipeline:cache", registry.name);
    let (said, first) = build_all(&place, &["--cache-to", &format!("type=registry,ref={cache},mode=max")])?;
    same("steps that ran", said.matches(" DONE ").count(), 10)?;
    // All is there: nothing is sent.
    let (said, _) = build_all(&place, &["--cache-to", &format!("type=registry,ref={cache},mode=max")])?;
    same("blobs sent again", said.matches("0 blobs sent, 0 bytes").count(), 3)?;

    let fresh = Place::new();
    fresh.write("base.Dockerfile", stages(&fresh)[0].1.clone());
    let fixed = ["plan", "--fail-on-miss", "-f", "base.Dockerfile", "--build-context", "host=/"];
    fresh.ok(&[&fixed[..], &["--cache-from", &cache, "."]].concat())?;
    fresh.fails(1, &[&fixed[..], &["."]].concat())?;
    let (said, second) = build_all(&fresh, &["--cache-from", &cache])?;
    same("image IDs", &second, &first)?;
    same("hits", said.matches(&format!(" CACHED (from {cache})")).count(), 10)?;
    same("steps that ran", said.matches(" DONE ").count(), 0)?;
    same("cache mounts, of which a RUN makes one", fresh.ok(&["cache", "ls"])?.lines().count(), 1)?;
    let read = bytes_read(&said);
    if read == 0 || read > 2_000_000 {
        return Err(format!("{read} bytes were read, which is not what the result needs").into());
    }
    fresh.ok(&["fsck"])?;
    same("the page", fresh.ok(&["run", "site", "head", "-n", "1", "/tmp-seen"])?.as_str(), "<h1>hello</h1>\n")?;
    // What came from the cache is in the store now, but for stages that nothing needs.
    fresh.write("Dockerfile", "FROM server\nCOPY site /var/www/\nRUN cat /var/www/index.html /etc/id > /tmp-seen\n");
    let output = fresh.rbuild(&["build", "--progress", "plain", "."]).output()?;
    same("hits without the cache", String::from_utf8_lossy(&output.stderr).matches(" CACHED\n").count(), 3)?;
    // A push to where the cache lies finds the layers there.
    let pushed = fresh.ok(&["push", "--compression", "zstd", "site", &format!("{}/team/pipeline:1", registry.name)])?;
    contains(&pushed, "(1 blobs sent, ")?;

    // A step that changed runs, on layers that are fetched for it.
    let changed = Place::new();
    stages(&changed);
    let text = stages(&changed)[1].1.replace("head -c 100", "head -c 99");
    for (name, text) in [("base", stages(&changed)[0].1.clone()), ("server", text)] {
        changed.write("Dockerfile", text);
        let arguments =
            ["build", "--progress", "plain", "-t", name, "--build-context", "host=/", "--cache-from", &cache, "."];
        let output = changed.rbuild(&arguments).output()?;
        env::check(&arguments, &output)?;
        if name == "server" {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            same("steps that ran", said.matches(" DONE ").count(), 3)?;
        }
    }
    changed.ok(&["fsck"]).map(drop)
}

fn carried() -> Result<(), Failed> {
    let place = Place::new();
    let registry = Registry::start(&place, "}")?;
    let name = format!("{}/team/app:1", registry.name);
    let text = format!(
        "FROM scratch\nCOPY --from=host /bin/busybox /bin/sh\nRUN /bin/sh --help; {}\nLABEL a=b\n",
        "echo x > /x"
    );
    place.write("Dockerfile", &text);
    let fixed = ["build", "-q", "--build-context", "host=/", "-t", &name];
    let plain = place.ok(&[&fixed[..], &["."]].concat())?;
    let id = place.ok(&[&fixed[..], &["--push", "--cache-to", "type=inline", "."]].concat())?;
    same("image IDs with and without a cache", &id, &plain)?;
    let fresh = Place::new();
    fresh.write("Dockerfile", &text);
    let arguments = ["build", "--progress", "plain", "--build-context", "host=/", "--cache-from", &name, "."];
    let output = fresh.rbuild(&arguments).output()?;
    env::check(&arguments, &output)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    same("hits", said.matches(&format!("CACHED (from {name})")).count(), 2)?;
    contains(&said, id.trim())
}

/// An image for several platforms: each of its manifests carries its own records, and a build reads those it is for.
fn carried_by_each() -> Result<(), Failed> {
    let place = Place::new();
    let registry = Registry::start(&place, "}")?;
    let name = format!("{}/team/app:1", registry.name);
    let text = "FROM scratch\nARG TARGETARCH\nCOPY all /all\nCOPY $TARGETARCH /own\n";
    let build = |at: &Place, platforms: &str, more: &[&str]| {
        at.write("Dockerfile", text);
        for file in ["all", "amd64", "arm64"] {
            at.write(file, file);
        }
        let arguments = [&["build", "--progress", "plain", "--platform", platforms], more, &["."]].concat();
        let output = at.rbuild(&arguments).output()?;
        env::check(&arguments, &output)?;
        Ok::<_, Failed>(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let both = "linux/amd64,linux/arm64";
    build(&place, both, &["-t", &name, "--push", "--cache-to", "type=inline"])?;
    for (platforms, hits) in [("linux/amd64", 2), ("linux/arm64", 2), (both, 3)] {
        let said = build(&Place::new(), platforms, &["--cache-from", &name])?;
        same(platforms, said.matches(&format!("CACHED (from {name})")).count(), hits)?;
        same(platforms, said.contains(" DONE "), false)?;
    }
    let said = build(&Place::new(), "linux/riscv64", &["--cache-from", &name, "--build-arg", "TARGETARCH=amd64"])?;
    contains(&said, &format!("cache {name} is used as far as it is sound"))?;
    contains(&said, "linux/riscv64")
}

/// A base image in a registry whose layers only a stage needs that is all hits.
fn lazy_bases() -> Result<(), Failed> {
    let place = Place::new();
    let registry = Registry::start(&place, "}")?;
    let (base, cache) = (format!("{}/team/base:1", registry.name), format!("{}/team/app:cache", registry.name));
    let install = "COPY --from=host /bin/busybox /bin/busybox\nRUN [\"/bin/busybox\", \"sh\", \"-c\", \"/bin/busybox --install -s /bin\"]\n";
    place.write("Dockerfile", format!("FROM scratch\n{install}RUN {NOISE} > /noise\n"));
    place.ok(&["build", "-q", "-t", &base, "--push", "--build-context", "host=/", "."])?;
    let text = format!(
        "FROM {base} AS builder\nRUN echo made > /made\nCOPY a /a\n\
         FROM scratch\nCOPY --from=builder /made /a /\n"
    );
    let build = |at: &Place, text: &str, more: &[&str]| {
        at.write("Dockerfile", text);
        at.write("a", "a");
        let arguments = [&["build", "--progress", "plain", "--pull", "missing"], more, &["."]].concat();
        let output = at.rbuild(&arguments).output()?;
        env::check(&arguments, &output)?;
        Ok::<_, Failed>(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let layers = |at: &Place| std::fs::read_dir(at.store().join("layers")).map_or(0, Iterator::count);
    build(&place, &text, &["--cache-to", &format!("type=registry,ref={cache},mode=max")])?;
    let fresh = Place::new();
    let said = build(&fresh, &text, &["--cache-from", &cache])?;
    same("hits", said.matches(" CACHED (from").count(), 3)?;
    same("layers in the store", layers(&fresh), 1)?;
    same("images of the store, with the head", fresh.ok(&["images"])?.lines().count(), 2)?;
    fresh.ok(&["fsck"])?;
    // A step that runs needs the base: it is fetched then, and named.
    let other = text.replace("echo made", "echo else");
    let said = build(&fresh, &other, &["--cache-from", &cache])?;
    same("steps that ran", said.matches(" DONE ").count(), 2)?;
    same("layers in the store", layers(&fresh) >= 4, true)?;
    contains(&fresh.ok(&["images"])?, "team/base")?;
    fresh.ok(&["fsck"])?;
    // And so it is for a result that stands on it.
    let fresh = Place::new();
    build(&fresh, &text.replace("FROM scratch", &format!("FROM {base}")), &["-t", "x", "--cache-from", &cache])?;
    contains(&fresh.ok(&["images"])?, "team/base")?;
    same("output", fresh.ok(&["run", "x", "cat", "/made"])?.as_str(), "made\n")?;
    // A registry that has gone is told when a layer is needed that only it has.
    let fresh = Place::new();
    let dir = format!("type=local,dest={}", place.path().join("copy").display());
    build(&place, &text, &["--cache-to", &format!("{dir},mode=max")])?;
    fresh.write("Dockerfile", &text);
    fresh.write("a", "a");
    drop(registry);
    let from = dir.replace("dest", "src");
    let failed = fresh.fails(7, &["build", "-q", "--pull", "missing", "--cache-from", &from, "."])?;
    contains(&failed, "could not be pulled")
}

/// A cache in a directory, and the builds of two machines that write it.
fn add_up() -> Result<(), Failed> {
    let place = Place::new();
    place.busybox()?;
    let dir = place.path().join("cache").display().to_string();
    let build = |at: &Place, word: &str, flag: &str, value: &str| {
        at.write("Dockerfile", format!("FROM busybox\nRUN echo {word} > /word\nRUN echo again > /again\n"));
        let arguments = ["build", "--progress", "json", flag, value, "."];
        let output = at.rbuild(&arguments).output()?;
        env::check(&arguments, &output)?;
        Ok::<_, Failed>(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let to = format!("type=local,dest={dir}");
    contains(&build(&place, "one", "--cache-to", &to)?, "2 steps, 2 new; ")?;
    let other = Place::new();
    other.busybox()?;
    contains(&build(&other, "two", "--cache-to", &to)?, "4 steps, 2 new; ")?;
    contains(&build(&other, "two", "--cache-to", &to)?, "4 steps, 0 new; 0 blobs sent, 0 bytes")?;
    for word in ["one", "two"] {
        let fresh = Place::new();
        fresh.busybox()?;
        let said = build(&fresh, word, "--cache-from", &format!("type=local,src={dir}"))?;
        same("events of hits", said.matches(&format!("\"from\":\"{dir}\"")).count(), 2)?;
    }
    Ok(())
}

/// Blobs of a cache in a directory whose bytes begin so.
fn harm(dir: &Path, magic: &[u8], change: impl Fn(&mut Vec<u8>)) -> Result<usize, Failed> {
    let mut harmed = 0;
    for entry in std::fs::read_dir(dir.join("blobs/sha256"))? {
        let path = entry?.path();
        let mut bytes = std::fs::read(&path)?;
        if bytes.starts_with(magic) {
            change(&mut bytes);
            std::fs::write(&path, bytes)?;
            harmed += 1;
        }
    }
    Ok(harmed)
}

fn damage() -> Result<(), Failed> {
    let place = Place::new();
    place.busybox()?;
    let text = "FROM busybox AS made\nRUN echo made > /made\nFROM busybox\nCOPY --from=made /made /copy\nRUN cat /copy > /out\n\
                CMD [\"cat\", \"/out\"]\n";
    place.write("Dockerfile", text);
    let dir = place.path().join("cache");
    let to = format!("type=local,dest={},mode=max", dir.display());
    place.ok(&["build", "-q", "--cache-to", &to, "."])?;
    let zstd = [0x28, 0xb5, 0x2f, 0xfd];
    // Lists and layers alike; then all that is JSON, too.
    let cut = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2);
    let flip = |bytes: &mut Vec<u8>| {
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
    };
    let from = format!("type=local,src={}", dir.display());
    let rebuild = |what: &str, told: &str| {
        let fresh = Place::new();
        fresh.busybox()?;
        fresh.write("Dockerfile", text);
        let arguments = ["build", "-t", "x", "--progress", "plain", "--cache-from", &from, "."];
        let output = fresh.rbuild(&arguments).output()?;
        env::check(&arguments, &output)?;
        contains(&String::from_utf8_lossy(&output.stderr), told)?;
        same(what, fresh.ok(&["run", "x"])?.as_str(), "made\n")?;
        fresh.ok(&["fsck"]).map(drop)
    };
    rebuild("a sound cache", "CACHED (from")?;
    let blobs = dir.join("blobs/sha256");
    let whole: Vec<_> = std::fs::read_dir(&blobs)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    let whole: Vec<_> =
        whole.into_iter().map(|path| Ok((std::fs::read(&path)?, path))).collect::<Result<_, Failed>>()?;
    let restore = || whole.iter().try_for_each(|(bytes, path)| std::fs::write(path, bytes));
    // The layers alone: they are the blobs that hold a tar. Without them the lists are still sound.
    let is_list = |bytes: &[u8]| whole.iter().any(|(b, _)| b.starts_with(b"{") && contains_digest(b, bytes));
    for change in [&cut as &dyn Fn(&mut Vec<u8>), &flip] {
        harm(&dir, &zstd, |bytes| {
            if !is_list(bytes) {
                change(bytes)
            }
        })?;
        rebuild("damaged layers", "is used as far as it is sound")?;
        restore()?;
        same("harmed", harm(&dir, &zstd, change)? > 1, true)?;
        rebuild("damaged lists", "is used as far as it is sound")?;
        restore()?;
    }
    harm(&dir, b"{", cut)?;
    rebuild("a damaged manifest", "is used as far as it is sound")?;
    restore()?;
    for (_, path) in &whole {
        std::fs::remove_file(path)?;
    }
    rebuild("a cache without blobs", "is used as far as it is sound")
}

/// Whether a manifest lists a blob as a list of records.
fn contains_digest(manifest: &[u8], blob: &[u8]) -> bool {
    let Ok(manifest) = serde_json::from_slice::<serde_json::Value>(manifest) else { return false };
    let lists = manifest["layers"].as_array().into_iter().flatten();
    let mut lists = lists.filter(|d| d["mediaType"].as_str().is_some_and(|kind| kind.contains("records")));
    lists.any(|d| d["size"].as_u64() == Some(blob.len() as u64))
}

fn signatures() -> Result<(), Failed> {
    let place = Place::new();
    place.busybox()?;
    let script = "for n in mine theirs; do openssl genpkey -algorithm ed25519 -out $n.pem; done && \
                  openssl pkey -in mine.pem -pubout -out mine.pub";
    env::check(&["openssl"], &place.command("/bin/sh").args(["-c", script]).output()?)?;
    place.write("Dockerfile", "FROM busybox\nRUN echo made > /made\n");
    let key = |name: &str| place.work().join(name).display().to_string();
    let dir = |name: &str| place.path().join(name).display().to_string();
    for (cache, key_file) in [("signed", Some("mine.pem")), ("unsigned", None), ("forged", Some("theirs.pem"))] {
        let to = format!("type=local,dest={}", dir(cache));
        let mut arguments = vec!["build", "-q", "--cache-to", &to];
        let key_file = key_file.map(key);
        if let Some(file) = &key_file {
            arguments.extend(["--cache-key", file]);
        }
        place.ok(&[&arguments[..], &["."]].concat())?;
    }
    let (public, private) = (key("mine.pub"), key("mine.pem"));
    for (cache, key_file, hits) in
        [("signed", &public, 1), ("signed", &private, 1), ("unsigned", &public, 0), ("forged", &public, 0)]
    {
        let fresh = Place::new();
        fresh.busybox()?;
        fresh.write("Dockerfile", "FROM busybox\nRUN echo made > /made\n");
        let from = format!("type=local,src={}", dir(cache));
        let arguments = ["build", "--progress", "plain", "--cache-from", &from, "--cache-key", key_file, "."];
        let output = fresh.rbuild(&arguments).output()?;
        env::check(&arguments, &output)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        same(cache, said.matches("CACHED (from").count(), hits)?;
        same(cache, said.contains("1 list not signed by a key of --cache-key, not used"), hits == 0)?;
    }
    let to = format!("type=local,dest={}", dir("signed"));
    let refused = place.fails(2, &["build", "-q", "--cache-to", &to, "--cache-key", &public, "."])?;
    contains(&refused, "no --cache-key is a private key")?;
    let dockerfile = key("Dockerfile");
    let refused = place
        .fails(2, &["build", "-q", "--cache-from", &to.replace("dest", "src"), "--cache-key", &dockerfile, "."])?;
    contains(&refused, "it is no Ed25519 key in PEM")
}

fn unreachable() -> Result<(), Failed> {
    let place = Place::new();
    place.busybox()?;
    place.write("Dockerfile", "FROM busybox\nRUN echo made > /made\n");
    place.write("file", "in the way");
    let nobody = "localhost:1/app:cache";
    let in_the_way = format!("type=local,dest={}", place.work().join("file/cache").display());
    // A cache that is not to be had is no reason to fail, one that is to be written is.
    let output = place.rbuild(&["build", "--progress", "plain", "--cache-from", nobody, "."]).output()?;
    env::check(&["build"], &output)?;
    contains(&String::from_utf8_lossy(&output.stderr), "cannot reach localhost")?;
    contains(&place.fails(7, &["build", "-q", "--cache-to", nobody, "."])?, "cannot reach localhost")?;
    contains(&place.fails(1, &["build", "-q", "--cache-to", &in_the_way, "."])?, "file/cache")?;
    for to in [format!("type=registry,ref={nobody},ignore-error=true"), format!("{in_the_way},ignore-error=true")] {
        let output = place.rbuild(&["build", "--progress", "plain", "--cache-to", &to, "."]).output()?;
        env::check(&["build"], &output)?;
        contains(&String::from_utf8_lossy(&output.stderr), "was not written")?;
    }
    let absent = format!("type=local,src={}", place.work().join("none").display());
    let output =
        place.rbuild(&["build", "--progress", "plain", "--no-cache", "--cache-from", &absent, "."]).output()?;
    same("a cache with --no-cache", String::from_utf8_lossy(&output.stderr).contains("no cache is at"), false)?;
    let fresh = Place::new();
    fresh.busybox()?;
    fresh.write("Dockerfile", "FROM busybox\nRUN echo made > /made\n");
    let output = fresh.rbuild(&["build", "--progress", "plain", "--cache-from", &absent, "."]).output()?;
    env::check(&["build"], &output)?;
    contains(&String::from_utf8_lossy(&output.stderr), "no cache is at")
}
