//! The report of a curtailment: the same numbers as page, as rows and in print, each read by a
//! program of others, and evidence that can be checked with `sha256sum`.

use std::path::{Path, PathBuf};
use std::process::Command;

use headframe_site::control::power::PowerRegion;
use headframe_site::plant::Interface;

use crate::recorded::{RecordedSite, printed};
use crate::run::{small, small_policy};

/// What a program says of a file; it is brought by `deploy/setup.sh test`.
fn tool(name: &str, arguments: &[&str]) -> String {
    let output = Command::new(name).args(arguments).output();
    let output = output.unwrap_or_else(|error| {
        panic!("{name} cannot be run ({error}): deploy/setup.sh test brings it")
    });
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{name}: {said}");
    said
}

/// A site with one curtailment, in which the two least efficient machines answer nobody.
async fn recorded(folder: &Path) -> RecordedSite {
    let mut site = RecordedSite::new(folder, small(), small_policy());
    let plan = site.site.plan.machines.clone();
    let mut order: Vec<usize> = (0..plan.len()).collect();
    order.sort_by(|a, b| {
        plan[*b]
            .efficiency_j_th
            .partial_cmp(&plan[*a].efficiency_j_th)
            .unwrap()
    });
    for deaf in &order[..2] {
        site.run.plant.machines[*deaf].interface = Interface::Dead;
    }
    site.until(PowerRegion::Running).await;
    site.event(10.0, 3_000).await;
    site.flush().await;
    site
}

fn path(site: &RecordedSite, name: &str) -> (PathBuf, String) {
    let path = site.folder.join(name);
    let text = path.to_str().unwrap().to_owned();
    (path, text)
}

/// Rows of a file as RFC 4180 has them.
fn rows(csv: &str) -> Vec<Vec<String>> {
    let lines = csv.strip_suffix("\r\n").unwrap().split("\r\n");
    lines
        .map(|line| line.split(',').map(str::to_owned).collect())
        .collect()
}

#[tokio::test]
async fn a_curtailment_is_reported_as_page_rows_and_print_with_the_same_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let site = recorded(folder.path()).await;
    let (csv_file, csv_name) = path(&site, "event.csv");
    let (evidence, evidence_name) = path(&site, "event.lines");
    let said = [
        "report",
        "last",
        "--out",
        &csv_name,
        "--evidence",
        &evidence_name,
    ];
    printed(&site.program(&said));
    let csv = std::fs::read_to_string(csv_file).unwrap();
    let rows = rows(&csv);
    let column = |name: &str| rows[0].iter().position(|one| one == name).unwrap();
    let value = |row: &[String], name: &str| row[column(name)].clone();
    let number = |row: &[String], name: &str| value(row, name).parse::<f64>().unwrap();
    assert!(rows.len() >= 4, "three quarter hours at least: {csv}");
    // The factor of the event is the mean of the rows, weighted by what is metered.
    let weight: f64 = rows[1..].iter().map(|row| number(row, "metered_s")).sum();
    let sum: f64 = rows[1..]
        .iter()
        .map(|row| number(row, "performance_factor") * number(row, "metered_s"))
        .sum();
    let html = printed(&site.program(&["report", "last", "--format", "html"]));
    let factor = format!("<dt>Performance factor</dt><dd>{:.4}</dd>", sum / weight);
    assert!(html.contains(&factor), "{factor}: {html}");
    for row in &rows[1..] {
        assert_eq!(row.len(), 25, "{row:?}");
        let kept = number(row, "baseline_kw") - number(row, "mean_kw");
        assert!(
            (kept - number(row, "reduction_kw")).abs() < 0.002,
            "{row:?}"
        );
    }
    // The evidence is what its hash says.
    let sum = tool("sha256sum", &[&evidence_name]);
    assert_eq!(
        sum.split_whitespace().next().unwrap(),
        value(&rows[1], "sha256")
    );
    let lines = std::fs::read_to_string(evidence).unwrap();
    let seq = |name: &str| format!("\"seq\":{},", value(&rows[1], name));
    assert!(lines.lines().next().unwrap().contains(&seq("first_seq")));
    assert!(lines.lines().last().unwrap().contains(&seq("last_seq")));
    page(&html);
    print_of(&site, &value(&rows[1], "sha256"));
    let missing = site.program(&["report", "1f-7"]);
    let said = String::from_utf8_lossy(&missing.stderr);
    assert!(
        !missing.status.success() && said.contains("no scored event 1f-7"),
        "{said}"
    );
}

/// The page loads nothing and runs nothing; its chart, times and machines are there.
fn page(html: &str) {
    for part in [
        "<dt>Signal</dt><dd>utility</dd>",
        "<dt>Class</dt><dd>contract</dd>",
        "target 10 kW",
        "<td>target reached</td>",
        "proven by power after",
        "its own interface, then ",
        "<polyline",
        "@page{size:A4",
        "default-src &#39;none&#39;",
    ] {
        let part = part.replace("&#39;", "'");
        assert!(html.contains(&part), "{part}: {html}");
    }
    for forbidden in [
        "<script",
        " src=",
        " href=",
        "javascript:",
        " style=",
        "url(",
        "@import",
    ] {
        assert!(!html.contains(forbidden), "{forbidden}: {html}");
    }
    assert!(html.contains("<h2>Failed commands") && html.contains("taken over by command"));
}

/// The print is a sound PDF, whose words can be selected and whose chart is lines.
fn print_of(site: &RecordedSite, hash: &str) {
    let (file, name) = path(site, "event.pdf");
    printed(&site.program(&["report", "last", "--out", &name]));
    let checked = tool("qpdf", &["--check", &name]);
    assert!(
        checked.contains("No syntax or stream encoding errors found"),
        "{checked}"
    );
    let text = tool("pdftotext", &["-layout", &name, "-"]);
    for part in [
        "Curtailment ",
        "Performance factor",
        "target 10 kW",
        "deadline",
        "proven by power after",
        "J/TH",
        hash,
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let fonts = tool("pdffonts", &[&name]);
    assert!(
        fonts.contains("Helvetica-Bold") && fonts.contains("WinAnsi"),
        "{fonts}"
    );
    let images = tool("pdfimages", &["-list", &name]);
    assert_eq!(
        images.lines().count(),
        2,
        "no picture stands for the chart: {images}"
    );
    // Metered power is one long line.
    let bytes = std::fs::read(file).unwrap();
    let lines = bytes.windows(3).filter(|three| *three == b" l\n").count();
    assert!(lines > 300, "{lines}");
    let size = tool("pdfinfo", &[&name]);
    assert!(size.contains("(A4)"), "{size}");
}
