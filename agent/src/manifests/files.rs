//! The manifest files and what has changed about them.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a file that has become empty goes on as it was: some writers empty a file before they fill it again.
const EMPTY: Duration = Duration::from_secs(2);

/// What tells that a file is another than before, without reading it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stamp {
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
    /// Since when files that held something have been empty. Their stamps are those of before.
    emptied: BTreeMap<PathBuf, Instant>,
}

impl Files {
    /// The file or folder `root`, which must be there.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let is_folder = std::fs::metadata(root)?.is_dir();
        let parent = || root.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = if is_folder { root } else { parent() };
        std::fs::read_dir(folder)?;
        Ok(Self { folder: folder.to_owned(), root: root.to_owned(), stamps: BTreeMap::new(), emptied: BTreeMap::new() })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The folder in which changes show.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The files as they are now; none if the folder cannot be read.
    pub(super) fn look(&self) -> Option<BTreeMap<PathBuf, Stamp>> {
        self.list().ok()
    }

    /// True if there is something to read.
    pub(super) fn differ(&self) -> bool {
        self.look().is_some_and(|now| now != self.stamps)
    }

    /// How long to wait at most before [`Files::changes`] has to be called again.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.emptied.values().min().map(|since| EMPTY.saturating_sub(since.elapsed()))
    }

    /// What has changed since the last call; at first, everything. Files that are gone come first, so that an object that
    /// moves to another file is never there twice.
    pub(super) fn changes(&mut self) -> Vec<Change> {
        let Ok(mut now) = self.list() else { return Vec::new() };
        let gone: Vec<_> = self.stamps.keys().filter(|path| !now.contains_key(*path)).cloned().collect();
        let changed = now.iter().filter(|(path, stamp)| self.stamps.get(*path) != Some(*stamp));
        let changed: Vec<_> = changed.map(|(path, _)| path.clone()).collect();
        self.emptied.retain(|path, _| changed.contains(path));
        let mut changes: Vec<_> = gone.into_iter().map(|path| Change { path, text: None }).collect();
        for path in changed {
            let text = std::fs::read_to_string(&path);
            // Gone between listing and reading: the next look at the folder will tell.
            if text.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
                continue;
            }
            match self.stamps.get(&path).copied() {
                Some(before) if self.may_be_filled_again(&path, &text) => drop(now.insert(path, before)),
                _ => changes.push(Change { path, text: Some(text) }),
            }
        }
        self.stamps = now;
        changes
    }

    /// True if the file has become empty only lately.
    fn may_be_filled_again(&mut self, path: &Path, text: &io::Result<String>) -> bool {
        let is_empty = text.as_ref().is_ok_and(|text| text.trim().is_empty());
        if is_empty && self.emptied.entry(path.to_owned()).or_insert_with(Instant::now).elapsed() < EMPTY {
            return true;
        }
        self.emptied.remove(path);
        false
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
