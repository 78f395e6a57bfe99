//! Why a step had to run, in people's words: the differences between the preimages of two keys (see [`crate::ops::key`]).

use super::words::{self, Mask};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;

/// One reason. The fields say for programs what `text` says for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Of which kind.
    pub kind: Kind,
    /// What is named: a path, a variable, an option, a mount point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it was, shortened if it is text; absent: it was not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// What it is, likewise; absent: it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
    /// The step that the change comes from, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u32>,
    /// How many more differences there are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: usize,
    /// All of it in a sentence; control characters of file names are still in it.
    pub text: String,
}

/// Kinds of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Nothing like it was built before.
    FirstBuild,
    /// The step was not in the last build.
    NewStep,
    /// `--no-cache`.
    NoCache,
    /// Nothing changed, and it did not succeed last time.
    Failed,
    /// Nothing changed; the record or its layer was collected.
    Collected,
    /// Something changed; what it was compared with was collected.
    Incomparable,
    /// Keys are made in another way than by the rbuild that ran it.
    Format,
    /// The instruction's command or path.
    Instruction,
    /// The script of a heredoc.
    Script,
    /// An option such as `--chown`.
    Option,
    /// A variable.
    Variable,
    /// USER.
    User,
    /// WORKDIR.
    Workdir,
    /// The network mode.
    Network,
    /// The platform.
    Platform,
    /// A `--mount`, or what is mounted.
    Mount,
    /// A file, directory or link that is copied.
    File,
    /// A shared library that `--with-libs` brings.
    Library,
    /// A directory of the image that the result goes into.
    Directory,
    /// A source on the network.
    Source,
    /// The base image.
    BaseImage,
    /// The files that the steps before it left.
    Files,
    /// Anything else that enters the key.
    Other,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

impl Reason {
    /// A reason that names nothing.
    pub fn new(kind: Kind, text: impl Into<String>) -> Reason {
        Reason { kind, name: None, old: None, new: None, step: None, more: 0, text: text.into() }
    }

    /// The user wants it so.
    pub fn no_cache() -> Reason {
        Reason::new(Kind::NoCache, "--no-cache")
    }

    fn named(mut self, name: impl Into<String>) -> Reason {
        self.name = Some(name.into());
        self
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match self.more {
            0 => Ok(()),
            1 => f.write_str(" (and 1 more difference)"),
            more => write!(f, " (and {more} more differences)"),
        }
    }
}

/// The parts of a preimage.
pub type Parts = [(String, String)];

/// Every difference of two preimages: what the step itself says or reads first, what it inherits from the steps before
/// it last.
pub fn differences(old: &Parts, new: &Parts, mask: &Mask<'_>) -> Vec<Reason> {
    let of = |parts: &Parts, name: &str| parts.iter().find(|p| p.0 == name).map(|p| p.1.clone());
    if of(old, "version") != of(new, "version") {
        let text = "this rbuild makes keys in another way than the one that ran it";
        return vec![Reason::new(Kind::Format, text)];
    }
    let is_copy = of(new, "kind").is_some_and(|kind| kind == "copy");
    let mut all = Vec::new();
    let (old_argv, new_argv) = (argv(old), argv(new));
    if old_argv != new_argv {
        all.push(command(&old_argv, &new_argv, mask));
    }
    let old_parts = numbered(old);
    let mut seen = numbered(new);
    for (name, nth, value) in in_order(new) {
        let before = old_parts.get(&(name, nth)).copied();
        if before != Some(value) && is_mounted(old, name) {
            all.push(part(is_copy, name, before, Some(value), mask));
        }
    }
    for (name, nth, value) in in_order(old) {
        if seen.remove(&(name, nth)).is_none() && is_mounted(new, name) {
            all.push(part(is_copy, name, Some(value), None, mask));
        }
    }
    all.sort_by_key(|reason| reason.kind == Kind::Files);
    all
}

/// Whether a part that tells what a bind mount shows is about a mount that is there: if not, what it would show is no news.
fn is_mounted(parts: &Parts, name: &str) -> bool {
    let Some(shown) = name.strip_prefix("bind ") else { return true };
    let mut targets = parts.iter().filter(|part| part.0 == "bind");
    targets.any(|(_, target)| shown.strip_prefix(target.as_str()).is_some_and(|rest| rest.starts_with(": ")))
}

fn argv(parts: &Parts) -> Vec<&str> {
    parts.iter().filter(|p| p.0 == "argv").map(|p| p.1.as_str()).collect()
}

/// Parts by name; those that share one are told apart by their number.
fn numbered(parts: &Parts) -> HashMap<(&str, usize), &str> {
    in_order(parts).into_iter().map(|(name, nth, value)| ((name, nth), value)).collect()
}

fn in_order(parts: &Parts) -> Vec<(&str, usize, &str)> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let others = parts.iter().filter(|p| p.0 != "argv");
    others
        .map(|(name, value)| {
            let count = counts.entry(name).or_default();
            *count += 1;
            (name.as_str(), *count, value.as_str())
        })
        .collect()
}

/// The commands of a RUN: of two shell commands the first line that differs.
fn command(old: &[&str], new: &[&str], mask: &Mask<'_>) -> Reason {
    if let ([old_shell @ .., old_text], [new_shell @ .., new_text]) = (old, new)
        && old_shell == new_shell
        && old_shell.len() > 1
    {
        return text_change(Kind::Instruction, "instruction", old_text, new_text, mask);
    }
    text_change(Kind::Instruction, "instruction", &old.join(" "), &new.join(" "), mask)
}

fn text_change(kind: Kind, what: &str, old: &str, new: &str, mask: &Mask<'_>) -> Reason {
    let (line, old, new) = words::first_line(old, new);
    let (old, new) = words::around_difference(&mask.text(old), &mask.text(new));
    let place = line.map_or(String::new(), |line| format!(", line {line}"));
    let text = format!("{what} changed{place}: `{old}` → `{new}`");
    Reason { old: Some(old), new: Some(new), ..Reason::new(kind, text) }
}

/// One part that differs.
fn part(is_copy: bool, name: &str, old: Option<&str>, new: Option<&str>, mask: &Mask<'_>) -> Reason {
    if let Some(entry) = name.strip_prefix("bind ") {
        let (target, inner) = entry.split_once(": ").unwrap_or((entry, ""));
        let inner = part(true, inner, old, new, mask);
        let text = format!("bind mount {target}: {}", inner.text);
        return Reason { kind: Kind::Mount, text, ..inner };
    }
    // Names of copied files and names of other parts may look alike; their values do not.
    let is_other = name.starts_with("parent /") || name.starts_with("library /") || name == "below the destination";
    if is_copy && !is_other && [old, new].into_iter().flatten().all(words::is_entry) {
        return file(name, old, new);
    }
    if let Some(variable) = name.strip_prefix("env ") {
        return changed(Kind::Variable, &format!("variable {variable}"), variable, old, new, &|v| {
            mask.value(variable, v)
        });
    }
    let plain = |v: &str| mask.text(v);
    let option = |kind, what: &str| changed(kind, what, name, old, new, &plain);
    match name.split_once(' ') {
        Some(("parent", path)) => {
            let text = words::entry_change(&format!("directory {path} of the image"), old, new);
            Reason::new(Kind::Directory, text).named(path)
        }
        Some(("library", path)) => {
            let text = words::entry_change(&format!("library {path}"), old, new);
            Reason::new(Kind::Library, text).named(path)
        }
        Some(("script", script)) => match (old, new) {
            (Some(old), Some(new)) => text_change(Kind::Script, &format!("script {script}"), old, new, mask),
            _ => option(Kind::Script, &format!("script {script}")),
        },
        Some((kind @ ("cache" | "tmpfs" | "secret" | "ssh"), target)) => {
            changed(Kind::Mount, &format!("{kind} mount {target}"), target, old, new, &plain)
        }
        _ => match name {
            "bind" => option(Kind::Mount, "bind mount"),
            "root" => Reason::new(Kind::Files, "the files before this step changed"),
            "below the destination" => {
                Reason::new(Kind::Directory, "the files at the destination changed, onto which an archive is unpacked")
            }
            "user" => option(Kind::User, "USER"),
            "workdir" => option(Kind::Workdir, "WORKDIR"),
            "network" => option(Kind::Network, "the network"),
            "security" => option(Kind::Option, "option --security"),
            "platform" => option(Kind::Platform, "the platform"),
            "destination" => option(Kind::Instruction, "destination"),
            "path" => option(Kind::Instruction, "path"),
            "real path" => option(Kind::Directory, "where the path leads in the image"),
            "owner" => option(Kind::User, "the numbers of USER in the image"),
            "writable" | "readonly" => option(Kind::Mount, &format!("mount option {name}")),
            _ if name.starts_with("--") => option(Kind::Option, &format!("option {name}")),
            _ => option(Kind::Other, name),
        },
    }
}

fn changed(
    kind: Kind,
    what: &str,
    name: &str,
    old: Option<&str>,
    new: Option<&str>,
    show: &dyn Fn(&str) -> String,
) -> Reason {
    let (old, new) = match (old.map(show), new.map(show)) {
        (Some(old), Some(new)) => {
            let (old, new) = words::around_difference(&old, &new);
            (Some(old), Some(new))
        }
        (old, new) => (old.map(|v| words::cut(&v, 0)), new.map(|v| words::cut(&v, 0))),
    };
    let text = match (&old, &new) {
        (Some(old), Some(new)) if old == new => format!("{what} changed"),
        (Some(old), Some(new)) => format!("{what} changed: {} → {}", words::shown(old), words::shown(new)),
        (None, Some(new)) => format!("{what} is new: {}", words::shown(new)),
        (Some(old), None) => format!("{what} is gone, was {}", words::shown(old)),
        (None, None) => format!("{what} changed"),
    };
    Reason { name: Some(name.to_owned()), old, new, ..Reason::new(kind, text) }
}

/// Something that a COPY brings.
fn file(name: &str, old: Option<&str>, new: Option<&str>) -> Reason {
    let noun = words::noun(new.or(old).unwrap_or_default());
    let what = match name {
        "/" => "a file at the top of the source".to_owned(),
        _ if noun == "group" => format!("a file in {name}"),
        "" => format!("the source {noun}"),
        _ => format!("{noun} {name}"),
    };
    let text = words::entry_change(&what, old, new);
    let keep = |value: Option<&str>| value.map(str::to_owned);
    Reason { old: keep(old), new: keep(new), ..Reason::new(Kind::File, text).named(name) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn parts(kind: &str, lines: &[(&str, &str)]) -> Vec<(String, String)> {
        let head = [("version", "1"), ("kind", kind)];
        head.iter().chain(lines).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn told(kind: &str, old: &[(&str, &str)], new: &[(&str, &str)]) -> Vec<(Kind, String)> {
        let secrets = BTreeMap::from([("s".to_owned(), b"hunter2".to_vec())]);
        let all = differences(&parts(kind, old), &parts(kind, new), &Mask::new(&secrets));
        all.into_iter().map(|reason| (reason.kind, reason.text)).collect()
    }

    #[test]
    fn every_part_of_a_run_is_named() {
        for (name, old, new, kind, text) in [
            ("root", "sha256:1", "sha256:2", Kind::Files, "the files before this step changed"),
            ("platform", "x86_64", "aarch64", Kind::Platform, "the platform changed: `x86_64` → `aarch64`"),
            ("env A", "1", "2", Kind::Variable, "variable A changed: `1` → `2`"),
            ("env A", "", "2", Kind::Variable, "variable A changed: empty → `2`"),
            ("env API_TOKEN", "1", "2", Kind::Variable, "variable API_TOKEN changed"),
            ("env URL", "u:hunter2@a", "u:hunter2@b", Kind::Variable, "variable URL changed: `u:***@a` → `u:***@b`"),
            ("user", "", "app", Kind::User, "USER changed: empty → `app`"),
            ("workdir", "/", "/w", Kind::Workdir, "WORKDIR changed: `/` → `/w`"),
            ("network", "host", "none", Kind::Network, "the network changed: `host` → `none`"),
            ("script EOF", "#!/x\na\n", "#!/x\nb\n", Kind::Script, "script EOF changed, line 2: `a` → `b`"),
            ("cache /c", "id", "di", Kind::Mount, "cache mount /c changed: `id` → `di`"),
            ("tmpfs /t", "", "5", Kind::Mount, "tmpfs mount /t changed: empty → `5`"),
            ("secret s", "/a", "/b", Kind::Mount, "secret mount s changed: `/a` → `/b`"),
            ("ssh default", "/a", "/b", Kind::Mount, "ssh mount default changed: `/a` → `/b`"),
            ("readonly", "false", "true", Kind::Mount, "mount option readonly changed: `false` → `true`"),
            ("new in a later version", "1", "2", Kind::Other, "new in a later version changed: `1` → `2`"),
        ] {
            assert_eq!(told("run", &[(name, old)], &[(name, new)]), [(kind, text.to_owned())]);
        }
        let bind = |content| [("bind", "/src"), ("bind /src: a.c", content)];
        let (old, new) = (bind("file 0644 0:0 sha256:1"), bind("file 0644 0:0 sha256:2"));
        let expected = "bind mount /src: file a.c has other contents".to_owned();
        assert_eq!(told("run", &old, &new), [(Kind::Mount, expected)]);
        assert_eq!(told("run", &old, &[]), [(Kind::Mount, "bind mount is gone, was `/src`".to_owned())]);
        let command = |old: &[&str], new: &[&str]| {
            let argv = |words: &[&str]| -> Vec<(String, String)> {
                words.iter().map(|word| ("argv".to_owned(), (*word).to_owned())).collect()
            };
            differences(&argv(old), &argv(new), &Mask::default()).pop().unwrap().text
        };
        assert_eq!(command(&["sh", "-c", "a"], &["sh", "-c", "b"]), "instruction changed: `a` → `b`");
        assert_eq!(command(&["sh", "-c", "a"], &["bash", "-c", "a"]), "instruction changed: `sh -c a` → `bash -c a`");
        assert_eq!(command(&["sh", "-c", "a\nb"], &["sh", "-c", "a\nc"]), "instruction changed, line 2: `b` → `c`");
        assert_eq!(command(&["make"], &["make", "all"]), "instruction changed: `make` → `make all`");
    }

    #[test]
    fn every_part_of_a_copy_is_named() {
        let file = "file 0644 0:0 sha256:1 -> /f";
        for (name, old, new, kind, text) in [
            ("destination", "/a", "/b", Kind::Instruction, "destination changed: `/a` → `/b`"),
            ("--chown", "0:0", "1:1", Kind::Option, "option --chown changed: `0:0` → `1:1`"),
            ("--chmod", "644", "u+x", Kind::Option, "option --chmod changed: `644` → `u+x`"),
            (
                "parent /a",
                "dir 0755 0:0",
                "dir 0700 0:0",
                Kind::Directory,
                "directory /a of the image has another mode: 0755 → 0700",
            ),
            (
                "below the destination",
                "sha256:1",
                "sha256:2",
                Kind::Directory,
                "the files at the destination changed, onto which an archive is unpacked",
            ),
            ("f", file, "file 0644 0:0 sha256:2 -> /f", Kind::File, "file f has other contents"),
            ("user", file, "file 0644 0:0 sha256:2 -> /f", Kind::File, "file user has other contents"),
            ("src/", "sha256:1", "sha256:2", Kind::File, "a file in src/ changed"),
            (
                "library /lib/l.so",
                "file 0755 0:0 sha256:1",
                "file 0755 0:0 sha256:2",
                Kind::Library,
                "library /lib/l.so has other contents",
            ),
        ] {
            assert_eq!(told("copy", &[(name, old)], &[(name, new)]), [(kind, text.to_owned())]);
        }
        assert_eq!(
            told("copy", &[], &[("--link", "true")]),
            [(Kind::Option, "option --link is new: `true`".to_owned())]
        );
        assert_eq!(told("copy", &[("f", file)], &[]), [(Kind::File, "file f is gone".to_owned())]);
    }

    #[test]
    fn every_part_of_a_workdir_is_named() {
        for (name, old, new, kind, text) in [
            ("path", "/a", "/b", Kind::Instruction, "path changed: `/a` → `/b`"),
            ("real path", "a", "b", Kind::Directory, "where the path leads in the image changed: `a` → `b`"),
            (
                "parent /",
                "dir 0755 0:0",
                "dir 0755 1:0",
                Kind::Directory,
                "directory / of the image has another owner: 0:0 → 1:0",
            ),
            ("owner", "0:0", "1:1", Kind::User, "the numbers of USER in the image changed: `0:0` → `1:1`"),
        ] {
            assert_eq!(told("mkdir", &[(name, old)], &[(name, new)]), [(kind, text.to_owned())]);
        }
    }

    #[test]
    fn what_is_inherited_comes_last_and_another_format_alone() {
        let told = told("run", &[("root", "1"), ("env A", "1")], &[("root", "2"), ("env A", "2"), ("env B", "x")]);
        assert_eq!(told.iter().map(|t| t.0).collect::<Vec<_>>(), [Kind::Variable, Kind::Variable, Kind::Files]);
        let old = [("version".to_owned(), "0".to_owned()), ("root".to_owned(), "1".to_owned())];
        let all = differences(&old, &parts("run", &[]), &Mask::default());
        assert_eq!(all.iter().map(|r| r.kind).collect::<Vec<_>>(), [Kind::Format]);
    }
}
