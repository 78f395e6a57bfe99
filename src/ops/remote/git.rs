//! A commit of a git repository, by the git program (dockerfile.md C29).
//!
//! First the commit's id is asked for, then looked up; only a commit that is not known is fetched. What comes of it is the
//! same wherever it is fetched: modes 0644 and 0755, owner 0:0, the time of the commit.

use super::run::{Git, Protocols, Said};
use super::{Answer, Fetcher, failed, not_found, offline};
use crate::base::fs::Context as _;
use crate::base::root::Root;
use crate::graph::remote::redacted;
use crate::graph::{GitSource, Remote};
use crate::net::{self, Url};
use crate::ops::{OpError, Written};
use base64::Engine as _;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The commit that a source means now: nothing is asked where it says so itself.
pub(super) fn resolve(fetcher: &Fetcher<'_>, source: &GitSource) -> Result<String, OpError> {
    let remote = Remote::Git(source.clone());
    let commit = match pinned(source) {
        Some(commit) => commit,
        None => ask(fetcher, source, &remote, source.reference.as_deref())?,
    };
    if let Some(expected) = source.commit.as_deref().filter(|expected| !commit.starts_with(expected)) {
        return Err(OpError::input("checksum-mismatch", format!("{remote} is not the commit that it must be"))
            .note(format!("expected {expected}"))
            .note(format!("found    {commit}"))
            .about(expected));
    }
    Ok(commit)
}

/// The commit, where the source itself says which.
pub(super) fn pinned(source: &GitSource) -> Option<String> {
    match (&source.reference, &source.commit) {
        (Some(named), _) => Some(named.to_ascii_lowercase()).filter(|n| is_commit(n)),
        // With a name beside it, it must still be what the name means.
        (None, commit) => commit.clone().filter(|c| is_commit(c)),
    }
}

/// A whole id: SHA-1 or SHA-256.
fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Asks the server what a reference is.
fn ask(fetcher: &Fetcher<'_>, source: &GitSource, remote: &Remote, reference: Option<&str>) -> Result<String, OpError> {
    refuse_offline(source, remote)?;
    let dir = fetcher.store.temp_dir()?;
    let git = Git::new(fetcher, dir.path(), header(fetcher, source))?;
    let peeled = reference.map(|r| format!("{r}^{{}}"));
    let mut arguments = vec!["ls-remote", "--", &source.url];
    match (reference, &peeled) {
        (Some(reference), Some(peeled)) => arguments.extend([reference, peeled]),
        _ => arguments.push("HEAD"),
    }
    let said = git.run(protocols(source), &arguments)?;
    if !said.success {
        let error = failed(remote, &said.reason);
        return Err(match source.url.starts_with("http") {
            true => error.with_help("credentials are taken from a secret: --secret id=GIT_AUTH_TOKEN,env=TOKEN"),
            false => error,
        });
    }
    let listing = String::from_utf8_lossy(&said.out).into_owned();
    pick(&listing, reference).ok_or_else(|| match reference {
        Some(reference) => not_found(remote, format!("the repository has no branch, tag or commit `{reference}`")),
        None => not_found(remote, "the repository has no commit yet"),
    })
}

/// Of what `git ls-remote` lists, the commit that a name means: a tag (what it points to) before a branch.
fn pick(listing: &str, reference: Option<&str>) -> Option<String> {
    let listed = |name: &str| {
        let mut lines = listing.lines().filter_map(|line| line.split_once('\t'));
        lines.find(|(id, known)| *known == name && is_commit(id)).map(|(id, _)| id.to_owned())
    };
    let Some(reference) = reference else { return listed("HEAD") };
    let bare = reference.strip_prefix("refs/").unwrap_or(reference);
    [
        format!("refs/tags/{reference}^{{}}"),
        format!("refs/tags/{reference}"),
        format!("refs/heads/{reference}"),
        format!("refs/{bare}^{{}}"),
        format!("refs/{bare}"),
        reference.to_owned(),
    ]
    .iter()
    .find_map(|name| listed(name))
}

fn protocols(source: &GitSource) -> Protocols {
    if source.local { Protocols::Local } else { Protocols::Network }
}

/// Credentials from secrets, by BuildKit's names, for the repository's own host alone.
fn header(fetcher: &Fetcher<'_>, source: &GitSource) -> Option<(String, String)> {
    let url = Url::parse(&source.url).ok()?;
    let read = |name: &str| fetcher.secret(&format!("{name}.{}", url.host())).or_else(|| fetcher.secret(name));
    let basic = |token: String| {
        let pair = format!("x-access-token:{token}");
        format!("basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
    };
    let value = read("GIT_AUTH_HEADER").or_else(|| read("GIT_AUTH_TOKEN").map(basic))?;
    let origin = format!("{}://{}:{}/", url.scheme(), url.host(), url.port());
    Some((format!("http.{origin}.extraheader"), format!("Authorization: {value}")))
}

/// A repository of this machine is no matter of the network.
fn refuse_offline(source: &GitSource, remote: &Remote) -> Result<(), OpError> {
    if net::is_offline() && !source.local { Err(offline(remote)) } else { Ok(()) }
}

/// Fetches a commit and takes its files.
pub(super) fn fetch(fetcher: &Fetcher<'_>, source: &GitSource, commit: &str) -> Result<Answer, OpError> {
    let remote = Remote::Git(source.clone());
    refuse_offline(source, &remote)?;
    let dir = fetcher.store.temp_dir()?;
    let git = Git::new(fetcher, dir.path(), header(fetcher, source))?;
    let must = |said: Said| if said.success { Ok(said.out) } else { Err(failed(&remote, said.reason)) };
    let format = if commit.len() == 64 { "--object-format=sha256" } else { "--object-format=sha1" };
    must(git.run(Protocols::Network, &["init", "-q", "--template=", format])?)?;
    must(git.run(Protocols::Network, &["remote", "add", "origin", &source.url])?)?;
    obtain(&git, source, &remote, commit)?;
    must(git.run(Protocols::Network, &["checkout", "-q", "--force", "--detach", commit])?)?;
    if !source.no_submodules && git.work.join(".gitmodules").symlink_metadata().is_ok() {
        submodules(&git, &remote)?;
    }
    let time = must(git.run(Protocols::Network, &["log", "-1", "--format=%ct", commit])?)?;
    let time = String::from_utf8_lossy(&time).trim().parse().unwrap_or(0);
    if source.keep_git_dir {
        tidy(&git, source, &must)?;
    } else {
        drop_git_dirs(&git.work)?;
    }
    let fs = subdirectory(&git.work, source, &remote)?;
    normalise(&fs, time)?;
    Ok(Answer::New(Written { dir, fs, known: HashMap::new() }, Vec::new()))
}

/// Gets the commit: alone if the server gives commits by id, else by its name, else with all there is.
fn obtain(git: &Git<'_>, source: &GitSource, remote: &Remote, commit: &str) -> Result<(), OpError> {
    let there = || -> Result<bool, OpError> {
        let kind = format!("{commit}^{{commit}}");
        Ok(git.run(Protocols::Network, &["rev-parse", "-q", "--verify", "--end-of-options", &kind])?.success)
    };
    let by_name = source.reference.as_deref().filter(|r| !is_commit(r)).unwrap_or("HEAD");
    let shallow = ["fetch", "-q", "--depth=1", "--no-tags", "--no-recurse-submodules", "origin"];
    let all = ["fetch", "-q", "--no-recurse-submodules", "origin", "+refs/heads/*:refs/remotes/origin/*"];
    let tries: [Vec<&str>; 3] = [
        [&shallow[..], &[commit]].concat(),
        [&shallow[..], &[by_name]].concat(),
        [&all[..], &["+refs/tags/*:refs/tags/*"]].concat(),
    ];
    let mut reason = String::new();
    for arguments in &tries {
        let said = git.run(protocols(source), arguments)?;
        if said.success && there()? {
            return Ok(());
        }
        reason = said.reason;
    }
    match reason.as_str() {
        "git failed" => Err(not_found(remote, format!("the repository has no commit {commit}"))),
        reason => Err(failed(remote, reason)),
    }
}

/// Submodules come from the network, also those of a local repository (CVE-2022-39253).
fn submodules(git: &Git<'_>, remote: &Remote) -> Result<(), OpError> {
    let update = ["submodule", "--quiet", "update", "--init", "--recursive"];
    let shallow = git.run(Protocols::Network, &[&update[..], &["--depth=1"]].concat())?;
    if shallow.success {
        return Ok(());
    }
    let whole = git.run(Protocols::Network, &update)?;
    match whole.success {
        true => Ok(()),
        false => Err(failed(remote, format!("a submodule: {}", whole.reason))
            .with_help("leave submodules out: write the source as URL?submodules=false")),
    }
}

/// Takes out of `.git` what differs from one fetch to the next, and what may hold credentials.
fn tidy(git: &Git<'_>, source: &GitSource, must: &impl Fn(Said) -> Result<Vec<u8>, OpError>) -> Result<(), OpError> {
    must(git.run(Protocols::Network, &["remote", "set-url", "origin", &redacted(&source.url)])?)?;
    let dir = git.work.join(".git");
    for name in ["FETCH_HEAD", "ORIG_HEAD", "index"] {
        crate::base::fs::remove_file(dir.join(name))?;
    }
    crate::base::fs::remove_tree(dir.join("logs"))?;
    // An index of what is there, without the times and inode numbers of this checkout.
    must(git.run(Protocols::Network, &["read-tree", "HEAD"])?).map(drop)
}

/// Removes `.git`, a directory at the top and files in submodules.
fn drop_git_dirs(work: &Path) -> Result<(), OpError> {
    let mut found = Vec::new();
    for entry in walkdir::WalkDir::new(work).min_depth(1) {
        let entry = entry.map_err(std::io::Error::from).at("read", work)?;
        if entry.file_name() == ".git" {
            found.push(entry.into_path());
        }
    }
    // Deepest first: what lies in another is gone by then.
    for path in found.iter().rev() {
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => crate::base::fs::remove_tree(path)?,
            Ok(_) => crate::base::fs::remove_file(path)?,
            Err(_) => {}
        }
    }
    Ok(())
}

/// The directory that is meant; symbolic links on the way are not followed.
fn subdirectory(work: &Path, source: &GitSource, remote: &Remote) -> Result<PathBuf, OpError> {
    let Some(subdir) = &source.subdir else { return Ok(work.to_owned()) };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    match Root::open(work)?.open_with(subdir.as_bytes(), flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        Ok(_) => Ok(work.join(subdir)),
        Err(_) => Err(not_found(remote, format!("the commit has no directory `{subdir}`"))),
    }
}

/// Modes and times that every checkout of the commit has.
fn normalise(fs: &Path, time: i64) -> Result<(), OpError> {
    let time = Timespec { tv_sec: time, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    // Contents first: a directory's time changes with what is made in it, though nothing is made here.
    for entry in walkdir::WalkDir::new(fs).contents_first(true) {
        let entry = entry.map_err(std::io::Error::from).at("read", fs)?;
        let path = entry.path();
        let metadata = entry.metadata().map_err(std::io::Error::from).at("look at", path)?;
        if !metadata.is_symlink() {
            use std::os::unix::fs::PermissionsExt;
            let runs = metadata.is_dir() || metadata.permissions().mode() & 0o100 != 0;
            let mode = if runs { 0o755 } else { 0o644 };
            rustix::fs::chmod(path, Mode::from_raw_mode(mode)).at("set permissions of", path)?;
        }
        rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).at("set the time of", path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_a_tag_before_a_branch_and_what_the_tag_points_to() {
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|letter| letter.repeat(40));
        let listing = format!(
            "{a}\tHEAD\n{a}\trefs/heads/main\n{b}\trefs/heads/both\n{c}\trefs/tags/both\n{d}\trefs/tags/both^{{}}\n\
             {c}\trefs/pull/7/head\n"
        );
        for (reference, id) in [
            (None, Some(&a)),
            (Some("main"), Some(&a)),
            (Some("both"), Some(&d)),
            (Some("refs/heads/both"), Some(&b)),
            (Some("refs/tags/both"), Some(&d)),
            (Some("pull/7/head"), Some(&c)),
            (Some("refs/pull/7/head"), Some(&c)),
            (Some("mai"), None),
        ] {
            assert_eq!(pick(&listing, reference).as_ref(), id, "{reference:?}");
        }
    }
}
