//! How many cases a slow property test takes. The tests of `query/engine` use the same file.

/// Few in `make test`, where each run takes others; `HEADFRAME_CASES` times as many in `make soak`.
pub fn cases(few: u32) -> u32 {
    let times = std::env::var("HEADFRAME_CASES").ok();
    few * times.and_then(|times| times.parse().ok()).unwrap_or(1)
}
