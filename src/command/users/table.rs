//! The list of accounts as people read it.

use std::time::{Duration, UNIX_EPOCH};

use headframe_query_front::access::accounts::Listed;

const HEAD: [&str; 7] = [
    "kind",
    "name",
    "role",
    "beside",
    "made",
    "expires",
    "last used",
];

/// One line an account, under a head, in columns.
pub fn text(accounts: &[Listed]) -> String {
    let head = HEAD.map(str::to_owned);
    let rows: Vec<[String; 7]> = std::iter::once(head)
        .chain(accounts.iter().map(row))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn row(account: &Listed) -> [String; 7] {
    let grant = &account.grant;
    let address = grant.address.iter().cloned();
    let streams = grant.streams.iter().map(|name| format!("sends {name}"));
    let beside: Vec<String> = address.chain(streams).collect();
    let time = |time: Option<i64>| time.map_or_else(|| "-".to_owned(), time_text);
    [
        account.kind.to_owned(),
        account.name.clone(),
        grant.role.clone(),
        match beside.is_empty() {
            true => "-".to_owned(),
            false => beside.join(", "),
        },
        time_text(grant.created_us),
        time(account.expires_us),
        time(account.last_used_us),
    ]
}

/// A time to the second, as HTTP writes it.
fn time_text(time_us: i64) -> String {
    let since = Duration::from_micros(u64::try_from(time_us).unwrap_or_default());
    httpdate::fmt_http_date(UNIX_EPOCH + since)
}
