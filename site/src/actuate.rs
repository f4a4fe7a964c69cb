//! Actuators: what carries a command to a machine, an outlet or a fan, one kind a file.
