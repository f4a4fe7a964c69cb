//! The successor: miners over TLS can only be sent to a pool with the same certificate.

use async_trait::async_trait;
use headframe_stratum::net::successor;
use headframe_stratum::net::tls::TlsIdentity;

use super::{Check, CheckContext, Finding};

/// What makes the two pools one to a miner that pins a certificate.
const SAME_CERTIFICATE: &str = "copy this pool's certificate and key to the successor and name \
                                them there in stratum.tls.cert_file and key_file; until then \
                                miners over TLS are not sent to it";

pub struct Handover;

#[async_trait]
impl Check for Handover {
    fn name(&self) -> &'static str {
        "successor"
    }

    async fn run(&self, context: &CheckContext) -> Vec<Finding> {
        let Some(pool) = context.pool() else {
            return Vec::new();
        };
        let Ok(Some(successor)) = pool.successor() else {
            return Vec::new();
        };
        let folder = context.config.data_dir.join("tls");
        let own = match TlsIdentity::existing_fingerprint(&pool.tls.clone().in_folder(&folder)) {
            Ok(Some(own)) => own,
            Ok(None) if !pool.tls.enabled => return Vec::new(),
            Ok(None) => {
                let found = "this pool has no certificate yet and makes its own at the first start";
                return vec![Finding::warn(found, SAME_CERTIFICATE)];
            }
            Err(error) => {
                return vec![Finding::fail(error.to_string(), "give the pool both files")];
            }
        };
        vec![match successor::compare(&successor, &own).await {
            Ok(()) => Finding::ok(format!("{successor} shows this pool's certificate")),
            Err(error) => Finding::warn(error.to_string(), SAME_CERTIFICATE),
        }]
    }
}
