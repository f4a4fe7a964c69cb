//! Tests of the front: who may ask, what every answer has, and what a connection may cost. Behind
//! it runs no engine, or one that is scripted.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod access;
mod account_orders;
mod account_store;
mod accounts;
mod connections;
mod console;
mod corpus;
mod cors;
mod documents;
#[allow(clippy::duplicate_mod)]
mod engine;
mod errors;
mod flight;
mod held_refusals;
mod jwt;
mod live_sockets;
mod logins;
mod matrix;
mod oidc;
mod openapi;
mod page_answers;
mod photos;
mod postgres;
mod registry_grpc;
mod request_limits;
mod request_log;
mod server;
mod sign_in_page;
mod signatures;
mod slots;
mod subscriptions;
mod tls;
mod wallet_login;
