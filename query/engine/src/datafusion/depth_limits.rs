//! How deep a statement nests, told from its tokens alone.
//!
//! The parser, the planner and the evaluation of expressions go into a statement by recursion, in
//! places without a guard of their own, and a stack that overflows ends the whole process.
//! `1+1+1+…` nests as deep as it is long, so that brackets are not all there is to count. Lists,
//! however long, do not nest.
//!
//! Upstream: apache/datafusion#22936 and #22229 (deep expressions overflow the stack). It goes when
//! DataFusion refuses them itself.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

/// The deepest statement accepted. A stack of 2 MiB holds more than this even without optimisation.
pub const MAX_DEPTH: usize = 200;

/// What a join counts for: its plan takes about as much stack as this many operators.
const JOIN: usize = 5;

/// One pair of brackets, or a CASE.
#[derive(Debug, Default)]
struct Level {
    /// Operators since the last comma: each nests what stands before it.
    chain: usize,
    /// Joins and unions, which no comma ends.
    joined: usize,
    /// Whether commas join tables.
    in_from: bool,
    /// Whether CASE opened it, so that END closes it.
    case: bool,
}

/// The depth that the statement may reach at most; 0 when it cannot be cut into tokens, which the
/// parser will say better.
pub fn depth(sql: &str) -> usize {
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize() else {
        return 0;
    };
    let mut levels = vec![Level::default()];
    let (mut open, mut deepest) = (0, 0);
    for token in &tokens {
        match step(token) {
            Step::Open => {
                open += levels.last().map_or(0, Level::depth);
                levels.push(Level {
                    case: matches!(token, Token::Word(_)),
                    ..Level::default()
                });
            }
            // A column may be called "end": only a CASE is closed by it.
            Step::Close
                if levels.len() > 1
                    && levels
                        .last()
                        .is_some_and(|level| level.case || !matches!(token, Token::Word(_))) =>
            {
                levels.pop();
                open -= levels.last().map_or(0, Level::depth);
                // What follows an index or a call may nest it again.
                if let (Some(level), Token::RBracket) = (levels.last_mut(), token) {
                    level.chain += 1;
                }
            }
            step => {
                if let Some(level) = levels.last_mut() {
                    level.take(step);
                }
            }
        }
        deepest = deepest.max(open + levels.last().map_or(0, Level::depth));
    }
    deepest
}

impl Level {
    fn depth(&self) -> usize {
        1 + self.chain + self.joined
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Comma if self.in_from => self.joined += JOIN,
            Step::Comma | Step::Branch => self.chain = 0,
            Step::Operator => self.chain += 1,
            Step::Join | Step::Union => {
                self.joined += if matches!(step, Step::Join) { JOIN } else { 1 };
                self.chain = 0;
            }
            Step::From => self.in_from = true,
            Step::Clause => {
                self.in_from = false;
                self.chain = 0;
            }
            Step::Open | Step::Close | Step::Leaf => {}
        }
    }
}

/// What a token does to the depth.
#[derive(Debug, Clone, Copy)]
enum Step {
    Open,
    Close,
    Comma,
    Operator,
    Join,
    Union,
    From,
    Clause,
    Branch,
    Leaf,
}

fn step(token: &Token) -> Step {
    match token {
        Token::LParen | Token::LBracket | Token::LBrace => Step::Open,
        Token::RParen | Token::RBracket | Token::RBrace => Step::Close,
        Token::Comma => Step::Comma,
        Token::Word(word) if word.quote_style.is_none() => keyword(word.keyword),
        Token::Word(_)
        | Token::Number(..)
        | Token::Whitespace(_)
        | Token::Period
        | Token::Placeholder(_)
        | Token::SemiColon
        | Token::EOF => Step::Leaf,
        Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::NationalStringLiteral(_)
        | Token::HexStringLiteral(_) => Step::Leaf,
        _ => Step::Operator,
    }
}

fn keyword(keyword: Keyword) -> Step {
    match keyword {
        Keyword::CASE => Step::Open,
        Keyword::END => Step::Close,
        Keyword::WHEN | Keyword::THEN | Keyword::ELSE => Step::Branch,
        Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT => Step::Union,
        Keyword::JOIN => Step::Join,
        Keyword::FROM => Step::From,
        Keyword::SELECT
        | Keyword::WHERE
        | Keyword::GROUP
        | Keyword::ORDER
        | Keyword::HAVING
        | Keyword::LIMIT
        | Keyword::QUALIFY => Step::Clause,
        Keyword::AND
        | Keyword::OR
        | Keyword::XOR
        | Keyword::NOT
        | Keyword::IS
        | Keyword::IN
        | Keyword::BETWEEN
        | Keyword::DIV => Step::Operator,
        Keyword::LIKE
        | Keyword::ILIKE
        | Keyword::RLIKE
        | Keyword::REGEXP
        | Keyword::SIMILAR
        | Keyword::COLLATE => Step::Operator,
        Keyword::AT
        | Keyword::OVERLAPS
        | Keyword::INTERVAL
        | Keyword::EXPLAIN
        | Keyword::DESCRIBE
        | Keyword::DESC => Step::Operator,
        _ => Step::Leaf,
    }
}

#[cfg(test)]
mod tests {
    use super::depth;

    #[test]
    fn chains_nest_and_lists_do_not() {
        let many = |text: &str| text.repeat(1_000);
        for deep in [
            format!("SELECT 1{}", many(" + 1")),
            format!("SELECT a{} FROM t", many("::int")),
            format!("SELECT {}1{}", many("abs("), many(")")),
            format!("SELECT 1 FROM a{}", many(", a")),
            format!("SELECT 1, 2{}", many(" UNION ALL SELECT 1, 2")),
            format!("SELECT 1 FROM a{}", many(" JOIN b USING (x, y)")),
            format!("SELECT {}1{}", many("CASE WHEN true THEN "), many(" END")),
            format!("SELECT 1 WHERE f(1, 2){}", many(" OR f(1, 2)")),
            format!("SELECT a{}", many("[1]")),
            format!("{}SELECT 1", many("EXPLAIN ")),
        ] {
            assert!(depth(&deep) >= 1_000, "{}: {}", &deep[..40], depth(&deep));
        }
        for flat in [
            format!("SELECT 1 WHERE 1 IN (1{})", many(", -1")),
            format!("SELECT * FROM (VALUES (1, -1){}) AS v", many(", (1, -1)")),
            format!("SELECT CASE{} ELSE 0 END", many(" WHEN a = 1 THEN b + 2")),
            format!("SELECT a + 1{} FROM t", many(", abs(a) + 1")),
            format!("SELECT '{}'", many("((")),
        ] {
            assert!(depth(&flat) < 10, "{}: {}", &flat[..40], depth(&flat));
        }
    }
}
