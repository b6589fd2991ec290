//! The manifest files and what has changed about them.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What tells that a file is another than before, without reading it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// A file that is new, changed or gone.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) path: PathBuf,
    /// What it holds now, or why it cannot be read; none if it is gone.
    pub(super) text: Option<io::Result<String>>,
}

/// A file, or the manifests in a folder.
#[derive(Debug)]
pub(super) struct Files {
    root: PathBuf,
    folder: PathBuf,
    stamps: BTreeMap<PathBuf, Stamp>,
}

impl Files {
    /// The file or folder `root`, which must be there.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let is_folder = std::fs::metadata(root)?.is_dir();
        let parent = || root.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = if is_folder { root } else { parent() };
        std::fs::read_dir(folder)?;
        Ok(Self { folder: folder.to_owned(), root: root.to_owned(), stamps: BTreeMap::new() })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The folder in which changes show.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What has changed since the last call; at first, everything. Files that are gone come first, so that an object that
    /// moves to another file is never there twice.
    pub(super) fn changes(&mut self) -> Vec<Change> {
        let Ok(now) = self.list() else { return Vec::new() };
        let gone = self.stamps.keys().filter(|path| !now.contains_key(*path));
        let mut changes: Vec<_> = gone.map(|path| Change { path: path.clone(), text: None }).collect();
        let changed = now.iter().filter(|(path, stamp)| self.stamps.get(*path) != Some(*stamp));
        changes.extend(changed.filter_map(|(path, _)| {
            let text = std::fs::read_to_string(path);
            // Gone between listing and reading: the next look at the folder will tell.
            let vanished = text.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
            (!vanished).then(|| Change { path: path.clone(), text: Some(text) })
        }));
        self.stamps = now;
        changes
    }

    /// The manifests that are there. An error says that the folder itself could not be read: that is no reason to take
    /// all files for gone.
    fn list(&self) -> io::Result<BTreeMap<PathBuf, Stamp>> {
        if self.folder != self.root {
            let metadata = std::fs::metadata(&self.root).ok().filter(Metadata::is_file);
            return Ok(metadata.map(|metadata| (self.root.clone(), Stamp::of(&metadata))).into_iter().collect());
        }
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(&self.root)? {
            let path = entry?.path();
            // Follows links: a mounted ConfigMap consists of them.
            let metadata = std::fs::metadata(&path).ok().filter(|metadata| metadata.is_file() && is_manifest(&path));
            if let Some(metadata) = metadata {
                files.insert(path, Stamp::of(&metadata));
            }
        }
        Ok(files)
    }
}

fn is_manifest(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
}
