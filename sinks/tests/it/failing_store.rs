//! An object store that fails puts on purpose: before they land, after they landed, or by making
//! them wait. The tests of `pipelines` use the same file.
// Neither crate's tests need all of it.
#![allow(dead_code)]

use std::collections::BTreeSet;
use std::fmt;
use std::io::ErrorKind;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::watch;

/// What happens to a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It does not land.
    Before,
    /// It lands and is reported as failed.
    After,
    /// It lands, but not before the store is healed.
    Wait,
    /// It does not land, because there is no space left.
    Full,
    /// One of six puts does not land, and one of twelve lands and is reported as failed.
    Sometimes,
}

/// Requests of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Requests {
    /// Of a file or of what is known about it.
    pub gets: u64,
    pub puts: u64,
    pub lists: u64,
}

impl Requests {
    /// What came to them since an earlier moment.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            gets: self.gets - earlier.gets,
            puts: self.puts - earlier.puts,
            lists: self.lists - earlier.lists,
        }
    }
}

/// Fails puts whose path contains a text: the next one, or all until it is healed.
#[derive(Debug)]
pub struct FailingStore {
    pub inner: Arc<dyn ObjectStore>,
    planned: Mutex<Vec<(String, Fault)>>,
    lasting: Mutex<Option<(String, Fault)>>,
    healed: watch::Sender<bool>,
    waiting: watch::Sender<usize>,
    /// Puts that failed or waited.
    failed: AtomicU64,
    /// Puts of [`Fault::Sometimes`].
    chances: AtomicU64,
    requests: Mutex<Requests>,
    /// Paths of which something was read.
    read: Mutex<BTreeSet<String>>,
}

impl FailingStore {
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        let (healed, waiting) = (watch::channel(true).0, watch::channel(0).0);
        Self {
            inner,
            planned: Mutex::default(),
            lasting: Mutex::default(),
            healed,
            waiting,
            failed: AtomicU64::new(0),
            chances: AtomicU64::new(0),
            requests: Mutex::default(),
            read: Mutex::default(),
        }
    }

    pub fn plan(&self, path_part: &str, fault: Fault) {
        self.planned
            .lock()
            .unwrap()
            .push((path_part.to_owned(), fault));
    }

    pub fn left(&self) -> usize {
        self.planned.lock().unwrap().len()
    }

    /// The same for every put until [`FailingStore::heal`].
    pub fn always(&self, path_part: &str, fault: Fault) {
        self.healed.send_replace(false);
        *self.lasting.lock().unwrap() = Some((path_part.to_owned(), fault));
    }

    /// Ends what [`FailingStore::always`] began, and lets those go that wait.
    pub fn heal(&self) {
        *self.lasting.lock().unwrap() = None;
        self.healed.send_replace(true);
    }

    /// All requests so far.
    pub fn requests(&self) -> Requests {
        *self.requests.lock().unwrap()
    }

    /// Paths of which something was read since [`FailingStore::forget_read`].
    pub fn read(&self) -> BTreeSet<String> {
        self.read.lock().unwrap().clone()
    }

    /// Begins anew with what was read.
    pub fn forget_read(&self) {
        self.read.lock().unwrap().clear();
    }

    fn note_get(&self, location: &Path) {
        self.requests.lock().unwrap().gets += 1;
        self.read.lock().unwrap().insert(location.to_string());
    }

    /// Puts that failed or waited so far.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::SeqCst)
    }

    /// Puts that wait now.
    pub fn waiting(&self) -> usize {
        *self.waiting.borrow()
    }

    /// Returns when a put waits.
    pub async fn one_waits(&self) {
        let mut waiting = self.waiting.subscribe();
        waiting.wait_for(|count| *count > 0).await.unwrap();
    }

    fn take(&self, path: &Path) -> Option<Fault> {
        let lasting = self.lasting.lock().unwrap().clone();
        if let Some((_, fault)) = lasting.filter(|(part, _)| path.as_ref().contains(part.as_str()))
        {
            return Some(fault);
        }
        let mut planned = self.planned.lock().unwrap();
        let index = planned
            .iter()
            .position(|(part, _)| path.as_ref().contains(part.as_str()))?;
        Some(planned.remove(index).1)
    }
}

impl fmt::Display for FailingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FailingStore")
    }
}

fn failure(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Generic {
        store: "FailingStore",
        source: source.into(),
    }
}

/// A number that looks like chance and is the same in every run.
fn scattered(n: u64) -> u64 {
    let mixed = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 33
}

#[async_trait]
impl ObjectStore for FailingStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        self.requests.lock().unwrap().puts += 1;
        let fault = match self.take(location) {
            Some(Fault::Sometimes) => {
                let chance = self
                    .chances
                    .fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::SeqCst);
                match scattered(chance) % 12 {
                    0 | 1 => Some(Fault::Before),
                    2 => Some(Fault::After),
                    _ => None,
                }
            }
            fault => fault,
        };
        if fault.is_some() {
            self.failed.fetch_add(1, Ordering::SeqCst);
        }
        match fault {
            Some(Fault::Before | Fault::Sometimes) => Err(failure("planned failure")),
            Some(Fault::Full) => Err(failure(std::io::Error::from(ErrorKind::StorageFull))),
            Some(Fault::After) => {
                self.inner.put_opts(location, payload, opts).await?;
                Err(failure("planned failure"))
            }
            Some(Fault::Wait) => {
                self.waiting.send_modify(|count| *count += 1);
                let mut healed = self.healed.subscribe();
                // The sender lives as long as this store.
                let _ = healed.wait_for(|healed| *healed).await;
                self.waiting.send_modify(|count| *count -= 1);
                self.inner.put_opts(location, payload, opts).await
            }
            None => self.inner.put_opts(location, payload, opts).await,
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
        self.note_get(location);
        self.inner.get_opts(location, options).await
    }
    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.note_get(location);
        self.inner.get_ranges(location, ranges).await
    }
    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.requests.lock().unwrap().lists += 1;
        self.inner.list(prefix)
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.requests.lock().unwrap().lists += 1;
        self.inner.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
