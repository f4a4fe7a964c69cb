//! A self-test: published hashes, so that a wrong build or bad memory is found before a miner's
//! work is judged by it.
//!
//! The hashes are those of RandomX's own tests (`src/tests/tests.cpp`, release 1.2).

use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;

use super::{HashError, Mode, SeedMemory, Vm};

/// What a key and an input must give.
struct Vector {
    key: &'static str,
    input: Input,
    hash: &'static str,
}

enum Input {
    Text(&'static str),
    Hex(&'static str),
}

/// How many hashes are compared.
pub const COUNT: usize = VECTORS.len();

const VECTORS: &[Vector] = &[
    Vector {
        key: "test key 000",
        input: Input::Text("This is a test"),
        hash: "639183aae1bf4c9a35884cb46b09cad9175f04efd7684e7262a0ac1c2f0b4e3f",
    },
    Vector {
        key: "test key 000",
        input: Input::Text("Lorem ipsum dolor sit amet"),
        hash: "300a0adb47603dedb42228ccb2b211104f4da45af709cd7547cd049e9489c969",
    },
    Vector {
        key: "test key 000",
        input: Input::Text("sed do eiusmod tempor incididunt ut labore et dolore magna aliqua"),
        hash: "c36d4ed4191e617309867ed66a443be4075014e2b061bcdaf9ce7b721d2b77a8",
    },
    Vector {
        key: "test key 001",
        input: Input::Text("sed do eiusmod tempor incididunt ut labore et dolore magna aliqua"),
        hash: "e9ff4503201c0c2cca26d285c93ae883f9b1d30c9eb240b820756f2d5a7905fc",
    },
    Vector {
        key: "test key 001",
        input: Input::Hex(
            "0b0b98bea7e805e0010a2126d287a2a0cc833d312cb786385a7c2f9de69d25537f584a9bc9977b00000000666fd8753bf61a8631f12984e3fd44f4014eca629276817b56f32e9b68bd82f416",
        ),
        hash: "c56414121acda1713c2f2a819d8ae38aed7c80c35c2a769298d34f03833cd5f1",
    },
];

/// Hashes to time after the comparison.
const TIMED: u32 = 20;

/// Why this machine must not judge shares.
#[derive(Debug, Error)]
pub enum VectorError {
    /// The library failed.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// It computes something else.
    #[error("under the key {key:?} RandomX gives {found}, but {wanted} is right")]
    Wrong {
        key: &'static str,
        found: String,
        wanted: &'static str,
    },
}

/// Compares all of them in light mode, which takes a second or two of one core, and gives the time
/// one hash takes.
pub fn check() -> Result<Duration, VectorError> {
    let mut machine: Option<(&str, Vm)> = None;
    for vector in VECTORS {
        let ready = match machine.take() {
            Some((key, ready)) if key == vector.key => ready,
            _ => Vm::new(&Arc::new(SeedMemory::build(
                vector.key.as_bytes(),
                Mode::Light,
            )?))?,
        };
        let found = hex::encode(ready.hash(&vector.input.bytes())?);
        if found != vector.hash {
            return Err(VectorError::Wrong {
                key: vector.key,
                found,
                wanted: vector.hash,
            });
        }
        machine = Some((vector.key, ready));
    }
    let Some((_, machine)) = machine else {
        return Ok(Duration::ZERO);
    };
    let began = Instant::now();
    for nonce in 0..TIMED {
        machine.hash(&nonce.to_le_bytes())?;
    }
    Ok(began.elapsed() / TIMED)
}

impl Input {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Input::Text(text) => text.as_bytes().to_vec(),
            // The constants above are hex; anything else gives a hash that is wrong, and says so.
            Input::Hex(text) => hex::decode(text).unwrap_or_default(),
        }
    }
}
