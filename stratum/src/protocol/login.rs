//! `login`: who mines, for whom, with what.
//!
//! The user is `wallet`, optionally followed by `.worker` and `+difficulty` in any order, as
//! miners' guides have taught people for a decade, and with `solo:` before it of one who mines
//! solo. `rigid` names the worker too and wins, since it has no other meaning; the password comes
//! last.

use serde::Deserialize;
use serde_json::Value;

use super::password::{self, worker_name};
use super::{Command, lease};

/// The method's name.
pub const METHOD: &str = "login";
/// The longest worker name kept; longer ones are cut.
pub const MAX_WORKER_CHARS: usize = 64;
/// The longest agent kept.
pub const MAX_AGENT_CHARS: usize = 128;
/// What a miner who wants to mine solo writes before its address.
pub const SOLO: &str = "solo:";
/// The worker of a miner that names none.
pub const DEFAULT_WORKER: &str = "default";

/// A miner's introduction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The wallet address as given, unchecked.
    pub address: String,
    /// Whether it wants to mine solo.
    pub solo: bool,
    /// Clean enough for logs, labels and web pages.
    pub worker: String,
    /// The difficulty the miner insists on.
    pub fixed_difficulty: Option<u64>,
    /// The program, cut to [`MAX_AGENT_CHARS`].
    pub agent: String,
    /// The algorithms it can do; empty when it does not say.
    pub algos: Vec<String>,
    /// Whether it searches three bytes of the nonce only, so that the fourth must be given.
    pub nicehash: bool,
    /// Whether many miners stand behind it.
    pub proxy: bool,
    /// Whether it wants leases.
    pub leases: bool,
}

#[derive(Deserialize)]
struct Params {
    login: String,
    #[serde(default)]
    pass: Option<String>,
    #[serde(default)]
    agent: Option<String>,
    #[serde(default)]
    rigid: Option<String>,
    #[serde(default)]
    algo: Option<Vec<String>>,
    /// Only ours say it.
    #[serde(default)]
    extensions: Value,
}

pub(super) fn parse(params: Value) -> Command {
    let Ok(params) = serde_json::from_value::<Params>(params) else {
        return Command::Unusable("login needs params with a login string");
    };
    let user = User::parse(&params.login);
    let options = password::parse(params.pass.as_deref().unwrap_or_default());
    let names = [params.rigid.as_deref(), user.worker, options.worker];
    let worker = names
        .into_iter()
        .flatten()
        .find_map(worker_name)
        .unwrap_or(DEFAULT_WORKER);
    let agent = params.agent.unwrap_or_default();
    let says = |word: &str| agent.to_ascii_lowercase().contains(word);
    Command::Login(Login {
        address: user.address.to_owned(),
        solo: user.solo,
        worker: clean(worker),
        fixed_difficulty: user.fixed_difficulty.or(options.fixed_difficulty),
        nicehash: options.nicehash || says("nicehash"),
        proxy: says("proxy"),
        leases: params
            .extensions
            .as_array()
            .is_some_and(|names| names.iter().any(|name| name == lease::METHOD)),
        agent: agent
            .chars()
            .filter(|c| !c.is_control())
            .take(MAX_AGENT_CHARS)
            .collect(),
        algos: params.algo.unwrap_or_default(),
    })
}

struct User<'a> {
    address: &'a str,
    solo: bool,
    worker: Option<&'a str>,
    fixed_difficulty: Option<u64>,
}

impl<'a> User<'a> {
    fn parse(text: &'a str) -> Self {
        let text = text.trim();
        let (solo, text) = match text.split_at_checked(SOLO.len()) {
            Some((word, rest)) if word.eq_ignore_ascii_case(SOLO) => (true, rest.trim_start()),
            _ => (false, text),
        };
        let end = text.find(['.', '+']).unwrap_or(text.len());
        let mut user = User {
            address: &text[..end],
            solo,
            worker: None,
            fixed_difficulty: None,
        };
        let mut rest = &text[end..];
        while let Some(mark) = rest.chars().next() {
            let body = &rest[1..];
            // A worker may contain dots; only a plus ends it. A difficulty ends at the first mark
            // of either kind.
            let end = if mark == '.' {
                body.find('+')
            } else {
                body.find(['.', '+'])
            }
            .unwrap_or(body.len());
            match mark {
                '.' if end > 0 => user.worker = Some(&body[..end]),
                '+' => user.fixed_difficulty = password::difficulty(&body[..end]),
                _ => {}
            }
            rest = &body[end..];
        }
        user
    }
}

/// Letters, digits, dot, dash and underscore stay; the rest could break a log, a label or a page.
fn clean(name: &str) -> String {
    let keep = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') {
            c
        } else {
            '_'
        }
    };
    name.chars().take(MAX_WORKER_CHARS).map(keep).collect()
}
