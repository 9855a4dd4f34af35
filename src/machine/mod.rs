//! Decides: goals, edges, slots. Values in, values out; no clock, no threads, no I/O.

pub mod failure;
pub mod vocab;

pub use failure::Failure;
