//! What is around every page: the head, the header with the menu, and the footer.

use crate::console::{ALL, Page, asset};

const FRAME: &str = include_str!("assets/frame.html");

/// The whole document of a page.
pub(super) fn document(page: &dyn Page) -> String {
    let digest = asset::digest();
    FRAME
        .replace("{{menu}}", &menu(page))
        .replace("{{title}}", page.title())
        .replace("{{script}}", page.script())
        .replace("{{permission}}", &format!("{:?}", page.permission()))
        .replace("{{main}}", page.markup())
        .replace("{{version}}", env!("CARGO_PKG_VERSION"))
        .replace("{{assets}}", &format!("/console/{digest}"))
}

fn menu(open: &dyn Page) -> String {
    let pages = ALL.iter().filter(|page| page.is_in_menu());
    let entry = |page: &&dyn Page| {
        let (path, title) = (page.paths().first().copied().unwrap_or("/"), page.title());
        let current = match page.title() == open.title() {
            true => " aria-current=\"page\"",
            false => "",
        };
        let permission = page.permission();
        format!("<a href=\"{path}\" data-permission=\"{permission:?}\"{current}>{title}</a>")
    };
    pages.map(entry).collect()
}
