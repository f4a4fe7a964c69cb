//! How much fits into an SMS: 160 septets of the GSM 7-bit alphabet (3GPP TS 23.038), or 70 units
//! of UCS-2 as soon as one character is not in it; 153 and 67 in each of several that belong
//! together.

/// The alphabet, without its extension.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
                     ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// Characters of two septets.
const EXTENSION: &str = "\u{c}^{}\\[~]|€";

/// Septets of a character; none where the alphabet does not have it.
fn septets(c: char) -> Option<usize> {
    if BASIC.contains(c) {
        Some(1)
    } else if EXTENSION.contains(c) {
        Some(2)
    } else {
        None
    }
}

/// Segments of a text.
pub fn segments(text: &str) -> usize {
    let size: Option<usize> = text.chars().map(septets).sum();
    match size {
        Some(septets) if septets <= 160 => 1,
        // A character of two septets is not cut in two, so a segment may hold one less.
        Some(_) => pieces(text, 153, |c| septets(c).unwrap_or(1)),
        None if text.encode_utf16().count() <= 70 => 1,
        None => pieces(text, 67, char::len_utf16),
    }
}

fn pieces(text: &str, most: usize, size: impl Fn(char) -> usize) -> usize {
    let (mut pieces, mut used) = (1, 0);
    for c in text.chars() {
        if used + size(c) > most {
            pieces += 1;
            used = 0;
        }
        used += size(c);
    }
    pieces
}

/// The longest beginning of a text that fits into so many segments, with three dots where it is
/// cut.
pub fn fitted(text: &str, most_segments: usize) -> String {
    if segments(text) <= most_segments {
        return text.to_owned();
    }
    let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    // The longest beginning, by halves: a longer one never has fewer segments.
    let (mut fits, mut too_long) = (0, ends.len());
    while fits + 1 < too_long {
        let middle = (fits + too_long) / 2;
        match segments(&format!("{}...", &text[..ends[middle]])) <= most_segments {
            true => fits = middle,
            false => too_long = middle,
        }
    }
    format!(
        "{}...",
        &text[..ends.get(fits).copied().unwrap_or_default()]
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn segments_are_counted_as_networks_count_them() {
        for (text, count) in [
            ("a".repeat(160), 1),
            ("a".repeat(161), 2),
            ("a".repeat(306), 2),
            ("a".repeat(307), 3),
            ("€".repeat(80), 1),
            ("€".repeat(81), 2),
            // 76 of them fill 152 septets of 153.
            ("€".repeat(153), 3),
            ("ч".repeat(70), 1),
            ("ч".repeat(71), 2),
            ("🚨".repeat(35), 1),
            ("🚨".repeat(36), 2),
            (String::new(), 1),
        ] {
            assert_eq!(segments(&text), count, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_fitted_fits_and_is_a_beginning(text in "[a-z€ч🚨]{0,400}", most in 1_usize..4) {
            let fitted = fitted(&text, most);
            prop_assert!(segments(&fitted) <= most);
            if fitted != text {
                let beginning = fitted.strip_suffix("...").unwrap_or_default();
                prop_assert!(text.starts_with(beginning));
                // A pictogram takes two of the 70 places, and three dots stand at the end.
                prop_assert!(beginning.chars().count() >= 33);
            }
        }
    }
}
