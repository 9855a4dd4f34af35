//! The one test binary of what crosses module borders.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should end there")]

mod cli;
mod recipe;
