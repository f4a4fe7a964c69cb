//! The password field, which no miner's pool checks and which guides have filled with conventions
//! instead.
//!
//! `x` means nothing; `worker` and `worker:email` name the worker; `d=5000` asks for a difficulty;
//! `nicehash` asks for NiceHash jobs. Several of them are separated by commas, semicolons, colons
//! or blanks. Whatever looks like an e-mail address is dropped while reading: what is never kept
//! can never be disclosed.

/// What a password asks for.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct PasswordOptions<'a> {
    /// The worker's name as written.
    pub(super) worker: Option<&'a str>,
    /// A difficulty to stay at.
    pub(super) fixed_difficulty: Option<u64>,
    /// Whether the nonce's last byte must be fixed.
    pub(super) nicehash: bool,
}

/// Reads a password. What is not understood is ignored: it is no secret here, and no reason to turn
/// a miner away.
pub(super) fn parse(text: &str) -> PasswordOptions<'_> {
    let mut options = PasswordOptions::default();
    for word in text
        .split([',', ';', ':', ' ', '\t'])
        .filter(|word| !word.is_empty() && !word.contains('@'))
    {
        match word.split_once('=') {
            Some((key, value)) => match key.to_ascii_lowercase().as_str() {
                "d" | "diff" | "difficulty" => {
                    options.fixed_difficulty = difficulty(value).or(options.fixed_difficulty)
                }
                "w" | "worker" | "rig" if !value.is_empty() => options.worker = Some(value),
                _ => {}
            },
            None if word.eq_ignore_ascii_case("nicehash") => options.nicehash = true,
            None if word.eq_ignore_ascii_case("x") => {}
            None => options.worker = options.worker.or(Some(word)),
        }
    }
    options
}

/// A difficulty as people write it. `NaN`, nothing, zero and what no hash could ever meet are no
/// wish.
pub(super) fn difficulty(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
        .filter(|difficulty| *difficulty > 0)
}

/// The part of a worker's name that may be kept: nothing that looks like an e-mail address, nor
/// what follows the colon that people put before one.
pub(super) fn worker_name(name: &str) -> Option<&str> {
    let name = match name.split_once(':') {
        Some((before, after)) if after.contains('@') => before,
        _ => name,
    };
    let name = name.trim();
    (!name.is_empty() && !name.contains('@')).then_some(name)
}
