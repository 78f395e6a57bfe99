//! Variables: what ARG and ENV hold at a line.

use super::Options;

/// Predefined ARGs: usable in RUN without ARG, and then neither in the history nor in a key.
pub const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// Build arguments that mean something to builders themselves.
pub const SPECIAL: [&str; 11] = [
    "SOURCE_DATE_EPOCH",
    "BUILDKIT_INLINE_CACHE",
    "BUILDKIT_MULTI_PLATFORM",
    "BUILDKIT_SANDBOX_HOSTNAME",
    "BUILDKIT_CACHE_MOUNT_NS",
    "BUILDKIT_CONTEXT_KEEP_GIT_DIR",
    "BUILDKIT_BUILD_NAME",
    "BUILDKIT_SYNTAX",
    "BUILDKIT_DOCKERFILE_CHECK",
    "BUILDKIT_SBOM_SCAN_CONTEXT",
    "BUILDKIT_SBOM_SCAN_STAGE",
];

/// ARGs in scope, in order of first declaration; `None`: declared without a value.
#[derive(Clone, Debug, Default)]
pub struct Args(Vec<(String, Option<String>)>);

impl Args {
    /// Declares `name`, in its old place if it was declared before.
    pub fn declare(&mut self, name: &str, value: Option<String>) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some(entry) => entry.1 = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Its value, if it has one.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name)?.1.as_deref()
    }

    /// Whether it was declared, with or without a value.
    pub fn declared(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }
}

/// The automatic platform ARGs, overridden by build args of the same names.
pub fn automatic(options: &Options, target_stage: &str) -> Args {
    let mut args = Args::default();
    for (side, platform) in [("TARGET", &options.platform), ("BUILD", &options.build_platform)] {
        let full = platform.to_string();
        for (part, value) in [
            ("PLATFORM", full.as_str()),
            ("OS", &platform.os),
            ("OSVERSION", ""),
            ("ARCH", &platform.arch),
            ("VARIANT", &platform.variant),
        ] {
            args.declare(&format!("{side}{part}"), Some(value.to_owned()));
        }
    }
    args.declare("TARGETSTAGE", Some(target_stage.to_owned()));
    for (name, value) in &mut args.0 {
        if let Some(given) = options.build_args.get(name) {
            *value = Some(given.clone());
        }
    }
    args
}

/// The value of `NAME` in a list of `NAME=value`.
pub fn env_value<'e>(env: &'e [String], name: &str) -> Option<&'e str> {
    env.iter().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// Sets `name` in a list of `NAME=value`, in its old place if it was there.
pub fn set_env(env: &mut Vec<String>, name: &str, value: &str) {
    let pair = format!("{name}={value}");
    match env.iter_mut().find(|old| old.split_once('=').map_or(old.as_str(), |(key, _)| key) == name) {
        Some(old) => *old = pair,
        None => env.push(pair),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_set_again_keeps_its_place() {
        let mut env = vec!["A=1".to_owned(), "AB=2".to_owned(), "BARE".to_owned()];
        set_env(&mut env, "AB", "3");
        set_env(&mut env, "BARE", "x");
        set_env(&mut env, "C", "");
        assert_eq!(env, ["A=1", "AB=3", "BARE=x", "C="]);
        assert_eq!(env_value(&env, "A"), Some("1"));
        assert_eq!(env_value(&env, "C"), Some(""));
        assert_eq!(env_value(&env, "B"), None);
    }
}
