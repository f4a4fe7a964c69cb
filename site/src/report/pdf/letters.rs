//! Letters of the fonts that every reader of PDF has: how wide they are, and how they are written.

/// Widths of the letters from the space to the tilde in Helvetica, thousandths of the size (Adobe's
/// font metrics of the fourteen standard fonts).
const WIDTHS: [u16; 95] = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278,
    278, // space to /
    556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556, // 0 to ?
    1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778, // @ to O
    667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556, // P to _
    333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, // ` to o
    556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584, // p to ~
];
/// What any other letter takes at most, but for a few.
const OTHER: u16 = 778;
/// How much wider bold letters are at most.
const BOLDER: f32 = 1.1;

/// The width of a text in points.
pub(super) fn width(text: &str, size: f32, is_bold: bool) -> f32 {
    let one = |letter: char| {
        let at = (letter as usize).checked_sub(0x20);
        let width = at.and_then(|at| WIDTHS.get(at)).copied();
        f32::from(width.unwrap_or(OTHER))
    };
    let sum: f32 = text.chars().map(one).sum();
    sum * size / 1_000.0 * if is_bold { BOLDER } else { 1.0 }
}

/// A text in the encoding of the fonts, Windows-1252; other letters are question marks.
pub(super) fn encode(text: &str) -> Vec<u8> {
    let one = |letter: char| match letter {
        ' '..='~' | '\u{a0}'..='\u{ff}' => letter as u8,
        '\u{20ac}' => 0x80,
        '\u{2026}' => 0x85,
        '\u{2018}' => 0x91,
        '\u{2019}' => 0x92,
        '\u{201c}' => 0x93,
        '\u{201d}' => 0x94,
        '\u{2022}' => 0x95,
        '\u{2013}' => 0x96,
        '\u{2014}' => 0x97,
        _ => b'?',
    };
    text.chars().map(one).collect()
}

/// A text in lines no wider than so many points: broken at spaces, or where a word is too long.
pub(super) fn wrap(text: &str, size: f32, is_bold: bool, most: f32) -> Vec<String> {
    let fits = |line: &str| width(line, size, is_bold) <= most;
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last().map_or("", String::as_str);
        let longer = match line.is_empty() {
            true => word.to_owned(),
            false => format!("{line} {word}"),
        };
        if fits(&longer) {
            lines.pop();
            lines.push(longer);
            continue;
        }
        if !line.is_empty() {
            lines.push(String::new());
        }
        for letter in word.chars() {
            let mut longer = lines.pop().unwrap_or_default();
            longer.push(letter);
            if !fits(&longer) && longer.chars().count() > 1 {
                longer.pop();
                lines.push(longer);
                longer = letter.to_string();
            }
            lines.push(longer);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_broken_at_spaces_and_long_words_within() {
        // Digits are 5.56 points wide at size 10.
        assert_eq!(
            wrap("11 22 333333", 10.0, false, 23.0),
            ["11", "22", "3333", "33"]
        );
        assert_eq!(wrap("11 22", 10.0, false, 40.0), ["11 22"]);
        assert_eq!(wrap("", 10.0, false, 40.0), [""]);
        assert_eq!(
            wrap("WW", 10.0, false, 1.0),
            ["W", "W"],
            "a letter a line at least"
        );
    }

    #[test]
    fn letters_that_the_fonts_lack_are_question_marks() {
        assert_eq!(
            encode("a\u{e4}\u{2013}\u{416}\n"),
            [b'a', 0xe4, 0x96, b'?', b'?']
        );
    }
}
