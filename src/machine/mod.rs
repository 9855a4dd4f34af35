//! Decides: goals, edges, slots. Values in, values out; no clock, no threads, no I/O.

pub mod failure;

pub use failure::Failure;
