//! What a statement asks for, as far as the front answers it itself: sessions, transactions,
//! cursors and COPY. Everything else is the engine's.

use crate::error::{ErrorCode, QueryError};
use crate::wire::postgres::copy::CopyForm;
use crate::wire::postgres::lexer::{Kind, Lexer, Token};
use crate::wire::postgres::words::{Words, syntax, unsupported};

/// A statement as the front understands it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    /// Nothing but blanks.
    Empty,
    /// For the engine.
    Query,
    /// BEGIN or START TRANSACTION
    Begin(&'static str),
    /// COMMIT or END
    Commit,
    /// ROLLBACK or ABORT
    Rollback,
    /// ROLLBACK TO a savepoint
    RollbackTo,
    /// What has no effect here, by the word that answers it.
    Nothing(&'static str),
    /// SET a name to a value; `None` is its default.
    Set(String, Option<String>),
    /// SET LOCAL, which holds until the transaction ends.
    SetLocal(String, Option<String>),
    /// SHOW a name, or `all`.
    Show(String),
    /// RESET ALL or DISCARD ALL
    ResetAll(&'static str),
    /// DEALLOCATE a statement; `None` for all.
    Deallocate(Option<String>),
    /// DECLARE a cursor for a query.
    Declare {
        /// The cursor.
        name: String,
        /// Whether it stays when the transaction ends.
        hold: bool,
        /// The query.
        sql: String,
    },
    /// FETCH or MOVE
    Fetch {
        /// The cursor.
        cursor: String,
        /// How many rows; `None` for all.
        count: Option<u64>,
        /// Whether they are sent, which MOVE does not.
        send: bool,
    },
    /// CLOSE a cursor; `None` for all.
    Close(Option<String>),
    /// COPY a query TO STDOUT
    Copy {
        /// The query.
        sql: String,
        /// How rows are written.
        form: CopyForm,
    },
}

impl Command {
    /// The command as rows of the stream `requests` name it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Command::Empty => "EMPTY",
            Command::Query => "QUERY",
            Command::Begin(_) => "BEGIN",
            Command::Commit => "COMMIT",
            Command::Rollback | Command::RollbackTo => "ROLLBACK",
            Command::Nothing(tag) | Command::ResetAll(tag) => tag,
            Command::Set(..) | Command::SetLocal(..) => "SET",
            Command::Show(_) => "SHOW",
            Command::Deallocate(_) => "DEALLOCATE",
            Command::Declare { .. } => "DECLARE",
            Command::Fetch { send: true, .. } => "FETCH",
            Command::Fetch { .. } => "MOVE",
            Command::Close(_) => "CLOSE",
            Command::Copy { .. } => "COPY",
        }
    }
}

/// Words of a statement that are looked at before the engine gets it.
const MAX_TOKENS: usize = 256;

/// Understands one statement.
pub(super) fn parse(sql: &str) -> Result<Command, QueryError> {
    let mut lexer = Lexer::new(sql);
    let Some(first) = lexer.next() else {
        return Ok(Command::Empty);
    };
    let Kind::Word(word) = first.kind else {
        return Ok(Command::Query);
    };
    let word = word.to_ascii_uppercase();
    let mut words = Words::new(sql, lexer.take(MAX_TOKENS).collect());
    Ok(match word.as_str() {
        "BEGIN" => Command::Begin("BEGIN"),
        "START" => Command::Begin("START TRANSACTION"),
        "COMMIT" | "END" => Command::Commit,
        "ROLLBACK" | "ABORT" => match words.tokens.iter().any(|token| token.is("to")) {
            true => Command::RollbackTo,
            false => Command::Rollback,
        },
        "SAVEPOINT" => Command::Nothing("SAVEPOINT"),
        "RELEASE" => Command::Nothing("RELEASE"),
        "LISTEN" => Command::Nothing("LISTEN"),
        "UNLISTEN" => Command::Nothing("UNLISTEN"),
        "SET" => set(&mut words)?,
        "RESET" => match words.name() {
            Some(name) if name.eq_ignore_ascii_case("all") => Command::ResetAll("RESET"),
            Some(name) => Command::Set(name, None),
            None => return Err(syntax("RESET names no setting")),
        },
        "DISCARD" => Command::ResetAll("DISCARD ALL"),
        "SHOW" => show(&mut words),
        "DEALLOCATE" => {
            words.skip("prepare");
            Command::Deallocate(
                words
                    .name()
                    .filter(|name| !name.eq_ignore_ascii_case("all")),
            )
        }
        "DECLARE" => declare(&mut words)?,
        "FETCH" => fetch(&mut words, true)?,
        "MOVE" => fetch(&mut words, false)?,
        "CLOSE" => Command::Close(
            words
                .name()
                .filter(|name| !name.eq_ignore_ascii_case("all")),
        ),
        "COPY" => copy(sql)?,
        _ => Command::Query,
    })
}

/// A statement with what the engine wants written out: `TABLE t` is `SELECT * FROM t`.
pub(super) fn full_text(sql: &str) -> String {
    match Lexer::new(sql).next() {
        Some(first) if first.is("table") => format!("SELECT * FROM{}", &sql[first.end..]),
        _ => sql.to_owned(),
    }
}

/// `SET [SESSION | LOCAL] name {= | TO} value, …` and its relatives.
fn set(words: &mut Words<'_>) -> Result<Command, QueryError> {
    let session = words.skip("session");
    let is_local = !session && words.skip("local");
    let command = match is_local {
        true => Command::SetLocal,
        false => Command::Set,
    };
    if words.skip("characteristics") || words.skip("transaction") || words.skip("constraints") {
        return Ok(Command::Nothing("SET"));
    }
    if words.skip("time") && words.skip("zone") {
        // It may be an interval, of several words.
        return Ok(command("timezone".to_owned(), value_of(words)));
    }
    if words.skip("names") {
        return Ok(command("client_encoding".to_owned(), value_of(words)));
    }
    let Some(mut name) = words.name() else {
        return Err(syntax("SET names no setting"));
    };
    while words.skip_symbol('.') {
        name.push('.');
        name.push_str(&words.name().unwrap_or_default());
    }
    // SET SESSION AUTHORIZATION and SET ROLE have no sign between name and value.
    let _ = words.skip_symbol('=') || words.skip("to");
    if words.peek().is_none() {
        return Err(syntax("SET names no value"));
    }
    let value = value_of(words);
    match words.peek() {
        None => Ok(command(name.to_lowercase(), value)),
        Some(_) => Err(syntax("SET has more behind its value")),
    }
}

/// The values, which have a comma between them; `None` is DEFAULT.
fn value_of(words: &mut Words<'_>) -> Option<String> {
    if words.skip("default") {
        return None;
    }
    let mut values: Vec<String> = Vec::new();
    loop {
        let sign = if words.skip_symbol('-') { "-" } else { "" };
        let Some(value) = words.name() else { break };
        values.push(format!("{sign}{value}"));
        if !words.skip_symbol(',') {
            break;
        }
    }
    Some(values.join(", "))
}

/// SHOW TABLES and the like are the engine's.
fn show(words: &mut Words<'_>) -> Command {
    for words_of_engine in ["tables", "columns", "functions"] {
        if words.peek().is_some_and(|token| token.is(words_of_engine)) {
            return Command::Query;
        }
    }
    if words.skip("time") {
        return Command::Show("timezone".to_owned());
    }
    if words.skip("transaction") {
        return Command::Show("transaction_isolation".to_owned());
    }
    let Some(mut name) = words.name() else {
        return Command::Query;
    };
    while words.skip_symbol('.') {
        name.push('.');
        name.push_str(&words.name().unwrap_or_default());
    }
    Command::Show(name.to_lowercase())
}

/// `DECLARE name [BINARY] [INSENSITIVE] [[NO] SCROLL] CURSOR [{WITH | WITHOUT} HOLD] FOR query`
fn declare(words: &mut Words<'_>) -> Result<Command, QueryError> {
    let name = words
        .name()
        .ok_or_else(|| syntax("DECLARE names no cursor"))?;
    let mut hold = false;
    while let Some(token) = words.peek() {
        if token.is("for") {
            words.skip("for");
            let sql = words.rest().to_owned();
            return Ok(Command::Declare { name, hold, sql });
        }
        hold |= token.is("with");
        if token.is("scroll")
            && !words.tokens[..words.next]
                .iter()
                .any(|token| token.is("no"))
        {
            return Err(unsupported(
                "a cursor here goes forward only",
                "leave SCROLL out",
            ));
        }
        words.next += 1;
    }
    Err(syntax("DECLARE has no FOR"))
}

/// `FETCH [NEXT | n | ALL | FORWARD [n | ALL]] [FROM | IN] name`
fn fetch(words: &mut Words<'_>, send: bool) -> Result<Command, QueryError> {
    let backward = ["prior", "first", "last", "absolute", "relative", "backward"];
    if words
        .peek()
        .is_some_and(|token| backward.iter().any(|word| token.is(word)))
        && words.tokens.len() > 1
    {
        return Err(unsupported(
            "a cursor here goes forward only",
            "FETCH FORWARD n",
        ));
    }
    let mut count = Some(1);
    let forward = words.skip("forward");
    if !words.skip("next") {
        if words.skip("all") {
            count = None;
        } else if let Some(Kind::Number(number)) = words.peek().map(|token| &token.kind) {
            let number = number.parse();
            count = Some(number.map_err(|_| syntax("FETCH has a wrong number"))?);
            words.next += 1;
        }
    }
    let _ = forward;
    let _ = words.skip("from") || words.skip("in");
    let cursor = words
        .name()
        .ok_or_else(|| syntax("FETCH names no cursor"))?;
    Ok(Command::Fetch {
        cursor,
        count,
        send,
    })
}

/// `COPY {(query) | table [(columns)]} TO STDOUT [[WITH] options]`. PostgreSQL takes STDIN for the
/// same, which PHP sends.
fn copy(sql: &str) -> Result<Command, QueryError> {
    let mut tokens = Lexer::new(sql).skip(1).peekable();
    let query = match tokens.peek() {
        Some(token) if token.is_symbol('(') => Some(enclosed(sql, &mut tokens)?),
        _ => None,
    };
    let words = &mut Words::new(sql, tokens.take(MAX_TOKENS).collect());
    let sql = match query {
        Some(query) => query.to_owned(),
        None => {
            let start = words.peek().map(|token| token.start);
            let start = start.ok_or_else(|| syntax("COPY names no table"))?;
            let mut end = start;
            while let Some(token) = words.peek() {
                if token.is("to") || token.is("from") || token.is_symbol('(') {
                    break;
                }
                end = token.end;
                words.next += 1;
            }
            let table = &words.sql[start..end];
            let columns = words.parenthesized().unwrap_or("*");
            format!("SELECT {columns} FROM {table}")
        }
    };
    if !words.skip("to") || !(words.skip("stdout") || words.skip("stdin")) {
        let hint = "COPY (query) TO STDOUT is allowed, as \\copy … to writes it";
        let message = "this server only reads, and writes no file of its own";
        return Err(QueryError::new(ErrorCode::ReadOnly, message, hint));
    }
    Ok(Command::Copy {
        sql,
        form: CopyForm::from_options(words)?,
    })
}

/// What stands in the parentheses that begin here, however long it is, without them.
fn enclosed<'a>(
    sql: &'a str,
    tokens: &mut impl Iterator<Item = Token<'a>>,
) -> Result<&'a str, QueryError> {
    let (mut start, mut depth) = (None, 0_usize);
    for token in tokens {
        if token.is_symbol('(') {
            start = start.or(Some(token.end));
            depth += 1;
        } else if token.is_symbol(')') {
            depth = depth.saturating_sub(1);
            if depth == 0 {
                return Ok(&sql[start.unwrap_or(token.start)..token.start]);
            }
        }
    }
    Err(syntax("a parenthesis is not closed"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn commands_of_sessions_are_understood() {
        let set = |name: &str, value: &str| Command::Set(name.into(), Some(value.into()));
        for (sql, expected) in [
            ("", Command::Empty),
            ("-- nothing", Command::Empty),
            ("select 1", Command::Query),
            ("(select 1)", Command::Query),
            ("SHOW TABLES", Command::Query),
            (
                "begin isolation level serializable",
                Command::Begin("BEGIN"),
            ),
            ("rollback to savepoint a", Command::RollbackTo),
            ("SET extra_float_digits = 3", set("extra_float_digits", "3")),
            (
                "set session statement_timeout to '5s'",
                set("statement_timeout", "5s"),
            ),
            ("SET search_path = a, \"B\"", set("search_path", "a, B")),
            ("SET TIME ZONE 'UTC'", set("timezone", "UTC")),
            ("SET x.y TO -1", set("x.y", "-1")),
            (
                "set local a = 'b'",
                Command::SetLocal("a".into(), Some("b".into())),
            ),
            ("SET x TO DEFAULT", Command::Set("x".into(), None)),
            (
                "SHOW transaction isolation level",
                Command::Show("transaction_isolation".into()),
            ),
            ("DEALLOCATE ALL", Command::Deallocate(None)),
            ("DISCARD ALL", Command::ResetAll("DISCARD ALL")),
        ] {
            assert_eq!(parse(sql).unwrap(), expected, "{sql}");
        }
        for wrong in [
            "SET",
            "SET x =",
            "SET x = 1 2",
            "SET x = (1)",
            "SET x = 1 SELECT 2",
        ] {
            let error = parse(wrong).unwrap_err();
            assert_eq!(error.code, ErrorCode::SqlSyntax, "{wrong}");
        }
    }

    #[test]
    fn cursors_are_understood() {
        let fetch = |count, send| Command::Fetch {
            cursor: "c1".into(),
            count,
            send,
        };
        for (sql, expected) in [
            ("FETCH 100 FROM c1", fetch(Some(100), true)),
            ("fetch forward all in \"c1\"", fetch(None, true)),
            ("FETCH c1", fetch(Some(1), true)),
            ("MOVE 5 c1", fetch(Some(5), false)),
            (
                "DECLARE c1 NO SCROLL CURSOR WITH HOLD FOR SELECT ';' FROM t",
                Command::Declare {
                    name: "c1".into(),
                    hold: true,
                    sql: "SELECT ';' FROM t".into(),
                },
            ),
        ] {
            assert_eq!(parse(sql).unwrap(), expected, "{sql}");
        }
        assert!(parse("FETCH BACKWARD 5 FROM c1").is_err());
        assert!(parse("DECLARE c SCROLL CURSOR FOR SELECT 1").is_err());
    }

    #[test]
    fn copy_goes_to_the_client_only() {
        let sql = |sql: &str| match parse(sql).unwrap() {
            Command::Copy { sql, .. } => sql,
            other => panic!("{other:?}"),
        };
        assert_eq!(sql("COPY (SELECT (1)) TO STDOUT WITH CSV"), "SELECT (1)");
        assert_eq!(sql("copy  shares TO STDOUT"), "SELECT * FROM shares");
        let php = "COPY shares TO STDIN WITH DELIMITER E'\t' NULL AS E'\\N'";
        assert_eq!(sql(php), "SELECT * FROM shares");
        let long = format!("SELECT (1){}", " + (1)".repeat(MAX_TOKENS));
        assert_eq!(sql(&format!("COPY ({long}) TO STDOUT")), long);
        assert!(parse("COPY (SELECT 1 TO STDOUT").is_err());
        assert_eq!(sql("copy a.b (x, y) to stdout"), "SELECT x, y FROM a.b");
        for refused in [
            "COPY shares TO '/tmp/x'",
            "COPY (SELECT 1) TO PROGRAM 'sh'",
            "COPY shares FROM STDIN",
        ] {
            assert_eq!(
                parse(refused).unwrap_err().code,
                ErrorCode::ReadOnly,
                "{refused}"
            );
        }
    }
}
