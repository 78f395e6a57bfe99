//! `referrers/SUBJECT/REFERRER`: which documents are about which, where the one they are about does not name them:
//! attestations of an image. What is about a blob that stays, stays.

use super::{Store, StoreError, layout};
use crate::base::fs::Context;
use crate::base::{Digest, fs};
use std::path::PathBuf;

impl Store {
    /// Notes that the blob `referrer` is about the blob `subject`. Both should be there already.
    ///
    /// # Errors
    /// The note cannot be written.
    pub fn add_referrer(&self, subject: &Digest, referrer: &Digest) -> Result<(), StoreError> {
        self.write_file(&self.referrers_path(subject).join(referrer.hex()), b"")
    }

    /// Forgets that `referrer` is about `subject`.
    ///
    /// # Errors
    /// The note cannot be removed.
    pub fn remove_referrer(&self, subject: &Digest, referrer: &Digest) -> Result<(), StoreError> {
        self.writable()?;
        let path = self.referrers_path(subject).join(referrer.hex());
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            result => Ok(result.at("remove", path)?),
        }
    }

    /// What is about the blob `subject`, sorted by digest.
    ///
    /// # Errors
    /// The notes cannot be read.
    pub fn referrers(&self, subject: &Digest) -> Result<Vec<Digest>, StoreError> {
        let names = layout::list(&self.referrers_path(subject))?;
        let mut found: Vec<Digest> = names.iter().filter_map(|name| layout::digest_of_name(name)).collect();
        found.sort();
        Ok(found)
    }

    fn referrers_path(&self, subject: &Digest) -> PathBuf {
        self.root.join(layout::REFERRERS).join(subject.hex())
    }
}

/// What is wrong with the notes in a directory of `referrers/`, for `fsck`: each with its path.
pub(super) fn check(store: &Store, directory: &std::path::Path) -> Result<Vec<(PathBuf, String)>, StoreError> {
    let mut wrong = Vec::new();
    for name in layout::list(directory)? {
        let path = directory.join(&name);
        match layout::digest_of_name(&name) {
            None => wrong.push((path, "its name is no digest".to_owned())),
            Some(digest) if !store.has_blob(&digest) => {
                wrong.push((path, format!("it stands for {digest}, which is not in the store")));
            }
            Some(_) => {}
        }
    }
    Ok(wrong)
}

/// The subject that a directory of `referrers/` is named after.
pub(super) fn subject(directory: &std::path::Path) -> Option<Digest> {
    layout::digest_of_name(directory.file_name()?)
}

/// Removes an emptied or dead directory of `referrers/`.
pub(super) fn discard(directory: &std::path::Path) -> Result<(), StoreError> {
    Ok(fs::remove_tree(directory)?)
}

#[cfg(test)]
mod tests {
    use super::super::gc::{Live, Policy};
    use super::super::tests::{exclusive, store};
    use super::*;

    #[test]
    fn what_is_about_a_named_blob_stays_as_long_as_that_does() {
        let (_dir, store) = store();
        let subject = store.put_blob(b"{\"a\":1}").unwrap();
        let mentioned = store.put_blob(b"[1]").unwrap();
        let note = store.put_blob(format!("{{\"about it\":\"{mentioned}\"}}").as_bytes()).unwrap();
        let referrer = store.put_blob(format!("{{\"layers\":[\"{note}\"]}}").as_bytes()).unwrap();
        store.add_referrer(&subject, &referrer).unwrap();
        store.add_referrer(&subject, &referrer).unwrap();
        assert_eq!(store.referrers(&subject).unwrap(), [referrer]);
        store.set_ref("x", &subject).unwrap();
        let store = exclusive(store);
        let collect = || {
            let plan = store.plan_gc(&Policy::default(), &mut |_: &Live| Ok(vec![])).unwrap();
            assert!(store.execute(plan).unwrap().failed.is_empty());
        };
        collect();
        assert!(store.has_blob(&referrer) && store.has_blob(&note));
        assert!(!store.has_blob(&mentioned), "what a statement only mentions is not kept");
        store.remove_ref("x").unwrap();
        collect();
        assert!(!store.has_blob(&referrer) && !store.has_blob(&note));
        assert_eq!(layout::list(&store.root.join(layout::REFERRERS)).unwrap().len(), 0);
        store.remove_referrer(&subject, &referrer).unwrap();
    }
}
