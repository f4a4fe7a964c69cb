//! What is around every page: the head, the header with the menu, and the footer.

use crate::console::{Console, Page, asset};

const FRAME: &str = include_str!("assets/frame.html");

/// The whole document of a page.
pub(super) fn document(console: &Console, page: &dyn Page) -> String {
    let digest = asset::digest();
    FRAME
        .replace("{{menu}}", &menu(console, page))
        .replace("{{title}}", page.title())
        .replace("{{name}}", console.name)
        .replace("{{about}}", console.about)
        .replace("{{numbers}}", console.numbers)
        .replace("{{api}}", console.api)
        .replace("{{script}}", page.script())
        .replace("{{permission}}", &format!("{:?}", page.permission()))
        .replace("{{main}}", page.markup())
        .replace("{{version}}", env!("CARGO_PKG_VERSION"))
        .replace("{{assets}}", &format!("/console/{digest}"))
}

fn menu(console: &Console, open: &dyn Page) -> String {
    let pages = console.pages.iter().filter(|page| page.is_in_menu());
    let entry = |page: &&dyn Page| {
        let (path, title) = (page.paths().first().copied().unwrap_or("/"), page.title());
        let current = match page.title() == open.title() {
            true => " aria-current=\"page\"",
            false => "",
        };
        let permission = page.permission();
        let key = page.key().map(|key| format!(" data-key=\"{key}\""));
        let key = key.unwrap_or_default();
        format!("<a href=\"{path}\" data-permission=\"{permission:?}\"{key}{current}>{title}</a>")
    };
    pages.map(entry).collect()
}
