//! Energy against what was allocated: whose energy it is, which period it falls into, and how near
//! a limit that is.

pub mod level;
pub mod measurement;
pub mod registry;
pub mod usage;
