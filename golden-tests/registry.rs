//! Pull, push, login and FROM against Debian's docker-registry, in plain HTTP and with TLS and passwords.

use crate::env::{self, Need, Place, contains, same};
use libtest_mimic::{Failed, Trial};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const NEEDS: [Need; 3] = [Need::Busybox, Need::Sandbox, Need::Registry];

pub fn trials() -> Vec<Trial> {
    vec![
        env::trial("registry::what_is_pushed_once_is_pulled_built_on_and_not_sent_again", &NEEDS, plain),
        env::trial("registry::tls_and_passwords", &NEEDS, guarded),
    ]
}

/// A registry of its own, ended with the test.
pub struct Registry {
    child: Child,
    pub name: String,
}

impl Registry {
    pub fn start(place: &Place, further: &str) -> Result<Registry, Failed> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let data = place.path().join("registry");
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
        let registry = Registry { child, name: format!("localhost:{port}") };
        let end = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > end {
                return Err("the registry does not listen".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(registry)
    }
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
    fresh.ok(&["build", "--pull", "missing", "."])?;
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
    let script = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -days 2 -keyout key -out cert \
                  -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE 2>/dev/null && htpasswd -Bbn alice s3cret > users";
    env::check(&["openssl"], &place.command("/bin/sh").args(["-c", script]).output()?)?;
    let file = |name: &str| place.work().join(name).display().to_string();
    let further = format!(
        ", tls: {{certificate: {}, key: {}}}}}\nauth: {{htpasswd: {{realm: test, path: {}}}}}",
        file("cert"),
        file("key"),
        file("users")
    );
    let registry = Registry::start(&place, &further)?;
    let name = format!("{}/app:1", registry.name);
    built(&place, &name)?;
    contains(&place.fails(7, &["push", &name])?, "certificate")?;

    let config: PathBuf = place.path().join("home/.config/rbuild/config.toml");
    std::fs::create_dir_all(config.parent().ok_or("no parent")?)?;
    std::fs::write(&config, format!("[registry.\"{}\"]\nca = \"{}\"\n", registry.name, file("cert")))?;
    contains(&place.fails(7, &["push", &name])?, "rbuild login")?;

    let login = |password: &str| {
        let script =
            format!("printf %s {password} | '{}' login -u alice --password-stdin {}", *env::RBUILD, registry.name);
        place.command("/bin/sh").args(["-c", &script]).output()
    };
    let wrong = login("wr0ng")?;
    same("exit code of a wrong login", wrong.status.code(), Some(7))?;
    same("a password in the message", String::from_utf8_lossy(&wrong.stderr).contains("wr0ng"), false)?;
    env::check(&["login"], &login("s3cret")?)?;
    contains(&place.ok(&["push", &name])?, "3 blobs sent")?;
    place.ok(&["pull", &name])?;
    place.ok(&["logout", &registry.name])?;
    contains(&place.fails(7, &["pull", &name])?, "asks for credentials")?;
    place.fails(4, &["logout", &registry.name]).map(drop)
}
