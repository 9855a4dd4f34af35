//! The folders builds run in.
