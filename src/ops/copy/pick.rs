//! What a source of a COPY names, once it is found: the common ground of selecting, placing, keying and writing.

use crate::ops::source::{Item, below, join};

/// One thing that a source names.
#[derive(Debug)]
pub(super) struct Pick {
    /// Which source of the instruction, from 0.
    pub source: usize,
    /// Its path by the names that matched, relative to the source; of inline data its name.
    pub named: Vec<u8>,
    /// What it is.
    pub what: Picked,
    /// With `--parents`: where it goes below the destination, and the directories above it there.
    pub kept: Option<Kept>,
    /// Where it goes: a real path of the base. Known once the destination is.
    pub target: Vec<u8>,
}

/// Kind of a [`Pick`].
#[derive(Debug)]
pub(super) enum Picked {
    /// A file whose contents stand in the Dockerfile.
    Inline,
    /// A file, or whatever else is no directory.
    One(Item),
    /// An archive that is unpacked.
    Archive(Item),
    /// The contents of a directory.
    Tree {
        /// The directory.
        dir: Item,
        /// What is taken below it, in path order. `None`: all, of a step's directory that is not walked yet.
        below: Option<Vec<Item>>,
    },
}

/// What `--parents` keeps of a source path.
#[derive(Debug)]
pub(super) struct Kept {
    /// Path below the destination.
    pub path: Vec<u8>,
    /// The directories above it, outermost first, with their paths below the destination.
    pub above: Vec<(Vec<u8>, Item)>,
}

impl Pick {
    /// Where an item below this pick's directory goes.
    pub fn target_of(&self, dir: &Item, item: &Item) -> Vec<u8> {
        join(&self.target, below(&dir.path, &item.path).unwrap_or_default())
    }

    /// The same, to be filled in.
    pub fn items_mut(&mut self) -> Box<dyn Iterator<Item = &mut Item> + '_> {
        match &mut self.what {
            Picked::Inline => Box::new(std::iter::empty()),
            Picked::One(item) | Picked::Archive(item) => Box::new(std::iter::once(item)),
            Picked::Tree { below, .. } => Box::new(below.iter_mut().flatten()),
        }
    }

    /// The items that are known, the directory itself excepted.
    pub fn items(&self) -> &[Item] {
        match &self.what {
            Picked::One(item) | Picked::Archive(item) => std::slice::from_ref(item),
            Picked::Tree { below: Some(below), .. } => below,
            Picked::Inline | Picked::Tree { below: None, .. } => &[],
        }
    }
}
