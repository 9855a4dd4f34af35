//! Derivations as text: strict reading and byte-exact printing of ATerm.
