//! The table of the routes in the documents is made from the list of routes.

use std::path::Path;

use headframe_query_front::console::coopmine::COOPMINE;
use headframe_query_front::console::site::SITE;
use headframe_query_front::{console, route};

/// Set `HEADFRAME_BLESS=1` to write what the program says into the documents.
#[test]
fn the_tables_of_routes_are_those_of_the_program() {
    for (page, name, wanted) in [
        ("http.md", "routes", route::markdown_table()),
        ("console.md", "pages", console::POOL.markdown_table()),
        ("coopmine-setup.md", "pages", COOPMINE.markdown_table()),
        ("site-controller.md", "pages", SITE.markdown_table()),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../docs")
            .join(page);
        let text = std::fs::read_to_string(&path).unwrap();
        let (open, close) = (format!("<!-- generated: {name} -->\n"), "<!-- end -->");
        let (before, rest) = text.split_once(&open).expect("the region begins");
        let (found, after) = rest.split_once(close).expect("the region ends");
        if found == wanted {
            continue;
        }
        assert!(
            std::env::var_os("HEADFRAME_BLESS").is_some(),
            "docs/{page}: the table {name} is old; HEADFRAME_BLESS=1 rewrites it"
        );
        std::fs::write(&path, format!("{before}{open}{wanted}{close}{after}")).unwrap();
    }
}
