//! Photos of inspections: what may be one, and how it is named.
//!
//! A photo is stored under the SHA-256 of its bytes. The inspection names the digest, and the chain
//! of evidence covers that row, so that the bytes cannot be changed without its showing.

use std::collections::BTreeSet;

/// The most bytes of one photo.
pub const MAX_PHOTO_BYTES: usize = 5 << 20;
/// Photos that one inspection names at most.
pub const MAX_PHOTOS: usize = 20;
/// Bytes at the beginning of a photo that tell its type.
pub const SIGNATURE_BYTES: usize = 12;
/// Letters of a digest: 64 hex digits.
pub const DIGEST_LETTERS: usize = 64;

/// The types that are taken. None of them holds a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PhotoType {
    /// JPEG.
    Jpeg,
    /// PNG.
    Png,
    /// WebP.
    Webp,
}

impl PhotoType {
    /// The media types of all of them.
    pub const MEDIA_TYPES: &[&str] = &["image/jpeg", "image/png", "image/webp"];

    /// The type that the first [`SIGNATURE_BYTES`] of a file tell, whatever its name says.
    pub fn from_signature(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0xff, 0xd8, 0xff, ..] => Some(Self::Jpeg),
            [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, ..] => Some(Self::Png),
            _ if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") => {
                Some(Self::Webp)
            }
            _ => None,
        }
    }

    /// The media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Webp => "image/webp",
        }
    }

    /// What the name of a file of this type ends with.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::Webp => "webp",
        }
    }
}

/// Whether a text is a SHA-256 as photos are named: 64 hex digits in lower case.
pub fn is_digest(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == DIGEST_LETTERS && text.bytes().all(is_digit)
}

/// The digests that a field names.
pub fn digests(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace()
}

/// Checks that a field names digests, each once and not too many. Whether they are stored is not
/// known here.
///
/// # Errors
/// What is wrong with the text.
pub fn check_digests(text: &str) -> Result<(), String> {
    let mut named = BTreeSet::new();
    for digest in digests(text) {
        if !is_digest(digest) {
            let begin: String = digest.chars().take(DIGEST_LETTERS).collect();
            return Err(format!(
                "{begin:?} is no SHA-256 of {DIGEST_LETTERS} hex digits in lower case"
            ));
        }
        if !named.insert(digest) {
            return Err(format!("{digest} is named twice"));
        }
    }
    match named.len() {
        0..=MAX_PHOTOS => Ok(()),
        count => Err(format!("{count} photos are more than {MAX_PHOTOS}")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_type_is_told_by_the_first_bytes_alone() {
        let cases: [(&[u8], Option<PhotoType>); 9] = [
            (b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01", Some(PhotoType::Jpeg)),
            (b"\x89PNG\r\n\x1a\n\0\0\0\x0d", Some(PhotoType::Png)),
            (b"RIFF\x24\0\0\0WEBP", Some(PhotoType::Webp)),
            (b"RIFF\x24\0\0\0WAVE", None),
            (b"<svg xmlns='h", None),
            (b"<!DOCTYPE htm", None),
            (b"GIF89a\0\0\0\0\0\0", None),
            (b"\x89PNG\n\x1a\n\0\0\0\0\0", None),
            (b"", None),
        ];
        for (bytes, expected) in cases {
            assert_eq!(PhotoType::from_signature(bytes), expected, "{bytes:?}");
        }
        for kind in [PhotoType::Jpeg, PhotoType::Png, PhotoType::Webp] {
            assert!(PhotoType::MEDIA_TYPES.contains(&kind.media_type()));
        }
    }

    #[test]
    fn a_digest_is_64_hex_digits_in_lower_case() {
        assert!(is_digest(&"0a".repeat(32)));
        for text in ["", "../../etc/passwd", &"0A".repeat(32), &"0a".repeat(33)] {
            assert!(!is_digest(text), "{text}");
        }
    }

    #[test]
    fn a_field_names_each_photo_once_and_few() {
        let named = |count: u8| {
            let all: Vec<String> = (0..count).map(|one| format!("{one:064x}")).collect();
            all.join(" ")
        };
        for few in ["", &named(1), &named(20)] {
            assert_eq!(check_digests(few), Ok(()));
        }
        for (text, expected) in [
            (named(21), "21 photos are more than 20"),
            (format!("{} {}", named(1), named(2)), "is named twice"),
            ("AB".repeat(32), "is no SHA-256 of 64 hex digits"),
            ("ab".to_owned(), "is no SHA-256 of 64 hex digits"),
        ] {
            let said = check_digests(&text).unwrap_err();
            assert!(said.contains(expected), "{expected}: {said}");
        }
    }
}
