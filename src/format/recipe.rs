//! Recipes: derivations as TOML tables.
