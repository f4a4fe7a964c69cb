//! An object store with faults: it works, has no space left, takes its time, or fails puts before or
//! after they landed.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::watch;

/// How puts go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// As they should.
    Good,
    /// There is no space left.
    Full,
    /// They wait until the fault changes.
    Slow,
    /// One of six fails without landing, and one of twelve lands and is reported as failed.
    Random,
}

#[derive(Debug)]
pub struct MoodyStore {
    inner: Arc<dyn ObjectStore>,
    fault: watch::Sender<Fault>,
    /// Puts that failed or waited.
    pub troubled: AtomicUsize,
}

impl MoodyStore {
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self {
            inner,
            fault: watch::channel(Fault::Good).0,
            troubled: AtomicUsize::new(0),
        }
    }

    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    fn trouble(&self, kind: std::io::ErrorKind) -> Error {
        self.troubled.fetch_add(1, Ordering::Relaxed);
        Error::Generic {
            store: "MoodyStore",
            source: Box::new(std::io::Error::from(kind)),
        }
    }
}

impl fmt::Display for MoodyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MoodyStore")
    }
}

#[async_trait]
impl ObjectStore for MoodyStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let fault = *self.fault.borrow();
        match fault {
            Fault::Good => self.inner.put_opts(location, payload, opts).await,
            Fault::Full => Err(self.trouble(std::io::ErrorKind::StorageFull)),
            Fault::Slow => {
                self.troubled.fetch_add(1, Ordering::Relaxed);
                let mut changes = self.fault.subscribe();
                // The sender lives as long as the store.
                changes
                    .wait_for(|fault| *fault != Fault::Slow)
                    .await
                    .unwrap();
                self.inner.put_opts(location, payload, opts).await
            }
            Fault::Random => match rand::random_range(0..12) {
                0 | 1 => Err(self.trouble(std::io::ErrorKind::ConnectionReset)),
                2 => {
                    self.inner.put_opts(location, payload, opts).await?;
                    Err(self.trouble(std::io::ErrorKind::TimedOut))
                }
                _ => self.inner.put_opts(location, payload, opts).await,
            },
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
