//! Who mines: a worker of a wallet at an address.

use serde::{Deserialize, Serialize};

use super::addresses::ClientAddress;

/// Who mines: a worker of a wallet at an address. The unit of automatic bans.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerId {
    /// Where it comes from.
    pub origin: ClientAddress,
    /// Who is paid.
    pub wallet: String,
    /// The machine.
    pub worker: String,
}
