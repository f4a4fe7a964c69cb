//! What others wrote, made fit for a terminal.
//!
//! A reason of a lockout or the answer of a device may hold the codes by which terminals are
//! steered: colours, the title, the cursor, the clipboard. People see such a code, and terminals do
//! not obey it.

/// Whether a character is shown as it is: no control character, and none that turns the direction
/// of the text around or hides itself.
pub fn is_shown(character: char) -> bool {
    let is_hidden = matches!(character,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{61c}' | '\u{feff}');
    !character.is_control() && !is_hidden
}

/// A text in one line, with every other character as its code.
pub fn plain(text: &str) -> String {
    escaped(text, |_| false)
}

/// The same, of several lines.
pub fn plain_lines(text: &str) -> String {
    escaped(text, |character| character == '\n')
}

fn escaped(text: &str, is_kept: impl Fn(char) -> bool) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        match is_shown(character) || is_kept(character) {
            true => plain.push(character),
            false => plain.extend(character.escape_default()),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_for_terminals_are_shown_and_not_obeyed() {
        let evil = "a\u{1b}[31mred\u{1b}]0;title\u{7}\u{9b}2J\u{202e}liv\u{200b}\r\nb";
        let plain = plain(evil);
        assert!(plain.chars().all(is_shown), "{plain:?}");
        assert!(
            plain.contains("red") && plain.contains("\\u{1b}[31m"),
            "{plain:?}"
        );
        assert_eq!(super::plain("Größe 5 °C – ok"), "Größe 5 °C – ok");
        assert_eq!(plain_lines("a\nb\u{9b}"), "a\nb\\u{9b}");
    }
}
