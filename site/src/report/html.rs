//! A report as a page of its own: it loads nothing, has no script, and prints on A4.

use std::fmt::Write as _;
use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::document::{Block, Document, Table, document};
use super::{Report, ReportError};

/// Pixels of the chart.
const CHART: (u32, u32) = (960, 360);

/// The only style of the page.
const STYLE: &str = "\
:root{color-scheme:light}
body{font:15px/1.45 system-ui,sans-serif;color:#1a1d21;background:#fff}
body{max-width:62rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0 0 .5rem}
h2{font-size:1.1rem;margin:1.6rem 0 .4rem;break-after:avoid}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem;margin:0}
dt{color:#555}
dd{margin:0;overflow-wrap:anywhere}
figure{margin:0;break-inside:avoid}
figcaption{color:#555;font-size:.9rem}
svg{width:100%;height:auto}
svg text{fill:#333}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.2rem .6rem .2rem 0;border-bottom:1px solid #ccc}
th,td{vertical-align:top}
th{border-bottom:2px solid #888}
.n{text-align:right}
tr{break-inside:avoid}
thead{display:table-header-group}
@page{size:A4;margin:16mm 14mm}
@media print{
body{font-size:10pt;margin:0;padding:0;max-width:none}
.scroll{overflow:visible}
table{font-size:8.5pt}
}
";

/// What the page may do: nothing but be styled by its own style.
pub static CONTENT_SECURITY_POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; \
         form-action 'none'"
    )
});

/// The page.
pub(super) fn write(report: &Report) -> Result<String, ReportError> {
    let Document { title, blocks } = document(report);
    let title = escaped(&title);
    // The policy goes with the file, wherever it is opened.
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n",
        *CONTENT_SECURITY_POLICY
    );
    for block in &blocks {
        add(&mut page, block)?;
    }
    page.push_str("</main>\n</body>\n</html>\n");
    Ok(page)
}

fn add(page: &mut String, block: &Block) -> Result<(), ReportError> {
    // Writing into a string does not fail.
    let _ = match block {
        Block::Heading(text) => writeln!(page, "<h2>{}</h2>", escaped(text)),
        Block::Paragraph(text) => writeln!(page, "<p>{}</p>", escaped(text)),
        Block::Facts(facts) => {
            let facts = facts.iter().map(|(name, value)| {
                format!("<dt>{}</dt><dd>{}</dd>\n", escaped(name), escaped(value))
            });
            writeln!(page, "<dl>\n{}</dl>", facts.collect::<String>())
        }
        Block::Table(table) => writeln!(page, "{}", table_text(table)),
        Block::Chart(chart, words) => {
            let drawing = chart.svg(CHART);
            let drawing = drawing.map_err(|error| ReportError::Drawing(error.to_string()))?;
            let words = escaped(words);
            let role = format!("<svg role=\"img\" aria-label=\"{words}\"");
            let drawing = drawing.replacen("<svg", &role, 1);
            writeln!(
                page,
                "<figure>{}<figcaption>{words}</figcaption></figure>",
                scalable(&drawing)
            )
        }
    };
    Ok(())
}

/// A drawing that may be as wide as its place: without width and height of its own.
fn scalable(drawing: &str) -> String {
    let (width, height) = CHART;
    drawing
        .replacen(&format!(" width=\"{width}\""), "", 1)
        .replacen(&format!(" height=\"{height}\""), "", 1)
}

fn table_text(table: &Table) -> String {
    if table.rows.is_empty() {
        return format!("<p>{}</p>", escaped(table.empty));
    }
    let class = |at: usize| match table.columns[at].is_number {
        true => " class=\"n\"",
        false => "",
    };
    let head = table.columns.iter().enumerate();
    let head: String = head
        .map(|(at, column)| {
            format!(
                "<th scope=\"col\"{}>{}</th>",
                class(at),
                escaped(column.name)
            )
        })
        .collect();
    let row = |row: &Vec<String>| {
        let cells = row.iter().enumerate();
        let cells: String = cells
            .map(|(at, cell)| format!("<td{}>{}</td>", class(at), escaped(cell)))
            .collect();
        format!("<tr>{cells}</tr>\n")
    };
    let rows: String = table.rows.iter().map(row).collect();
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table\"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n\
         </table></div>"
    )
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter => safe.push(letter),
        }
    }
    safe
}
