//! How far the streams have come that an answer follows from.

/// The version of the answer to a request, put among the request's extensions where it is known:
/// answers of the same version are the same.
#[derive(Clone)]
pub(crate) struct AnswerVersion(pub(crate) String);
