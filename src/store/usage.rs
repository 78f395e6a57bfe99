//! What the store takes on disk, by class.

use super::disk::{self, Kept};
use super::{Store, StoreError, layout};
use std::fmt;
use std::path::Path;

/// A class of things in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// OCI content.
    Blob,
    /// Unpacked layers.
    Layer,
    /// What is about what: attestations, whose contents are blobs.
    Referrer,
    /// Tree nodes.
    Tree,
    /// Step records.
    Step,
    /// What the last build of each project did.
    Build,
    /// Layers by content digest.
    Content,
    /// Stat caches of build contexts.
    Context,
    /// Cache mounts.
    Mount,
    /// Root filesystems of failed steps.
    Failed,
    /// What is being built, or was when its build was killed.
    Tmp,
}

impl Class {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Class; 11] = [
        Class::Layer,
        Class::Blob,
        Class::Referrer,
        Class::Tree,
        Class::Step,
        Class::Build,
        Class::Content,
        Class::Context,
        Class::Mount,
        Class::Failed,
        Class::Tmp,
    ];

    /// Its directory in the store.
    pub fn directory(self) -> &'static str {
        match self {
            Class::Blob => layout::BLOBS,
            Class::Referrer => layout::REFERRERS,
            Class::Layer => layout::LAYERS,
            Class::Tree => layout::TREES,
            Class::Step => layout::STEPS,
            Class::Build => layout::BUILDS,
            Class::Content => layout::CONTENTS,
            Class::Context => layout::CONTEXTS,
            Class::Mount => layout::MOUNTS,
            Class::Failed => layout::FAILED,
            Class::Tmp => layout::TMP,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Class::Blob => "blobs",
            Class::Referrer => "attested images",
            Class::Layer => "layers",
            Class::Tree => "trees",
            Class::Step => "step records",
            Class::Build => "build records",
            Class::Content => "content map",
            Class::Context => "stat caches",
            Class::Mount => "cache mounts",
            Class::Failed => "failed steps",
            Class::Tmp => "temporary",
        })
    }
}

/// How many things of a class there are, and their space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Things.
    pub count: u64,
    /// Bytes on disk, hard links counted once.
    pub bytes: u64,
    /// Bytes that hard links save: the same files again in other things of the class.
    pub shared: u64,
}

impl Store {
    /// What each class takes. What could be reclaimed is told by a [`super::gc::Plan`].
    pub fn usage(&self) -> Result<Vec<(Class, Total)>, StoreError> {
        Class::ALL.into_iter().map(|class| Ok((class, self.usage_of(class)?))).collect()
    }

    fn usage_of(&self, class: Class) -> Result<Total, StoreError> {
        let directory = self.root().join(class.directory());
        let mut total = Total::default();
        let mut kept = Kept::default();
        for path in self.things(class, &directory)? {
            let inodes = disk::inodes(&path);
            let alone = Kept::default().add(&inodes);
            let more = kept.add(&inodes);
            total.count += 1;
            total.bytes += more;
            total.shared += alone - more;
        }
        Ok(total)
    }

    fn things(&self, class: Class, directory: &Path) -> Result<Vec<std::path::PathBuf>, StoreError> {
        match class {
            Class::Step => self.step_files(),
            Class::Tree => Ok(layout::files_below(directory)),
            _ => Ok(layout::list(directory)?.into_iter().map(|name| directory.join(name)).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::store;
    use super::*;

    #[test]
    fn usage_counts_each_class_and_shared_files_once() {
        let (_dir, store) = store();
        let a = super::super::layers::tests::publish(&store, "a");
        let b = super::super::layers::tests::publish(&store, "b");
        let (file_a, file_b) =
            (store.layer_fs(&a.diff_id).unwrap().join("file"), store.layer_fs(&b.diff_id).unwrap().join("file"));
        std::fs::remove_file(&file_b).unwrap();
        std::fs::hard_link(&file_a, &file_b).unwrap();
        store.put_blob(&[7; 5000]).unwrap();
        let usage = store.usage().unwrap();
        let of = |class| usage.iter().find(|u| u.0 == class).unwrap().1;
        assert_eq!(of(Class::Layer).count, 2);
        assert_eq!(of(Class::Layer).shared, disk::bytes(&file_a));
        assert_eq!(of(Class::Blob).count, 1);
        assert!(of(Class::Blob).bytes >= 5000);
        assert_eq!(of(Class::Step), Total::default());
    }
}
