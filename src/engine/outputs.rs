//! Outputs of one build: where the builder writes them, and how they are taken into the store.
//!
//! A builder writes to the final paths, unless an output is valid already (a second build to
//! compare, or some outputs of several): then it writes to scratch paths of the same length, and
//! what it wrote is rewritten into place. Fixed outputs are copied. Held locks are the caller's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::environment::Rewrites;
use super::failures::{failure, is_no_space};
use super::judge::Made;
use super::shared::Shared;
use crate::base::error::with_causes;
use crate::format::content_address::ContentAddress;
use crate::format::derivation::Method;
use crate::format::nar::Executable;
use crate::format::options::DerivationOptions;
use crate::format::output_path::{fixed_output_path, make_store_path, placeholder};
use crate::format::{
    Algorithm, Derivation, DerivationOutput, Hash, Origin, StorePath, ValidPathInfo,
};
use crate::machine::Failure;
use crate::machine::vocab::Mode;
use crate::store::canonicalise::{InodesSeen, Rules};
use crate::store::ingest::{
    IngestError, IngestRequest, Ingested, Root, ingest, ingest_copying, ingest_rewriting,
    move_into_place,
};
use crate::store::{Registration, Tree};

/// One output as this build makes it.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    pub name: String,
    /// Where it belongs.
    pub path: StorePath,
    /// Where the builder writes it.
    pub written: StorePath,
    /// What its contents must be, if that is known.
    pub fixed: Option<(Method, Hash)>,
    /// What the store knows of it, if it is valid already.
    pub registered: Option<ValidPathInfo>,
}

/// Decides where each output is written. Outputs that are valid are never touched.
pub(super) fn plan(
    shared: &Shared,
    drv_path: &StorePath,
    drv: &Derivation,
) -> Result<Vec<Planned>, Failure> {
    let paths: Vec<&StorePath> = drv.outputs.values().filter_map(DerivationOutput::path).collect();
    let view = shared.view();
    let ask = |e| failure("asking what is valid", &e);
    // Mostly none is: all that is known of a path costs more to ask for.
    let valid = view.valid(paths).map_err(ask)?;
    let mut infos = view.infos(&valid).map_err(ask)?;
    let mut planned = Vec::new();
    for (name, output) in &drv.outputs {
        let Some(path) = output.path() else { continue };
        let registered = infos.remove(path);
        let written = match &registered {
            Some(_) => scratch_path(shared, drv_path, path)?,
            None => path.clone(),
        };
        let fixed = match output {
            DerivationOutput::Fixed { method, hash, .. } => Some((*method, *hash)),
            _ => None,
        };
        let (name, path) = (name.clone(), path.clone());
        planned.push(Planned { name, path, written, fixed, registered });
    }
    Ok(planned)
}

/// `makeFallbackPath` of Nix: depends on the derivation and the path alone.
fn scratch_path(shared: &Shared, drv: &StorePath, path: &StorePath) -> Result<StorePath, Failure> {
    let dir = shared.store_dir();
    let kind = format!("rewrite:{}:{}", dir.print(drv), dir.print(path));
    let zeros = Hash::new(Algorithm::Sha256, &[0; 32]);
    zeros.map_err(|e| Failure::Engine(e.to_string())).and_then(|zeros| {
        make_store_path(dir, &kind, &zeros, path.name()).map_err(|e| Failure::Engine(e.to_string()))
    })
}

/// Texts to replace in what the builder is told: placeholders, and paths it must not write to.
pub(super) fn input_rewrites(shared: &Shared, planned: &[Planned]) -> Rewrites {
    let mut rewrites = Rewrites::default();
    for output in planned {
        rewrites.add(&placeholder(&output.name), &shared.store_dir().print(&output.written));
        rewrites.add(output.path.hash_part(), output.written.hash_part());
    }
    rewrites
}

/// Renames whatever lies where the builder will write out of its way; returns what is to be
/// removed. What cannot be renamed, since a full disk has no place for it, is removed at once.
pub(super) fn clear<'p>(
    shared: &Shared,
    planned: impl Iterator<Item = &'p Planned>,
) -> Result<Vec<PathBuf>, Failure> {
    let mut aside = Vec::new();
    for output in planned {
        let real = shared.real(&output.written);
        if std::fs::symlink_metadata(&real).is_ok() {
            match shared.set_aside(&real) {
                Ok(path) => aside.push(path),
                Err(Failure::NoSpace { .. }) => shared.remove(&real)?,
                Err(why) => return Err(why),
            }
        }
    }
    Ok(aside)
}

/// An output that was taken in.
#[derive(Debug)]
pub(super) struct Taken {
    pub info: ValidPathInfo,
    /// What must reach the disk.
    pub tree: Tree,
    /// Where it lies: the final place, or a temporary one that is to be compared.
    pub at: PathBuf,
}

/// Why the outputs of a build were not taken in.
#[derive(Debug)]
pub(super) enum Rejected {
    /// Something is wrong.
    Failed(Failure),
    /// A fixed output is sound, but its hash is not the one that was asked for.
    OtherHash(Box<Misnamed>),
}

impl From<Failure> for Rejected {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// A fixed output with a hash that was not asked for.
#[derive(Debug)]
pub(super) struct Misnamed {
    /// What it is under the path that belongs to its hash.
    pub info: ValidPathInfo,
    /// Where it lies now.
    pub tree: Tree,
    /// That its hash is another.
    pub failure: Failure,
}

/// What all outputs of a build share while they are taken in.
pub(super) struct Intake<'a> {
    pub shared: &'a Shared,
    pub drv_path: &'a StorePath,
    pub options: &'a DerivationOptions,
    pub planned: &'a [Planned],
    pub inputs: &'a BTreeSet<StorePath>,
    pub mode: Mode,
}

impl Intake<'_> {
    /// Takes every output in that has to be: canonical, scanned, hashed, fixed hashes checked.
    /// Outputs that were valid before are left out, unless they are to be compared.
    pub(super) fn take_all(&self) -> Result<BTreeMap<String, Taken>, Rejected> {
        self.all_there()?;
        let mut candidates = self.inputs.clone();
        candidates.extend(self.planned.iter().map(|output| output.path.clone()));
        let mut seen = InodesSeen::default();
        let mut taken = BTreeMap::new();
        for output in self.planned {
            if output.registered.is_none() || self.mode == Mode::Check {
                taken.insert(output.name.clone(), self.take(output, &candidates, &mut seen)?);
            }
        }
        Ok(taken)
    }

    fn all_there(&self) -> Result<(), Failure> {
        for output in self.planned {
            if std::fs::symlink_metadata(self.shared.real(&output.written)).is_err() {
                let (output, path) = (output.name.clone(), output.path.clone());
                return Err(Failure::MissingOutput { output, path });
            }
        }
        Ok(())
    }

    fn take(
        &self,
        output: &Planned,
        candidates: &BTreeSet<StorePath>,
        seen: &mut InodesSeen,
    ) -> Result<Taken, Rejected> {
        let none = BTreeSet::new();
        let discards = self.options.outputs.discards(&output.name);
        let place = self.shared.real(&output.written);
        let request = IngestRequest {
            path: &place,
            candidates: if discards { &none } else { candidates },
            fixed: output.fixed.map(|(method, hash)| (method, hash.algorithm())),
            rules: Rules { owner: None, ignored_acls: &self.shared.settings.ignored_acls },
        };
        let rewrites = self.rewrites();
        let (ingested, at) = if !rewrites.is_empty() {
            let into = self.shared.temporary()?;
            let ingested = ingest_rewriting(&request, seen, &rewrites, &into);
            (self.bad(output, ingested)?, into)
        } else if output.fixed.is_some() {
            let into = self.shared.temporary()?;
            (self.bad(output, ingest_copying(&request, seen, &into))?, into)
        } else {
            (self.bad(output, ingest(&request, seen))?, place.clone())
        };
        if let Some(got) = self.check_fixed(output, &ingested)? {
            return Err(Rejected::OtherHash(Box::new(self.misnamed(output, got, ingested, at)?)));
        }
        let at = self.settle(output, &place, at)?;
        let tree = Tree { path: at.clone(), entries: ingested.entries };
        Ok(Taken { info: self.info(output, ingested), tree, at })
    }

    /// Scratch paths to final ones.
    fn rewrites(&self) -> BTreeMap<StorePath, StorePath> {
        let moved = self.planned.iter().filter(|output| output.written != output.path);
        moved.map(|output| (output.written.clone(), output.path.clone())).collect()
    }

    /// Moves a second copy to where it belongs, unless it is only to be compared.
    fn settle(&self, output: &Planned, written: &Path, at: PathBuf) -> Result<PathBuf, Failure> {
        if at == written || output.registered.is_some() {
            return Ok(at);
        }
        let place = self.shared.real(&output.path);
        if std::fs::symlink_metadata(&place).is_ok() {
            self.shared.remove(&place)?;
        }
        move_into_place(&at, &place).map_err(|e| failure("moving an output into place", &e))?;
        Ok(place)
    }

    fn bad<T>(&self, output: &Planned, result: Result<T, IngestError>) -> Result<T, Failure> {
        result.map_err(|error| match (&error, error.path()) {
            (IngestError::Io { .. }, _) | (_, None) => failure("taking in an output", &error),
            _ if is_no_space(&error) => failure("taking in an output", &error),
            (_, Some(file)) => Failure::BadOutput {
                output: output.name.clone(),
                file: file.display().to_string(),
                why: with_causes(&error),
            },
        })
    }

    /// The hash that a fixed output has, if it is not the one it should have.
    fn check_fixed(
        &self,
        output: &Planned,
        ingested: &Ingested,
    ) -> Result<Option<(Method, Hash)>, Failure> {
        let Some((method, specified)) = output.fixed else { return Ok(None) };
        let plain = ingested.root == Root::Regular(Executable::No);
        if matches!(method, Method::Flat | Method::Text) && !plain {
            return Err(Failure::BadOutput {
                output: output.name.clone(),
                file: self.shared.store_dir().print(&output.path),
                why: format!(
                    "it is {}, but should be a non-executable regular file since recursive \
                     hashing is not enabled (`outputHashMode` is `flat`)",
                    match ingested.root {
                        Root::Regular(_) => "an executable file",
                        Root::Directory => "a folder",
                        Root::Symlink => "a symlink",
                    }
                ),
            });
        }
        let path = output.path.clone();
        if !ingested.references.is_empty() && method != Method::Text {
            let references = ingested.references.iter().cloned().collect();
            return Err(Failure::FixedOutputRefers { path, references });
        }
        match ingested.fixed_hash {
            Some(got) if got == specified => Ok(None),
            Some(got) => Ok(Some((method, got))),
            None => Err(Failure::Engine(format!("`{path}` was not hashed"))),
        }
    }

    /// An output with a hash that was not asked for, as it would be if it had been.
    fn misnamed(
        &self,
        output: &Planned,
        (method, got): (Method, Hash),
        ingested: Ingested,
        at: PathBuf,
    ) -> Result<Misnamed, Failure> {
        let specified = output.fixed.map_or(got, |(_, hash)| hash);
        let path = fixed_output_path(self.shared.store_dir(), output.path.name(), method, &got)
            .map_err(|error| Failure::Engine(error.to_string()))?;
        let tree = Tree { path: at, entries: ingested.entries };
        let ca = Some(ContentAddress { method, hash: got }.to_string());
        let info = ValidPathInfo { path, ca, ..self.info(output, ingested) };
        let (specified, got) = (Box::new(specified), Box::new(got));
        let failure = Failure::HashMismatch { path: output.path.clone(), specified, got };
        Ok(Misnamed { info, tree, failure })
    }

    fn info(&self, output: &Planned, ingested: Ingested) -> ValidPathInfo {
        let ca = output.fixed.map(|(method, hash)| ContentAddress { method, hash }.to_string());
        ValidPathInfo {
            path: output.path.clone(),
            nar_hash: ingested.nar_hash,
            nar_size: ingested.nar_size,
            references: ingested.references,
            deriver: Some(self.drv_path.clone()),
            registration_time: 0,
            origin: Origin::BuiltHere,
            signatures: BTreeSet::new(),
            ca,
        }
    }
}

/// All outputs by name for the judge: those that were made, and those that were valid before.
pub(super) fn made(planned: &[Planned], taken: &BTreeMap<String, Taken>) -> Made {
    let one = |output: &Planned| {
        let info = match taken.get(&output.name) {
            Some(taken) => Some(taken.info.clone()),
            None => output.registered.clone(),
        };
        info.map(|info| (output.name.clone(), info))
    };
    planned.iter().filter_map(one).collect()
}

/// What the registrar is to write, in an order in which each path comes after its references.
pub(super) fn registrations(
    ordered: &[&ValidPathInfo],
    taken: &BTreeMap<String, Taken>,
) -> Vec<Registration> {
    let new: BTreeSet<&StorePath> = taken.values().map(|taken| &taken.info.path).collect();
    let ours = ordered.iter().filter(|info| new.contains(&info.path));
    ours.map(|info| Registration::from((*info).clone())).collect()
}
