//! What stands between this crate and DataFusion's own ways: work-arounds and limits that it lacks.
//!
//! Each file begins with the upstream issue that it stands for and the condition under which it
//! goes. Nothing else in the crate knows that DataFusion had to be corrected.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};

pub mod date_trunc;
pub mod depth_limits;
pub mod output_limits;
mod paid_values;
pub mod plan_limits;
mod repeated_projections;
pub mod statement_limits;
pub mod statement_size;
pub mod text_grouping;
pub mod window_memory;

/// A session with all that has to be in one.
pub fn session(builder: SessionStateBuilder) -> Result<SessionState> {
    let mut state = plan_limits::guard(builder.with_default_features()).build();
    state.register_udf(Arc::new(date_trunc::udf()))?;
    output_limits::bound(&mut state)?;
    state.add_analyzer_rule(Arc::new(repeated_projections::NameInputs));
    Ok(state)
}
