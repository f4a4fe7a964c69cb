//! Channels: what carries a notice to people, one kind a file.
