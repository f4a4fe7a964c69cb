//! The files that pages need, embedded in the program.
//!
//! Their address has a digest of all of them, so that a browser keeps them for good and a page of a
//! newer program never runs scripts of an older one.

use std::sync::LazyLock;

use aws_lc_rs::digest::{Context, SHA256};

/// Bytes of the digest that an address has.
const DIGEST_BYTES: usize = 8;

/// One file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asset {
    /// Its name, by which scripts import each other.
    pub(super) name: &'static str,
    pub(super) media_type: &'static str,
    pub(super) text: &'static str,
}

macro_rules! assets {
    ($($name:literal as $media_type:expr,)*) => {
        &[$(Asset {
            name: $name,
            media_type: $media_type,
            text: include_str!(concat!("assets/", $name)),
        },)*]
    };
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// Every file.
pub(super) const ALL: &[Asset] = assets! {
    "console.css" as STYLE,
    "icon.svg" as IMAGE,
    "theme.js" as SCRIPT,
    "console.js" as SCRIPT,
    "format.js" as SCRIPT,
    "table.js" as SCRIPT,
    "chart.js" as SCRIPT,
    "pool.js" as SCRIPT,
    "connect.js" as SCRIPT,
    "miner.js" as SCRIPT,
    "verify.js" as SCRIPT,
    "explore.js" as SCRIPT,
    "editor.js" as SCRIPT,
    "subscribe.js" as SCRIPT,
    "operate.js" as SCRIPT,
    "upkeep.js" as SCRIPT,
    "sign-in.js" as SCRIPT,
    "keys.js" as SCRIPT,
    "filters.js" as SCRIPT,
    "confirm.js" as SCRIPT,
    "accounts.js" as SCRIPT,
    "gauge.js" as SCRIPT,
    "bars.js" as SCRIPT,
    "fields.js" as SCRIPT,
    "mine.js" as SCRIPT,
    "mine-controllers.js" as SCRIPT,
    "energy.js" as SCRIPT,
    "anomalies.js" as SCRIPT,
    "compliance.js" as SCRIPT,
    "registry.js" as SCRIPT,
    "coop-live.js" as SCRIPT,
    "coop-cluster.js" as SCRIPT,
    "coop-workers.js" as SCRIPT,
    "coop-shares.js" as SCRIPT,
    "coop-shares-table.js" as SCRIPT,
    "coop-jobs.js" as SCRIPT,
    "coop-sign-in.js" as SCRIPT,
    "site.js" as SCRIPT,
    "site-shape.js" as SCRIPT,
    "site-line.js" as SCRIPT,
    "site-power.js" as SCRIPT,
    "site-air.js" as SCRIPT,
    "site-why.js" as SCRIPT,
    "site-stop.js" as SCRIPT,
    "site-orders.js" as SCRIPT,
    "site-machines.js" as SCRIPT,
    "site-decisions.js" as SCRIPT,
    "site-events.js" as SCRIPT,
    "site-debug.js" as SCRIPT,
    "site-sign-in.js" as SCRIPT,
};

/// The file of this name.
pub(super) fn find(name: &str) -> Option<&'static Asset> {
    ALL.iter().find(|asset| asset.name == name)
}

/// The digest of all files.
pub(super) fn digest() -> &'static str {
    static DIGEST: LazyLock<String> = LazyLock::new(|| {
        let mut context = Context::new(&SHA256);
        for asset in ALL {
            context.update(asset.name.as_bytes());
            context.update(asset.text.as_bytes());
        }
        let digest = context.finish();
        hex::encode(digest.as_ref().get(..DIGEST_BYTES).unwrap_or_default())
    });
    &DIGEST
}
