//! `submit`: a share.
//!
//! The session id in it is ignored: a share belongs to the connection it came on, else anybody
//! could submit for others.

use serde::Deserialize;
use serde_json::Value;

use super::Command;
use crate::share::{Rejection, Submission};

/// The method's name.
pub const METHOD: &str = "submit";

/// A share in hex, as it came.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Submit {
    /// The job it is for.
    pub job_id: String,
    /// Eight hex digits, in blob order.
    pub nonce: String,
    /// 64 hex digits.
    pub result: String,
}

impl Submit {
    /// The share as bytes. Length is exact: nothing may be hidden in padding, prefixes or spaces.
    pub fn bytes(self) -> Result<Submission, Rejection> {
        let mut nonce = [0; 4];
        hex::decode_to_slice(&self.nonce, &mut nonce).map_err(|_| Rejection::MalformedNonce)?;
        let mut result = [0; 32];
        hex::decode_to_slice(&self.result, &mut result).map_err(|_| Rejection::MalformedResult)?;
        Ok(Submission {
            job_id: self.job_id,
            nonce,
            result,
        })
    }
}

pub(super) fn parse(params: Value) -> Command {
    match serde_json::from_value(params) {
        Ok(submit) => Command::Submit(submit),
        Err(_) => Command::Unusable("submit needs params with job_id, nonce and result strings"),
    }
}
