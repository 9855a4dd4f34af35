//! Judges what a build made: rules about references and sizes.
//!
//! Pure but for one question, the closure of a set of paths, which the caller answers from the
//! store. Outputs of the build itself are not registered yet, so their references come from here.

use std::collections::{BTreeMap, BTreeSet};

use crate::format::options::{Checks, OutputChecks, RefSpec};
use crate::format::{StorePath, ValidPathInfo};
use crate::machine::Failure;
use crate::machine::failure::{ReferenceRule, SizeRule};

/// The outputs of one build by name.
pub(super) type Made = BTreeMap<String, ValidPathInfo>;

/// Answers with sizes of NARs of the closure of paths that are valid or pending.
pub(super) type Closure<'a> =
    &'a dyn Fn(&BTreeSet<StorePath>) -> Result<BTreeMap<StorePath, u64>, Failure>;

/// Checks every output against its rules.
pub(super) fn judge(checks: &Checks, made: &Made, closure: Closure<'_>) -> Result<(), Failure> {
    for (name, info) in made {
        if let Some(rules) = checks.of(name) {
            Judge { rules, made, info, closure }.judge()?;
        }
    }
    Ok(())
}

/// The outputs ordered so that each comes after those it refers to.
pub(super) fn in_order(made: &Made) -> Result<Vec<&ValidPathInfo>, Failure> {
    let mut left: BTreeMap<&StorePath, &ValidPathInfo> =
        made.values().map(|info| (&info.path, info)).collect();
    let mut ordered = Vec::with_capacity(made.len());
    while !left.is_empty() {
        let free = left
            .values()
            .find(|info| info.references.iter().all(|r| *r == info.path || !left.contains_key(r)));
        let Some(&next) = free else {
            let paths = left.keys().map(|path| (*path).clone()).collect();
            return Err(Failure::OutputCycle { paths });
        };
        left.remove(&next.path);
        ordered.push(next);
    }
    Ok(ordered)
}

struct Judge<'a> {
    rules: &'a OutputChecks,
    made: &'a Made,
    info: &'a ValidPathInfo,
    closure: Closure<'a>,
}

impl Judge<'_> {
    fn judge(&self) -> Result<(), Failure> {
        self.size(SizeRule::Output, self.rules.max_size, self.info.nar_size)?;
        let wants_closure = self.rules.max_closure_size.is_some()
            || self.rules.allowed_requisites.is_some()
            || !self.rules.disallowed_requisites.is_empty();
        let closure = if wants_closure { self.own_closure()? } else { BTreeMap::new() };
        let total = closure.values().sum();
        self.size(SizeRule::Closure, self.rules.max_closure_size, total)?;
        let mut requisites: BTreeSet<StorePath> = closure.into_keys().collect();
        if self.rules.ignore_self_refs {
            requisites.remove(&self.info.path);
        }
        let references = &self.info.references;
        if let Some(allowed) = &self.rules.allowed_references {
            self.allowed(ReferenceRule::AllowedReferences, allowed, references)?;
        }
        if let Some(allowed) = &self.rules.allowed_requisites {
            self.allowed(ReferenceRule::AllowedRequisites, allowed, &requisites)?;
        }
        let forbidden = &self.rules.disallowed_references;
        self.disallowed(ReferenceRule::DisallowedReferences, forbidden, references)?;
        let forbidden = &self.rules.disallowed_requisites;
        self.disallowed(ReferenceRule::DisallowedRequisites, forbidden, &requisites)
    }

    fn size(&self, rule: SizeRule, limit: Option<u64>, size: u64) -> Result<(), Failure> {
        match limit {
            Some(limit) if size > limit => {
                Err(Failure::TooLarge { path: self.info.path.clone(), rule, size, limit })
            }
            _ => Ok(()),
        }
    }

    fn allowed(
        &self,
        rule: ReferenceRule,
        specs: &BTreeSet<RefSpec>,
        used: &BTreeSet<StorePath>,
    ) -> Result<(), Failure> {
        let allowed = self.resolve(specs)?;
        self.verdict(rule, used.difference(&allowed).cloned().collect())
    }

    fn disallowed(
        &self,
        rule: ReferenceRule,
        specs: &BTreeSet<RefSpec>,
        used: &BTreeSet<StorePath>,
    ) -> Result<(), Failure> {
        let forbidden = self.resolve(specs)?;
        self.verdict(rule, used.intersection(&forbidden).cloned().collect())
    }

    fn verdict(&self, rule: ReferenceRule, forbidden: Vec<StorePath>) -> Result<(), Failure> {
        if forbidden.is_empty() {
            return Ok(());
        }
        Err(Failure::ForbiddenReferences { path: self.info.path.clone(), rule, forbidden })
    }

    fn resolve(&self, specs: &BTreeSet<RefSpec>) -> Result<BTreeSet<StorePath>, Failure> {
        let one = |spec: &RefSpec| match spec {
            RefSpec::Path(path) => Ok(path.clone()),
            RefSpec::Output(name) => match self.made.get(name) {
                Some(info) => Ok(info.path.clone()),
                None => Err(Failure::BadDerivation(format!(
                    "derivation contains an illegal reference specifier `{name}`: it is neither a \
                     store path nor the name of an output"
                ))),
            },
        };
        specs.iter().map(one).collect()
    }

    /// The closure of this output with sizes; outputs of the same build are followed first.
    fn own_closure(&self) -> Result<BTreeMap<StorePath, u64>, Failure> {
        let siblings: BTreeMap<&StorePath, &ValidPathInfo> =
            self.made.values().map(|info| (&info.path, info)).collect();
        let mut sizes = BTreeMap::new();
        let mut outside = BTreeSet::new();
        let mut queue = vec![self.info];
        while let Some(info) = queue.pop() {
            if sizes.insert(info.path.clone(), info.nar_size).is_some() {
                continue;
            }
            for reference in &info.references {
                match siblings.get(reference) {
                    Some(&sibling) => queue.push(sibling),
                    None => drop(outside.insert(reference.clone())),
                }
            }
        }
        sizes.extend((self.closure)(&outside)?);
        Ok(sizes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Hash, Origin};

    fn path(name: &str) -> StorePath {
        let digit = name.as_bytes()[0];
        StorePath::from_parts(&[digit; 20], name).unwrap()
    }

    fn info(name: &str, size: u64, references: &[&str]) -> ValidPathInfo {
        ValidPathInfo {
            path: path(name),
            nar_hash: Hash::sha256(b""),
            nar_size: size,
            references: references.iter().map(|r| path(r)).collect(),
            deriver: None,
            registration_time: 0,
            origin: Origin::BuiltHere,
            signatures: BTreeSet::new(),
            ca: None,
        }
    }

    fn made() -> Made {
        let out = info("out", 100, &["dep", "out", "lib"]);
        let lib = info("lib", 10, &["far"]);
        [("out".to_owned(), out), ("lib".to_owned(), lib)].into()
    }

    fn outside(roots: &BTreeSet<StorePath>) -> Result<BTreeMap<StorePath, u64>, Failure> {
        Ok(roots.iter().map(|p| (p.clone(), 1000)).collect())
    }

    fn specs(names: &[&str]) -> BTreeSet<RefSpec> {
        let spec = |name: &&str| match *name {
            "out" | "lib" | "nonsense" => RefSpec::Output((*name).to_owned()),
            other => RefSpec::Path(path(other)),
        };
        names.iter().map(spec).collect()
    }

    fn verdict(rules: OutputChecks) -> Result<(), Failure> {
        let checks = Checks { per_output: [("out".to_owned(), rules)].into(), ..Checks::default() };
        judge(&checks, &made(), &outside)
    }

    #[test]
    fn references_and_requisites() {
        let refs = |names| OutputChecks {
            allowed_references: Some(specs(names)),
            ..OutputChecks::default()
        };
        assert_eq!(verdict(refs(&["dep", "out", "lib"])), Ok(()));
        let wrong = verdict(refs(&["dep", "lib"])).unwrap_err();
        assert!(
            matches!(&wrong, Failure::ForbiddenReferences { forbidden, .. }
                if *forbidden == [path("out")]),
            "a reference to itself counts unless it is named: {wrong:?}"
        );
        let requisites = |ignore_self_refs, names| OutputChecks {
            ignore_self_refs,
            allowed_requisites: Some(specs(names)),
            ..OutputChecks::default()
        };
        assert_eq!(verdict(requisites(true, &["dep", "lib", "far"])), Ok(()));
        assert!(verdict(requisites(false, &["dep", "lib", "far"])).is_err());
        assert!(verdict(requisites(true, &["dep", "lib"])).is_err(), "far, through lib");
        let forbidden =
            OutputChecks { disallowed_requisites: specs(&["far"]), ..OutputChecks::default() };
        assert!(verdict(forbidden).is_err());
        let direct =
            OutputChecks { disallowed_references: specs(&["far"]), ..OutputChecks::default() };
        assert_eq!(verdict(direct), Ok(()), "far is no direct reference");
    }

    #[test]
    fn sizes() {
        let rules = |max_size, max_closure_size| OutputChecks {
            max_size,
            max_closure_size,
            ..OutputChecks::default()
        };
        assert_eq!(verdict(rules(Some(100), Some(2110))), Ok(()));
        assert!(matches!(
            verdict(rules(Some(99), None)),
            Err(Failure::TooLarge { rule: SizeRule::Output, size: 100, limit: 99, .. })
        ));
        assert!(matches!(
            verdict(rules(None, Some(2109))),
            Err(Failure::TooLarge { rule: SizeRule::Closure, size: 2110, .. })
        ));
    }

    #[test]
    fn an_unknown_specifier_is_told() {
        let rules =
            OutputChecks { disallowed_references: specs(&["nonsense"]), ..OutputChecks::default() };
        assert!(matches!(verdict(rules), Err(Failure::BadDerivation(_))));
    }

    #[test]
    fn order_and_cycles() {
        let made = made();
        let order: Vec<_> = in_order(&made).unwrap().iter().map(|i| i.path.name()).collect();
        assert_eq!(order, ["lib", "out"]);
        let circle: Made = [
            ("out".to_owned(), info("out", 1, &["lib"])),
            ("lib".to_owned(), info("lib", 1, &["out"])),
        ]
        .into();
        assert!(
            matches!(in_order(&circle), Err(Failure::OutputCycle { paths }) if paths.len() == 2)
        );
    }
}
