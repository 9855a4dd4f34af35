//! The named steps of a plan.
