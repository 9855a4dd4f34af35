//! The one test binary of what crosses module borders.
