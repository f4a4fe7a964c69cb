//! A local folder as an object store whose `put` has reached the disk when it returns.
//!
//! `object_store`'s own local store never calls `fsync`, so a power cut could leave a committed log
//! entry that names an empty file. Here a file is written aside, synced, put in place in one step
//! (hard link or rename) and its folder synced.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path as FsPath, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryFutureExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// A [`LocalFileSystem`] with durable puts.
#[derive(Debug)]
pub struct DurableStore {
    inner: LocalFileSystem,
    root: PathBuf,
    staged: AtomicU64,
}

impl DurableStore {
    /// `inner` must be rooted at `root`.
    pub fn new(inner: LocalFileSystem, root: PathBuf) -> Self {
        Self {
            inner,
            root,
            staged: AtomicU64::new(0),
        }
    }

    /// A name beside `target` that listings skip: `object_store` ignores names that end in `#` and
    /// digits.
    fn staging_path(&self, target: &FsPath) -> PathBuf {
        let number = self.staged.fetch_add(1, Ordering::Relaxed);
        let mut name = target.as_os_str().to_owned();
        name.push(format!("#{}{number:06}", std::process::id()));
        PathBuf::from(name)
    }
}

impl fmt::Display for DurableStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DurableStore({})", self.root.display())
    }
}

#[async_trait]
impl ObjectStore for DurableStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let create = match opts.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => return self.inner.put_opts(location, payload, opts).await,
        };
        let target = self.inner.path_to_filesystem(location)?;
        let staged = self.staging_path(&target);
        let path = location.to_string();
        let written =
            tokio::task::spawn_blocking(move || put_durably(&staged, &target, &payload, create))
                .await;
        match written {
            Ok(Ok(())) => Ok(PutResult {
                e_tag: None,
                version: None,
            }),
            Ok(Err(error)) if create && error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::AlreadyExists {
                    path,
                    source: Box::new(error),
                })
            }
            Ok(Err(error)) => Err(Error::Generic {
                store: "DurableStore",
                source: Box::new(error),
            }),
            Err(error) => Err(Error::JoinError { source: error }),
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        // Folders list in no order, buckets by name; readers of the log rely on the latter.
        let found = self.inner.list(prefix).try_collect::<Vec<_>>();
        let sorted = found.map_ok(|mut found| {
            found.sort_by(|a, b| a.location.cmp(&b.location));
            stream::iter(found).map(Ok)
        });
        sorted.try_flatten_stream().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn put_durably(
    staged: &FsPath,
    target: &FsPath,
    payload: &PutPayload,
    create: bool,
) -> io::Result<()> {
    let folder = target
        .parent()
        .ok_or_else(|| io::Error::other("a file needs a folder"))?;
    if !folder.is_dir() {
        fs::create_dir_all(folder)?;
        if let Some(parent) = folder.parent() {
            File::open(parent)?.sync_all()?;
        }
    }
    let placed = stage(staged, payload).and_then(|()| {
        if create {
            fs::hard_link(staged, target)
        } else {
            fs::rename(staged, target)
        }
    });
    if create || placed.is_err() {
        // The staged name is ours alone; a leftover costs space, not correctness.
        let _ = fs::remove_file(staged);
    }
    placed?;
    File::open(folder)?.sync_all()
}

fn stage(staged: &FsPath, payload: &PutPayload) -> io::Result<()> {
    let mut file = File::create(staged)?;
    for part in payload.iter() {
        file.write_all(part)?;
    }
    file.sync_all()
}
