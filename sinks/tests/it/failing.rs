//! An object store that fails puts on purpose: before they land, after they landed, or by making
//! them wait.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::Mutex;

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
}

/// Fails puts whose path contains a text: the next one, or all until it is healed.
#[derive(Debug)]
pub struct FailingStore {
    pub inner: Arc<dyn ObjectStore>,
    planned: Mutex<Vec<(String, Fault)>>,
    lasting: Mutex<Option<(String, Fault)>>,
    healed: watch::Sender<bool>,
    waiting: watch::Sender<usize>,
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

fn broken() -> Error {
    Error::Generic {
        store: "FailingStore",
        source: "planned failure".into(),
    }
}

#[async_trait]
impl ObjectStore for FailingStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        match self.take(location) {
            Some(Fault::Before) => Err(broken()),
            Some(Fault::After) => {
                self.inner.put_opts(location, payload, opts).await?;
                Err(broken())
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
        self.inner.list(prefix)
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
