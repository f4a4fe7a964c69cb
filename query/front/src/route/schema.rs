//! What a route takes and answers, for the OpenAPI document and whoever reads it. A test asks each
//! route for what is described here.

use crate::answers::described::AnswerType;

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// Text.
    Text,
    /// A number without a fraction, within these bounds.
    Integer {
        /// The least.
        least: i64,
        /// The most.
        most: i64,
    },
    /// A number.
    Number,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// True or false.
    Boolean,
    /// A list of texts.
    Texts,
    /// Any JSON, which the description explains.
    Any,
}

/// A variable of a path, a key of a query string, a header, or a field of a body.
#[derive(Debug, Clone, Copy)]
pub struct Param {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub value: ValueType,
    /// Whether a request must have it.
    pub is_required: bool,
    /// What it means, in one sentence.
    pub doc: &'static str,
}

impl Param {
    /// One that may be left out.
    pub const fn new(name: &'static str, value: ValueType, doc: &'static str) -> Self {
        Self {
            name,
            value,
            is_required: false,
            doc,
        }
    }

    /// Text that may be left out.
    pub const fn text(name: &'static str, doc: &'static str) -> Self {
        Self::new(name, ValueType::Text, doc)
    }

    /// A number that may be left out, from `least` on.
    pub const fn integer(name: &'static str, least: i64, most: i64, doc: &'static str) -> Self {
        Self::new(name, ValueType::Integer { least, most }, doc)
    }

    /// The same, needed.
    pub const fn required(mut self) -> Self {
        self.is_required = true;
        self
    }
}

/// What a request carries beside its path, query string and headers.
#[derive(Debug, Clone, Copy)]
pub enum RequestBody {
    /// Nothing.
    None,
    /// A JSON object with these fields and no other.
    Json(&'static [Param]),
    /// Bytes of one of these media types.
    Bytes(&'static [&'static str]),
    /// A statement as text, or a JSON object with these fields and no other.
    Statement(&'static [Param]),
}

/// What an answer holds when all went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseBody {
    /// A JSON object.
    Json,
    /// A page of a list: a JSON object with `next`, which is the value of this key of the query
    /// string for the page after it, null on the last.
    Page {
        /// The key.
        cursor: &'static str,
    },
    /// A JSON array.
    List,
    /// Text for people or for Prometheus.
    Text,
    /// A drawing in SVG.
    Drawing,
    /// Bytes of one of these media types.
    Bytes(&'static [&'static str]),
    /// Rows in the format that the request wants.
    Rows,
    /// Server-Sent Events that go on.
    Events,
}

/// The definition of what an answer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemShape {
    /// A resource of the registry of this kind. Lists have them under the kind's name.
    Resource(&'static str),
    /// A row of this stream with every column. Lists have them as `rows`.
    Row(&'static str),
}

/// What a request carries and what answers it.
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    /// The variables of the path, in its order.
    pub path: &'static [Param],
    /// The keys of the query string; others are refused.
    pub query: &'static [Param],
    /// Headers of its own.
    pub headers: &'static [Param],
    /// The body.
    pub body: RequestBody,
    /// The answer.
    pub response: ResponseBody,
    /// What it holds, where a definition says it: one, a list of them, or of a DELETE the one that
    /// is `deleted`.
    pub item: Option<ItemShape>,
    /// The type of the whole answer in JSON, where it has one.
    pub answer: Option<AnswerType>,
    /// The statuses that an answer has which is no error: with the body that is described where
    /// [`has_body`] says so.
    pub statuses: &'static [u16],
    /// The streams that the answer follows from, where it follows from them and the request alone:
    /// neither from the time nor from who asks.
    pub streams: Option<&'static [&'static str]>,
}

impl Schema {
    /// Of a request with nothing but its path, answered in JSON.
    pub const JSON: Self = Self {
        path: &[],
        query: &[],
        headers: &[],
        body: RequestBody::None,
        response: ResponseBody::Json,
        item: None,
        answer: None,
        statuses: &[200],
        streams: None,
    };

    /// The same, answered by 201 when something was made.
    pub const MADE: Self = Self {
        statuses: &[201],
        ..Self::JSON
    };

    /// Every parameter outside of the body, with the place that OpenAPI gives it.
    pub fn params(&self) -> impl Iterator<Item = (&'static str, &'static Param)> {
        let path = self.path.iter().map(|param| ("path", param));
        let query = self.query.iter().map(|param| ("query", param));
        let headers = self.headers.iter().map(|param| ("header", param));
        path.chain(query).chain(headers)
    }
}

/// Whether an answer of this status has the body that its route describes: one that sends a
/// client elsewhere has none, nor has one that becomes a WebSocket.
pub fn has_body(status: u16) -> bool {
    matches!(status, 200..=299 | 400..=599)
}

/// The variable of a miner's path.
pub(super) const ADDRESS: &[Param] =
    &[Param::text("address", "The wallet address that the miner logs in with.").required()];

/// Rows of a page.
pub(super) const LIMIT: Param = Param::integer("limit", 1, 1_000, "Rows of the page.");

/// The cursor of a list whose newest rows come first.
pub(super) const BEFORE: Param = Param::integer(
    "before",
    i64::MIN,
    i64::MAX,
    "The cursor that the page before named as `next`.",
);
