//! Output paths of whole derivations: filled in where they are new, checked where they are given
//! (`processDerivationOutputPaths` in `derivations.cc` of Nix).
//!
//! No derivation may name a path that does not follow from it: that is what keeps one user's
//! derivation from claiming another's outputs. So whatever drover writes as a `.drv`, whoever wrote
//! the text, went through here first.

use bstr::BString;

use super::super::derivation::DerivationOutput;
use super::super::{Derivation, StorePath};
use super::modulo::Knowledge;
use super::{
    Load, Modulo, OutputPathError, fixed_output_path, input_addressed_path, output_path_name,
};

/// Gives a freshly made derivation its output paths: deferred outputs become input-addressed where
/// that is possible, fixed ones get the path of their hash, and the variables of their names are
/// set. A variable that is there and not empty must be right already.
///
/// # Errors
/// [`OutputPathError`] if an input cannot be hashed, a name is wrong, or a variable is.
pub fn fill_output_paths(
    drv: &mut Derivation,
    memo: &mut Modulo,
    load: &mut Load<'_>,
) -> Result<(), OutputPathError> {
    let name = drv.name.clone();
    let mut deferred = Vec::new();
    let mut paths = Vec::new();
    for (output, value) in &mut drv.outputs {
        match value {
            DerivationOutput::Fixed { path, method, hash } => {
                let path_name = output_path_name(&name, output);
                *path = fixed_output_path(memo.dir(), &path_name, *method, hash)?;
                paths.push((output.clone(), path.clone()));
            }
            DerivationOutput::Deferred => deferred.push(output.clone()),
            DerivationOutput::InputAddressed(path) => paths.push((output.clone(), path.clone())),
            DerivationOutput::Floating { .. } | DerivationOutput::Impure { .. } => {}
        }
    }
    if !deferred.is_empty() {
        // The variables are part of what is hashed, empty: they must be there before.
        for output in &deferred {
            drv.env.entry(BString::from(output.as_str())).or_default();
        }
        let modulo = memo.masked(drv, load)?;
        if modulo.known == Knowledge::Known {
            for output in deferred {
                let path = input_addressed_path(memo.dir(), &name, &output, &modulo.hash)?;
                drv.outputs.insert(output.clone(), DerivationOutput::InputAddressed(path.clone()));
                paths.push((output, path));
            }
        }
    }
    for (output, path) in paths {
        let text = memo.dir().print(&path);
        let value = drv.env.entry(BString::from(output.as_str())).or_default();
        if value.is_empty() {
            *value = BString::from(text);
        }
    }
    check(&name, drv, memo, load)
}

/// Checks that the derivation at `drv_path` states the output paths that follow from it, in its
/// outputs and in the variables of their names.
///
/// # Errors
/// [`OutputPathError`] with what it states and what follows.
pub fn check_invariants(
    drv_path: &StorePath,
    drv: &Derivation,
    memo: &mut Modulo,
    load: &mut Load<'_>,
) -> Result<(), OutputPathError> {
    let path = memo.dir().print(drv_path);
    if drv_path.name().strip_suffix(".drv") != Some(drv.name.as_str()) {
        return Err(OutputPathError::NameMismatch { path, name: drv.name.clone() });
    }
    check(&path, drv, memo, load)
}

/// `label` names the derivation in errors.
fn check(
    label: &str,
    drv: &Derivation,
    memo: &mut Modulo,
    load: &mut Load<'_>,
) -> Result<(), OutputPathError> {
    drv.check_outputs()
        .map_err(|cause| OutputPathError::Outputs { name: drv.name.clone(), cause })?;
    if !drv.platform_is_plain() {
        return Err(OutputPathError::Platform(label.to_owned()));
    }
    let mut modulo = None;
    for (output, value) in &drv.outputs {
        let (found, expected) = match value {
            DerivationOutput::Floating { .. } | DerivationOutput::Impure { .. } => continue,
            DerivationOutput::Fixed { path, method, hash } => {
                let name = output_path_name(&drv.name, output);
                (Some(path), Some(fixed_output_path(memo.dir(), &name, *method, hash)?))
            }
            DerivationOutput::InputAddressed(_) | DerivationOutput::Deferred => {
                if modulo.is_none() {
                    modulo = Some(memo.masked(drv, load)?);
                }
                let known = modulo.as_ref().filter(|m| m.known == Knowledge::Known);
                let path = known
                    .map(|m| input_addressed_path(memo.dir(), &drv.name, output, &m.hash))
                    .transpose()?;
                (value.path(), path)
            }
        };
        if found != expected.as_ref() {
            let text = |path: Option<&StorePath>| {
                path.map_or_else(|| "deferred".to_owned(), |p| memo.dir().print(p))
            };
            return Err(OutputPathError::Incorrect {
                drv: label.to_owned(),
                found: text(found),
                expected: text(expected.as_ref()),
            });
        }
        let Some(path) = expected else { continue };
        let expected = memo.dir().print(&path);
        let variable = drv.env.get(output.as_bytes()).map(|v| v.as_slice());
        // `nix derivation add` of 2.34 lets input-addressed ones do without the variable.
        let absent = variable.is_none() && matches!(value, DerivationOutput::InputAddressed(_));
        if !absent && variable != Some(expected.as_bytes()) {
            return Err(OutputPathError::Variable {
                drv: label.to_owned(),
                variable: output.clone(),
                expected,
            });
        }
    }
    Ok(())
}
