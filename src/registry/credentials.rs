//! The user's credentials, where docker and podman keep them: `config.json` of docker, `auth.json` of the containers
//! project, and credential helpers (docker-credential-helpers' protocol).

use crate::base::IoError;
use crate::base::fs::{self, Context};
use crate::image::reference::DEFAULT_REGISTRY;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::fmt;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The key that docker has for docker.io.
const DOCKER_IO_KEY: &str = "https://index.docker.io/v1/";
/// How long a credential helper may take: a person may have to unlock a keyring.
const HELPER_TIME: Duration = Duration::from_secs(120);
/// The most that a helper may say, in bytes.
const HELPER_LIMIT: u64 = 1 << 20;

/// Proof of who is asking. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// Name and password.
    Password {
        /// Name.
        user: String,
        /// Password, or an access token in its place.
        password: String,
    },
    /// A refresh token that stands for both.
    Identity(String),
    /// A token that the registry takes as it is.
    Bearer(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(…)")
    }
}

/// Credentials that cannot be read or written. Its text holds none.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// A file.
    #[error(transparent)]
    Io(#[from] IoError),
    /// A file that is not what it should be.
    #[error("{}: {reason}", path.display())]
    Invalid {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A helper.
    #[error("credential helper docker-credential-{helper}: {reason}")]
    Helper {
        /// Its name.
        helper: String,
        /// Why.
        reason: String,
    },
    /// Nowhere to write to.
    #[error("no place for credentials: neither REGISTRY_AUTH_FILE nor DOCKER_CONFIG nor HOME is set")]
    NoPlace,
}

/// The files in which credentials are looked for.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    /// The first that knows a registry counts.
    read: Vec<PathBuf>,
    /// Where a login goes.
    write: Option<PathBuf>,
}

impl Keyring {
    /// As the environment has it: `REGISTRY_AUTH_FILE` alone, else `auth.json` of the containers project, then docker's
    /// `config.json`, which is also where a login is kept.
    pub fn from_environment() -> Keyring {
        let path = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        if let Some(file) = path("REGISTRY_AUTH_FILE") {
            return Keyring { read: vec![file.clone()], write: Some(file) };
        }
        let home = path("HOME");
        let run = path("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json"));
        let config = path("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")));
        let config = config.map(|dir| dir.join("containers/auth.json"));
        let docker = path("DOCKER_CONFIG").or_else(|| Some(home.as_ref()?.join(".docker")));
        let docker = docker.map(|dir| dir.join("config.json"));
        Keyring { read: run.into_iter().chain(config).chain(docker.clone()).collect(), write: docker }
    }

    /// One file for all.
    pub fn of_file(file: PathBuf) -> Keyring {
        Keyring { read: vec![file.clone()], write: Some(file) }
    }

    /// The credentials for a repository of a registry.
    ///
    /// # Errors
    /// A file or helper that should know cannot be read.
    pub fn find(&self, registry: &str, repository: &str) -> Result<Option<Credential>, CredentialError> {
        for path in &self.read {
            let Some(file) = File::read(path)? else { continue };
            if let Some(found) = file.find(registry, repository)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Keeps a name and password; tells where.
    ///
    /// # Errors
    /// The file or helper cannot be written.
    pub fn store(&self, registry: &str, user: &str, password: &str) -> Result<String, CredentialError> {
        let path = self.write.as_deref().ok_or(CredentialError::NoPlace)?;
        let mut file = File::read(path)?.unwrap_or_else(|| File::empty(path));
        let key = login_key(registry);
        if let Some(helper) = file.helper(registry) {
            let entry = json!({"ServerURL": key, "Username": user, "Secret": password}).to_string();
            run_helper(&helper, "store", &entry)?;
            return Ok(format!("docker-credential-{helper}"));
        }
        let auth = STANDARD.encode(format!("{user}:{password}"));
        file.auths_mut().insert(key.to_owned(), json!({ "auth": auth }));
        file.write()?;
        Ok(path.display().to_string())
    }

    /// Forgets what is kept of a registry; whether there was anything.
    ///
    /// # Errors
    /// A file or helper cannot be read or written.
    pub fn erase(&self, registry: &str) -> Result<bool, CredentialError> {
        let mut any = false;
        for path in &self.read {
            let Some(mut file) = File::read(path)? else { continue };
            if let Some(helper) = file.helper(registry) {
                any |= run_helper(&helper, "get", login_key(registry))?.is_some();
                run_helper(&helper, "erase", login_key(registry))?;
            }
            let auths = file.auths_mut();
            let before = auths.len();
            auths.retain(|key, _| host_of(key) != registry);
            if auths.len() != before {
                any = true;
                file.write()?;
            }
        }
        Ok(any)
    }
}

/// The key under which docker keeps a registry.
fn login_key(registry: &str) -> &str {
    if registry == DEFAULT_REGISTRY { DOCKER_IO_KEY } else { registry }
}

/// The registry that a key of `auths` means: `https://HOST/v1/` and `HOST` are the same.
fn host_of(key: &str) -> &str {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let host = bare.split('/').next().unwrap_or_default();
    if matches!(host, "index.docker.io" | "registry-1.docker.io") { DEFAULT_REGISTRY } else { host }
}

/// One file, with all that is in it.
struct File {
    path: PathBuf,
    document: Map<String, Value>,
}

impl File {
    fn empty(path: &Path) -> File {
        File { path: path.to_owned(), document: Map::new() }
    }

    fn read(path: &Path) -> Result<Option<File>, CredentialError> {
        let Some(bytes) = fs::read_if_exists(path)? else { return Ok(None) };
        if bytes.trim_ascii().is_empty() {
            return Ok(Some(File::empty(path)));
        }
        match serde_json::from_slice(&bytes) {
            Ok(document) => Ok(Some(File { path: path.to_owned(), document })),
            // The parser's message may quote the text.
            Err(e) => Err(CredentialError::Invalid {
                path: path.to_owned(),
                reason: format!("it is not valid at line {}, column {}", e.line(), e.column()),
            }),
        }
    }

    fn helper(&self, registry: &str) -> Option<String> {
        let own = self.document.get("credHelpers").and_then(Value::as_object).and_then(|helpers| {
            helpers.iter().find(|(key, _)| host_of(key) == registry).and_then(|(_, name)| name.as_str())
        });
        let name = own.or_else(|| self.document.get("credsStore").and_then(Value::as_str))?;
        Some(name.to_owned()).filter(|n| !n.is_empty())
    }

    /// The entry of `auths` that fits best: of the longest part of the name (`HOST/a/b`, `HOST/a`, `HOST`).
    fn find(&self, registry: &str, repository: &str) -> Result<Option<Credential>, CredentialError> {
        let auths = self.document.get("auths").and_then(Value::as_object);
        let mut scope = format!("{registry}/{repository}");
        while scope.len() > registry.len() {
            if let Some(found) = auths.and_then(|a| a.get(&scope)).and_then(credential) {
                return Ok(Some(found));
            }
            scope.truncate(scope.rfind('/').unwrap_or(0));
        }
        if let Some(helper) = self.helper(registry)
            && let Some(found) = run_helper(&helper, "get", login_key(registry))?
        {
            return Ok(Some(found));
        }
        let own = auths.into_iter().flatten().filter(|(key, _)| key_is_registry(key, registry));
        Ok(own.filter_map(|(_, entry)| credential(entry)).next())
    }

    fn auths_mut(&mut self) -> &mut Map<String, Value> {
        let auths = self.document.entry("auths").or_insert_with(|| json!({}));
        if !auths.is_object() {
            *auths = json!({});
        }
        match auths {
            Value::Object(map) => map,
            _ => unreachable!("was made an object above"),
        }
    }

    /// For its owner's eyes only.
    fn write(&self) -> Result<(), CredentialError> {
        let dir = self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(dir)?;
        let mut file = tempfile::NamedTempFile::new_in(dir).at("create a temporary file in", dir)?;
        let text = format!("{:#}\n", Value::Object(self.document.clone()));
        file.write_all(text.as_bytes()).at("write", &self.path)?;
        let mode = std::fs::Permissions::from_mode(0o600);
        file.as_file().set_permissions(mode).at("set permissions of", &self.path)?;
        file.persist(&self.path).map_err(|e| e.error).at("rename into place", &self.path)?;
        Ok(())
    }
}

/// Whether a key names a whole registry and not a part of it: only docker's old forms have a path.
fn key_is_registry(key: &str, registry: &str) -> bool {
    let path = key.split("://").last().and_then(|bare| bare.split_once('/')).map_or("", |(_, path)| path);
    host_of(key) == registry && matches!(path.trim_end_matches('/'), "" | "v1" | "v2")
}

fn credential(entry: &Value) -> Option<Credential> {
    let field = |name: &str| entry.get(name).and_then(Value::as_str).filter(|v| !v.is_empty());
    if let Some(token) = field("identitytoken") {
        return Some(Credential::Identity(token.to_owned()));
    }
    if let Some(token) = field("registrytoken") {
        return Some(Credential::Bearer(token.to_owned()));
    }
    if let (Some(user), Some(password)) = (field("username"), field("password")) {
        return Some(Credential::Password { user: user.to_owned(), password: password.to_owned() });
    }
    let decoded = String::from_utf8(STANDARD.decode(field("auth")?.trim()).ok()?).ok()?;
    let (user, password) = decoded.trim_end_matches('\0').split_once(':')?;
    Some(Credential::Password { user: user.to_owned(), password: password.to_owned() })
}

/// Runs `docker-credential-HELPER ACTION` with `input` on its standard input. `None` where it knows nothing.
fn run_helper(helper: &str, action: &str, input: &str) -> Result<Option<Credential>, CredentialError> {
    let failed = |reason: String| CredentialError::Helper { helper: helper.to_owned(), reason };
    if helper.contains('/') {
        return Err(failed("its name is not a plain word".into()));
    }
    let mut child = Command::new(format!("docker-credential-{helper}"))
        .arg(action)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| failed(format!("cannot start: {e}")))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read will tell by how it ends.
        let _ = stdin.write_all(input.as_bytes());
    }
    let stdout = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        stdout.map(|out| out.take(HELPER_LIMIT).read_to_end(&mut text)).transpose().map(|_| text)
    });
    let deadline = Instant::now() + HELPER_TIME;
    let status = loop {
        match child.try_wait().map_err(|e| failed(e.to_string()))? {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(format!("does not answer within {} s", HELPER_TIME.as_secs())));
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let text = reader.join().ok().and_then(Result::ok).unwrap_or_default();
    if !status.success() {
        // The protocol tells of absence by this text on standard output.
        let said = String::from_utf8_lossy(&text).to_lowercase();
        let absent = said.contains("credentials not found") || said.contains("not found in native keychain");
        return if absent { Ok(None) } else { Err(failed(format!("'{action}' failed ({status})"))) };
    }
    if action != "get" {
        return Ok(None);
    }
    let answer: Value = serde_json::from_slice(&text).map_err(|_| failed("its answer is not valid".into()))?;
    let field = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (user, secret) = (field("Username"), field("Secret"));
    match (user.as_str(), secret.is_empty()) {
        (_, true) => Ok(None),
        ("<token>", _) => Ok(Some(Credential::Identity(secret))),
        _ => Ok(Some(Credential::Password { user, password: secret })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring(text: &str) -> (tempfile::TempDir, Keyring) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sub/config.json");
        if !text.is_empty() {
            std::fs::create_dir(dir.path().join("sub")).unwrap();
            std::fs::write(&file, text).unwrap();
        }
        (dir, Keyring::of_file(file))
    }

    fn password(user: &str, password: &str) -> Option<Credential> {
        Some(Credential::Password { user: user.into(), password: password.into() })
    }

    #[test]
    fn the_entry_of_the_longest_part_of_a_name_counts_and_no_other_registrys() {
        // "a:1", "b:2", "c:3:4", "d:5"
        let (_dir, keyring) = keyring(
            r#"{"auths":{"quay.io":{"auth":"YToxCg=="},"quay.io/team":{"auth":"Yjoy"},
               "https://index.docker.io/v1/":{"auth":"YzozOjQ="},"localhost:5000":{"username":"d","password":"5"},
               "ghcr.io":{"identitytoken":"t"},"http://old.example/v1/":{"auth":"ZDo1"},"bad.example":{"auth":"%%"}}}"#,
        );
        for (registry, repository, expected) in [
            ("quay.io", "x", password("a", "1\n")),
            ("quay.io", "team/x", password("b", "2")),
            ("quay.io", "teams/x", password("a", "1\n")),
            ("docker.io", "library/debian", password("c", "3:4")),
            ("localhost:5000", "x", password("d", "5")),
            ("localhost", "x", None),
            ("evil-quay.io", "x", None),
            ("ghcr.io", "x", Some(Credential::Identity("t".into()))),
            ("old.example", "x", password("d", "5")),
            ("bad.example", "x", None),
        ] {
            assert_eq!(keyring.find(registry, repository).unwrap(), expected, "{registry}/{repository}");
        }
        assert_eq!(format!("{:?}", password("a", "hidden")), "Some(Credential(…))");
    }

    #[test]
    fn a_login_is_kept_for_its_owner_alone_beside_what_else_the_file_holds() {
        for before in ["", r#"{"auths":{"a.io":{"auth":"YTox"}},"psFormat":"x"}"#] {
            let (dir, keyring) = keyring(before);
            keyring.store("docker.io", "me", "p:w").unwrap();
            keyring.store("b.io", "me", "2").unwrap();
            assert_eq!(keyring.find("docker.io", "library/x").unwrap(), password("me", "p:w"));
            let path = dir.path().join("sub/config.json");
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(text.contains("psFormat"), !before.is_empty());
            assert!(keyring.erase("docker.io").unwrap() && !keyring.erase("docker.io").unwrap());
            assert_eq!(keyring.find("docker.io", "library/x").unwrap(), None);
            assert_eq!(keyring.find("b.io", "x").unwrap(), password("me", "2"));
            assert_eq!(keyring.find("a.io", "x").unwrap().is_some(), !before.is_empty());
        }
    }

    #[test]
    fn a_file_that_is_not_valid_is_told_without_its_contents() {
        let (_dir, keyring) = keyring(r#"{"auths": {"x": s3cret}}"#);
        let error = keyring.find("x", "y").unwrap_err().to_string();
        assert!(error.contains("line 1") && !error.contains("s3cret"), "{error}");
    }
}
