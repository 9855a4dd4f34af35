//! The operating system, said politely. Knows nothing of derivations or stores.

pub mod lock;
