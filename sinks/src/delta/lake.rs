//! The place where the tables lie: a local folder or a bucket of an S3-compatible store, one folder
//! a table.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, RetryConfig, prefix::PrefixStore};
use url::Url;

use crate::delta::durable_store::DurableStore;
use crate::error::SinkError;

/// Options that must not stand in a file others may read.
const SECRETS: [&str; 4] = [
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "aws_sse_customer_key_base64",
];

/// The place where all tables lie.
#[derive(Debug, Clone)]
pub struct Lake {
    store: Arc<dyn ObjectStore>,
    url: Url,
}

/// The place of one table: an object store whose root is the table's folder.
#[derive(Debug, Clone)]
pub struct TableLocation {
    /// The table's name.
    pub name: String,
    /// Rooted at the table's folder.
    pub store: Arc<dyn ObjectStore>,
    /// Where the Delta library and users find the table.
    pub url: Url,
    /// The lake's store and the table's path in it, which is what a query plan names.
    pub lake: Lake,
}

impl Lake {
    /// Opens a local path, a `file://` address or `s3://bucket/path`. Options are those of the
    /// object store (`aws_endpoint`, `aws_region`, `aws_allow_http`, …); what is not given is taken
    /// from the environment, and access keys are taken from nowhere else.
    pub fn open(url: &str, options: &HashMap<String, String>) -> Result<Self, SinkError> {
        let bad = |why: String| SinkError::Address {
            url: url.to_owned(),
            why,
        };
        let path = match Place::parse(url, options)? {
            Place::Folder(path) => path,
            Place::Bucket { store, prefix } => {
                let url = Url::parse(&format!("{}/", url.trim_end_matches('/')))
                    .map_err(|error| bad(error.to_string()))?;
                return Ok(Self {
                    store: Arc::new(PrefixStore::new(*store, prefix)),
                    url,
                });
            }
        };
        std::fs::create_dir_all(&path)
            .map_err(|error| bad(format!("cannot make the folder: {error}")))?;
        let path = path
            .canonicalize()
            .map_err(|error| bad(error.to_string()))?;
        let local =
            LocalFileSystem::new_with_prefix(&path).map_err(|error| bad(error.to_string()))?;
        let url =
            Url::from_directory_path(&path).map_err(|()| bad("not an absolute path".to_owned()))?;
        Ok(Self {
            store: Arc::new(DurableStore::new(local, path)),
            url,
        })
    }

    /// Whether [`Lake::open`] could use this address and these options; touches neither disk nor
    /// network.
    pub fn check(url: &str, options: &HashMap<String, String>) -> Result<(), SinkError> {
        match Place::parse(url, options)? {
            Place::Folder(path) if path.exists() && !path.is_dir() => Err(SinkError::Address {
                url: url.to_owned(),
                why: "it is a file, not a folder".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// Uses a store given by the caller, rooted at the lake; `url` only names it.
    pub fn with_store(store: Arc<dyn ObjectStore>, url: Url) -> Self {
        Self { store, url }
    }

    /// The place of one table.
    pub fn table(&self, name: &str) -> TableLocation {
        let mut url = self.url.clone();
        url.set_path(&format!(
            "{}/{name}/",
            self.url.path().trim_end_matches('/')
        ));
        let store: Arc<dyn ObjectStore> =
            Arc::new(PrefixStore::new(self.store.clone(), Path::from(name)));
        TableLocation {
            name: name.to_owned(),
            store,
            url,
            lake: self.clone(),
        }
    }

    /// The store, rooted at the lake.
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// The lake's address.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The name under which query plans find this lake's store.
    pub fn object_store_url(&self) -> ObjectStoreUrl {
        let name = blake3::hash(self.url.as_str().as_bytes()).to_hex();
        // The name is letters and digits only, so that the address always parses.
        ObjectStoreUrl::parse(format!("lake-{}://", &name[..16]))
            .unwrap_or_else(|_| ObjectStoreUrl::local_filesystem())
    }

    /// Makes this lake's files readable by plans that run in the given environment.
    pub fn register(&self, runtime: &RuntimeEnv) {
        runtime.register_object_store(self.object_store_url().as_ref(), self.store.clone());
    }
}

/// What an address names.
enum Place {
    Folder(PathBuf),
    Bucket { store: Box<AmazonS3>, prefix: Path },
}

impl Place {
    fn parse(url: &str, options: &HashMap<String, String>) -> Result<Self, SinkError> {
        let bad = |why: String| SinkError::Address {
            url: url.to_owned(),
            why,
        };
        let Some(rest) = url.strip_prefix("s3://") else {
            return match url.strip_prefix("file://") {
                Some(path) => Ok(Self::Folder(PathBuf::from(path))),
                None if url.contains("://") => {
                    Err(bad("only local folders and s3:// are supported".to_owned()))
                }
                None => Ok(Self::Folder(PathBuf::from(url))),
            };
        };
        let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(bad("it names no bucket; write s3://bucket/path".to_owned()));
        }
        let mut builder = AmazonS3Builder::from_env().with_url(url);
        for (key, value) in options {
            let parsed: AmazonS3ConfigKey = key
                .parse()
                .map_err(|error| bad(format!("option {key}: {error}")))?;
            if SECRETS.contains(&parsed.as_ref()) {
                let variable = parsed.as_ref().to_uppercase();
                return Err(bad(format!(
                    "option {key} is a secret; take it out and set {variable} in the environment"
                )));
            }
            if matches!(parsed, AmazonS3ConfigKey::ConditionalPut) {
                return Err(bad(format!(
                    "option {key} cannot be chosen: commits need the store's own put-if-absent"
                )));
            }
            builder = builder.with_config(parsed, value);
        }
        // Writers try again themselves, and say so; minutes of silence here would only hide that
        // the store is away.
        let retry = RetryConfig {
            max_retries: 3,
            retry_timeout: Duration::from_secs(20),
            ..RetryConfig::default()
        };
        // Whatever the environment says: without put-if-absent two writers could both believe they
        // had won.
        let builder = builder
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_retry(retry);
        let store = builder.build().map_err(|error| bad(error.to_string()))?;
        Ok(Self::Bucket {
            store: Box::new(store),
            prefix: Path::from(path.trim_matches('/')),
        })
    }
}
