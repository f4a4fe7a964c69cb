//! headframe
fn main() {}
