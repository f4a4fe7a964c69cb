//! How `headframe top` looks: figures, hashrate of an hour, blocks and streams.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Row, Sparkline, Table};
use serde_json::Value;

use super::snapshot::Snapshot;

/// Draws everything that fits.
pub fn draw(frame: &mut Frame, snapshot: &Snapshot) {
    let areas = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(5),
        Constraint::Length(6),
        Constraint::Min(6),
        Constraint::Min(6),
        Constraint::Length(1),
    ])
    .split(frame.area());
    let [head, figures, chart, blocks, streams, foot] = areas[..] else {
        return;
    };
    frame.render_widget(Paragraph::new(title(snapshot)), head);
    draw_figures(frame, figures, snapshot);
    let hour = Sparkline::default()
        .block(titled("hashrate of an hour"))
        .data(&snapshot.chart)
        .style(Style::new().fg(Color::Cyan));
    frame.render_widget(hour, chart);
    draw_blocks(frame, blocks, snapshot);
    draw_streams(frame, streams, snapshot);
    frame.render_widget(Paragraph::new("q ends it"), foot);
}

fn titled(title: &str) -> Block<'_> {
    Block::new().borders(Borders::TOP).title(title)
}

/// Where it looks, and whether that is well.
fn title(snapshot: &Snapshot) -> Line<'_> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let pool = snapshot.pool["pool"]
        .as_str()
        .or(snapshot.terms["pool"].as_str());
    let name = pool.map_or_else(String::new, |pool| format!("  pool {pool}"));
    let (state, color) = match (&snapshot.failure, snapshot.ready["ready"].as_bool()) {
        (Some((why, seconds)), _) => (format!("no answer for {seconds} s: {why}"), Color::Red),
        (None, Some(true)) => ("ready".to_owned(), Color::Green),
        (None, _) => (
            format!("not ready: {}", missing(&snapshot.ready)),
            Color::Yellow,
        ),
    };
    Line::from(vec![
        Span::styled("Headframe", bold),
        Span::raw(format!("  {}{name}  ", snapshot.url)),
        Span::styled(state, Style::new().fg(color)),
    ])
}

fn missing(ready: &Value) -> String {
    let parts = ready["missing"].as_array().into_iter().flatten();
    let parts: Vec<&str> = parts.filter_map(Value::as_str).collect();
    parts.join("; ")
}

fn draw_figures(frame: &mut Frame, area: Rect, snapshot: &Snapshot) {
    let pool = &snapshot.pool;
    if pool.is_null() {
        let text = Paragraph::new("no share has come yet").block(titled("pool"));
        frame.render_widget(text, area);
        return;
    }
    let rate = |name: &str| hashrate(pool[name].as_f64().unwrap_or(0.0));
    let number = |name: &str| pool[name].as_i64().unwrap_or(0);
    let percent = |share: Option<f64>| {
        share.map_or_else(|| "–".to_owned(), |share| format!("{:.0} %", share * 100.0))
    };
    let effort = snapshot.effort["round"]["effort"].as_f64();
    let luck = snapshot.effort["mean_10"]
        .as_f64()
        .filter(|mean| *mean > 0.0);
    let lines = vec![
        Line::from(format!(
            "{} now   {} over an hour   {} over a day",
            rate("hashrate_hs"),
            rate("hashrate_1h_hs"),
            rate("hashrate_24h_hs")
        )),
        Line::from(format!(
            "{} miners   {} workers   {:.1} shares/s",
            number("miners"),
            number("workers"),
            pool["shares_per_s"].as_f64().unwrap_or(0.0)
        )),
        Line::from(format!(
            "effort {}   luck {} of ten blocks   {} blocks, {} orphaned",
            percent(effort),
            percent(luck.map(|mean| 1.0 / mean)),
            pool["blocks"]["found"].as_i64().unwrap_or(0),
            pool["blocks"]["orphaned"].as_i64().unwrap_or(0)
        )),
        Line::from(format!(
            "height {}   difficulty {}",
            number("height"),
            pool["network_difficulty"].as_str().unwrap_or("–")
        )),
    ];
    frame.render_widget(Paragraph::new(lines).block(titled("pool")), area);
}

fn draw_blocks(frame: &mut Frame, area: Rect, snapshot: &Snapshot) {
    let chain = &snapshot.terms["chain"];
    let row = |block: &Value| {
        let text = |name: &str| block[name].as_str().unwrap_or("–").to_owned();
        let hash: String = text("hash").chars().take(16).collect();
        let found: String = text("found_at").chars().take(19).collect();
        let status = text("status");
        let color = match status.as_str() {
            "matured" | "confirmed" => Color::Green,
            "orphaned" | "refused" | "rejected" => Color::Red,
            _ => Color::Yellow,
        };
        Row::new(vec![
            block["height"].to_string(),
            found,
            status,
            coins(&text("reward_atomic"), chain),
            hash,
        ])
        .style(Style::new().fg(color))
    };
    let widths = [
        Constraint::Length(10),
        Constraint::Length(20),
        Constraint::Length(10),
        Constraint::Length(24),
        Constraint::Min(16),
    ];
    let header = Row::new(["height", "found, UTC", "status", "reward", "hash"]);
    let rows: Vec<Row> = snapshot.blocks.iter().map(row).collect();
    let table = Table::new(rows, widths)
        .header(header)
        .block(titled("blocks"));
    frame.render_widget(table, area);
}

fn draw_streams(frame: &mut Frame, area: Rect, snapshot: &Snapshot) {
    let row = |stream: &Value| {
        let number = |name: &str| stream[name].as_i64();
        let shown = |value: Option<i64>| value.map_or_else(|| "–".to_owned(), |n| n.to_string());
        let (lag, color) = lag(stream);
        Row::new(vec![
            stream["stream"].as_str().unwrap_or_default().to_owned(),
            lag,
            shown(number("rows_a_minute")),
            shown(number("acknowledged")),
            shown(number("version")),
        ])
        .style(Style::new().fg(color))
    };
    let widths = [
        Constraint::Length(14),
        Constraint::Length(24),
        Constraint::Length(12),
        Constraint::Length(14),
        Constraint::Min(8),
    ];
    let header = Row::new(["stream", "lag", "rows/min", "acknowledged", "table version"]);
    let rows: Vec<Row> = snapshot.streams.iter().map(row).collect();
    let table = Table::new(rows, widths)
        .header(header)
        .block(titled("streams"));
    frame.render_widget(table, area);
}

/// How far a stream is behind, where that is known.
fn lag(stream: &Value) -> (String, Color) {
    let through = stream["complete_through"].as_i64().unwrap_or(0);
    match (&stream["complete"], stream["acknowledged"].as_i64()) {
        (Value::Bool(true), _) => ("none".to_owned(), Color::Green),
        (Value::Bool(false), Some(last)) => {
            let behind = (last - through).max(0);
            (format!("{behind} messages behind"), Color::Yellow)
        }
        _ => ("–".to_owned(), Color::DarkGray),
    }
}

/// Hashes a second with a prefix that leaves one to three digits before the point.
fn hashrate(rate: f64) -> String {
    let units = ["H/s", "kH/s", "MH/s", "GH/s", "TH/s"];
    let step = (0..units.len() - 1).find(|step| rate < 1_000_f64.powi(*step as i32 + 1));
    let step = step.unwrap_or(units.len() - 1);
    let shown = rate / 1_000_f64.powi(step as i32);
    match step {
        0 => format!("{shown:.0} {}", units[step]),
        _ => format!("{shown:.2} {}", units[step]),
    }
}

/// An exact amount of atomic units in coins, with six digits after the point.
fn coins(atomic: &str, chain: &Value) -> String {
    let Some(decimals) = chain["decimals"]
        .as_u64()
        .and_then(|n| usize::try_from(n).ok())
    else {
        return atomic.to_owned();
    };
    if atomic.is_empty() || !atomic.bytes().all(|byte| byte.is_ascii_digit()) {
        return "–".to_owned();
    }
    let padded = format!("{atomic:0>width$}", width = decimals + 1);
    let (whole, part) = padded.split_at(padded.len() - decimals);
    let part: String = part.chars().take(6).collect();
    let symbol = chain["symbol"].as_str().unwrap_or_default();
    match part.is_empty() {
        true => format!("{whole} {symbol}"),
        false => format!("{whole}.{part} {symbol}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{coins, hashrate, lag};

    #[test]
    fn amounts_are_of_the_chain_and_rates_have_prefixes() {
        let xmr = json!({"symbol": "XMR", "decimals": 12});
        let syl = json!({"symbol": "SYL", "decimals": 8});
        assert_eq!(coins("600000000000", &xmr), "0.600000 XMR");
        assert_eq!(coins("1000000000000", &syl), "10000.000000 SYL");
        assert_eq!(coins("–", &xmr), "–");
        assert_eq!(hashrate(0.0), "0 H/s");
        assert_eq!(hashrate(999.0), "999 H/s");
        assert_eq!(hashrate(1_500.0), "1.50 kH/s");
        assert_eq!(hashrate(2.5e15), "2500.00 TH/s");
    }

    #[test]
    fn a_lag_that_is_not_known_is_no_lag() {
        for (stream, text) in [
            (
                json!({"complete": true, "acknowledged": 3, "complete_through": 3}),
                "none",
            ),
            (
                json!({"complete": false, "acknowledged": 9, "complete_through": 7}),
                "2 messages behind",
            ),
            (
                json!({"complete": false, "acknowledged": null, "complete_through": 7}),
                "–",
            ),
            (
                json!({"complete": null, "acknowledged": null, "complete_through": null}),
                "–",
            ),
        ] {
            assert_eq!(lag(&stream).0, text, "{stream}");
        }
    }
}
