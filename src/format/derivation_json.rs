//! Derivations as JSON, as `nix derivation show` and `add` of Nix 2.34 have them.
