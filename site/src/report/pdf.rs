//! A report as PDF: A4, with the chart as lines and words, and text that can be selected.
//!
//! The fonts are two of those that every reader of PDF has, so that none stands in the file; their
//! letters are those of Western Europe, and others are shown as question marks.

mod layout;
mod letters;

use pdf_writer::{Finish as _, Name, Pdf, Rect, Ref, TextStr};

use super::document::document;
use super::{Report, ReportError};
use layout::{HEIGHT, Layout, WIDTH};

/// Objects before those of the pages.
const CATALOG: Ref = Ref::new(1);
const PAGES: Ref = Ref::new(2);
const REGULAR: Ref = Ref::new(3);
const BOLD: Ref = Ref::new(4);
const INFO: Ref = Ref::new(5);
const FIRST_PAGE: i32 = 6;

/// The file.
pub(super) fn write(report: &Report) -> Result<Vec<u8>, ReportError> {
    let document = document(report);
    let footer = format!("{}, SHA-256 {}", document.title, report.evidence.sha256);
    let mut layout = Layout::new();
    layout.title(&document.title);
    for block in &document.blocks {
        layout
            .block(block)
            .map_err(|error| ReportError::Drawing(error.to_string()))?;
    }
    let pages = layout.finish(&footer);
    let mut pdf = Pdf::new();
    pdf.catalog(CATALOG).pages(PAGES).lang(TextStr("en"));
    pdf.document_info(INFO)
        .title(TextStr(&document.title))
        .producer(TextStr("headframe-site"));
    let page_of = |at: usize| Ref::new(FIRST_PAGE + 2 * i32::try_from(at).unwrap_or(i32::MAX / 4));
    let count = i32::try_from(pages.len()).unwrap_or(i32::MAX);
    pdf.pages(PAGES)
        .kids((0..pages.len()).map(page_of))
        .count(count);
    for (reference, name) in [(REGULAR, "Helvetica"), (BOLD, "Helvetica-Bold")] {
        pdf.type1_font(reference)
            .base_font(Name(name.as_bytes()))
            .encoding_predefined(Name(b"WinAnsiEncoding"));
    }
    for (at, content) in pages.into_iter().enumerate() {
        let own = page_of(at);
        let stream = Ref::new(own.get() + 1);
        let mut page = pdf.page(own);
        page.media_box(Rect::new(0.0, 0.0, WIDTH, HEIGHT));
        page.parent(PAGES);
        page.contents(stream);
        let mut resources = page.resources();
        let mut fonts = resources.fonts();
        fonts.pair(layout::REGULAR, REGULAR);
        fonts.pair(layout::BOLD, BOLD);
        fonts.finish();
        resources.finish();
        page.finish();
        pdf.stream(stream, &content.finish());
    }
    Ok(pdf.finish())
}
