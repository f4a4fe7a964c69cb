//! The table of the routes in the documents is made from the list of routes.

use std::path::Path;

use headframe_query_front::route;

/// Set `HEADFRAME_BLESS=1` to write what the program says into the document.
#[test]
fn the_table_of_routes_is_that_of_the_program() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/http.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (open, close) = ("<!-- generated: routes -->\n", "<!-- end -->");
    let (before, rest) = text.split_once(open).expect("the region begins");
    let (found, after) = rest.split_once(close).expect("the region ends");
    let wanted = route::markdown_table();
    if found == wanted {
        return;
    }
    assert!(
        std::env::var_os("HEADFRAME_BLESS").is_some(),
        "docs/http.md: the table of routes is old; HEADFRAME_BLESS=1 rewrites it"
    );
    std::fs::write(&path, format!("{before}{open}{wanted}{close}{after}")).unwrap();
}
