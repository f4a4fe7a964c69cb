//! Reads and unpacks a request's body under two limits: its own size, unpacked, and the memory of
//! all requests together.
//!
//! A body of several packed members, as `cat a.gz b.gz` makes it, is all of them: unpackers that
//! stop after the first would lose rows that the client is then told are stored.

use std::io;

use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::SemaphorePermit;
use tokio_util::io::{ReaderStream, StreamReader};

use super::{ErrorResponse, HttpIngest};

/// Bytes unpacked at once.
const PIECE_BYTES: usize = 64 * 1024;
/// The largest window of zstd, as a power of two: the 8 MiB that RFC 9659 grants HTTP. The format
/// itself allows gigabytes.
const WINDOW_LOG: u32 = 23;

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Plain,
    /// By gzip.
    Gzip,
    /// By zstd.
    Zstd,
}

impl Encoding {
    /// What `Content-Encoding` says.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, ErrorResponse> {
        let values: Vec<String> = headers
            .get_all(header::CONTENT_ENCODING)
            .iter()
            .map(|value| {
                String::from_utf8_lossy(value.as_bytes())
                    .trim()
                    .to_lowercase()
            })
            .collect();
        match values.join(", ").as_str() {
            "" | "identity" => Ok(Self::Plain),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            other => {
                let message =
                    format!("content encoding {other:?} is not one of gzip, zstd, identity");
                Err(ErrorResponse::new(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    message,
                ))
            }
        }
    }

    fn unpack(self, body: Body) -> BoxStream<'static, io::Result<Bytes>> {
        let packed = body.into_data_stream().map_err(io::Error::other);
        match self {
            Self::Plain => packed.boxed(),
            Self::Gzip => {
                let mut unpacked = GzipDecoder::new(StreamReader::new(packed));
                unpacked.multiple_members(true);
                ReaderStream::with_capacity(unpacked, PIECE_BYTES).boxed()
            }
            Self::Zstd => {
                let mut unpacked = ZstdDecoder::with_params(
                    StreamReader::new(packed),
                    &[DParameter::window_log_max(WINDOW_LOG)],
                );
                unpacked.multiple_members(true);
                ReaderStream::with_capacity(unpacked, PIECE_BYTES).boxed()
            }
        }
    }
}

/// The whole body, unpacked, and the share of memory it takes, held as long as the permit.
pub async fn read<'a>(
    ingest: &'a HttpIngest,
    encoding: Encoding,
    body: Body,
) -> Result<(Bytes, Option<SemaphorePermit<'a>>), ErrorResponse> {
    let limit = ingest.config.max_body_bytes;
    let mut chunks = encoding.unpack(body);
    let mut bytes = BytesMut::new();
    let mut permit: Option<SemaphorePermit<'a>> = None;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| {
            ErrorResponse::new(
                StatusCode::BAD_REQUEST,
                format!("cannot read or unpack the body: {error}"),
            )
        })?;
        if bytes.len() + chunk.len() > limit {
            let message =
                format!("the body, unpacked, is larger than {limit} bytes; send it in parts");
            return Err(ErrorResponse::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        let Ok(more) = ingest
            .bytes
            .try_acquire_many(u32::try_from(chunk.len()).unwrap_or(u32::MAX))
        else {
            return Err(ErrorResponse::busy(
                "the bodies being worked on fill the memory set aside for them",
            ));
        };
        match &mut permit {
            Some(permit) => permit.merge(more),
            None => permit = Some(more),
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok((bytes.freeze(), permit))
}
