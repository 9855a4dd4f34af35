//! Descriptors: every one is CLOEXEC from birth.
