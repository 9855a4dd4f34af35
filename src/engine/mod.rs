//! Connects: threads, channels, one build from top to bottom.

pub mod report;
