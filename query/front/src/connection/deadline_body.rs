//! The body of a request that must have come by a time: a client that sends a byte now and then
//! would otherwise hold its handler for ever.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::body::{Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

/// A body with a deadline.
pub(super) struct DeadlineBody {
    body: Incoming,
    deadline: Pin<Box<Sleep>>,
    /// Set when the deadline passed before the body ended.
    late: Arc<AtomicBool>,
}

impl DeadlineBody {
    /// The body fails at the deadline and sets `late`.
    pub(super) fn new(body: Incoming, deadline: Instant, late: Arc<AtomicBool>) -> Self {
        Self {
            body,
            deadline: Box::pin(sleep_until(deadline)),
            late,
        }
    }
}

impl HttpBody for DeadlineBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            let ended = frame.is_none() || this.body.is_end_stream();
            if ended || !this.deadline.is_elapsed() {
                return Poll::Ready(frame.map(|frame| frame.map_err(axum::Error::new)));
            }
        }
        if this.deadline.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        this.late.store(true, Ordering::Relaxed);
        let late = io::Error::new(io::ErrorKind::TimedOut, "the body came too slowly");
        Poll::Ready(Some(Err(axum::Error::new(late))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
