//! What `--with-libs` adds to a COPY: interpreter and libraries at the paths where the program's loader opens them,
//! with the symbolic links on the way, so that they are found in an empty root as they were in their own.
//!
//! Where the base has something else on the way (a real directory in place of a link, or a link of its own), the base's
//! layout is kept and the file put where the path leads in it.

use super::pick::{Pick, Picked};
use super::select::hash_items;
use super::words;
use crate::graph::CopyOp;
use crate::ops::elf::{Library, Loader, Program};
use crate::ops::mkdir::quote;
use crate::ops::source::{Item, Source, What, components, join, parent};
use crate::ops::{Cx, OpError};
use crate::tree::View;
use crate::tree::view::Found;
use std::collections::{BTreeMap, BTreeSet};

/// A file or link that is needed beside what is copied.
#[derive(Debug)]
pub(super) struct Extra {
    /// Which source of the instruction it comes from.
    pub source: usize,
    /// The file or link there.
    pub item: Item,
    /// Where it goes: a real path of the base.
    pub target: Vec<u8>,
}

impl Extra {
    /// Its line in the key.
    pub fn describe(&self) -> String {
        match &self.item.what {
            What::File { content: Some(content), .. } => {
                format!("file {:04o} {}:{} {content}", self.item.mode, self.item.uid, self.item.gid)
            }
            What::Symlink(target) => format!("symlink {}", quote(target)),
            _ => String::new(),
        }
    }
}

/// Finds what the selected programs need.
pub(super) fn needed(
    cx: &Cx<'_>,
    op: &CopyOp,
    base: Option<&View<'_>>,
    sources: &[Option<Source<'_>>],
    picks: &[Pick],
    warnings: &mut Vec<String>,
) -> Result<Vec<Extra>, OpError> {
    let mut extras = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        let Some(source) = source else { continue };
        let mut loader = Loader::new(source)?;
        let mut placing = Placing { index, source, base, placed: BTreeMap::new(), warnings };
        let mut scripts: BTreeSet<String> = BTreeSet::new();
        for pick in picks.iter().filter(|p| p.source == index) {
            for item in pick.items().iter().filter(|i| may_be_program(i)) {
                if cx.cancel.is_set() {
                    return Err(OpError::Cancelled);
                }
                match loader.program(item).map_err(|e| e.about(words(&op.sources[index])))? {
                    Program::Plain => {}
                    Program::Script(interpreter) => {
                        if scripts.insert(interpreter.clone()) {
                            let shown = source.show(&item.path);
                            placing.warnings.push(format!(
                                "{} is a script for `{interpreter}`, which --with-libs does not bring",
                                shown.display()
                            ));
                        }
                    }
                    Program::Elf(closure) => {
                        if closure.by_origin && parent(&target(pick, item)) != parent(&item.path) {
                            placing.warnings.push(format!(
                                "{} finds libraries relative to its own place (`$ORIGIN`), and is copied to another one",
                                source.show(&item.path).display()
                            ));
                        }
                        closure.libraries.iter().try_for_each(|library| placing.bring(library))?;
                        closure.list.iter().try_for_each(|list| placing.bring_list(list))?;
                    }
                }
            }
        }
        let mut found: Vec<Extra> = placing.placed.into_values().collect();
        hash_items(source, found.iter_mut().map(|e| &mut e.item).collect(), cx.cancel)?;
        found.retain(|extra| !is_there_already(base, extra, warnings));
        extras.extend(found);
    }
    Ok(extras)
}

/// Cheap signs, so that not every file has to be opened.
fn may_be_program(item: &Item) -> bool {
    let named_so = item.name().windows(3).any(|w| w == b".so");
    matches!(item.what, What::File { size, .. } if size > 0) && (item.mode & 0o111 != 0 || named_so)
}

fn target(pick: &Pick, item: &Item) -> Vec<u8> {
    match &pick.what {
        Picked::Tree { dir, .. } => pick.target_of(dir, item),
        _ => pick.target.clone(),
    }
}

/// Puts paths of one source where they lead in the base.
struct Placing<'p> {
    index: usize,
    source: &'p Source<'p>,
    base: Option<&'p View<'p>>,
    placed: BTreeMap<Vec<u8>, Extra>,
    warnings: &'p mut Vec<String>,
}

impl Placing<'_> {
    /// Walks a library's path in its own root and in the base side by side, and notes the links and the file.
    fn bring(&mut self, library: &Library) -> Result<(), OpError> {
        let mut ahead: Vec<Vec<u8>> = components(&library.named).rev().map(<[u8]>::to_vec).collect();
        let (mut here, mut there) = (Vec::new(), Vec::new());
        while let Some(name) = ahead.pop() {
            if name == b".." {
                (here, there) = (parent(&here).to_vec(), parent(&there).to_vec());
                continue;
            }
            let (from, to) = (join(&here, &name), join(&there, &name));
            let Some(item) = self.source.find(&from, false)? else { return Ok(()) };
            let base = self.in_base(&to)?;
            match &item.what {
                What::Symlink(target) => {
                    let kept = base
                        .as_ref()
                        .filter(|b| !ahead.is_empty() && !self.placed.contains_key(&to) && leads_to_dir(b));
                    if let Some(kept) = kept {
                        // The base has its own way on from here.
                        there = self.follow(&kept.path)?;
                        here = self.source.find(&from, true)?.map(|i| i.path).unwrap_or(from);
                        continue;
                    }
                    if target.starts_with(b"/") {
                        (here, there) = (Vec::new(), Vec::new());
                    }
                    ahead.extend(components(target).rev().map(<[u8]>::to_vec));
                    self.put(to, item)?;
                }
                What::Dir => {
                    here = from;
                    there = match base {
                        Some(found) if !found.is_dir() => self.follow(&found.path)?,
                        _ => to,
                    };
                }
                _ => return self.put(to, item),
            }
        }
        Ok(())
    }

    /// The loader's list of directories, which the image must not have two of.
    fn bring_list(&mut self, path: &[u8]) -> Result<(), OpError> {
        if self.in_base(path)?.is_some() {
            self.warnings.push(format!(
                "libraries lie in directories that /{} of the image does not list: run ldconfig after this line",
                String::from_utf8_lossy(path)
            ));
            return Ok(());
        }
        match self.source.find(path, true)? {
            Some(item) => self.put(path.to_vec(), item),
            None => Ok(()),
        }
    }

    fn put(&mut self, target: Vec<u8>, item: Item) -> Result<(), OpError> {
        if self.in_base(&target)?.is_some_and(|found| found.is_dir()) {
            let shown = String::from_utf8_lossy(&target).into_owned();
            return Err(OpError::input(
                "copy-over-directory",
                format!("cannot replace the directory `/{shown}` with a file"),
            )
            .note(format!("--with-libs needs {} there", self.source.show(&item.path).display())));
        }
        let source = self.index;
        self.placed.entry(target.clone()).or_insert(Extra { source, item, target });
        Ok(())
    }

    fn in_base(&self, path: &[u8]) -> Result<Option<Found>, OpError> {
        match self.base {
            Some(view) => Ok(view.find(path, false)?),
            None => Ok(None),
        }
    }

    /// Where a link of the base leads.
    fn follow(&self, path: &[u8]) -> Result<Vec<u8>, OpError> {
        match self.base {
            Some(view) => Ok(view.resolve_for_write(path)?.0),
            None => Ok(path.to_vec()),
        }
    }
}

/// Whether the base's own entry can be walked on: a directory, or a link, which is taken to lead to one.
fn leads_to_dir(found: &Found) -> bool {
    found.is_dir() || matches!(found.entry.entry.kind, crate::layer::Kind::Symlink(_))
}

/// Whether the base has the very same file or link; a different file is replaced, and that is told.
fn is_there_already(base: Option<&View<'_>>, extra: &Extra, warnings: &mut Vec<String>) -> bool {
    let Some(Ok(Some(found))) = base.map(|view| view.find(&extra.target, false)) else { return false };
    use crate::layer::Kind;
    match (&found.entry.entry.kind, &extra.item.what) {
        (Kind::Symlink(a), What::Symlink(b)) => a == b,
        (Kind::File { content, .. } | Kind::HardLink { content, .. }, What::File { content: Some(new), .. }) => {
            if content == new {
                return true;
            }
            let shown = String::from_utf8_lossy(&extra.target);
            warnings.push(format!("--with-libs replaces `/{shown}` of the base with a different file"));
            false
        }
        _ => false,
    }
}
