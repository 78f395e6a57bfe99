//! Package managers: what the checks about them know in common.

use super::shell::Call;
use crate::diag::Span;
use crate::dockerfile::ast::{Run, Word};

/// A package manager that keeps what it downloads.
#[derive(Debug)]
pub struct Manager {
    /// Its programs.
    programs: &'static [&'static str],
    /// Verbs that make it download; empty: every call.
    verbs: &'static [&'static str],
    /// Where it keeps what it downloads.
    pub cache: &'static str,
    /// Installs what files of the project list, so that a change of these files alone should make it run again.
    pub of_project: bool,
}

const MANAGERS: [Manager; 17] = [
    manager(&["apt-get", "apt", "aptitude"], &["install", "upgrade", "dist-upgrade"], "/var/cache/apt", false),
    manager(&["apk"], &["add", "upgrade"], "/var/cache/apk", false),
    manager(&["dnf", "microdnf", "yum"], &["install", "update"], "/var/cache/dnf", false),
    manager(&["pip", "pip3"], &["install"], "/root/.cache/pip", true),
    manager(&["poetry"], &["install"], "/root/.cache/pypoetry", true),
    manager(&["uv"], &["sync"], "/root/.cache/uv", true),
    manager(&["npm"], &["install", "ci", "i"], "/root/.npm", true),
    manager(&["yarn"], &["install", ""], "/usr/local/share/.cache/yarn", true),
    manager(&["pnpm"], &["install", "i", "fetch"], "/root/.local/share/pnpm/store", true),
    manager(&["bundle"], &["install"], "/usr/local/bundle/cache", true),
    manager(&["composer"], &["install"], "/root/.composer/cache", true),
    manager(&["go"], &["mod"], "/go/pkg/mod", true),
    manager(&["go"], &["build", "install"], "/root/.cache/go-build", false),
    manager(&["cargo"], &["fetch"], "/usr/local/cargo/registry", true),
    manager(&["cargo"], &["build", "install"], "/usr/local/cargo/registry", false),
    manager(&["mvn", "gradle"], &[], "/root/.m2", false),
    manager(&["dotnet"], &["restore"], "/root/.nuget/packages", true),
];

const fn manager(
    programs: &'static [&'static str],
    verbs: &'static [&'static str],
    cache: &'static str,
    of_project: bool,
) -> Manager {
    Manager { programs, verbs, cache, of_project }
}

/// The manager that a call makes download something.
pub fn manager_of(call: &Call) -> Option<&'static Manager> {
    let calls = |manager: &&Manager| {
        manager.programs.contains(&call.program())
            && (manager.verbs.is_empty() || manager.verbs.contains(&call.verb()))
            && !call.has(&["--version", "--help"])
    };
    MANAGERS.iter().find(calls)
}

/// Whether a RUN mounts something over `path` or a directory above it: what lies there stays out of the layer.
pub fn mounts_over(run: &Run, path: &str) -> bool {
    mount_targets(run).any(|target| super::paths::is_below(path, &target) || super::paths::is_below(&target, path))
}

/// Whether a RUN has a cache mount.
pub fn has_cache_mount(run: &Run) -> bool {
    mounts(run).any(|mount| mount.value.split(',').any(|field| field == "type=cache"))
}

fn mounts(run: &Run) -> impl Iterator<Item = &Word> {
    run.flags.iter().filter(|flag| flag.name.value == "mount").filter_map(|flag| flag.value.as_ref())
}

fn mount_targets(run: &Run) -> impl Iterator<Item = String> {
    let key = |field: &str| {
        let (key, value) = field.split_once('=')?;
        matches!(key, "target" | "dst" | "destination").then(|| value.to_owned())
    };
    mounts(run).filter_map(move |mount| mount.value.split(',').find_map(key))
}

/// What a call installs by name, without options and their values; and where.
pub fn named<'c>(call: &'c Call, with_value: &'c [&'c str]) -> impl Iterator<Item = &'c Word> {
    let mut value_next = false;
    let mut verb_seen = false;
    call.words.iter().skip(1).filter(move |word| {
        let is_value = std::mem::replace(&mut value_next, with_value.contains(&word.value.as_str()));
        if is_value || word.value.starts_with('-') {
            return false;
        }
        std::mem::replace(&mut verb_seen, true)
    })
}

/// The smallest span over some words.
pub fn over<'w>(words: impl IntoIterator<Item = &'w Word>) -> Span {
    words.into_iter().map(|word| word.span).reduce(Span::to).unwrap_or_default()
}
