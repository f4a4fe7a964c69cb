//! The certificates of HTTP and PostgreSQL: how long they last, and who may read their keys.
//!
//! Whether the two files of each can be read and go together is a fault of the configuration.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use headframe_query_front::tls::TlsCertificate;
use headframe_query_front::{TlsConfig, load_certificate, load_postgres_certificate};

use super::{Check, CheckContext, Finding};

/// A certificate that ends sooner should have been renewed: programs that renew them begin 30 days
/// before.
const FEW_DAYS: i64 = 14;
const DAY_S: i64 = 86_400;
/// Bits of a file's mode that let somebody read or change a key whom its owner did not choose.
const OPEN_MODE: u32 = 0o027;

pub struct Certificates;

#[async_trait]
impl Check for Certificates {
    fn name(&self) -> &'static str {
        "certificates"
    }

    async fn run(&self, context: &CheckContext) -> Vec<Finding> {
        if !context.is_configured() {
            return Vec::new();
        }
        let (query, postgres) = (&context.config.query, &context.config.postgres);
        let mut findings = of_section("query.tls", &query.tls, load_certificate(query).ok());
        let served = load_postgres_certificate(postgres).ok();
        findings.extend(of_section("postgres.tls", &postgres.tls, served));
        findings
    }
}

/// What is to be said about the files of one section; nothing where it names none.
fn of_section(
    section: &str,
    files: &TlsConfig,
    served: Option<Option<Arc<TlsCertificate>>>,
) -> Vec<Finding> {
    let (Some(cert), Some(key), Some(Some(served))) = (&files.cert_file, &files.key_file, served)
    else {
        return Vec::new();
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now_s = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    let mut findings = vec![judge_end(section, cert, served.ends_s(), now_s)];
    let mode = std::fs::metadata(key).map(|data| data.permissions().mode());
    findings.extend(mode.ok().and_then(|mode| judge_mode(section, key, mode)));
    findings
}

fn judge_end(section: &str, cert: &Path, ends_s: Option<i64>, now_s: i64) -> Finding {
    let cert = cert.display();
    let renew = format!("renew {cert}; a running process serves the new one within a second");
    let Some(ends_s) = ends_s else {
        return Finding::warn(
            format!("{section}: {cert} does not say when it ends"),
            "see `openssl x509 -noout -enddate`",
        );
    };
    let days = (ends_s - now_s) / DAY_S;
    if ends_s <= now_s {
        let found = format!(
            "{section}: {cert} ended {} days ago; no client takes it",
            -days
        );
        return Finding::fail(found, renew);
    }
    let found = format!("{section}: {cert} ends in {days} days");
    match days < FEW_DAYS {
        true => Finding::warn(found, renew),
        false => Finding::ok(found),
    }
}

fn judge_mode(section: &str, key: &Path, mode: u32) -> Option<Finding> {
    (mode & OPEN_MODE != 0).then(|| {
        let (key, mode) = (key.display(), mode & 0o777);
        Finding::warn(
            format!("{section}: the key {key} has mode {mode:03o}; others may read or change it"),
            format!("`chmod 600 {key}`, or 640 for a group that renews it"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_certificate_is_judged_by_its_end_and_a_key_by_its_mode() {
        let now = 1_800_000_000;
        let verdict = |ends_s| judge_end("query.tls", Path::new("a.pem"), ends_s, now).verdict;
        assert_eq!(verdict(Some(now + 90 * DAY_S)), Verdict::Ok);
        assert_eq!(verdict(Some(now + 14 * DAY_S)), Verdict::Ok);
        assert_eq!(verdict(Some(now + 14 * DAY_S - 1)), Verdict::Warn);
        assert_eq!(verdict(Some(now + 1)), Verdict::Warn);
        assert_eq!(verdict(Some(now)), Verdict::Fail);
        assert_eq!(verdict(None), Verdict::Warn);
        for (mode, is_open) in [
            (0o100_600, false),
            (0o100_640, false),
            (0o100_660, true),
            (0o100_644, true),
            (0o100_604, true),
        ] {
            let found = judge_mode("postgres.tls", Path::new("k.pem"), mode);
            assert_eq!(found.is_some(), is_open, "{mode:o}");
        }
    }
}
