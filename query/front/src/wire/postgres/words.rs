//! The words of a statement, gone through one after the other.

use crate::error::{ErrorCode, QueryError};
use crate::sqlstate::SqlState;
use crate::wire::postgres::lexer::{Kind, Token};

/// The words of a statement after its first.
pub(super) struct Words<'a> {
    pub(super) sql: &'a str,
    pub(super) tokens: Vec<Token<'a>>,
    /// The word that is looked at.
    pub(super) next: usize,
}

impl<'a> Words<'a> {
    pub(super) fn new(sql: &'a str, tokens: Vec<Token<'a>>) -> Self {
        Self {
            sql,
            tokens,
            next: 0,
        }
    }

    pub(super) fn peek(&self) -> Option<&Token<'a>> {
        self.tokens.get(self.next)
    }

    /// Goes over a word when it is there, and tells whether it was.
    pub(super) fn skip(&mut self, keyword: &str) -> bool {
        let there = self.peek().is_some_and(|token| token.is(keyword));
        self.next += usize::from(there);
        there
    }

    pub(super) fn skip_symbol(&mut self, symbol: char) -> bool {
        let there = self.peek().is_some_and(|token| token.is_symbol(symbol));
        self.next += usize::from(there);
        there
    }

    /// A word, a name or a text; words without quotes become lower case.
    pub(super) fn name(&mut self) -> Option<String> {
        let name = match &self.peek()?.kind {
            Kind::Word(word) => word.to_lowercase(),
            Kind::Name(name) | Kind::Text(name) => name.clone(),
            Kind::Number(number) => (*number).to_owned(),
            _ => return None,
        };
        self.next += 1;
        Some(name)
    }

    /// Everything from here on.
    pub(super) fn rest(&self) -> &'a str {
        let start = self.peek().map_or(self.sql.len(), |token| token.start);
        &self.sql[start..]
    }

    /// What stands in the parentheses that begin here, without them.
    pub(super) fn parenthesized(&mut self) -> Option<&'a str> {
        let start = self.peek().filter(|token| token.is_symbol('('))?.end;
        let mut depth = 0_usize;
        while let Some(token) = self.tokens.get(self.next) {
            self.next += 1;
            if token.is_symbol('(') {
                depth += 1;
            } else if token.is_symbol(')') {
                depth -= 1;
                if depth == 0 {
                    return Some(&self.sql[start..token.start]);
                }
            }
        }
        None
    }
}

/// The error of a statement that is no SQL.
pub(super) fn syntax(message: &str) -> QueryError {
    QueryError::new(
        ErrorCode::SqlSyntax,
        message,
        "see PostgreSQL's documentation",
    )
}

/// The error of something that PostgreSQL has.
pub(super) fn unsupported(message: &str, hint: &str) -> QueryError {
    QueryError::new(ErrorCode::SqlPlan, message, hint).with_sqlstate(SqlState::FeatureNotSupported)
}
