//! Statements made by chance, the same ones each time.

/// Numbers by chance.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) % sides as u64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.roll(all.len())]
    }
}

/// What a statement is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// What who may read everything is answered over the miner's own rows alone.
    SameRows,
    /// What the miner itself is answered over them.
    SameAsMiner,
}

/// A table with its texts and its numbers; the first text names the miner.
struct Shape {
    name: &'static str,
    texts: &'static [&'static str],
    numbers: &'static [&'static str],
}

const fn shape(
    name: &'static str,
    texts: &'static [&'static str],
    numbers: &'static [&'static str],
) -> Shape {
    Shape {
        name,
        texts,
        numbers,
    }
}

const SHAPES: &[Shape] = &[
    shape(
        "shares",
        &["miner", "worker", "outcome"],
        &["difficulty", "height"],
    ),
    shape(
        "blocks",
        &["miner", "worker", "hash", "status"],
        &["height", "reward_atomic"],
    ),
    shape(
        "windows",
        &["miner", "block_hash"],
        &["weight", "shares", "amount_atomic"],
    ),
    shape(
        "payouts",
        &["account", "block_hash", "step"],
        &["amount_atomic", "height"],
    ),
    shape(
        "payments",
        &["account", "address", "payment"],
        &["amount_atomic", "sent_atomic"],
    ),
    shape(
        "instructions",
        &["account", "kind", "reason"],
        &["amount_atomic"],
    ),
    shape(
        "hashrate",
        &["miner", "worker"],
        &["CAST(hashrate_hs AS BIGINT)"],
    ),
    shape(
        "sessions",
        &["miner", "worker", "session", "event"],
        &["difficulty"],
    ),
    shape("bans", &["miner", "worker", "reason"], &["score", "times"]),
    shape(
        "ledger",
        &["debit_account", "credit_account", "cause"],
        &["amount_atomic"],
    ),
    shape("balances", &["account", "pool"], &["balance_atomic"]),
    shape(
        "hashrate_10s",
        &["miner", "worker"],
        &["accepted_shares", "accepted_difficulty"],
    ),
    shape(
        "hashrate_1m",
        &["miner", "worker"],
        &["accepted_shares", "stale_shares"],
    ),
    shape(
        "miner_hashrate_1h",
        &["miner", "pool"],
        &["accepted_difficulty", "late_shares"],
    ),
];

/// What does not exist for a miner, and what it may not ask.
const CLOSED: &[&str] = &[
    "SELECT * FROM access",
    "SELECT count(*) FROM energy",
    "SELECT count(*) FROM sensors",
    "SELECT * FROM dead_letters",
    "SELECT * FROM pool_hashrate_1m",
    "SELECT max(seq) FROM shares",
    "SELECT seq, row FROM payouts",
    "SELECT producer, producer_seq FROM payments",
    "SELECT ip FROM sessions",
    "SELECT ip FROM bans",
    "SELECT refusals_left_out FROM sessions",
    "SELECT cause_seq FROM payouts",
    "SELECT total_weight, miners FROM payouts",
    "SELECT position FROM windows",
    "SELECT reject_reason, payload FROM shares",
    "SELECT * FROM hashrate_rollups",
    "SELECT * FROM partials",
    "SELECT * FROM public.nothing",
    "SELECT * FROM headframe.public.access",
    "SELECT * FROM pool_hashrate_1d a JOIN shares b ON a.pool = b.pool",
    "DESCRIBE access",
    "DESCRIBE energy",
    "SHOW COLUMNS FROM sensors",
    "EXPLAIN SELECT * FROM shares",
    "EXPLAIN ANALYZE SELECT * FROM shares",
    "EXPLAIN ANALYZE VERBOSE SELECT count(*) FROM payouts",
    "EXPLAIN VERBOSE SELECT * FROM hashrate_1m",
    "SELECT miner.x FROM shares",
    "SELECT nothing FROM shares",
    "SELECT difficulti FROM shares",
    "SELECT * FROM share",
    "SELECT ip FROM shares",
];

/// What describes the tables.
const DESCRIBING: &[&str] = &[
    "SELECT table_name FROM information_schema.tables",
    "SELECT table_name, column_name FROM information_schema.columns",
    "SELECT count(*) AS n FROM information_schema.columns WHERE column_name IN ('seq', 'ip')",
    "SELECT table_name FROM information_schema.tables WHERE table_name LIKE '%a%'",
    "SELECT t.table_name, count(*) AS n FROM information_schema.tables t JOIN \
     information_schema.columns c ON t.table_name = c.table_name GROUP BY 1",
    "SHOW TABLES",
    "SHOW COLUMNS FROM shares",
    "DESCRIBE payouts",
    "SELECT relname FROM pg_catalog.pg_class",
    "SELECT relname, reltuples FROM pg_catalog.pg_class WHERE relkind IN ('r', 'v')",
    "SELECT attname FROM pg_catalog.pg_attribute",
    "SELECT c.relname, a.attname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON \
     a.attrelid = c.oid",
    "SELECT description FROM pg_catalog.pg_description",
    "SELECT tablename FROM pg_catalog.pg_tables",
    "SELECT table_name FROM information_schema.views",
    "SELECT count(*) AS n FROM pg_catalog.pg_stat_activity",
];

/// A statement and what its answer has to be.
pub fn any(dice: &mut Dice) -> (String, Expect) {
    match dice.roll(12) {
        0 => (dice.pick(CLOSED).to_owned(), Expect::SameAsMiner),
        1 => (dice.pick(DESCRIBING).to_owned(), Expect::SameAsMiner),
        2 => (rows(dice), Expect::SameRows),
        3 => (sums(dice), Expect::SameRows),
        4 => (join(dice), Expect::SameRows),
        5 => (set(dice), Expect::SameRows),
        6 => (window(dice), Expect::SameRows),
        7 => (subquery(dice), Expect::SameRows),
        8 => (outer_join(dice), Expect::SameRows),
        9 => (failing(dice), Expect::SameRows),
        10 => (lists(dice), Expect::SameRows),
        _ => (counts(dice), Expect::SameRows),
    }
}

/// Checks what an answer says beside the statement's own words, which may come back.
pub fn without_echo<T>(sql: &str, said: &str, check: impl Fn(&str, &str) -> T) -> T {
    let mut said = said.to_owned();
    for word in ["Bob", "Zoe", "77177"] {
        if sql.contains(word) {
            said = said.replace(word, "");
        }
    }
    check(&said, sql)
}

fn table(dice: &mut Dice) -> &'static Shape {
    &SHAPES[dice.roll(SHAPES.len())]
}

/// Two that are not the same.
fn two<'a>(dice: &mut Dice, all: &[&'a str]) -> (&'a str, &'a str) {
    let first = dice.roll(all.len());
    let second = (first + 1 + dice.roll(all.len() - 1)) % all.len();
    (all[first], all[second])
}

/// A condition on rows of a table under this name.
fn condition(dice: &mut Dice, of: &Shape, name: &str) -> String {
    let text = format!("{name}{}", dice.pick(of.texts));
    let number = number(dice, of, name);
    let one = match dice.roll(16) {
        0 => format!("{text} = '4Ann'"),
        1 => format!("{text} <> '4Ann'"),
        2 => format!("{text} = '4Bob'"),
        3 => format!("{text} LIKE '%1%'"),
        4 => format!("{text} IN ('1', '4Ann', '4Zoe', 'accepted')"),
        5 => format!("{number} > 11"),
        6 => format!("{number} BETWEEN 11 AND 8000000"),
        7 => format!("{number} = 7717701"),
        8 => format!("length({text}) >= {}", dice.roll(6)),
        9 => format!("{text} IS NOT NULL OR {number} < 0"),
        10 => format!("NOT ({text} = '4Ann')"),
        11 => format!("coalesce({text}, 'x') > '3'"),
        12 => format!("{number} % 2 = 0"),
        13 => format!("({text} = '1' OR {number} >= 12)"),
        14 => format!("{text} ~ '^[0-9]+$'"),
        _ => "true".to_owned(),
    };
    match dice.roll(4) {
        0 => format!("({one}) OR {number} IS NULL"),
        1 => format!("({one}) AND {number} < 9000000"),
        _ => one,
    }
}

fn number(dice: &mut Dice, of: &Shape, name: &str) -> String {
    match dice.pick(of.numbers) {
        cast if cast.starts_with("CAST(") => cast.replace("CAST(", &format!("CAST({name}")),
        column => format!("{name}{column}"),
    }
}

fn rows(dice: &mut Dice) -> String {
    let of = table(dice);
    let (text, more) = two(dice, of.texts);
    let number = number(dice, of, "");
    let filter = condition(dice, of, "");
    let distinct = dice.pick(&["", "DISTINCT "]);
    let order = dice.pick(&[
        "ORDER BY 1, 2, 3 LIMIT 5",
        "ORDER BY 3 DESC, 2, 1 LIMIT 3",
        "",
    ]);
    let name = of.name;
    format!(
        "SELECT {distinct}{text} AS a, {more} AS b, {number} AS c FROM {name} WHERE {filter} \
         {order}"
    )
}

fn counts(dice: &mut Dice) -> String {
    let of = table(dice);
    let filter = condition(dice, of, "");
    let name = of.name;
    match dice.roll(4) {
        0 => format!("SELECT count(*) AS n FROM {name}"),
        1 => format!("SELECT count(*) AS n FROM {name} WHERE {filter}"),
        2 => format!("SELECT 1 AS one FROM {name} LIMIT 100"),
        _ => format!("SELECT count(*) AS n FROM (SELECT * FROM {name} WHERE {filter})"),
    }
}

fn sums(dice: &mut Dice) -> String {
    let of = table(dice);
    let key = dice.pick(of.texts);
    let (number, filter) = (number(dice, of, ""), condition(dice, of, ""));
    let having = dice.pick(&["", "HAVING count(*) > 1", "HAVING count(*) < 3"]);
    let name = of.name;
    match dice.roll(3) {
        0 => format!(
            "SELECT {key} AS k, count(*) AS n, sum({number}) AS s, min({number}) AS low, \
             max({number}) AS high FROM {name} WHERE {filter} GROUP BY {key} {having}"
        ),
        1 => format!(
            "SELECT min({key}) AS first, max({key}) AS last, count(DISTINCT {key}) AS n FROM {name}"
        ),
        _ => format!("SELECT {key} AS k, sum({number}) AS s FROM {name} GROUP BY ROLLUP({key})"),
    }
}

fn join(dice: &mut Dice) -> String {
    let (left, right) = (table(dice), table(dice));
    let (a, b) = (dice.pick(left.texts), dice.pick(right.texts));
    let (filter, number) = (condition(dice, left, "l."), number(dice, right, "r."));
    let on = match dice.roll(3) {
        0 => format!("l.{a} = r.{b}"),
        1 => format!("l.{a} <> r.{b}"),
        _ => format!("l.{a} >= r.{b} AND r.{b} <> '4Bob'"),
    };
    format!(
        "SELECT count(*) AS n, sum({number}) AS s, max(l.{a}) AS high FROM {} l JOIN {} r ON {on} \
         WHERE {filter}",
        left.name, right.name
    )
}

fn outer_join(dice: &mut Dice) -> String {
    let (left, right) = (table(dice), table(dice));
    let (a, b) = (dice.pick(left.texts), dice.pick(right.texts));
    let kind = dice.pick(&["LEFT", "RIGHT", "FULL"]);
    format!(
        "SELECT l.{a} AS a, r.{b} AS b, count(*) AS n FROM {} l {kind} JOIN {} r ON l.{a} = r.{b} \
         GROUP BY 1, 2",
        left.name, right.name
    )
}

fn set(dice: &mut Dice) -> String {
    let (left, right) = (table(dice), table(dice));
    let (a, b) = (dice.pick(left.texts), dice.pick(right.texts));
    let both = dice.pick(&["UNION", "UNION ALL", "INTERSECT", "EXCEPT"]);
    format!(
        "SELECT {a} AS v FROM {} WHERE {} {both} SELECT {b} FROM {}",
        left.name,
        condition(dice, left, ""),
        right.name
    )
}

fn window(dice: &mut Dice) -> String {
    let of = table(dice);
    let (key, order) = two(dice, of.texts);
    let (number, filter) = (number(dice, of, ""), condition(dice, of, ""));
    format!(
        "WITH some AS (SELECT {key} AS k, {order} AS o, {number} AS v FROM {} WHERE {filter}), \
         ranked AS (SELECT k, o, v, rank() OVER (PARTITION BY k ORDER BY v, o) AS place, sum(v) \
         OVER (ORDER BY v) AS running, count(*) OVER () AS n FROM some) SELECT * FROM ranked \
         WHERE place <= {}",
        of.name,
        1 + dice.roll(4)
    )
}

fn subquery(dice: &mut Dice) -> String {
    let (left, right) = (table(dice), table(dice));
    let (a, b) = (dice.pick(left.texts), dice.pick(right.texts));
    let (inner, number) = (condition(dice, right, ""), number(dice, right, ""));
    let (l, r) = (left.name, right.name);
    match dice.roll(4) {
        0 => format!(
            "SELECT count(*) AS n FROM {l} WHERE {a} IN (SELECT {b} FROM {r} WHERE {inner})"
        ),
        1 => format!("SELECT count(*) AS n FROM {l} WHERE {a} NOT IN (SELECT {b} FROM {r})"),
        2 => format!(
            "SELECT count(*) AS n FROM {l} o WHERE EXISTS (SELECT 1 FROM {r} i WHERE i.{b} = o.{a})"
        ),
        _ => format!("SELECT (SELECT max({number}) FROM {r}) AS high, count(*) AS n FROM {l}"),
    }
}

/// Statements that fail on rows of others, and some that fail on the miner's own.
fn failing(dice: &mut Dice) -> String {
    let of = table(dice);
    let (text, number) = (dice.pick(of.texts), number(dice, of, ""));
    let name = of.name;
    match dice.roll(7) {
        0 => format!("SELECT count(*) AS n FROM {name} WHERE CAST({text} AS BIGINT) > 0"),
        1 => format!("SELECT sum(CAST({text} AS BIGINT)) AS s FROM {name}"),
        2 => format!("SELECT count(*) AS n FROM {name} WHERE 100 / ({number} - 7717701) < 0"),
        3 => format!("SELECT sum(100 / ({number} - 7717702)) AS s FROM {name}"),
        4 => format!("SELECT count(*) AS n FROM {name} WHERE 1 / ({number} - 12) >= 0"),
        5 => format!(
            "SELECT count(*) AS n FROM {name} WHERE {text} <> '4Ann' AND \
             CAST({text} AS BIGINT) >= 0"
        ),
        _ => format!(
            "SELECT count(*) AS n FROM {name} WHERE CASE WHEN {number} > 7000000 THEN \
             CAST('x' || {text} AS BIGINT) > 0 ELSE true END"
        ),
    }
}

fn lists(dice: &mut Dice) -> String {
    let of = table(dice);
    let (text, number) = (dice.pick(of.texts), number(dice, of, ""));
    let name = of.name;
    match dice.roll(3) {
        0 => format!("SELECT string_agg({text}, ',' ORDER BY {text}) AS all_of_them FROM {name}"),
        1 => format!("SELECT array_agg(DISTINCT {text} ORDER BY {text}) AS each FROM {name}"),
        _ => format!(
            "SELECT approx_distinct({text}) AS n, bit_xor(CAST({number} AS BIGINT)) AS x \
             FROM {name}"
        ),
    }
}
