//! Not joined yet.
