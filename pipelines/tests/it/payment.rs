//! Payments: the books by hand, selection, and the payer in a simulated world that kills it ten thousand times.

mod books;
mod crashes;
mod law;
mod pages;
mod plan;
mod rules;
mod select;
mod world;
