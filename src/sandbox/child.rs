//! What runs between clone and exec.
