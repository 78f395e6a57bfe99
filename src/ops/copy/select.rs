//! What a COPY takes: names and patterns looked up, ignore rules and `--exclude` applied, directories walked, and the
//! files of contexts hashed.

use super::pattern::{Hit, Pattern};
use super::pick::{Kept, Pick, Picked};
use super::{unpack, words};
use crate::base::fs::Context as _;
use crate::base::{Cancel, Hasher};
use crate::diag::suggest;
use crate::dockerfile::ignore::Ignore;
use crate::graph::{CopyOp, CopySource};
use crate::ops::source::{Item, Source, Verdict, What, below, file_name, join, parent, stamp};
use crate::ops::{Cx, OpError};
use crate::store::statcache::FileFacts;
use rayon::prelude::*;

/// What is passed over: by the context's ignore file and by `--exclude`.
struct Filter<'s> {
    source: &'s Source<'s>,
    exclude: &'s Ignore,
}

impl Filter<'_> {
    fn by(ignore: &Ignore, path: &[u8], is_dir: bool) -> Verdict {
        match ignore.is_empty() || ignore.excluded_by(path).is_none() {
            true => Verdict::Keep,
            false if is_dir && ignore.may_include_below(path) => Verdict::Look,
            false => Verdict::Skip,
        }
    }

    /// By the ignore file (dockerfile.md C31: contexts alone have one).
    fn ignored(&self, path: &[u8], is_dir: bool) -> Verdict {
        match self.source {
            Source::Context(context) if !path.is_empty() => Filter::by(context.ignore(), path, is_dir),
            _ => Verdict::Keep,
        }
    }

    /// By `--exclude`, whose patterns are relative to what is copied (dockerfile.md C23).
    fn excluded(&self, relative: &[u8], is_dir: bool) -> Verdict {
        if relative.is_empty() { Verdict::Keep } else { Filter::by(self.exclude, relative, is_dir) }
    }

    /// Everything that is taken below `dir`. `kept`: where `--parents` puts the directory.
    fn below(&self, dir: &Item, kept: &[u8]) -> Result<Vec<Item>, OpError> {
        self.source.walk(dir, &|item| {
            if self.exclude.is_empty() {
                return self.ignored(&item.path, item.is_dir());
            }
            let relative = join(kept, below(&dir.path, &item.path).unwrap_or_default());
            self.ignored(&item.path, item.is_dir()).max(self.excluded(&relative, item.is_dir()))
        })
    }
}

/// Selects what the sources name, in their order, and hashes what comes from contexts.
pub(super) fn select(
    cx: &Cx<'_>,
    op: &CopyOp,
    sources: &[Option<Source<'_>>],
    warnings: &mut Vec<String>,
) -> Result<Vec<Pick>, OpError> {
    let exclude = Ignore::from_patterns(&op.exclude)
        .map_err(|e| OpError::input("exclude-invalid", format!("`--exclude={}`: {}", e.pattern, e.reason)))?;
    let mut picks = Vec::new();
    for (index, (spec, source)) in op.sources.iter().zip(sources).enumerate() {
        let Some(source) = source else {
            let named = words(spec).as_bytes().to_vec();
            picks.push(Pick { source: index, named, what: Picked::Inline, kept: None, target: Vec::new() });
            continue;
        };
        let filter = Filter { source, exclude: &exclude };
        let found = select_one(op, index, spec, &filter, warnings).map_err(|e| e.about(words(spec)))?;
        picks.extend(found);
    }
    // One directory of a step is its digest: nothing needs to be known of what is in it until it is copied.
    let lazy = picks.len() == 1 && op.exclude.is_empty() && !op.with_libs;
    for pick in &mut picks {
        let (Picked::Tree { dir, below: below @ None }, Some(source)) = (&mut pick.what, &sources[pick.source]) else {
            continue;
        };
        if !lazy || dir.node().is_none() {
            let kept = pick.kept.as_ref().map_or(&b""[..], |k| &k.path);
            *below = Some(Filter { source, exclude: &exclude }.below(dir, kept)?);
        }
    }
    for pick in &mut picks {
        let Some(source) = &sources[pick.source] else { continue };
        let title = words(&op.sources[pick.source]);
        sieve(pick, source, warnings).and_then(|()| hash(pick, source, cx.cancel)).map_err(|e| e.about(title))?;
    }
    // What was only looked into for the sake of a later `!` rule and turned out empty is not there.
    for pick in picks.extract_if(.., |pick| is_hidden(pick, sources)) {
        let spec = &op.sources[pick.source];
        if let (Some(source), false) = (&sources[pick.source], pattern_of(spec).is_wild()) {
            return Err(missing(source, words(spec), &pick.named).about(words(spec)));
        }
    }
    Ok(picks)
}

/// Whether an ignore rule covers this directory and nothing below it is taken.
fn is_hidden(pick: &Pick, sources: &[Option<Source<'_>>]) -> bool {
    match (&pick.what, &sources[pick.source]) {
        (Picked::Tree { dir, below: Some(below) }, Some(Source::Context(context))) => {
            below.is_empty() && !dir.path.is_empty() && context.ignore().excluded_by(&dir.path).is_some()
        }
        _ => false,
    }
}

fn pattern_of(spec: &CopySource) -> Pattern {
    match spec {
        // A name from an address is no pattern.
        CopySource::Remote { path, .. } => Pattern::exactly(path),
        _ => Pattern::new(words(spec)),
    }
}

fn select_one(
    op: &CopyOp,
    index: usize,
    spec: &CopySource,
    filter: &Filter<'_>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Pick>, OpError> {
    let source = filter.source;
    let pattern = pattern_of(spec);
    let wild = pattern.is_wild();
    let hits = if wild {
        pattern.search(source, op.parents, &|item| filter.ignored(&item.path, item.is_dir()))?
    } else {
        let named = pattern.literal();
        let item = source.find(&named, true)?.ok_or_else(|| missing(source, words(spec), &named))?;
        // Both names count: the one that is written, and the one that a link leads to.
        if [&named, &item.path].iter().any(|p| filter.ignored(p, item.is_dir()) == Verdict::Skip) {
            return Err(missing(source, words(spec), &named));
        }
        vec![Hit { named, item }]
    };
    if wild && hits.is_empty() {
        warnings.push(format!("`{}` matches nothing in the {}", words(spec), source.title()));
    }
    let mut picks = Vec::with_capacity(hits.len());
    for hit in hits {
        // A match is followed (dockerfile.md C12), but `--parents` keeps the shape of what a pattern finds.
        let item = match &hit.item.what {
            What::Symlink(target) if !op.parents => {
                source.find(&hit.item.path, true)?.ok_or_else(|| dangling(source, &hit.named, target))?
            }
            _ => hit.item,
        };
        let kept = if op.parents { Some(keep(source, &hit.named, pattern.pivot)?) } else { None };
        let relative = kept.as_ref().map_or_else(|| file_name(&hit.named), |k| &k.path);
        if (wild || !item.is_dir()) && filter.excluded(relative, item.is_dir()) == Verdict::Skip {
            continue;
        }
        let what = if item.is_dir() {
            Picked::Tree { dir: item, below: None }
        } else if unpacks(op, spec) && unpack::is_archive(source, &item)? {
            Picked::Archive(item)
        } else {
            Picked::One(item)
        };
        picks.push(Pick { source: index, named: hit.named, what, kept, target: Vec::new() });
    }
    Ok(picks)
}

/// Whether an archive from here is unpacked (dockerfile.md C27, C28).
fn unpacks(op: &CopyOp, spec: &CopySource) -> bool {
    if matches!(spec, CopySource::Remote { .. }) { op.unpack_remote } else { op.unpack }
}

/// What `--parents` keeps of a path: all behind the pivot, with the directories on the way.
fn keep(source: &Source<'_>, named: &[u8], pivot: usize) -> Result<Kept, OpError> {
    let parts: Vec<&[u8]> = named.split(|b| *b == b'/').filter(|p| !p.is_empty()).collect();
    let cut = pivot.min(parts.len());
    let path = parts[cut..].join(&b'/');
    let mut above = Vec::new();
    for end in cut + 1..parts.len() {
        if let Some(dir) = source.find(&parts[..end].join(&b'/'), true)? {
            above.push((parts[cut..end].join(&b'/'), dir));
        }
    }
    Ok(Kept { path, above })
}

/// Refuses what would change a layer's meaning, and tells of what no layer can hold.
fn sieve(pick: &Pick, source: &Source<'_>, warnings: &mut Vec<String>) -> Result<(), OpError> {
    let mut told = false;
    for item in pick.items() {
        let shown = || source.show(&item.path).display().to_string();
        match item.what {
            What::Socket if !told => {
                told = true;
                warnings.push(format!("{} is a socket and becomes an empty file", shown()));
            }
            What::Char(0, 0) => {
                return Err(OpError::input("copy-whiteout", format!("{} is a character device 0:0", shown()))
                    .note("in a layer directory that means a removed file")
                    .with_help("leave it out with .dockerignore or --exclude"));
            }
            _ => {}
        }
        if item.name().starts_with(b".wh.") {
            return Err(OpError::input("copy-whiteout", format!("the name of {} begins with `.wh.`", shown()))
                .note("in a layer such a name means a removed file (OCI image-spec, Whiteouts)")
                .with_help("rename it, or leave it out with .dockerignore or --exclude"));
        }
    }
    Ok(())
}

/// Fills in the digests of a context's files that the stat cache did not know, in parallel.
fn hash(pick: &mut Pick, source: &Source<'_>, cancel: &Cancel) -> Result<(), OpError> {
    hash_items(source, pick.items_mut().collect(), cancel)
}

/// The same for single items.
pub(super) fn hash_items(source: &Source<'_>, items: Vec<&mut Item>, cancel: &Cancel) -> Result<(), OpError> {
    let Source::Context(context) = source else { return Ok(()) };
    let files: Vec<&mut Item> =
        items.into_iter().filter(|i| matches!(i.what, What::File { content: None, .. })).collect();
    files.into_par_iter().try_for_each_init(Vec::new, |buffer, item| {
        if cancel.is_set() {
            return Err(OpError::Cancelled);
        }
        let (What::File { size, .. }, Some(key)) = (&item.what, item.stamp) else { return Ok(()) };
        let size = *size;
        let shown = source.show(&item.path);
        let file = source.open_file(item)?;
        let (content, _) = Hasher::read_with(&file, buffer).at("read", &shown)?;
        if stamp(&rustix::fs::fstat(&file).at("look at", &shown)?) != key {
            return Err(changed(source, item));
        }
        context.stats().put(key, FileFacts { content, bare: item.xattrs.is_empty() });
        item.what = What::File { size, content: Some(content) };
        Ok(())
    })
}

/// A file that did not hold still.
pub(super) fn changed(source: &Source<'_>, item: &Item) -> OpError {
    let shown = source.show(&item.path);
    OpError::input("copy-source-changed", format!("{} changed while it was being copied", shown.display()))
        .with_help("build again once nothing writes to it")
        .about(String::from_utf8_lossy(&item.path))
}

fn dangling(source: &Source<'_>, named: &[u8], target: &[u8]) -> OpError {
    let (named, target) = (String::from_utf8_lossy(named), String::from_utf8_lossy(target));
    OpError::input("copy-source-missing", format!("`{named}` is a symbolic link to nothing in the {}", source.title()))
        .note(format!("it leads to `{target}`, and links can't lead out of there"))
}

fn missing(source: &Source<'_>, words: &str, named: &[u8]) -> OpError {
    let mut error = OpError::input("copy-source-missing", format!("`{words}` is not in the {}", source.title()));
    let mut hidden = false;
    if let Source::Context(context) = source {
        error = error.note(format!("the context is {}", context.root().path().display()));
        let real = source.find(named, true).ok().flatten();
        let paths = real.iter().map(|i| i.path.as_slice()).chain([named]);
        if let Some(note) = real.as_ref().and_then(|_| paths.into_iter().find_map(|p| context.ignored_note(p))) {
            error = error.note(note).with_help(format!("take the rule out, or write `!{words}` on a line after it"));
            hidden = true;
        }
    }
    match near(source, named).filter(|_| !hidden) {
        Some(near) => error.with_help(format!("did you mean `{near}`?")),
        None => error,
    }
}

/// The name most like the one that is missing, in the directory where it is missing.
fn near(source: &Source<'_>, named: &[u8]) -> Option<String> {
    let mut dir = parent(named);
    let mut wanted = file_name(named);
    loop {
        match source.find(dir, true).ok()? {
            Some(item) if item.is_dir() => {
                let names: Vec<String> = source
                    .children(&item)
                    .ok()?
                    .iter()
                    .map(|i| String::from_utf8_lossy(i.name()).into_owned())
                    .collect();
                let name = suggest::nearest(&String::from_utf8_lossy(wanted), names.iter().map(String::as_str))?;
                return Some(String::from_utf8_lossy(&join(dir, name.as_bytes())).into_owned());
            }
            _ if dir.is_empty() => return None,
            _ => {
                wanted = file_name(dir);
                dir = parent(dir);
            }
        }
    }
}
