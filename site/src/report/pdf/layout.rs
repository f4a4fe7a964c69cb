//! Places headings, paragraphs, tables and charts on pages of A4, from top to bottom.

use headframe_query_front::QueryError;
use headframe_query_front::power_chart::{Colour, PowerChart, Shape};
use pdf_writer::{Content, Name, Str};

use super::letters::{encode, width, wrap};
use crate::report::document::{Block, Table};

/// A4 in points.
pub(super) const WIDTH: f32 = 595.28;
pub(super) const HEIGHT: f32 = 841.89;
/// The names of the fonts on a page.
pub(super) const REGULAR: Name<'static> = Name(b"R");
pub(super) const BOLD: Name<'static> = Name(b"B");

const MARGIN: f32 = 42.0;
const INNER: f32 = WIDTH - 2.0 * MARGIN;
/// The lowest line that is not the footer's.
const BOTTOM: f32 = MARGIN + 18.0;
const BODY: f32 = 9.0;
const SMALL: f32 = 7.5;
const HEADING: f32 = 11.5;
const TITLE: f32 = 16.0;
/// From one line to the next, of its size.
const LEADING: f32 = 1.3;
/// Points between columns.
const GAP: f32 = 8.0;
/// The names of facts take so much of the width.
const NAMES: f32 = 190.0;
/// No column is planned wider than this before space is shared out.
const WIDEST: f32 = 190.0;
const NARROWEST: f32 = 24.0;
/// Letters of a cell.
const MOST_LETTERS: usize = 300;
/// Pixels of the chart; they are scaled to the width.
const CHART: (u32, u32) = (820, 330);
const INK: Colour = (26, 29, 33);
const GREY: Colour = (90, 94, 100);
const RULE: Colour = (200, 204, 208);

/// Pages that are being filled.
pub(super) struct Layout {
    pages: Vec<Content>,
    /// Where the next line begins, from below.
    y: f32,
}

impl Layout {
    pub(super) fn new() -> Self {
        Self {
            pages: vec![Content::new()],
            y: HEIGHT - MARGIN,
        }
    }

    /// Pages with their footers.
    pub(super) fn finish(mut self, footer: &str) -> Vec<Content> {
        let count = self.pages.len();
        for (at, page) in self.pages.iter_mut().enumerate() {
            let number = format!("{} of {count}", at + 1);
            let x = WIDTH - MARGIN - width(&number, SMALL, false);
            put(page, &number, (x, MARGIN - 8.0), SMALL, false, GREY);
            let words = wrap(footer, SMALL - 1.0, false, INNER - 40.0);
            for (line, words) in words.iter().take(2).enumerate() {
                let y = MARGIN - 8.0 - line as f32 * SMALL;
                put(page, words, (MARGIN, y), SMALL - 1.0, false, GREY);
            }
        }
        self.pages
    }

    fn page(&mut self) -> &mut Content {
        if self.pages.is_empty() {
            self.pages.push(Content::new());
        }
        let last = self.pages.len() - 1;
        &mut self.pages[last]
    }

    /// Goes over to the next page unless so many points are left.
    fn make_space(&mut self, points: f32) -> bool {
        let is_full = self.y - points < BOTTOM;
        if is_full {
            self.pages.push(Content::new());
            self.y = HEIGHT - MARGIN;
        }
        is_full
    }

    pub(super) fn title(&mut self, text: &str) {
        self.lines(text, TITLE, true, INK);
        self.y -= 4.0;
    }

    pub(super) fn block(&mut self, block: &Block) -> Result<(), QueryError> {
        match block {
            Block::Heading(text) => {
                // Never alone at the end of a page.
                self.make_space(60.0);
                self.y -= 10.0;
                self.lines(text, HEADING, true, INK);
                self.y -= 2.0;
            }
            Block::Paragraph(text) => {
                self.lines(text, BODY, false, INK);
                self.y -= 4.0;
            }
            Block::Facts(facts) => {
                for (name, value) in facts {
                    self.fact(name, value);
                }
            }
            Block::Table(table) => self.table(table),
            Block::Chart(chart, words) => {
                self.chart(chart)?;
                self.lines(words, SMALL, false, GREY);
            }
        }
        Ok(())
    }

    fn lines(&mut self, text: &str, size: f32, is_bold: bool, colour: Colour) {
        for line in wrap(text, size, is_bold, INNER) {
            self.make_space(size * LEADING);
            let y = self.y - size;
            put(self.page(), &line, (MARGIN, y), size, is_bold, colour);
            self.y -= size * LEADING;
        }
    }

    fn fact(&mut self, name: &str, value: &str) {
        let names = wrap(name, BODY, false, NAMES - GAP);
        let values = wrap(value, BODY, false, INNER - NAMES);
        let count = names.len().max(values.len());
        self.make_space(count as f32 * BODY * LEADING);
        for line in 0..count {
            let y = self.y - BODY;
            if let Some(name) = names.get(line) {
                put(self.page(), name, (MARGIN, y), BODY, false, GREY);
            }
            if let Some(value) = values.get(line) {
                put(self.page(), value, (MARGIN + NAMES, y), BODY, false, INK);
            }
            self.y -= BODY * LEADING;
        }
    }

    fn table(&mut self, table: &Table) {
        if table.rows.is_empty() {
            return self.lines(table.empty, BODY, false, INK);
        }
        let widths = column_widths(table);
        let head: Vec<String> = table
            .columns
            .iter()
            .map(|one| one.name.to_owned())
            .collect();
        self.make_space(4.0 * BODY * LEADING);
        self.row(table, &widths, &head, true);
        for row in &table.rows {
            let row: Vec<String> = row.iter().map(|cell| shortened(cell)).collect();
            let height = row_height(&widths, &row, false);
            if self.make_space(height) {
                self.row(table, &widths, &head, true);
            }
            self.row(table, &widths, &row, false);
        }
        self.y -= 4.0;
    }

    fn row(&mut self, table: &Table, widths: &[f32], cells: &[String], is_head: bool) {
        let top = self.y;
        let mut x = MARGIN;
        for ((cell, column), most) in cells.iter().zip(&table.columns).zip(widths) {
            let lines = wrap(cell, SMALL, is_head, *most);
            for (line, words) in lines.iter().enumerate() {
                let y = top - SMALL - line as f32 * SMALL * LEADING;
                let left = match column.is_number {
                    true => x + most - width(words, SMALL, is_head),
                    false => x,
                };
                put(self.page(), words, (left, y), SMALL, is_head, INK);
            }
            x += most + GAP;
        }
        self.y -= row_height(widths, cells, is_head);
        let y = self.y + 1.5;
        let rule = if is_head { GREY } else { RULE };
        let page = self.page();
        set_stroke(page, rule);
        page.set_line_width(0.5);
        page.move_to(MARGIN, y).line_to(WIDTH - MARGIN, y).stroke();
    }

    fn chart(&mut self, chart: &PowerChart) -> Result<(), QueryError> {
        let scale = INNER / CHART.0 as f32;
        let height = CHART.1 as f32 * scale;
        self.make_space(height + 2.0 * SMALL * LEADING);
        let top = self.y;
        let place = |(x, y): (i32, i32)| (MARGIN + x as f32 * scale, top - y as f32 * scale);
        let shapes = chart.shapes(CHART)?;
        let page = self.page();
        for shape in shapes {
            match shape {
                Shape::Line {
                    points,
                    width,
                    colour,
                } => {
                    set_stroke(page, colour);
                    page.set_line_width(width as f32 * scale);
                    path(page, points.into_iter().map(place));
                    page.stroke();
                }
                Shape::Area { points, colour } => {
                    set_fill(page, colour);
                    path(page, points.into_iter().map(place));
                    page.fill_nonzero();
                }
                Shape::Text {
                    text,
                    place: at,
                    size,
                    colour,
                    anchor,
                } => {
                    let size = size as f32 * scale;
                    let (x, y) = place(at);
                    let x = x - width(&text, size, false) * anchor.left as f32;
                    // Letters stand on their line, which is below their top.
                    let y = y - size * (0.8 - anchor.above as f32 * 0.9);
                    put(page, &text, (x, y), size, false, colour);
                }
            }
        }
        self.y -= height + 2.0;
        Ok(())
    }
}

/// A cell that fits on a page, however narrow its column.
fn shortened(cell: &str) -> String {
    match cell.chars().count() > MOST_LETTERS {
        true => {
            let begin: String = cell.chars().take(MOST_LETTERS).collect();
            format!("{begin}\u{2026}")
        }
        false => cell.to_owned(),
    }
}

fn set_stroke(page: &mut Content, (red, green, blue): Colour) {
    let part = |part: u8| f32::from(part) / 255.0;
    page.set_stroke_rgb(part(red), part(green), part(blue));
}

fn set_fill(page: &mut Content, (red, green, blue): Colour) {
    let part = |part: u8| f32::from(part) / 255.0;
    page.set_fill_rgb(part(red), part(green), part(blue));
}

fn path(page: &mut Content, points: impl Iterator<Item = (f32, f32)>) {
    for (at, (x, y)) in points.enumerate() {
        match at {
            0 => page.move_to(x, y),
            _ => page.line_to(x, y),
        };
    }
}

fn put(page: &mut Content, text: &str, at: (f32, f32), size: f32, is_bold: bool, colour: Colour) {
    set_fill(page, colour);
    page.begin_text();
    page.set_font(if is_bold { BOLD } else { REGULAR }, size);
    page.next_line(at.0, at.1);
    page.show(Str(&encode(text)));
    page.end_text();
}

fn row_height(widths: &[f32], cells: &[String], is_head: bool) -> f32 {
    let lines = cells.iter().zip(widths);
    let lines = lines.map(|(cell, most)| wrap(cell, SMALL, is_head, *most).len());
    lines.max().unwrap_or(1) as f32 * SMALL * LEADING + 3.0
}

/// Widths that together fill the page: as much as a column's words take, and its share of the rest.
fn column_widths(table: &Table) -> Vec<f32> {
    let widest = |at: usize| {
        let name = width(table.columns[at].name, SMALL, true);
        let cells = table.rows.iter().filter_map(|row| row.get(at));
        let cells = cells.map(|cell| width(cell, SMALL, false));
        cells.fold(name, f32::max).clamp(NARROWEST, WIDEST)
    };
    let wanted: Vec<f32> = (0..table.columns.len()).map(widest).collect();
    let space = INNER - GAP * (table.columns.len() as f32 - 1.0);
    let sum: f32 = wanted.iter().sum();
    wanted
        .iter()
        .map(|one| one * space / sum.max(1.0))
        .collect()
}
