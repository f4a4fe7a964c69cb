//! `coopmine certs`: the cluster's own authority, and the certificates it signs.
//!
//! The authority's key stays where it was made; a coordinator gets `server.crt` and `server.key`,
//! each worker its own pair, and all of them `ca.crt`.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use thiserror::Error;

use crate::cluster::is_worker_name;

mod revocation;

const DAY_S: i64 = 86_400;
/// How far back certificates are good.
const BACKDATED_DAYS: i64 = 400;
/// The authority's certificate lives this long.
const AUTHORITY_DAYS: i64 = 3_650;

/// Why nothing was made.
#[derive(Debug, Error)]
pub enum CertsError {
    /// A file.
    #[error("cannot {attempt} {path}: {reason}")]
    File {
        /// What was attempted.
        attempt: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: std::io::Error,
    },
    /// There is one already.
    #[error("{0} is there already; remove it first if it should be made anew")]
    Exists(PathBuf),
    /// Not a name.
    #[error("{0:?} cannot be a worker's id: write 1 to 63 small letters, digits, '-', '_' or '.'")]
    Name(String),
    /// Making one failed.
    #[error("cannot make a certificate: {0}")]
    Making(#[from] rcgen::Error),
}

/// A folder of certificates.
pub struct Certs {
    folder: PathBuf,
}

impl Certs {
    /// In this folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// The authority, unless it is there already. True when it was made.
    pub fn authority(&self) -> Result<bool, CertsError> {
        let key_file = self.folder.join("ca.key");
        if key_file.exists() {
            return Ok(false);
        }
        std::fs::create_dir_all(&self.folder)
            .map_err(|reason| file("make the folder", &self.folder, reason))?;
        let key = KeyPair::generate()?;
        let certificate = authority_params()?.self_signed(&key)?;
        write(&key_file, 0o600, &key.serialize_pem())?;
        write(&self.folder.join("ca.crt"), 0o644, &certificate.pem())?;
        self.write_revocation_list()?;
        Ok(true)
    }

    /// The coordinator's pair, good for these hosts and for this machine.
    pub fn server(&self, hosts: &[String], days: i64) -> Result<PathBuf, CertsError> {
        let mut names = vec![
            "localhost".to_owned(),
            "127.0.0.1".to_owned(),
            "::1".to_owned(),
        ];
        names.extend(
            hosts
                .iter()
                .filter(|host| !names.contains(host))
                .cloned()
                .collect::<Vec<_>>(),
        );
        let params = CertificateParams::new(names)?;
        self.sign(
            "server",
            "coopmine coordinator",
            params,
            ExtendedKeyUsagePurpose::ServerAuth,
            days,
        )
    }

    /// A worker's pair.
    pub fn worker(&self, id: &str, days: i64) -> Result<PathBuf, CertsError> {
        if !is_worker_id(id) {
            return Err(CertsError::Name(id.to_owned()));
        }
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::DnsName(id.try_into()?)];
        self.sign(id, id, params, ExtendedKeyUsagePurpose::ClientAuth, days)
    }

    fn sign(
        &self,
        file_name: &str,
        common_name: &str,
        mut params: CertificateParams,
        usage: ExtendedKeyUsagePurpose,
        days: i64,
    ) -> Result<PathBuf, CertsError> {
        let ca_file = self.folder.join("ca.key");
        let ca_key = std::fs::read_to_string(&ca_file)
            .map_err(|reason| file("read the authority's key", &ca_file, reason))?;
        // Only the authority's name and key go into what it signs.
        let issuer = Issuer::new(authority_params()?, KeyPair::from_pem(&ca_key)?);
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![usage];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        set_life(&mut params, days);
        let cert_file = self.folder.join(format!("{file_name}.crt"));
        let key_file = self.folder.join(format!("{file_name}.key"));
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;
        write(&key_file, 0o600, &key.serialize_pem())?;
        write(&cert_file, 0o644, &certificate.pem())?;
        Ok(cert_file)
    }
}

/// A name that is a number would become an address, and `server` is the coordinator's.
fn is_worker_id(id: &str) -> bool {
    let is_address = id.parse::<IpAddr>().is_ok();
    is_worker_name(id) && !is_address && !["server", "ca"].contains(&id)
}

fn authority_params() -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params
        .distinguished_name
        .push(DnType::CommonName, "CoopMine authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_life(&mut params, AUTHORITY_DAYS);
    Ok(params)
}

/// Good until so many days from now, and since long ago: the clocks of a farm differ.
fn set_life(params: &mut CertificateParams, days: i64) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + of_days(today() - BACKDATED_DAYS);
    params.not_after = epoch + of_days(today() + days.clamp(1 - BACKDATED_DAYS, 100_000));
}

/// Days since 1970.
fn today() -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX) / DAY_S
}

/// So many days as a time.
fn of_days(days: i64) -> Duration {
    Duration::from_secs(u64::try_from(days.saturating_mul(DAY_S)).unwrap_or(0))
}

fn write(path: &Path, mode: u32, text: &str) -> Result<(), CertsError> {
    let opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path);
    let mut out = opened.map_err(|reason| match reason.kind() {
        std::io::ErrorKind::AlreadyExists => CertsError::Exists(path.to_owned()),
        _ => file("write", path, reason),
    })?;
    let written = out.write_all(text.as_bytes()).and_then(|()| out.sync_all());
    written.map_err(|reason| file("write", path, reason))
}

fn file(attempt: &'static str, path: &Path, reason: std::io::Error) -> CertsError {
    CertsError::File {
        attempt,
        path: path.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_made_once_and_only_for_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let certs = Certs::new(folder.path());
        assert!(certs.authority().unwrap() && !certs.authority().unwrap());
        certs.worker("rig-1", 30).unwrap();
        assert!(matches!(
            certs.worker("rig-1", 30),
            Err(CertsError::Exists(_))
        ));
        for bad in ["", "a b", "127.0.0.1", "server", "../x", "a/b"] {
            assert!(
                matches!(certs.worker(bad, 30), Err(CertsError::Name(_))),
                "{bad}"
            );
        }
    }
}
