//! The tests of the stratum room.
