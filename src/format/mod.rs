//! Bytes to values and back: every format drover reads or writes. Pure: no I/O, no clock, no
//! threads, no globals.
//!
//! - Names and hashes: [`store_path`], [`hash`], [`base32`], [`content_address`],
//!   [`derived_path`].
//! - Derivations: [`derivation`] is the value, [`aterm`] and [`derivation_json`] its texts,
//!   [`output_path`] what its outputs are called, [`options`] and [`structured_attrs`] what its
//!   attributes ask for.
//! - Contents: [`nar`] the archive, [`refs`] the scan for references, [`validity`] what a store
//!   says of a path.
//!   [`closure_size`] adds up what paths need.
//! - [`recipe`], [`recipe_make`]: TOML to derivations, without an evaluator.
//! - [`near`]: the name that was meant, for error messages.
//!
//! Readers accept exactly what the printers print, where the format is canonical. Whatever the
//! bytes, they answer with a value or an error that names the place: no panic, no unbounded memory.

pub mod aterm;
pub mod base32;
pub mod closure_size;
pub mod content_address;
pub mod derivation;
pub mod derivation_json;
pub mod derived_path;
pub mod hash;
pub mod nar;
pub mod near;
pub mod options;
pub mod output_path;
pub mod recipe;
pub mod recipe_make;

mod recipe_order;
mod recipe_read;
mod recipe_variables;
pub mod refs;
pub mod store_path;
pub mod structured_attrs;
pub mod validity;

#[cfg(test)]
mod fixtures;

pub use content_address::ContentAddress;
pub use derivation::{Derivation, DerivationOutput, InputNode, Kind, Method};
pub use derived_path::DerivedPath;
pub use hash::{Algorithm, Hash, HashError};
pub use options::DerivationOptions;
pub use store_path::{StoreDir, StorePath};
pub use validity::{HashMode, Origin, Registration, ValidPathInfo};
