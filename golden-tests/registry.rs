//! Pull, push, login and FROM against Debian's docker-registry, in plain HTTP and with TLS and passwords.

mod proxy;
mod token;

use crate::env::{self, Need, Place, contains, same};
use libtest_mimic::{Failed, Trial};
use proxy::Proxy;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const NEEDS: [Need; 3] = [Need::Busybox, Need::Sandbox, Need::Registry];
const WITH_SKOPEO: [Need; 4] = [Need::Busybox, Need::Sandbox, Need::Registry, Need::Skopeo];

pub fn trials() -> Vec<Trial> {
    let own = vec![
        env::trial("registry::what_is_pushed_once_is_pulled_built_on_and_not_sent_again", &NEEDS, plain),
        env::trial("registry::tls_and_passwords", &NEEDS, guarded),
        env::trial("registry::a_certificate_of_an_authority_is_refused_with_a_way_out", &NEEDS, authority),
        env::trial("registry::a_killed_pull_goes_on_where_it_ended", &NEEDS, killed),
        env::trial("registry::what_rbuild_pushes_skopeo_reads_and_the_other_way_round", &WITH_SKOPEO, skopeo),
    ];
    own.into_iter().chain(token::trials()).collect()
}

/// Of the one user of [`Registry::guarded`].
pub const PASSWORD: &str = "s3cret";

/// A registry of its own, ended with the test.
pub struct Registry {
    child: Child,
    pub name: String,
    /// That of its server, which is its own authority.
    certificate: Option<PathBuf>,
}

impl Registry {
    pub fn start(place: &Place, further: &str) -> Result<Registry, Failed> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let data = place.path().join(format!("registry-{port}"));
        let config = format!(
            "version: 0.1\nlog: {{accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: 127.0.0.1:{port}{further}\n",
            data.display()
        );
        let config = place.write("registry.yml", config);
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let registry = Registry { child, name: format!("localhost:{port}"), certificate: None };
        let end = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > end {
                return Err("the registry does not listen".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(registry)
    }

    /// One with TLS, where alice has to give her [`PASSWORD`].
    pub fn guarded(place: &Place) -> Result<Registry, Failed> {
        let script = format!(
            "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -days 2 -keyout key -out cert -addext \
             subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE 2>/dev/null && \
             htpasswd -Bbn alice {PASSWORD} > users"
        );
        env::check(&["openssl"], &place.command("/bin/sh").args(["-c", &script]).output()?)?;
        let file = |name: &str| place.work().join(name).display().to_string();
        let further = format!(
            ", tls: {{certificate: {}, key: {}}}}}\nauth: {{htpasswd: {{realm: test, path: {}}}}}",
            file("cert"),
            file("key"),
            file("users")
        );
        let mut registry = Registry::start(place, &further)?;
        registry.certificate = Some(place.work().join("cert"));
        Ok(registry)
    }

    /// Lets whoever builds in `place` trust the certificate.
    pub fn trusted_by(&self, place: &Place) -> Result<(), Failed> {
        let Some(certificate) = &self.certificate else { return Ok(()) };
        trust(place, &self.name, certificate)
    }

    /// Whether it wants a password.
    pub fn asks(&self) -> bool {
        self.certificate.is_some()
    }

    /// `rbuild login` as alice.
    pub fn login(&self, place: &Place, password: &str) -> std::io::Result<Output> {
        let rbuild = env::RBUILD.as_str();
        let script = format!("printf %s {password} | '{rbuild}' login -u alice --password-stdin {}", self.name);
        place.command("/bin/sh").args(["-c", &script]).output()
    }
}

fn trust(place: &Place, registry: &str, certificate: &Path) -> Result<(), Failed> {
    let config: PathBuf = place.path().join("home/.config/rbuild/config.toml");
    std::fs::create_dir_all(config.parent().ok_or("no parent")?)?;
    Ok(std::fs::write(config, format!("[registry.\"{registry}\"]\nca = \"{}\"\n", certificate.display()))?)
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An image of two layers under a name of the registry.
fn built(place: &Place, name: &str) -> Result<(), Failed> {
    place.busybox()?;
    place.write("Dockerfile", "FROM busybox\nRUN echo built > /out\nCMD [\"cat\", \"/out\"]\n");
    place.ok(&["build", "-q", "-t", name, "."]).map(drop)
}

fn plain() -> Result<(), Failed> {
    let place = Place::new();
    let registry = Registry::start(&place, "}")?;
    let name = format!("{}/team/app:1", registry.name);
    built(&place, &name)?;
    let first = place.ok(&["push", &name])?;
    contains(&first, "(3 blobs sent, 0 present)")?;
    let second = place.ok(&["push", &name])?;
    contains(&second, "(0 blobs sent, 3 present)")?;
    same("digests of two pushes", second.lines().last(), first.lines().last())?;
    let digest = first.lines().last().and_then(|line| line.strip_prefix("Digest: ")).ok_or("no digest")?;
    same("a quiet push", place.ok(&["push", "-q", &name])?.trim_end(), digest)?;
    same("a quiet pull", place.ok(&["pull", "-q", &name])?.trim_end(), digest)?;
    let zstd = format!("{}/team/app:zstd", registry.name);
    place.ok(&["push", "--compression", "zstd", &name, &zstd])?;
    let other = format!("{}/other/app", registry.name);
    contains(&place.ok(&["push", &name, &other])?, "(0 blobs sent, 3 present)")?;

    for name in [&name, &zstd] {
        let fresh = Place::new();
        let pulled = fresh.ok(&["pull", name])?;
        contains(&pulled, "Pulled: ")?;
        contains(&fresh.ok(&["pull", name])?, "Up to date: ")?;
        same("output of the container", fresh.ok(&["run", name])?.as_str(), "built\n")?;
        contains(&fresh.ok(&["push", name])?, "(0 blobs sent, 3 present)")?;
        fresh.ok(&["fsck"])?;
    }
    let fresh = Place::new();
    fresh.write("Dockerfile", format!("FROM {name}\nRUN cat /out > /again\n"));
    contains(&fresh.fails(4, &["build", "."])?, "is in the store")?;
    let log = fresh.rbuild(&["build", "--pull", "missing", "."]).output()?;
    env::check(&["build"], &log)?;
    let log = String::from_utf8_lossy(&log.stderr);
    contains(&log, &format!("#1 pull {name}\n#1 fetch "))?;
    contains(&log, "#2 [1/2] FROM ")?;
    fresh.ok(&["build", "--pull", "always", "."])?;
    let absent = format!("{}/team/none", registry.name);
    contains(&fresh.fails(4, &["pull", &absent])?, "is in its registry")?;
    drop(registry);
    contains(&fresh.fails(7, &["pull", &name])?, "cannot reach localhost")?;
    fresh.ok(&["build", "--pull", "newer", "."])?;
    contains(&fresh.fails(7, &["build", "--pull", "always", "."])?, "could not be pulled")
}

fn guarded() -> Result<(), Failed> {
    let place = Place::new();
    let registry = Registry::guarded(&place)?;
    let name = format!("{}/app:1", registry.name);
    built(&place, &name)?;
    contains(&place.fails(7, &["push", &name])?, "certificate")?;

    registry.trusted_by(&place)?;
    contains(&place.fails(7, &["push", &name])?, "rbuild login")?;

    let wrong = registry.login(&place, "wr0ng")?;
    same("exit code of a wrong login", wrong.status.code(), Some(7))?;
    same("a password in the message", String::from_utf8_lossy(&wrong.stderr).contains("wr0ng"), false)?;
    env::check(&["login"], &registry.login(&place, PASSWORD)?)?;
    contains(&place.ok(&["push", &name])?, "3 blobs sent")?;
    place.ok(&["pull", &name])?;
    place.ok(&["logout", &registry.name])?;
    contains(&place.fails(7, &["pull", &name])?, "asks for credentials")?;
    place.fails(4, &["logout", &registry.name])?;
    with_helper(&place, &registry.name, &name)
}

/// The same with a credential helper, a script that speaks the protocol of docker-credential-helpers.
fn with_helper(place: &Place, registry: &str, name: &str) -> Result<(), Failed> {
    let kept = place.work().join("kept");
    let script = format!(
        "#!/bin/sh\ninput=$(cat)\ncase $1 in\n\
         get) [ -s {kept} ] || {{ echo credentials not found in native keychain; exit 1; }}; cat {kept};;\n\
         store) printf %s \"$input\" > {kept};;\nerase) : > {kept};;\nesac\n",
        kept = kept.display()
    );
    let helper = place.write("bin/docker-credential-test", script);
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755))?;
    let path = format!("{}:{}", place.work().join("bin").display(), std::env::var("PATH").unwrap_or_default());
    let config = place.path().join("home/.docker/config.json");
    let rbuild = |arguments: &str| {
        let script = format!("printf s3cret | '{}' {arguments}", *env::RBUILD);
        place.command("/bin/sh").args(["-c", &script]).env("PATH", &path).output()
    };
    for text in [format!("{{\"credHelpers\":{{\"{registry}\":\"test\"}}}}"), "{\"credsStore\":\"test\"}".to_owned()] {
        std::fs::write(&config, &text)?;
        let refused = rbuild(&format!("pull {name}"))?;
        same("exit code before the login", refused.status.code(), Some(7))?;
        env::check(&["login"], &rbuild(&format!("login -u alice --password-stdin {registry}"))?)?;
        contains(&std::fs::read_to_string(&kept)?, "s3cret")?;
        same("the file, which the helper stands for", std::fs::read_to_string(&config)?, text)?;
        env::check(&["pull"], &rbuild(&format!("pull {name}"))?)?;
        env::check(&["logout"], &rbuild(&format!("logout {registry}"))?)?;
        same("what the helper keeps after a logout", std::fs::read_to_string(&kept)?.as_str(), "")?;
    }
    std::fs::write(&config, "{\"credsStore\":\"absent\"}")?;
    let failed = rbuild(&format!("pull {name}"))?;
    contains(&String::from_utf8_lossy(&failed.stderr), "docker-credential-absent")
}

/// What `openssl req -x509` makes unless it is told otherwise.
fn authority() -> Result<(), Failed> {
    let place = Place::new();
    let script = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -days 2 -keyout key -out cert \
                  -addext subjectAltName=DNS:localhost 2>/dev/null";
    env::check(&["openssl"], &place.command("/bin/sh").args(["-c", script]).output()?)?;
    let file = |name: &str| place.work().join(name).display().to_string();
    let registry =
        Registry::start(&place, &format!(", tls: {{certificate: {}, key: {}}}}}", file("cert"), file("key")))?;
    trust(&place, &registry.name, &place.work().join("cert"))?;
    let error = place.fails(7, &["pull", &format!("{}/x", registry.name)])?;
    contains(&error, "(CA:TRUE)")?;
    contains(&error, "basicConstraints=critical,CA:FALSE")
}

/// A pull that is killed leaves the beginning of a blob, and the next one asks for the rest.
fn killed() -> Result<(), Failed> {
    let place = Place::new();
    let registry = Registry::start(&place, "}")?;
    let proxy = Proxy::start(&registry.name)?;
    let name = format!("{}/big:1", proxy.name);
    place.busybox()?;
    place.write("Dockerfile", "FROM busybox\nRUN head -c 8000000 /dev/urandom > /big\n");
    place.ok(&["build", "-q", "-t", &name, "."])?;
    contains(&place.ok(&["push", &name])?, "sent, 0 present)")?;
    let streamed = proxy.requests().to_lowercase().matches("transfer-encoding: chunked").count();
    same("requests with what is still packed", streamed, 1)?;
    contains(&place.ok(&["push", &name])?, "(0 blobs sent")?;

    let fresh = Place::new();
    let partial = || -> Result<Option<(PathBuf, u64)>, Failed> {
        let Ok(entries) = std::fs::read_dir(fresh.store().join("tmp")) else { return Ok(None) };
        let paths = entries.collect::<Result<Vec<_>, _>>()?.into_iter().map(|entry| entry.path());
        let sized = paths.filter(|path| path.extension() == Some("partial".as_ref())).map(|path| {
            let length = path.metadata().map_or(0, |m| m.len());
            (path, length)
        });
        Ok(sized.max_by_key(|(_, length)| *length))
    };
    proxy.hold_back(true);
    let mut pull = fresh.rbuild(&["pull", &name]).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let end = Instant::now() + Duration::from_secs(30);
    let (path, length) = loop {
        match partial()? {
            Some(found) if found.1 > 2 << 20 => break found,
            _ if Instant::now() > end => return Err("nothing of the blob has come".into()),
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    pull.kill()?;
    pull.wait()?;
    proxy.hold_back(false);
    proxy.requests();
    // What is left is no damage.
    fresh.ok(&["fsck"])?;
    fresh.ok(&["pull", &name])?;
    let asked = proxy.requests().to_lowercase();
    let from = asked.split("range: bytes=").nth(1).and_then(|rest| rest.split('-').next()?.parse::<u64>().ok());
    same("the rest alone is asked for", from.is_some_and(|from| from >= length), true)?;
    same("the beginning is gone", path.exists(), false)?;
    fresh.ok(&["fsck"]).map(drop)
}

/// skopeo verifies what it copies, and writes docker's manifests as well as OCI's.
fn skopeo() -> Result<(), Failed> {
    let place = Place::new();
    let registry = Registry::start(&place, "}")?;
    let name = format!("{}/app:gzip", registry.name);
    built(&place, &name)?;
    let gzip_digest = place.ok(&["push", "-q", &name])?;
    let zstd = format!("{}/app:zstd", registry.name);
    let zstd_digest = place.ok(&["push", "-q", "--compression", "zstd:9", &name, &zstd])?;
    let skopeo = |arguments: &str| {
        let script = format!("skopeo --insecure-policy {arguments}");
        let output = place.command("/bin/sh").args(["-c", &script]).output()?;
        env::check(&[&script], &output)?;
        Ok::<String, Failed>(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    for (name, kind, digest) in [(&name, "tar+gzip", gzip_digest), (&zstd, "tar+zstd", zstd_digest)] {
        let inspected = skopeo(&format!("inspect --tls-verify=false docker://{name}"))?;
        contains(&inspected, digest.trim_end())?;
        contains(&skopeo(&format!("inspect --raw --tls-verify=false docker://{name}"))?, kind)?;
        for format in ["v2s2", "oci"] {
            // zstd is OCI's alone.
            let format = if kind == "tar+zstd" { "oci" } else { format };
            let copied = format!("{}/copied/{format}:1", registry.name);
            let tls = "--src-tls-verify=false --dest-tls-verify=false";
            skopeo(&format!("copy {tls} --format {format} docker://{name} docker://{copied}"))?;
            let fresh = Place::new();
            fresh.ok(&["pull", &copied])?;
            same("output of the container", fresh.ok(&["run", &copied])?.as_str(), "built\n")?;
        }
    }
    Ok(())
}
