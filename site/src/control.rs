//! The decision: a pure function of policy, state, observation and time.
