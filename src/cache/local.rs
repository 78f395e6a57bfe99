//! A cache in a directory: an OCI image layout (image-spec "Image Layout"), so that other tools can copy it about.

use super::{CacheError, Place};
use crate::base::fs::{self, Context};
use crate::base::lock::{self, Lock};
use crate::base::root::Root;
use crate::base::{Digest, IoError};
use crate::export::save::REF_NAME;
use crate::image::manifest::media;
use crate::image::{Descriptor, ImageIndex, MAX_DOCUMENT, Manifest};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

const INDEX: &str = "index.json";
const BLOBS: &str = "blobs/sha256";
/// Not of the layout: held while the index is changed.
const LOCK: &str = ".lock";

/// A directory with caches, told apart by their tags.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    name: String,
    tag: String,
}

impl Directory {
    /// The cache `tag` of the directory `path`, which need not exist yet.
    pub fn new(path: &Path, tag: &str) -> Directory {
        let name = match tag {
            "latest" => path.display().to_string(),
            _ => format!("{}:{tag}", path.display()),
        };
        Directory { path: path.to_owned(), name, tag: tag.to_owned() }
    }

    fn wrong(&self, reason: impl ToString) -> CacheError {
        CacheError::Contents { place: self.name.clone(), reason: reason.to_string() }
    }

    /// A regular file of the layout; `None`: there is none. Who fills the directory is not trusted: what lies in it may be
    /// a link to somewhere else, or a pipe.
    fn file(&self, name: &str) -> Result<Option<File>, CacheError> {
        let root = match Root::open(&self.path) {
            Ok(root) => root,
            Err(e) if e.source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let path = self.path.join(name);
        let file = match root.open_with(name.as_bytes(), flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            failed => failed.at("open", &path)?.into(),
        };
        if !file.metadata().at("look at", &path)?.is_file() {
            return Err(self.wrong(format!("'{name}' is no regular file")));
        }
        Ok(Some(file))
    }

    fn document(&self, name: &str) -> Result<Option<Vec<u8>>, CacheError> {
        let Some(file) = self.file(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes).at("read", self.path.join(name))?;
        if bytes.len() as u64 > MAX_DOCUMENT {
            return Err(self.wrong(format!("'{name}' is longer than {MAX_DOCUMENT} bytes")));
        }
        Ok(Some(bytes))
    }

    fn index(&self) -> Result<Option<ImageIndex>, CacheError> {
        let Some(bytes) = self.document(INDEX)? else { return Ok(None) };
        ImageIndex::from_bytes(&bytes).map(Some).map_err(|e| self.wrong(e))
    }

    fn is_mine(&self, manifest: &Descriptor) -> bool {
        manifest.annotations.get(REF_NAME) == Some(&self.tag)
    }

    /// The blobs that a manifest needs, itself among them; none if it can't be read.
    fn blobs_of(&self, manifest: &Descriptor) -> BTreeSet<Digest> {
        let read = self.document(&blob(&manifest.digest)).ok().flatten();
        let Some(parsed) = read.and_then(|bytes| Manifest::from_bytes(&bytes).ok()) else { return BTreeSet::new() };
        let listed = parsed.layers.iter().chain([&parsed.config]).map(|d| d.digest);
        listed.chain([manifest.digest]).collect()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), IoError> {
        let path = self.path.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write_atomic(path, bytes)
    }
}

impl Place for Directory {
    fn name(&self) -> &str {
        &self.name
    }

    fn manifest(&self) -> Result<Option<Vec<u8>>, CacheError> {
        let Some(index) = self.index()? else { return Ok(None) };
        let Some(found) = index.manifests.iter().find(|d| self.is_mine(d)) else { return Ok(None) };
        let bytes = self.document(&blob(&found.digest))?;
        let bytes = bytes.ok_or_else(|| self.wrong(format!("it has no blob {}", found.digest)))?;
        match Digest::of(&bytes) {
            digest if digest == found.digest => Ok(Some(bytes)),
            digest => Err(self.wrong(format!("the manifest named {} is {digest}", found.digest))),
        }
    }

    fn open(&self, wanted: &Descriptor) -> Result<Box<dyn Read + Send + '_>, CacheError> {
        match self.file(&blob(&wanted.digest))? {
            Some(file) => Ok(Box::new(file)),
            None => Err(self.wrong(format!("it has no blob {}", wanted.digest))),
        }
    }

    fn has(&self, wanted: &Descriptor) -> Result<bool, CacheError> {
        let Some(file) = self.file(&blob(&wanted.digest))? else { return Ok(false) };
        let length = file.metadata().at("look at", self.path.join(blob(&wanted.digest)))?.len();
        Ok(length == wanted.size)
    }

    fn put(&self, wanted: &Descriptor, file: &Path) -> Result<(), CacheError> {
        let directory = self.path.join(BLOBS);
        fs::create_dir_all(&directory)?;
        let mut temporary = tempfile::Builder::new()
            .prefix(".tmp-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(&directory)
            .at("create a temporary file in", &directory)?;
        std::io::copy(&mut fs::open(file)?, temporary.as_file_mut()).at("copy", file)?;
        let path = self.path.join(blob(&wanted.digest));
        temporary.persist(&path).map_err(|e| e.error).at("rename into place", path)?;
        Ok(())
    }

    /// Also drops the blobs that only the manifest before needed: a directory would grow for ever.
    fn put_manifest(&self, bytes: &[u8]) -> Result<(), CacheError> {
        let mut listed = Descriptor::new(media::MANIFEST, Digest::of(bytes), bytes.len() as u64);
        listed.annotations.insert(REF_NAME.to_owned(), self.tag.clone());
        self.write(&blob(&listed.digest), bytes)?;
        let mut index = self.index()?.unwrap_or_else(|| ImageIndex::new(Vec::new()));
        let (old, mut kept): (Vec<_>, Vec<_>) = index.manifests.into_iter().partition(|d| self.is_mine(d));
        kept.push(listed);
        let needed: BTreeSet<Digest> = kept.iter().flat_map(|d| self.blobs_of(d)).collect();
        let stale: BTreeSet<Digest> = old.iter().flat_map(|d| self.blobs_of(d)).collect();
        index.manifests = kept;
        self.write("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        self.write(INDEX, &index.to_bytes())?;
        for digest in stale.difference(&needed) {
            fs::remove_file(self.path.join(blob(digest)))?;
        }
        Ok(())
    }

    fn lock(&self) -> Result<Option<Lock>, CacheError> {
        fs::create_dir_all(&self.path)?;
        Ok(Some(lock::exclusive(self.path.join(LOCK))?))
    }
}

/// Where a blob lies: its name is a digest and nothing else.
fn blob(digest: &Digest) -> String {
    format!("{BLOBS}/{}", digest.hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(place: &Directory, bytes: &[u8]) -> Descriptor {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, bytes).unwrap();
        let blob = Descriptor::new("x/y", Digest::of(bytes), bytes.len() as u64);
        place.put(&blob, &file).unwrap();
        blob
    }

    fn manifest(layers: &[&Descriptor]) -> Vec<u8> {
        let config = Descriptor::new("x/y", Digest::of(b"config"), 6);
        Manifest::new(config, layers.iter().map(|d| (*d).clone()).collect()).to_bytes()
    }

    #[test]
    fn blobs_and_manifest_come_back_and_tags_do_not_touch_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/cache");
        let (one, two) = (Directory::new(&path, "latest"), Directory::new(&path, "two"));
        assert_eq!(one.manifest().unwrap(), None);
        let (a, b) = (put(&one, b"a"), put(&two, b"bb"));
        assert!(one.has(&a).unwrap() && !one.has(&Descriptor { size: 9, ..a.clone() }).unwrap());
        one.put_manifest(&manifest(&[&a, &b])).unwrap();
        two.put_manifest(&manifest(&[&b])).unwrap();
        one.put_manifest(&manifest(&[])).unwrap();
        assert_eq!(one.manifest().unwrap().unwrap(), manifest(&[]));
        assert_eq!(two.manifest().unwrap().unwrap(), manifest(&[&b]));
        assert!(!one.has(&a).unwrap(), "nothing needs it any more");
        let mut bytes = Vec::new();
        one.open(&b).unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"bb");
        assert!(one.open(&a).is_err());
    }

    #[test]
    fn links_and_pipes_in_the_directory_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let place = Directory::new(dir.path(), "latest");
        let a = put(&place, b"a");
        let path = dir.path().join(blob(&a.digest));
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(place.open(&a).is_err());
        std::fs::remove_file(&path).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(place.open(&a).is_err());
    }

    #[test]
    fn a_manifest_that_is_not_what_the_index_says_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let place = Directory::new(dir.path(), "latest");
        let bytes = manifest(&[]);
        place.put_manifest(&bytes).unwrap();
        std::fs::write(dir.path().join(blob(&Digest::of(&bytes))), manifest(&[&put(&place, b"a")])).unwrap();
        assert!(place.manifest().unwrap_err().to_string().contains("is sha256:"));
        std::fs::write(dir.path().join(INDEX), vec![b' '; MAX_DOCUMENT as usize + 1]).unwrap();
        assert!(place.manifest().unwrap_err().to_string().contains("longer than"));
    }
}
