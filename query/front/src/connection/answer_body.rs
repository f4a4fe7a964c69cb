//! The body of an answer, which tells its connection when pieces of it are taken.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};

use crate::connection::activity::InRequest;

/// Bytes that are handed over to HTTP/2 at once. It takes whatever it is given, whether the client
/// has space for it or not, and asks for more only then.
const PIECE_BYTES: usize = 64 * 1024;

/// A body with the request that it answers.
pub(super) struct AnswerBody {
    body: Body,
    /// What a piece of the body was too long by.
    rest: Bytes,
    request: InRequest,
}

impl AnswerBody {
    /// The request is being answered as long as the body is there.
    pub(super) fn new(body: Body, request: InRequest) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            request,
        }
    }

    /// The next frame, of which HTTP/2 gets no more than a piece at once.
    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            let frame = Pin::new(&mut self.body).poll_frame(cx);
            let Poll::Ready(Some(Ok(frame))) = frame else {
                return frame;
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let length = match self.request.is_http2() {
            true => self.rest.len().min(PIECE_BYTES),
            false => self.rest.len(),
        };
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    /// Whoever asks for a piece has space for it.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.request.note_wanted();
        let frame = self.next(cx);
        if matches!(frame, Poll::Ready(Some(Ok(_)))) {
            self.request.note_handed_over();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let body = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower() + rest);
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}
