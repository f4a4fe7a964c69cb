//! What became of a share, in the words of the coordinator and of the pool.

/// What became of a share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It counts for the worker.
    Local,
    /// The upstream took it.
    Accepted,
    /// The upstream refused it, in these words.
    RefusedUpstream(String),
    /// The worker was wrong about the hash.
    Wrong,
    /// Its job ended before it could be sent.
    Dead,
    /// The upstream was sent it, and its connection ended without an answer.
    Unanswered,
    /// It could not be recomputed here.
    Unchecked(String),
}

impl Verdict {
    /// One word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Accepted => "accepted",
            Self::RefusedUpstream(_) => "refused_upstream",
            Self::Wrong => "wrong",
            Self::Dead => "dead",
            Self::Unanswered => "unanswered",
            Self::Unchecked(_) => "unchecked",
        }
    }

    /// The coordinator's own verdict: `right`, `believed`, `wrong` or `unchecked`.
    pub fn local(&self, is_checked: bool) -> &'static str {
        match self {
            Self::Wrong => "wrong",
            Self::Unchecked(_) => "unchecked",
            _ if is_checked => "right",
            _ => "believed",
        }
    }

    /// The pool's verdict: `accepted`, `refused`, `unsent` or `unanswered`.
    pub fn upstream(&self) -> Option<&'static str> {
        match self {
            Self::Accepted => Some("accepted"),
            Self::RefusedUpstream(_) => Some("refused"),
            Self::Dead => Some("unsent"),
            Self::Unanswered => Some("unanswered"),
            Self::Local | Self::Wrong | Self::Unchecked(_) => None,
        }
    }

    /// Somebody's words about it.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::RefusedUpstream(reason) | Self::Unchecked(reason) => Some(reason),
            _ => None,
        }
    }
}
