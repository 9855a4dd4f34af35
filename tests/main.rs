//! The one test binary of what crosses module borders.

/// One process under its keeper: its world, its end, its limits, its family.
mod sandbox;
