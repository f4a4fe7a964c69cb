//! Mining work: block templates, the jobs made of them, their difficulty, and until when a share of
//! an old job still counts. Pure: no sockets, no clock.

pub mod difficulty;
pub mod job;
pub mod late_shares;
pub mod template;
pub mod vardiff;
