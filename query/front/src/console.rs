//! The console: the pages that a browser shows.
//!
//! A page is a frame without any data: its markup, its script and the styles of all pages, embedded
//! in the program. What it shows it asks of the public routes, which decide who may see it, so a
//! page opens nothing and may be served to everybody. Adding a page is one file in `console/` and
//! one line in [`ALL`].

use crate::access::Permission;

mod asset;
mod explore;
mod frame;
mod miner;
mod operate;
mod pool;
mod serve;
mod sign_in;

pub(crate) use asset::digest;
pub(crate) use serve::routes;

/// One page.
pub trait Page: Sync {
    /// Its name in the menu and in titles.
    fn title(&self) -> &'static str;
    /// What it shows, in one sentence for the documents.
    fn doc(&self) -> &'static str;
    /// Its paths as axum writes them; the first is the one that links lead to.
    fn paths(&self) -> &'static [&'static str];
    /// What its data ask of a visitor. Whoever lacks it is led to where he can sign in.
    fn permission(&self) -> Permission;
    /// Whether the menu lists it.
    fn is_in_menu(&self) -> bool {
        true
    }
    /// The file of its script among the assets.
    fn script(&self) -> &'static str;
    /// What stands between the header and the footer.
    fn markup(&self) -> &'static str;
}

/// Every page, in the order of the menu.
pub static ALL: &[&dyn Page] = &[
    &pool::Pool,
    &miner::Miner,
    &explore::Explore,
    &operate::Operate,
    &sign_in::SignIn,
];

/// The table of the pages in the documents.
pub fn markdown_table() -> String {
    let mut text = "| page | data for | what |\n|---|---|---|\n".to_owned();
    for page in ALL {
        let paths: Vec<String> = page
            .paths()
            .iter()
            .map(|path| format!("`{path}`"))
            .collect();
        text.push_str(&format!(
            "| {} | {} | {} |\n",
            paths.join(", "),
            page.permission().as_str(),
            page.doc()
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{ALL, asset};
    use crate::route;

    #[test]
    fn every_page_has_a_script_markup_and_paths_of_its_own() {
        let mut paths: HashSet<&str> = route::ALL.iter().map(|route| route.path).collect();
        for page in ALL {
            let title = page.title();
            assert!(asset::find(page.script()).is_some(), "{title}");
            assert!(page.markup().contains("<h1"), "{title} has no heading");
            assert!(
                page.doc().ends_with('.') && !page.doc().contains('|'),
                "{title}"
            );
            for path in page.paths() {
                assert!(
                    path.starts_with('/') && paths.insert(path),
                    "{path} is taken"
                );
            }
        }
    }

    #[test]
    fn no_markup_needs_what_the_policy_forbids() {
        for page in ALL {
            let markup = page.markup();
            for forbidden in [
                " style=", "<style", "<script", " onclick", " on", "http://", "https://",
            ] {
                let title = page.title();
                let found = markup
                    .split(forbidden)
                    .nth(1)
                    .map(|rest| rest.chars().take(20).collect::<String>());
                let is_attribute = |rest: &String| {
                    forbidden != " on"
                        || rest.starts_with(|c: char| c.is_ascii_lowercase())
                            && rest.contains("=\"")
                };
                assert!(found.filter(is_attribute).is_none(), "{title}: {forbidden}");
            }
        }
    }
}
