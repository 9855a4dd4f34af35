//! Runs one process: from a plan to its exit and its log. Knows paths and plain data only.
