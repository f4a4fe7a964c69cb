//! The console: the pages that a browser shows.
//!
//! A page is a frame without any data: its markup, its script and the styles of all pages, embedded
//! in the program. What it shows it asks of the public routes, which decide who may see it, so a
//! page opens nothing and may be served to everybody. Each server has pages of its own: the pool's
//! are in [`POOL`], those of a coordinator of miners in [`coopmine::COOPMINE`], those of a site's
//! controller in [`site::SITE`]. Adding a page is one file and one line in the list of its server.

use axum::Router;
use serde_json::{Value, json};

use crate::access::{Permission, Principal, Proof};

mod anomalies;
mod asset;
mod compliance;
pub mod coopmine;
mod energy;
mod explore;
mod frame;
mod mine;
mod miner;
mod operate;
mod pool;
mod registry;
mod serve;
mod sign_in;
pub mod site;

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
    /// The letter that leads to it after a `g`.
    fn key(&self) -> Option<char> {
        None
    }
    /// The file of its script among the assets.
    fn script(&self) -> &'static str;
    /// What stands between the header and the footer.
    fn markup(&self) -> &'static str;
}

/// The pages of one server, and what their frame says about it.
pub struct Console {
    /// The program's name, in titles and in the header.
    pub name: &'static str,
    /// What it is, for whoever finds a link to it.
    pub about: &'static str,
    /// Where `/` leads.
    pub start: &'static str,
    /// The route with the numbers, for whoever has no JavaScript.
    pub numbers: &'static str,
    /// The route that the footer leads to, for programs.
    pub api: &'static str,
    /// Every page, in the order of the menu.
    pub pages: &'static [&'static dyn Page],
}

/// Every server's.
pub static ALL: &[&Console] = &[&POOL, &coopmine::COOPMINE, &site::SITE];

/// The pool's.
pub static POOL: Console = Console {
    name: "Headframe",
    about: "Headframe: a mining pool whose every share, block and payout can be checked.",
    start: "/pool",
    numbers: "/api/v1/pool",
    api: "/api/v1/openapi.json",
    pages: &[
        &pool::Pool,
        &miner::Miner,
        &mine::Mine,
        &energy::Energy,
        &anomalies::Anomalies,
        &compliance::Compliance,
        &registry::Registry,
        &explore::Explore,
        &operate::Operate,
        &sign_in::SignIn,
    ],
};

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Console of {}", self.name)
    }
}

impl Console {
    /// The table of the pages in the documents.
    pub fn markdown_table(&self) -> String {
        let mut text = "| page | data for | what |\n|---|---|---|\n".to_owned();
        for page in self.pages {
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

    /// What the menu is made from: who this is, null for a stranger, the pages whose data he may
    /// read, and a digest that changes with the console itself. `is_open` says whose data are for
    /// everybody.
    pub fn describe_for(
        &self,
        principal: &Principal,
        is_open: impl Fn(Permission) -> bool,
    ) -> Value {
        let is_known = principal.proof != Proof::Nothing;
        let own = principal.role.as_ref().and_then(|role| role.address());
        let pages = self
            .pages
            .iter()
            .filter(|page| is_open(page.permission()) || principal.allows(page.permission(), own));
        let pages: Vec<&str> = pages
            .filter_map(|page| page.paths().first().copied())
            .collect();
        json!({
            "principal": is_known.then(|| principal.to_json()),
            "may_operate": principal.allows(Permission::Operate, None),
            "may_manage_accounts": principal.allows(Permission::ManageAccounts, None),
            "pages": pages,
            "digest": asset::digest(),
        })
    }

    /// The routes of all pages and their files.
    pub fn routes(&'static self) -> Router {
        serve::routes(self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{ALL, Page, asset};

    fn pages() -> impl Iterator<Item = &'static dyn Page> {
        ALL.iter().flat_map(|console| console.pages).copied()
    }

    #[test]
    fn every_page_has_a_script_markup_and_paths_of_its_own() {
        for console in ALL {
            let (mut paths, mut keys) = (HashSet::new(), HashSet::new());
            for page in console.pages {
                let title = page.title();
                assert!(asset::find(page.script()).is_some(), "{title}");
                assert!(page.markup().contains("<h1"), "{title} has no heading");
                assert!(
                    page.doc().ends_with('.') && !page.doc().contains('|'),
                    "{title}"
                );
                for path in page.paths() {
                    let is_free = !path.starts_with("/api/") && !path.starts_with("/console/");
                    assert!(
                        path.starts_with('/') && is_free && paths.insert(path),
                        "{path} is taken"
                    );
                }
                if let Some(key) = page.key() {
                    assert!(
                        keys.insert(key) && key.is_ascii_lowercase(),
                        "{title}: {key}"
                    );
                }
            }
            assert!(paths.contains(&console.start), "{}", console.name);
        }
    }

    #[cfg(feature = "server")]
    #[test]
    fn no_page_of_the_pool_stands_where_a_route_is() {
        let routes: HashSet<&str> = crate::route::ALL.iter().map(|route| route.path).collect();
        for path in super::POOL.pages.iter().flat_map(|page| page.paths()) {
            assert!(!routes.contains(path), "{path} is taken");
        }
    }

    #[test]
    fn no_markup_needs_what_the_policy_forbids() {
        for page in pages() {
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
