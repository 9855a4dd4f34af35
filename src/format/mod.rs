//! Bytes to values and back: every format drover reads or writes. Pure: no I/O, no clock, no
//! threads, no globals.

pub mod aterm;
pub mod base32;
pub mod derivation;
pub mod derivation_json;
pub mod hash;
pub mod nar;
pub mod output_path;
pub mod recipe;
pub mod recipe_make;
mod recipe_near;
mod recipe_order;
mod recipe_read;
mod recipe_variables;
pub mod refs;
pub mod store_path;
pub mod validity;

pub use derivation::{Derivation, DerivationOutput};
pub use hash::{Algorithm, Hash};
pub use store_path::{StoreDir, StorePath};
pub use validity::{Origin, ValidPathInfo};
