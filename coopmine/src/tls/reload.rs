//! The coordinator's TLS, read again when one of its files is another.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

use super::{TlsError, TlsSection};

/// Between looks at the files.
const LOOK: Duration = Duration::from_secs(1);

/// What a file looked like: its time and its length; `None` when it cannot be read.
type Stamp = Option<(SystemTime, u64)>;

/// What is served now.
pub struct ServerTls {
    section: TlsSection,
    served: Mutex<Served>,
}

struct Served {
    config: Arc<ServerConfig>,
    stamps: [Stamp; 4],
    /// Ends with what is served: connections that were let in by it come again.
    replaced: CancellationToken,
}

impl ServerTls {
    /// Reads the files.
    pub fn open(section: &TlsSection) -> Result<Arc<Self>, TlsError> {
        // Looked at before they are read: what changes meanwhile is read again.
        let stamps = stamps(section);
        let served = Served {
            config: section.server()?,
            stamps,
            replaced: CancellationToken::new(),
        };
        Ok(Arc::new(Self {
            section: section.clone(),
            served: Mutex::new(served),
        }))
    }

    /// What a new connection is served with, and what tells when that is replaced.
    pub fn current(&self) -> (Arc<ServerConfig>, CancellationToken) {
        let served = self.lock();
        (served.config.clone(), served.replaced.clone())
    }

    /// Looks at the files for ever. Files that cannot be used leave everything as it is.
    pub async fn watch(&self) {
        let mut complaint = String::new();
        loop {
            tokio::time::sleep(LOOK).await;
            match self.read_again() {
                Ok(true) => tracing::info!("certificates were read again"),
                Ok(false) => complaint.clear(),
                Err(error) => {
                    let said = error.to_string();
                    if said != complaint {
                        tracing::error!(reason = %said, "the certificates of before are served");
                        complaint = said;
                    }
                }
            }
        }
    }

    /// Reads the files if one is another. True when they were, and all who were let in before must
    /// come again.
    fn read_again(&self) -> Result<bool, TlsError> {
        let stamps = stamps(&self.section);
        if stamps == self.lock().stamps {
            return Ok(false);
        }
        let config = self.section.server()?;
        let mut served = self.lock();
        let replaced = std::mem::take(&mut served.replaced);
        (served.config, served.stamps) = (config, stamps);
        drop(served);
        replaced.cancel();
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, Served> {
        // It is replaced whole.
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamps(section: &TlsSection) -> [Stamp; 4] {
    [&section.cert, &section.key, &section.ca, &section.crl].map(|path| stamp(path))
}

fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
