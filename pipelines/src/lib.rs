//! Which stream feeds which plan feeds which table: the only crate that decides anything.
//!
//! A pipeline is a function of a stream: from closed ranges of sequences to rows, committed with
//! their offset. Raw tables come first; everything else is computed from them, so that recovery and
//! back-filling are the same code as normal work.

pub mod anomaly;
pub mod clock;
pub mod energy;
pub mod evidence;
pub mod fault;
pub mod partials;
pub mod payment;
pub mod payout;
pub mod pipeline;
pub mod signature;
pub mod user_pipeline;
pub mod violation;

pub use fault::PipelineFault;
pub use payment::{Payer, PaymentConfig};
pub use pipeline::{Context, Pipeline, PipelineConfig, StreamHandle};
pub use user_pipeline::{UserPipeline, UserPipelineConfig};
