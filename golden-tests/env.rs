//! A hermetic place for one test: its own directory, its own store, a cleared environment; and what a test needs from the
//! machine, checked out loud.

use libtest_mimic::{Failed, Trial};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

/// The program under test: cargo's, or a copy of it that `RBUILD_TEST_BIN` names (for a user who can't read the checkout).
pub static RBUILD: LazyLock<String> =
    LazyLock::new(|| std::env::var("RBUILD_TEST_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_rbuild").into()));

static PROJECT: LazyLock<PathBuf> = LazyLock::new(|| {
    std::env::var_os("RBUILD_TEST_PROJECT").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
});

/// The project's directory, or a copy of it that `RBUILD_TEST_PROJECT` names.
pub fn project() -> &'static Path {
    &PROJECT
}

/// Something a test needs that not every machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A statically linked busybox, as the contents of test images.
    Busybox,
    /// Sandboxes: root, or user namespaces.
    Sandbox,
    /// More ids than one: root, or newuidmap and a subordinate range.
    Ids,
    /// A Debian mirror and mmdebstrap.
    Debian,
    /// curl.
    Curl,
    /// OpenSSH's agent and tools for keys.
    Ssh,
    /// git with its daemon.
    Git,
    /// Debian's docker-registry, openssl and htpasswd.
    Registry,
    /// skopeo.
    Skopeo,
    /// A server that is compatible with S3: moto's.
    S3,
}

impl Need {
    /// Why the need is not met here.
    fn unmet(self) -> Option<String> {
        match self {
            Need::Busybox => {
                (!Path::new("/bin/busybox").exists()).then(|| "no /bin/busybox (package busybox-static)".into())
            }
            Need::Sandbox => {
                let works = is_root() || runs(Command::new("unshare").args(["-Urm", "true"]));
                (!works).then(|| "neither root nor user namespaces".into())
            }
            Need::Ids => {
                let works = is_root() || runs(Command::new("unshare").args(["--map-auto", "--map-root-user", "true"]));
                (!works).then(|| "neither root nor newuidmap with a subordinate id range (package uidmap)".into())
            }
            Need::Debian => (!runs(Command::new("mmdebstrap").arg("--version"))).then(|| "no mmdebstrap".into()),
            Need::Ssh => {
                let found = ["ssh-agent", "ssh-add", "ssh-keygen"]
                    .iter()
                    .all(|program| Path::new("/usr/bin").join(program).exists());
                (!found).then(|| "no ssh-agent, ssh-add or ssh-keygen (package openssh-client)".into())
            }
            Need::Git => (!runs(Command::new("git").arg("--version"))).then(|| "no git".into()),
            Need::Registry => {
                let works = runs(Command::new("docker-registry").arg("--version"))
                    && runs(Command::new("openssl").arg("version"))
                    && runs(Command::new("htpasswd").args(["-nb", "u", "p"]));
                (!works).then(|| "no docker-registry, openssl or htpasswd (package apache2-utils)".into())
            }
            Need::S3 => (!runs(Command::new(moto()).arg("--help")))
                .then(|| "no moto_server (pip install 'moto[server]')".into()),
            Need::Skopeo => (!runs(Command::new("skopeo").arg("--version"))).then(|| "no skopeo".into()),
            Need::Curl => (!runs(Command::new("curl").arg("--version"))).then(|| "no curl".into()),
        }
    }
}

/// moto's server: the one that `RBUILD_TEST_MOTO` names, else that of the PATH.
pub fn moto() -> std::ffi::OsString {
    std::env::var_os("RBUILD_TEST_MOTO").unwrap_or_else(|| "moto_server".into())
}

fn runs(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// Whether this is the real root.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A test that runs where its needs are met. Elsewhere it is reported as ignored, with the reason in its name, or fails
/// where `RBUILD_TEST_REQUIRE=all` says that nothing may be skipped.
pub fn trial(name: &str, needs: &[Need], test: impl FnOnce() -> Result<(), Failed> + Send + 'static) -> Trial {
    let unmet: Vec<String> = needs.iter().filter_map(|n| n.unmet()).collect();
    if unmet.is_empty() {
        return Trial::test(name, test);
    }
    let reason = unmet.join("; ");
    if std::env::var_os("RBUILD_TEST_REQUIRE").is_some() {
        return Trial::test(name, move || Err(format!("cannot run here and may not be skipped: {reason}").into()));
    }
    eprintln!("SKIPPED {name}: {reason}");
    Trial::test(format!("{name} [needs: {reason}]"), test).with_ignored_flag(true)
}

/// One test's directory with a store in it; removed at the end.
pub struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// An empty one.
    pub fn new() -> Place {
        let dir = tempfile::Builder::new().prefix("rbuild-test-").tempdir().expect("a temporary directory");
        Place { dir }
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Its store.
    pub fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// A directory for files of the test.
    pub fn work(&self) -> PathBuf {
        let work = self.dir.path().join("work");
        std::fs::create_dir_all(&work).expect("make the work directory");
        work
    }

    /// Writes a file below `work`.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.work().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("make directories");
        std::fs::write(&path, contents).expect("write a file of the test");
        path
    }

    /// A command in a cleared environment, in `work`.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear();
        for name in ["PATH", "USER", "LOGNAME"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        let home = self.dir.path().join("home");
        std::fs::create_dir_all(&home).expect("make a home");
        command
            .env("HOME", home)
            .env("LC_ALL", "C")
            .env("NO_COLOR", "1")
            .env("COLUMNS", "100")
            .env("RBUILD_ROOT", self.store())
            // What a test does not put into the store is not there, whatever the network has.
            .env("RBUILD_PULL", "never")
            .current_dir(self.work())
            .stdin(Stdio::null());
        command
    }

    /// rbuild with arguments.
    pub fn rbuild(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&RBUILD);
        command.args(arguments);
        command
    }

    /// Runs rbuild, which must succeed; gives its standard output.
    pub fn ok(&self, arguments: &[&str]) -> Result<String, Failed> {
        let output = self.rbuild(arguments).output()?;
        check(arguments, &output)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs rbuild, which must fail with this exit code; gives its standard error.
    pub fn fails(&self, code: i32, arguments: &[&str]) -> Result<String, Failed> {
        let output = self.rbuild(arguments).output()?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.code() != Some(code) {
            return Err(format!(
                "rbuild {}: expected exit code {code}, got {}\n{stderr}",
                arguments.join(" "),
                output.status
            )
            .into());
        }
        Ok(stderr)
    }

    /// Imports a root filesystem that is busybox and its links, as image `busybox`.
    pub fn busybox(&self) -> Result<(), Failed> {
        let tar = self.path().join("busybox.tar");
        let root = self.path().join("busybox-root");
        let script = format!(
            "set -e; mkdir -p {r}/bin {r}/etc {r}/tmp {r}/root; chmod 755 {r} {r}/*; chmod 1777 {r}/tmp; cp /bin/busybox {r}/bin/busybox; \
             for a in $(/bin/busybox --list); do [ $a = busybox ] || ln -s busybox {r}/bin/$a; done; \
             echo root:x:0:0:root:/root:/bin/sh > {r}/etc/passwd; echo app:x:1000:1000:app:/home/app:/bin/sh >> {r}/etc/passwd; \
             printf 'root:x:0:\\napp:x:1000:\\nextra:x:1001:app\\n' > {r}/etc/group; \
             tar -C {r} --owner=0 --group=0 --numeric-owner --sort=name --mtime=@0 -cf {t} .",
            r = root.display(),
            t = tar.display()
        );
        let output = self.command("/bin/sh").args(["-c", &script]).output()?;
        check(&["sh", "-c", "make busybox root"], &output)?;
        self.ok(&["import", &tar.display().to_string(), "busybox"])?;
        Ok(())
    }
}

impl Drop for Place {
    /// A rootless store holds files of other ids, which only the id map that made them may remove.
    fn drop(&mut self) {
        if !is_root() && self.store().exists() {
            let _ = Command::new("unshare")
                .args(["--map-auto", "--map-root-user", "rm", "-rf"])
                .arg(self.store())
                .stderr(Stdio::null())
                .status();
        }
    }
}

/// Fails with everything a command said unless it succeeded.
pub fn check(what: &[&str], output: &Output) -> Result<(), Failed> {
    if output.status.success() {
        return Ok(());
    }
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(format!("{}: {}\n--- stdout\n{stdout}\n--- stderr\n{stderr}", what.join(" "), output.status).into())
}

/// Fails with both sides unless they are equal.
pub fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<(), Failed> {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: found {found:?}, expected {expected:?}").into())
}

/// Fails unless `text` has `part`.
pub fn contains(text: &str, part: &str) -> Result<(), Failed> {
    if text.contains(part) {
        return Ok(());
    }
    Err(format!("expected {part:?} in:\n{text}").into())
}
