//! The decision: a pure function of site, state, observation and time.
//!
//! Four regions live beside each other: the site's power (R1), the air (R2), the health of each
//! input (R3) and who decides (R4). A step takes what was observed, judges inputs and air, latches
//! trips, lets the arbiter find the cap that holds, goes through the table of transitions, and then
//! stops or starts machines and fans. Nothing here reads a clock, opens a socket or throws dice:
//! the same inputs give the same decision, bit for bit.

pub mod arbiter;
pub mod authority;
pub mod caps;
pub mod debug;
pub mod decision;
pub mod dispatch;
pub mod fans;
pub mod feeder;
pub mod health;
pub mod machine;
pub mod metering;
pub mod notices;
pub mod observation;
pub mod order;
pub mod output;
pub mod policy;
pub mod power;
pub mod prepared;
pub mod requests;
pub mod restore;
pub mod selection;
pub mod site_plan;
pub mod state;
mod step;
pub mod thermal;
pub mod trip;

pub use decision::DecisionRecord;
pub use observation::Observation;
pub use policy::Policy;
pub use site_plan::{Site, SitePlan};
pub use state::State;
pub use step::{Step, advance, step};
