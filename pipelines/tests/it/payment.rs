//! Payments: the ledger by hand, selection, and the payer in a simulated world that kills it ten
//! thousand times.

mod crashes;
mod delays;
mod invariants;
mod ledger;
mod lost_streams;
mod operator_orders;
mod plan;
mod select;
mod simulation;
mod stops;
mod table_pages;
mod wallet_balance;
