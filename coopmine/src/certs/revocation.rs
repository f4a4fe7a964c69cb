//! Revoked certificates: the list that the authority signs, and the record that it is made of.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use rcgen::{
    CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevocationReason,
    RevokedCertParams, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::{
    AUTHORITY_DAYS, Certs, CertsError, authority_params, file, is_worker_id, of_days, today,
};

/// The list, which coordinators read.
const LIST: &str = "ca.crl";
/// What the list is made of: a serial number, the day and the worker a line.
const RECORD: &str = "revoked.txt";

impl Certs {
    /// Takes a worker's certificate back: it is in the list from now on, and the pair is put aside
    /// so that another one can be made. Where the list is.
    pub fn revoke(&self, id: &str) -> Result<PathBuf, CertsError> {
        if !is_worker_id(id) {
            return Err(CertsError::Name(id.to_owned()));
        }
        let cert_file = self.folder.join(format!("{id}.crt"));
        let read = CertificateDer::from_pem_file(&cert_file);
        let certificate = read.map_err(|error| {
            let reason = std::io::Error::other(error.to_string());
            file("read the certificate", &cert_file, reason)
        })?;
        let serial = serial_number(&certificate).ok_or_else(|| {
            let reason = std::io::Error::other("it is no certificate");
            file("read the certificate", &cert_file, reason)
        })?;
        let serial = hex::encode(serial);
        let record = self.folder.join(RECORD);
        let opened = OpenOptions::new().create(true).append(true).open(&record);
        let mut out = opened.map_err(|reason| file("write", &record, reason))?;
        let written = writeln!(out, "{serial} {} {id}", today()).and_then(|()| out.sync_all());
        written.map_err(|reason| file("write", &record, reason))?;
        let list = self.write_revocation_list()?;
        let aside = self.folder.join(format!("{id}.{serial}.revoked.crt"));
        std::fs::rename(&cert_file, &aside).map_err(|reason| file("put aside", &aside, reason))?;
        let key_file = self.folder.join(format!("{id}.key"));
        match std::fs::remove_file(&key_file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(file("remove", &key_file, error))
            }
            _ => Ok(list),
        }
    }

    /// Signs the list anew, with all that the record has.
    pub(super) fn write_revocation_list(&self) -> Result<PathBuf, CertsError> {
        let record = self.folder.join(RECORD);
        let text = match std::fs::read_to_string(&record) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(reason) => return Err(file("read", &record, reason)),
        };
        let revoked: Vec<RevokedCertParams> = text.lines().filter_map(revoked).collect();
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let params = CertificateRevocationListParams {
            this_update: epoch + of_days(today()),
            next_update: epoch + of_days(today() + AUTHORITY_DAYS),
            crl_number: SerialNumber::from(revoked.len() as u64 + 1),
            issuing_distribution_point: None,
            revoked_certs: revoked,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let ca_file = self.folder.join("ca.key");
        let ca_key = std::fs::read_to_string(&ca_file)
            .map_err(|reason| file("read the authority's key", &ca_file, reason))?;
        let issuer = Issuer::new(authority_params()?, KeyPair::from_pem(&ca_key)?);
        let list = params.signed_by(&issuer)?.pem()?;
        // A coordinator that reads meanwhile reads the old one or the new one.
        let (made, place) = (self.folder.join("ca.crl.new"), self.folder.join(LIST));
        let written = std::fs::write(&made, list).and_then(|()| std::fs::rename(&made, &place));
        written.map_err(|reason| file("write", &place, reason))?;
        Ok(place)
    }
}

fn revoked(line: &str) -> Option<RevokedCertParams> {
    let mut words = line.split_whitespace();
    let serial = hex::decode(words.next()?).ok()?;
    let day: i64 = words.next()?.parse().ok()?;
    Some(RevokedCertParams {
        serial_number: SerialNumber::from_slice(&serial),
        revocation_time: rcgen::date_time_ymd(1970, 1, 1) + of_days(day),
        reason_code: Some(RevocationReason::CessationOfOperation),
        invalidity_date: None,
    })
}

/// A certificate's serial number, as its bytes stand in it.
fn serial_number(certificate: &[u8]) -> Option<&[u8]> {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;
    const INTEGER: u8 = 0x02;
    let (certificate, _) = item(certificate, SEQUENCE)?;
    let (signed, _) = item(certificate, SEQUENCE)?;
    let (_, rest) = item(signed, VERSION)?;
    item(rest, INTEGER).map(|(serial, _)| serial)
}

/// The content of a DER item with this tag at the front, and what comes behind it.
fn item(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            let add = |length: usize, digit: &u8| length << 8 | usize::from(*digit);
            (digits.iter().fold(0, add), rest)
        }
        _ => return None,
    };
    (*found == tag).then(|| rest.split_at_checked(length))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revoked_pair_makes_way_and_the_record_grows() {
        let folder = tempfile::tempdir().unwrap();
        let certs = Certs::new(folder.path());
        certs.authority().unwrap();
        let has = |name: &str| folder.path().join(name).exists();
        assert!(has(LIST), "the first list is empty");
        let empty = std::fs::read(folder.path().join(LIST)).unwrap();
        for times in 1..4 {
            certs.worker("rig-1", 30).unwrap();
            certs.revoke("rig-1").unwrap();
            assert!(!has("rig-1.crt") && !has("rig-1.key"));
            let record = std::fs::read_to_string(folder.path().join(RECORD)).unwrap();
            assert_eq!(record.lines().count(), times, "{record}");
        }
        let full = std::fs::read(folder.path().join(LIST)).unwrap();
        assert!(full.len() > empty.len());
        assert!(matches!(
            certs.revoke("rig-1"),
            Err(CertsError::File { .. })
        ));
        assert!(matches!(certs.revoke("../x"), Err(CertsError::Name(_))));
    }

    #[test]
    fn what_is_no_certificate_has_no_serial_number() {
        for bytes in [
            &[][..],
            &[0x30],
            &[0x30, 0x85, 1],
            &[0x30, 2, 0x30, 9],
            &[0x02, 1, 7],
        ] {
            assert_eq!(serial_number(bytes), None, "{bytes:?}");
        }
        let small = [0x30, 10, 0x30, 8, 0xa0, 3, 2, 1, 2, 0x02, 1, 7];
        assert_eq!(serial_number(&small), Some(&[7][..]));
    }
}
