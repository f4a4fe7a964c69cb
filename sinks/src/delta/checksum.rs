//! The checksum in a data file's name, by which anyone can tell that the file is, to the last bit,
//! the one that was written.
//!
//! Parquet itself does not notice most flipped bits: a number that changed is a number. A name
//! outlives every rewrite of the log, and `b3sum` checks it without this program.

/// Hex digits of BLAKE3 that a name carries.
const DIGITS: usize = 32;

/// The checksum of a file's bytes: the first 32 hex digits of their BLAKE3 hash.
pub fn of_bytes(bytes: &[u8]) -> String {
    let mut digits = blake3::hash(bytes).to_hex().to_string();
    digits.truncate(DIGITS);
    digits
}

/// The checksum that a path carries; `None` for files of before names had any, and for those of
/// other programs.
pub fn of_path(path: &str) -> Option<&str> {
    let (_, digits) = path.strip_suffix(".parquet")?.rsplit_once("-b3")?;
    (digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_checksum_or_nothing() {
        let digits = of_bytes(b"rows");
        assert_eq!(
            of_path(&format!(
                "ingest_date=2026-03-01/part-7-uuid-b3{digits}.parquet"
            )),
            Some(digits.as_str())
        );
        for path in [
            "part-7-uuid.parquet",
            "part-b3abc.parquet",
            &format!("part-b3{digits}"),
            &format!("part-b3{}.parquet", "z".repeat(32)),
        ] {
            assert_eq!(of_path(path), None, "{path}");
        }
    }
}
