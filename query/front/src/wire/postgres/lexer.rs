//! Cuts SQL into words, as far as the front has to understand it: where a statement ends, what it
//! begins with, and which parameters it has. What it means is the engine's to say.

/// A word of SQL with its place in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::wire) struct Token<'a> {
    pub(in crate::wire) kind: Kind<'a>,
    pub(in crate::wire) start: usize,
    pub(in crate::wire) end: usize,
}

/// What a word is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::wire) enum Kind<'a> {
    /// A keyword or a name without quotes.
    Word(&'a str),
    /// A name in quotes, its quotes taken off.
    Name(String),
    /// A string, its quotes taken off.
    Text(String),
    /// A number.
    Number(&'a str),
    /// `$1`
    Parameter(usize),
    /// Any other character.
    Symbol(char),
}

impl Token<'_> {
    /// Whether it is this keyword.
    pub(in crate::wire) fn is(&self, keyword: &str) -> bool {
        matches!(self.kind, Kind::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    /// Whether it is this character.
    pub(in crate::wire) fn is_symbol(&self, symbol: char) -> bool {
        self.kind == Kind::Symbol(symbol)
    }
}

/// The words of a text, one after the other.
pub(in crate::wire) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    /// Of this text.
    pub(in crate::wire) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if trimmed.starts_with("--") {
                self.at += trimmed.find('\n').unwrap_or(trimmed.len());
            } else if trimmed.starts_with("/*") {
                self.at += comment_length(trimmed);
            } else {
                return;
            }
        }
    }

    /// A text up to its closing quote, where two quotes are one; the place stands behind it.
    fn quoted(&mut self, quote: char, backslashes: bool) -> String {
        let mut text = String::new();
        let mut chars = self.rest().char_indices().skip(1).peekable();
        let mut end = self.rest().len();
        while let Some((at, char)) = chars.next() {
            if char == quote {
                if chars.next_if(|(_, next)| *next == quote).is_none() {
                    end = at + quote.len_utf8();
                    break;
                }
            } else if char == '\\' && backslashes {
                text.extend(chars.next().map(|(_, escaped)| match escaped {
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    other => other,
                }));
                continue;
            }
            text.push(char);
        }
        self.at += end;
        text
    }

    /// `$tag$ … $tag$`, or nothing when no such text begins here.
    fn dollar_quoted(&mut self) -> Option<String> {
        let rest = self.rest();
        let tag_end = rest.get(1..)?.find('$')? + 2;
        let tag = &rest[..tag_end];
        let inner = &tag[1..tag.len() - 1];
        if inner.starts_with(|char: char| char.is_ascii_digit())
            || !inner
                .chars()
                .all(|char| char.is_alphanumeric() || char == '_')
        {
            return None;
        }
        let body = &rest[tag_end..];
        let length = body.find(tag);
        self.at += tag_end + length.map_or(body.len(), |length| length + tag.len());
        Some(body[..length.unwrap_or(body.len())].to_owned())
    }

    fn run(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|char| !belongs(char)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }
}

fn comment_length(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    let bytes = text.as_bytes();
    while at < bytes.len() {
        match bytes.get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn is_name(char: char) -> bool {
    char.is_alphanumeric() || matches!(char, '_' | '$')
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_blanks();
        let start = self.at;
        let rest = self.rest();
        let mut chars = rest.chars();
        let (first, second) = (chars.next()?, chars.next());
        let kind = match first {
            '\'' => Kind::Text(self.quoted('\'', false)),
            '"' => Kind::Name(self.quoted('"', false)),
            'e' | 'E' if second == Some('\'') => {
                self.at += 1;
                Kind::Text(self.quoted('\'', true))
            }
            '$' if second.is_some_and(|char| char.is_ascii_digit()) => {
                self.at += 1;
                let digits = self.run(|char| char.is_ascii_digit());
                Kind::Parameter(digits.parse().unwrap_or(usize::MAX))
            }
            '$' => match self.dollar_quoted() {
                Some(text) => Kind::Text(text),
                None => {
                    self.at += 1;
                    Kind::Symbol('$')
                }
            },
            first if first.is_ascii_digit() => {
                Kind::Number(self.run(|char| char.is_alphanumeric() || char == '.'))
            }
            first if is_name(first) => Kind::Word(self.run(is_name)),
            first => {
                self.at += first.len_utf8();
                Kind::Symbol(first)
            }
        };
        Some(Token {
            kind,
            start,
            end: self.at,
        })
    }
}

/// The statements of a text, without what separates them.
pub(in crate::wire) fn statements(text: &str) -> Vec<&str> {
    let mut statements = Vec::new();
    let mut start = 0;
    let mut begins: Option<usize> = None;
    let mut end = 0;
    for token in Lexer::new(text) {
        if token.is_symbol(';') {
            if let Some(begins) = begins.take() {
                statements.push(&text[begins..end]);
            }
            start = token.end;
        } else {
            begins.get_or_insert(token.start.max(start));
            end = token.end;
        }
    }
    statements.extend(begins.map(|begins| &text[begins..end]));
    statements
}

/// How many parameters a statement has: the largest number behind a `$`.
pub(in crate::wire) fn parameters(text: &str) -> usize {
    let numbers = Lexer::new(text).filter_map(|token| match token.kind {
        Kind::Parameter(number) => Some(number),
        _ => None,
    });
    numbers.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_at_semicolons_that_are_not_quoted() {
        let text = "SELECT ';', \"a;b\", E'\\';' -- no; end\n; /* ; /* ; */ */ SHOW x;;$a$;$a$ ;";
        assert_eq!(
            statements(text),
            ["SELECT ';', \"a;b\", E'\\';'", "SHOW x", "$a$;$a$"]
        );
        assert!(statements(" ; -- nothing").is_empty());
        assert_eq!(statements("SELECT 'open"), ["SELECT 'open"]);
    }

    #[test]
    fn parameters_are_counted_where_they_are_parameters() {
        assert_eq!(
            parameters("SELECT $1, '$7', \"$8\", $a$ $9 $a$, $2::int"),
            2
        );
        assert_eq!(parameters("SELECT a$3 -- $4"), 0);
    }

    #[test]
    fn escaped_characters_are_what_they_stand_for() {
        let text = Lexer::new("E'a\\t\\n\\\\N\\'b'")
            .next()
            .map(|token| token.kind);
        assert_eq!(text, Some(Kind::Text("a\t\n\\N'b".to_owned())));
    }

    #[test]
    fn no_text_confuses_the_lexer() {
        for text in [
            "'", "\"", "/*", "*/", "$", "$$", "$1$", "E'\\", "é'ü", "--", "\u{0}",
        ] {
            let _ = Lexer::new(text).count();
            let _ = statements(text);
        }
    }
}
