//! The reference scan.
