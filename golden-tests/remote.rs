//! ADD from the network, against servers of this process and a git daemon.

use crate::env::{Need, Place, check, contains, project, same, trial};
use crate::server::{Page, Server};
use libtest_mimic::{Failed, Trial};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// All tests of the network.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("remote/files-and-their-names", &[], files),
        trial("remote/unchanged-files-are-not-fetched-again", &[], revalidation),
        trial("remote/checksums", &[], checksums),
        trial("remote/redirects-and-credentials", &[], redirects),
        trial("remote/certificates", &[], certificates),
        trial("remote/proxies", &[], proxies),
        trial("remote/names-need-no-modules", &[Need::Ids], names),
        trial("remote/contexts-from-http-and-standard-input", &[], contexts),
        trial("remote/contexts-from-git", &[Need::Git], git_contexts),
        trial("remote/git", &[Need::Git], git),
        trial("remote/git-over-plain-http", &[Need::Git], git_without_a_daemon),
    ]
}

/// sha256 of `hello`.
const HELLO: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
const TIME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

fn build(place: &Place, dockerfile: &str) -> Result<String, Failed> {
    place.write("Dockerfile", format!("FROM scratch\n{dockerfile}\n"));
    place.ok(&["build", "-q", "-t", "x", "."])
}

fn refused(place: &Place, code: i32, dockerfile: &str) -> Result<String, Failed> {
    place.write("Dockerfile", format!("FROM scratch\n{dockerfile}\n"));
    place.fails(code, &["build", "-t", "x", "."])
}

/// Mode, size, time and name of everything in the image.
fn listing(place: &Place) -> Result<Vec<String>, Failed> {
    let tar = place.rbuild(&["export", "x"]).output()?;
    check(&["export"], &tar)?;
    let mut archive = tar::Archive::new(tar.stdout.as_slice());
    let mut lines = Vec::new();
    for entry in archive.entries()? {
        let entry = entry?;
        let header = entry.header();
        let (mode, size, time) = (header.mode()?, header.size()?, header.mtime()?);
        lines.push(format!("{mode:o} {size} {time} {}", entry.path()?.display()));
    }
    Ok(lines)
}

fn named<'l>(listing: &'l [String], name: &str) -> Option<&'l str> {
    listing.iter().find(|line| line.ends_with(&format!(" {name}"))).map(String::as_str)
}

fn archive() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(3);
    header.set_mode(0o640);
    header.set_mtime(7);
    header.set_cksum();
    builder.append_data(&mut header, "in/side", &b"abc"[..]).expect("write to memory");
    builder.into_inner().expect("write to memory")
}

fn files() -> Result<(), Failed> {
    let (place, server) = (Place::new(), Server::plain());
    let modified = vec![("Last-Modified", TIME.to_owned())];
    server.put("/dir/hello.txt", Page { body: b"hello".into(), headers: modified, ..Page::default() });
    server.file("/", b"no name");
    server.file("/odd%20%5Bname%5D*?q=1", b"odd");
    server.file("/a.tar", &archive());
    let base = &server.base;
    build(
        &place,
        &format!(
            "ADD {base}/dir/hello.txt {base}/ /into/\nADD {base}/dir/hello.txt /as\n\
             ADD --chmod=755 --chown=5:6 {base}/dir/hello.txt /run/\nADD [\"{base}/odd%20%5Bname%5D*?q=1\", \"/odd/\"]\n\
             ADD {base}/a.tar /kept/\nADD --unpack {base}/a.tar /unpacked"
        ),
    )?;
    let all = listing(&place)?;
    for expected in [
        "600 5 784111777 into/hello.txt",
        "600 7 0 into/__unnamed__",
        "600 5 784111777 as",
        "755 5 784111777 run/hello.txt",
        "600 3 0 odd/odd [name]*",
        "640 3 7 unpacked/in/side",
    ] {
        same("listed", all.iter().any(|line| line == expected), true).map_err(|_| format!("{expected} in {all:#?}"))?;
    }
    same("an archive is kept as it is", named(&all, "kept/a.tar").is_some(), true)?;
    let text = refused(&place, 4, &format!("ADD {base}/nothing /x"))?;
    contains(&text, "error[remote-not-found]")?;
    contains(&text, "404 (not found)")?;
    let text = refused(&place, 7, "ADD http://127.0.0.1:1/x /x")?;
    contains(&text, "error[remote-failed]")?;
    contains(&refused(&place, 3, "COPY http://127.0.0.1:1/x /x")?, "error[copy-remote]")
}

fn revalidation() -> Result<(), Failed> {
    let (place, server) = (Place::new(), Server::plain());
    let page = |body: &str, name: &'static str, value: &str| Page {
        body: body.into(),
        headers: vec![(name, value.to_owned())],
        ..Page::default()
    };
    server.put("/tag", page("one", "ETag", "\"1\""));
    server.put("/time", page("one", "Last-Modified", TIME));
    server.file("/none", b"one");
    let dockerfile = format!("ADD {b}/tag {b}/time {b}/none /", b = server.base);
    let sorted = || {
        let mut asked = server.asked();
        asked.sort();
        asked.join(", ")
    };
    let first = build(&place, &dockerfile)?;
    same("first", sorted().as_str(), "/none 200, /tag 200, /time 200")?;
    same("the same image", build(&place, &dockerfile)?, first.clone())?;
    same("again", sorted().as_str(), "/none 200, /tag 304, /time 304")?;
    let again = place.ok(&["build", "--no-cache", "-q", "-t", "x", "."])?;
    same("everything anew", (sorted().as_str(), again), ("/none 200, /tag 200, /time 200", first.clone()))?;
    server.put("/tag", page("two", "ETag", "\"2\""));
    same("another image", build(&place, &dockerfile)? == first, false)?;
    same("after a change", sorted().as_str(), "/none 200, /tag 200, /time 304")?;
    place.ok(&["fsck"]).map(drop)
}

fn checksums() -> Result<(), Failed> {
    let (place, server) = (Place::new(), Server::plain());
    server.file("/hello", b"hello");
    let add = |sum: &str| format!("ADD --checksum={sum} {}/hello /", server.base);
    build(&place, &add(HELLO))?;
    same("fetched", server.asked(), vec!["/hello 200".to_owned()])?;
    server.file("/hello", b"other");
    build(&place, &add(HELLO))?;
    same("nobody is asked for what is there", server.asked(), Vec::<String>::new())?;
    let text = refused(&place, 1, &add(&HELLO.replace("2cf2", "0000")))?;
    contains(&text, "error[checksum-mismatch]")?;
    let plan = place.ok(&["plan", "."]).map(drop);
    plan.or_else(|_| place.fails(1, &["plan", "."]).map(drop))
}

fn redirects() -> Result<(), Failed> {
    let (place, server, other) = (Place::new(), Server::plain(), Server::plain());
    let to = |target: &str| Page { status: 302, headers: vec![("Location", target.to_owned())], ..Page::default() };
    server.put("/go", to("/near"));
    server.put("/near", to(&format!("{}/far", other.base)));
    server.put("/private", Page { body: b"p".into(), authorization: Some("Bearer token"), ..Page::default() });
    server.put("/loop", to("/loop"));
    server.put("/file", to("file:///etc/passwd"));
    other.file("/far", b"hello");
    let base = &server.base;
    let with_user = base.replace("http://", "http://me:word@");
    build(&place, &format!("ADD {with_user}/go /"))?;
    same("asked", server.asked().join(", ").as_str(), "/go 302 with credentials, /near 302 with credentials")?;
    same("the other", other.asked(), vec!["/far 200".to_owned()])?;
    same("the name is that of the address", named(&listing(&place)?, "go").is_some(), true)?;
    contains(&refused(&place, 7, &format!("ADD {base}/loop /x"))?, "more than 10 redirects")?;
    contains(&refused(&place, 7, &format!("ADD {base}/file /x"))?, "redirects to 'file:///etc/passwd'")?;
    contains(&refused(&place, 7, &format!("ADD {base}/private /x"))?, "401 (unauthorized)")?;
    place.write("token", "token\n");
    let secret = "id=HTTP_AUTH_TOKEN_127.0.0.1,src=token";
    place.ok(&["build", "-q", "-t", "x", "--secret", secret, "."]).map(drop)
}

fn certificates() -> Result<(), Failed> {
    let (place, server) = (Place::new(), Server::tls());
    server.file("/hello", b"hello");
    server.put(
        "/down",
        Page { status: 301, headers: vec![("Location", "http://127.0.0.1:1/x".into())], ..Page::default() },
    );
    contains(&refused(&place, 7, &format!("ADD {}/hello /", server.base))?, "certificate")?;
    let roots = project().join("golden-tests/tls/ca.pem");
    let trusting = |dockerfile: String| {
        place.write("Dockerfile", format!("FROM scratch\n{dockerfile}\n"));
        place.rbuild(&["build", "-q", "-t", "x", "."]).env("SSL_CERT_FILE", &roots).output()
    };
    check(&["build over TLS"], &trusting(format!("ADD {}/hello /", server.base))?)?;
    let down = trusting(format!("ADD {}/down /x", server.base))?;
    contains(&String::from_utf8_lossy(&down.stderr), "from https to http")
}

fn proxies() -> Result<(), Failed> {
    let (place, proxy) = (Place::new(), Server::plain());
    proxy.file("http://far.example/hello", b"hello");
    let evil = vec![("Location", "http://169.254.169.254/latest/meta-data".to_owned())];
    proxy.put("http://far.example/evil", Page { status: 302, headers: evil, ..Page::default() });
    let run = |path: &str| {
        place.write("Dockerfile", format!("FROM scratch\nADD http://far.example/{path} /\n"));
        place.rbuild(&["build", "-q", "-t", "x", "."]).env("http_proxy", &proxy.base).output()
    };
    check(&["build through a proxy"], &run("hello")?)?;
    same("asked", proxy.asked(), vec!["http://far.example/hello 200".to_owned()])?;
    let text = String::from_utf8_lossy(&run("evil")?.stderr).into_owned();
    contains(&text, "a redirect may not lead to this machine or its link")?;
    same("asked", proxy.asked(), vec!["http://far.example/evil 302".to_owned()])
}

/// An archive of files.
fn tar_of(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_uid(77);
        header.set_cksum();
        builder.append_data(&mut header, name, text.as_bytes()).expect("write to memory");
    }
    builder.into_inner().expect("write to memory")
}

fn contexts() -> Result<(), Failed> {
    let (place, server) = (Place::new(), Server::plain());
    let base = &server.base;
    let files = [("Dockerfile", "FROM scratch\nCOPY . /\n"), (".dockerignore", "*.log"), ("a", "1"), ("b.log", "2")];
    server.file("/ctx.tar", &tar_of(&files));
    server.file("/Dockerfile", b"FROM scratch\nADD ctx.tar /\n");
    server.file("/lib.tar", &tar_of(&[("include/h", "3"), ("Dockerfile", "x")]));
    let names = |listing: Vec<String>| -> Vec<String> {
        listing.iter().filter_map(|line| line.rsplit(' ').next()).map(str::to_owned).collect()
    };
    let from_tar = [".dockerignore", "Dockerfile", "a"].map(str::to_owned);
    place.ok(&["build", "-q", "-t", "x", &format!("{base}/ctx.tar")])?;
    same("from an archive", names(listing(&place)?), from_tar.to_vec())?;
    let mut piped =
        place.rbuild(&["build", "-q", "-t", "x", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    std::io::Write::write_all(&mut piped.stdin.take().ok_or("a pipe")?, &tar_of(&files))?;
    same("from standard input", piped.wait()?.success(), true)?;
    same("from standard input", names(listing(&place)?), from_tar.to_vec())?;
    // A file that is no archive is the Dockerfile, and there is no context.
    contains(&place.fails(4, &["build", &format!("{base}/Dockerfile")])?, "no build context")?;
    contains(&place.fails(4, &["build", &format!("{base}/nothing")])?, "404 (not found)")?;
    contains(&place.fails(2, &["graph", &format!("{base}/ctx.tar")])?, "is an address")?;
    // A context that is not the user's own leads nowhere outside.
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "Dockerfile", "/etc/hostname")?;
    server.file("/evil.tar", &builder.into_inner()?);
    contains(&place.fails(4, &["build", &format!("{base}/evil.tar")])?, "there is no Dockerfile")?;
    // Named contexts.
    place.write("Dockerfile", "FROM scratch\nCOPY --from=lib include /i/\nFROM lib\nCOPY --from=0 /i /i\n");
    place.ok(&["build", "-q", "-t", "x", "--build-context", &format!("lib={base}/lib.tar"), "."])?;
    same(
        "a named context",
        names(listing(&place)?),
        ["Dockerfile", "i/", "i/h", "include/", "include/h"].map(str::to_owned).to_vec(),
    )
}

fn git_contexts() -> Result<(), Failed> {
    let place = Place::new();
    repositories(&place, "file:///etc")?;
    script(
        &place,
        "cd git/x; printf 'FROM scratch\nCOPY . /\n' > d/Dockerfile; git add .; git commit -qm file; git tag built",
    )?;
    // A repository here is a source if the user names it; its submodules come from the network alone.
    contains(&place.fails(7, &["build", "./git/x.git#main"])?, "a submodule: transport 'file' not allowed")?;
    place.ok(&["build", "-q", "-t", "x", "./git/x#built:d"])?;
    let all = listing(&place)?;
    same("listed", all.len(), 2).map_err(|_| format!("{all:#?}"))?;
    same("listed", named(&all, "run"), Some("755 2 981173106 run"))?;
    place.write("Dockerfile", "FROM scratch\nCOPY --from=src a /\n");
    place.ok(&["build", "-q", "-t", "x", "--build-context", "src=./git/x#v1", "-f", "Dockerfile", "git"])?;
    same("a named context", named(&listing(&place)?, "a").is_some(), true)
}

/// Where the machine looks names up by a module alone, as with mDNS or a directory service, a static program must not load
/// that: names are looked up in /etc/hosts and DNS.
fn names() -> Result<(), Failed> {
    let (place, server) = (Place::new(), Server::plain());
    server.file("/hello", b"hello");
    let base = server.base.replace("127.0.0.1", "localhost");
    place.write("Dockerfile", format!("FROM scratch\nADD {base}/hello /\n"));
    place.write("nsswitch.conf", "hosts: nosuchmodule\n");
    let script = "mount --bind nsswitch.conf /etc/nsswitch.conf && exec \"$0\" build -q -t x .";
    let mut command = place.command("unshare");
    if !crate::env::is_root() {
        command.args(["--map-auto", "--map-root-user"]);
    }
    let output = command.args(["-m", "sh", "-c", script, crate::env::RBUILD.as_str()]).output()?;
    check(&["build with a strange nsswitch.conf"], &output)?;
    same("asked", server.asked(), vec!["/hello 200".to_owned()])
}

/// Runs a script in which `git` has a name and makes the same commits every time.
pub fn script(place: &Place, text: &str) -> Result<(), Failed> {
    let mut command = place.command("/bin/sh");
    command.args(["-ec", text]).env("GIT_CONFIG_GLOBAL", "/dev/null");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "T").env(format!("GIT_{role}_EMAIL"), "t@example.org");
        command.env(format!("GIT_{role}_DATE"), "2001-02-03T04:05:06Z");
    }
    check(&["git script"], &command.output()?)
}

/// Two repositories: `sub`, and `x` with a tag `v1`, a branch `side` and, where `module` is an address, a submodule.
pub fn repositories(place: &Place, module: &str) -> Result<(), Failed> {
    script(
        place,
        &format!(
            "mkdir git; cd git; git init -q -b main sub; cd sub; echo s > s; git add .; git commit -qm s; cd ..
            git init -q -b main x; cd x; mkdir d; echo 1 > a; echo 2 > d/run; chmod 777 d/run; ln -s a l
            git add .; git commit -qm one; git tag -am v1 v1; git branch side
            echo 2 > a; git add .; git commit -qm two
            printf '[submodule \"sm\"]\\n\\tpath = sm\\n\\turl = {module}\\n' > .gitmodules
            git update-index --add --cacheinfo 160000,$(git -C ../sub rev-parse HEAD),sm
            git add .gitmodules; git commit -qm three
            cd ..; for r in sub x; do git clone -q --bare $r $r.git; git -C $r.git update-server-info; done"
        ),
    )
}

/// A git daemon, killed when it is dropped.
pub struct Daemon(Child, pub String);

impl Daemon {
    /// Serves the repositories below a directory.
    pub fn start(dir: &Path, port: u16) -> Result<Daemon, Failed> {
        let child = Command::new("git")
            .args(["daemon", "--export-all", "--reuseaddr", "--listen=127.0.0.1"])
            .args([format!("--port={port}"), format!("--base-path={}", dir.display())])
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "safe.directory")
            .env("GIT_CONFIG_VALUE_0", "*")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let daemon = Daemon(child, format!("git://127.0.0.1:{port}"));
        let begin = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if begin.elapsed() > Duration::from_secs(20) {
                return Err("the git daemon does not answer".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(daemon)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It forks: the parent passes a termination on, a kill it could not.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.0.id() as i32), nix::sys::signal::SIGTERM);
        let _ = self.0.wait();
    }
}

pub fn free_port() -> Result<u16, Failed> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn git() -> Result<(), Failed> {
    let (place, port) = (Place::new(), free_port()?);
    repositories(&place, &format!("git://127.0.0.1:{port}/sub.git"))?;
    let daemon = Daemon::start(&place.work().join("git"), port)?;
    let base = daemon.1.clone();
    place.write(".dockerignore", "git\n");
    let first = build(
        &place,
        &format!(
            "ADD {base}/x.git /all\nADD {base}/x.git#v1 /tagged/\nADD {base}/x.git#side:d /sub\n\
             ADD {base}/x.git?branch=main&submodules=false /plain\nADD --keep-git-dir {base}/x.git#v1 /kept"
        ),
    )?;
    let all = listing(&place)?;
    for expected in [
        "644 2 981173106 all/a",
        "644 2 981173106 all/sm/s",
        "755 2 981173106 all/d/run",
        "777 0 981173106 all/l",
        "755 2 981173106 sub/run",
        "644 2 981173106 tagged/a",
        "755 0 981173106 plain/sm/",
    ] {
        same("listed", all.iter().any(|line| line == expected), true).map_err(|_| format!("{expected} in {all:#?}"))?;
    }
    for absent in ["all/.git/", "all/sm/.git", "sub/a", "tagged/sm/", "plain/sm/s"] {
        same(absent, named(&all, absent), None)?;
    }
    same("kept", named(&all, "kept/.git/HEAD").is_some(), true)?;
    // A new commit moves the branch, and the tag stays.
    script(&place, "cd git/x; echo 9 > a; git commit -qam four; git push -q ../x.git main")?;
    same("another image", place.ok(&["build", "-q", "-t", "x", "."])? == first, false)?;
    let id = script_output(&place, "git -C git/x rev-parse v1^{commit}")?;
    let text = refused(&place, 1, &format!("ADD --checksum={} {base}/x.git#main /x", &id[..12]))?;
    contains(&text, "error[checksum-mismatch]")?;
    build(&place, &format!("ADD --checksum={} {base}/x.git#v1 /x", &id[..12]))?;
    drop(daemon);
    let pinned = format!("ADD {base}/x.git#{id} /x");
    contains(&refused(&place, 7, &pinned.replace(&id, "main"))?, "error[remote-failed]")?;
    build(&place, &pinned).map(drop)?;
    // Local paths and other protocols are no sources, also not by way of a reference.
    contains(&refused(&place, 3, "ADD https://h/x.git#--upload-pack=touch /x")?, "error[invalid-remote]")?;
    contains(&refused(&place, 4, "ADD file:///etc/passwd /x")?, "error[")
}

pub fn script_output(place: &Place, text: &str) -> Result<String, Failed> {
    let output = place.command("/bin/sh").args(["-ec", text]).output()?;
    check(&["git"], &output)?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Over a server that only has files git can neither fetch a commit alone nor without its history.
fn git_without_a_daemon() -> Result<(), Failed> {
    let (place, server) = (Place::new(), Server::plain());
    repositories(&place, "file:///etc")?;
    let files = script_output(&place, "cd git && find x.git -type f")?;
    for file in files.lines() {
        let body = std::fs::read(place.work().join("git").join(file))?;
        server.file(&format!("/{file}"), &body);
        // git asks for the list of references in this way.
        server.file(&format!("/{file}?service=git-upload-pack"), &body);
    }
    place.write(".dockerignore", "git\n");
    build(&place, &format!("ADD {}/x.git#v1 /x", server.base))?;
    same("listed", named(&listing(&place)?, "x/a"), Some("644 2 981173106 x/a"))?;
    let text = refused(&place, 7, &format!("ADD {}/x.git /x", server.base))?;
    contains(&text, "a submodule: transport 'file' not allowed")
}
