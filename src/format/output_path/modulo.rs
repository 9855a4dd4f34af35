//! The hash of a derivation modulo how its fixed inputs are fetched.
//!
//! A fixed derivation counts by its contents alone; any other by its text with each input replaced
//! by that input's hash. [`Modulo`] keeps what it has computed, so a graph of n derivations costs
//! n, whatever asks first. It walks with a stack of its own: a chain of a million derivations
//! does not overflow the thread's. Source: `hashDerivationModulo` in `derivations.cc` of Nix.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::super::aterm::{Mask, print_with_inputs};
use super::super::derivation::{DerivationOutput, Kind};
use super::super::{Derivation, Hash, StoreDir, StorePath};
use super::{Load, OutputPathError};

/// The hash modulo of one derivation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrvHash {
    /// The hash, the same for each output.
    pub hash: Hash,
    /// Whether paths follow from it: not if it, or an input of it, is floating or impure.
    pub known: Knowledge,
    outputs: BTreeSet<String>,
}

/// Whether output paths follow from a hash modulo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Knowledge {
    /// They do.
    Known,
    /// They depend on contents that are not built yet.
    Deferred,
}

/// Hashes of derivations that were asked for, by path.
#[derive(Debug, Clone)]
pub struct Modulo {
    dir: StoreDir,
    known: HashMap<StorePath, DrvHash>,
}

impl Modulo {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(dir: StoreDir) -> Self {
        Self { dir, known: HashMap::new() }
    }

    /// The store folder that the hashes are for.
    #[must_use]
    pub fn dir(&self) -> &StoreDir {
        &self.dir
    }

    /// Derivations whose hash is kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The hash that stands for the derivation at `path` in what depends on it.
    ///
    /// # Errors
    /// [`OutputPathError`] if a derivation below it cannot be loaded, lacks an output that is
    /// asked for, breaks the rules for outputs, or is its own input.
    pub fn of_path(
        &mut self,
        path: &StorePath,
        load: &mut Load<'_>,
    ) -> Result<&DrvHash, OutputPathError> {
        if !self.known.contains_key(path) {
            self.walk(path, load)?;
        }
        // `walk` ends only with the path in the map.
        self.known.get(path).ok_or_else(|| OutputPathError::Cycle(path.clone()))
    }

    /// The hash that the output paths of `drv` follow from: with its own output paths left empty.
    ///
    /// # Errors
    /// As [`Modulo::of_path`].
    pub fn masked(
        &mut self,
        drv: &Derivation,
        load: &mut Load<'_>,
    ) -> Result<DrvHash, OutputPathError> {
        if drv.kind() != Kind::Fixed {
            for input in drv.input_drvs.keys() {
                self.of_path(input, load)?;
            }
        }
        self.hash(drv, Mask::Hide)
    }

    fn walk(&mut self, root: &StorePath, load: &mut Load<'_>) -> Result<(), OutputPathError> {
        let mut open = HashSet::new();
        let mut stack = vec![Frame::load(root, load)?];
        open.insert(root.clone());
        while let Some(frame) = stack.last_mut() {
            let Some(next) = frame.waiting.pop() else {
                let hash = self.hash(&frame.drv, Mask::Show)?;
                open.remove(&frame.path);
                self.known.insert(frame.path.clone(), hash);
                stack.pop();
                continue;
            };
            if self.known.contains_key(&next) {
                continue;
            }
            if !open.insert(next.clone()) {
                return Err(OutputPathError::Cycle(next));
            }
            stack.push(Frame::load(&next, load)?);
        }
        Ok(())
    }

    /// The hash of `drv`, all of whose inputs are known (those of fixed ones do not matter).
    fn hash(&self, drv: &Derivation, mask: Mask) -> Result<DrvHash, OutputPathError> {
        let kind = drv
            .check_outputs()
            .map_err(|cause| OutputPathError::Outputs { name: drv.name.clone(), cause })?;
        let outputs: BTreeSet<_> = drv.outputs.keys().cloned().collect();
        if let Some(DerivationOutput::Fixed { path, method, hash }) = drv.outputs.get("out") {
            let (prefix, typed) = (method.prefix(), hash.typed_base16());
            let text = format!("fixed:out:{prefix}{typed}:{}", self.dir.print(path));
            let hash = Hash::sha256(text.as_bytes());
            return Ok(DrvHash { hash, known: Knowledge::Known, outputs });
        }
        let mut known = match kind {
            Kind::Floating | Kind::Impure => Knowledge::Deferred,
            Kind::InputAddressed | Kind::Deferred | Kind::Fixed => Knowledge::Known,
        };
        let mut inputs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (path, node) in &drv.input_drvs {
            let input = self.known.get(path).ok_or_else(|| OutputPathError::Cycle(path.clone()))?;
            known = known.max(input.known);
            if let Some(output) = node.outputs.difference(&input.outputs).next() {
                return Err(OutputPathError::NoSuchOutput {
                    drv: drv.name.clone(),
                    input: path.clone(),
                    output: output.clone(),
                });
            }
            if !node.outputs.is_empty() {
                let wanted = inputs.entry(input.hash.base16()).or_default();
                wanted.extend(node.outputs.iter().cloned());
            }
        }
        let text = print_with_inputs(drv, &self.dir, mask, &inputs);
        Ok(DrvHash { hash: Hash::sha256(&text), known, outputs })
    }
}

/// A derivation whose inputs are being hashed.
struct Frame {
    path: StorePath,
    drv: Arc<Derivation>,
    waiting: Vec<StorePath>,
}

impl Frame {
    fn load(path: &StorePath, load: &mut Load<'_>) -> Result<Self, OutputPathError> {
        let drv =
            load(path).map_err(|cause| OutputPathError::Load { path: path.clone(), cause })?;
        let fixed = drv.kind() == Kind::Fixed;
        let waiting = if fixed { Vec::new() } else { drv.input_drvs.keys().cloned().collect() };
        Ok(Self { path: path.clone(), drv, waiting })
    }
}
