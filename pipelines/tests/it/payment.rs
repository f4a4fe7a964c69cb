//! Payments: the books by hand, selection, and the payer in a simulated world that kills it ten
//! thousand times.

mod books;
mod crashes;
mod delays;
mod law;
mod lost;
mod pages;
mod plan;
mod purse;
mod rules;
mod select;
mod words;
mod world;
