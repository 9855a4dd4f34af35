//! `.drv` files that become valid by another way than being made here: registered by their text,
//! or copied as a source.
//!
//! As Nix, such a file is believed only if the output paths that it states follow from it:
//! else whoever builds it would make a path that belongs to another derivation (semantics B15).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::Store;
use super::error::StoreError;
use crate::base::error::with_causes;
use crate::base::fs::read_regular;
use crate::format::output_path::{BoxError, Modulo, check_invariants};
use crate::format::{Derivation, DerivationOutput, StorePath, aterm};

impl Store {
    /// The outputs that the derivation `path`, whose file is now at `file`, states, so far as
    /// their paths are known. Its inputs are read from the store, valid or not; `memo` keeps what
    /// was computed of them.
    ///
    /// # Errors
    /// [`StoreError::BadRegistration`] if it is no derivation, or its output paths do not follow
    /// from it.
    pub fn stated_outputs(
        &self,
        path: &StorePath,
        file: &Path,
        memo: &mut Modulo,
    ) -> Result<BTreeMap<String, StorePath>, StoreError> {
        let bad = |why: String| {
            let path = self.layout().store_dir.print(path);
            StoreError::BadRegistration { path, why }
        };
        let drv = self.read_drv(path, file).map_err(|e| bad(e.to_string()))?;
        let mut load = |input: &StorePath| -> Result<Arc<Derivation>, BoxError> {
            self.read_drv(input, &self.layout().real(input)).map(Arc::new)
        };
        check_invariants(path, &drv, memo, &mut load).map_err(|e| bad(with_causes(&e)))?;
        let known = |(name, output): (&String, &DerivationOutput)| {
            Some((name.clone(), output.path()?.clone()))
        };
        Ok(drv.outputs.iter().filter_map(known).collect())
    }

    fn read_drv(&self, path: &StorePath, file: &Path) -> Result<Derivation, BoxError> {
        let name = path.name().strip_suffix(".drv").ok_or("its name does not end in `.drv`")?;
        let bytes = read_regular(file, aterm::MOST_BYTES)?;
        Ok(aterm::parse(name, &bytes, &self.layout().store_dir)?)
    }
}
