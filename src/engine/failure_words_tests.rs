use std::collections::BTreeSet;

use super::*;
use crate::format::Hash;

fn path(name: &str) -> StorePath {
    StorePath::from_parts(&[1; 20], name).unwrap()
}

/// One of each kind.
fn all() -> Vec<Failure> {
    let hash = Hash::sha256(b"");
    let (p, n) = (path("x"), path("x.drv"));
    vec![
        Failure::ExitCode(3),
        Failure::Signal(9),
        Failure::CannotStart { step: "executing `/bin/x`".into(), cause: "No such file".into() },
        Failure::Silence { limit: 5 },
        Failure::Timeout { limit: 6 },
        Failure::LogLimit { limit: 7 },
        Failure::MissingOutput { output: "out".into(), path: p.clone() },
        Failure::BadOutput { output: "out".into(), file: "/f".into(), why: "mode 777".into() },
        Failure::HashMismatch {
            path: p.clone(),
            specified: hash.into(),
            got: Hash::sha256(b"a").into(),
        },
        Failure::FixedOutputRefers { path: p.clone(), references: vec![n.clone()] },
        Failure::ForbiddenReferences {
            path: p.clone(),
            rule: ReferenceRule::AllowedReferences,
            forbidden: vec![n],
        },
        Failure::TooLarge { path: p.clone(), rule: SizeRule::Closure, size: 9, limit: 8 },
        Failure::OutputCycle { paths: vec![p.clone()] },
        Failure::NotDeterministic {
            path: p.clone(),
            first_difference: "/bin/x".into(),
            kept: Some("/k".into()),
        },
        Failure::CheckImpossible { missing: vec![p] },
        Failure::BadDerivation("no outputs".into()),
        Failure::NotSupported("impure derivations".into()),
        Failure::MissingDerivation,
        Failure::NoSubstituter,
        Failure::SubstitutesFailed,
        Failure::InputsFailed { count: 2 },
        Failure::NobodyCanBuild { needs: "'m68k-linux'".into(), offered: "'x86_64-linux'".into() },
        Failure::InappropriatePostpone,
        Failure::NoSpace { place: "/nix/store".into() },
        Failure::Cancelled,
        Failure::Engine("thread cannot be made".into()),
    ]
}

#[test]
fn every_failure_has_words_and_a_kind_of_its_own() {
    let dir = StoreDir::default();
    let mut kinds = BTreeSet::new();
    for failure in all() {
        assert!(kinds.insert(kind(&failure)), "{failure:?}");
        assert!(!short(&failure).is_empty() && !short(&failure).contains('\n'));
        assert!(!long(&failure, &path("x.drv"), &dir).is_empty());
    }
    assert_eq!(kinds.len(), 26);
}

#[test]
fn sentences_of_nix_are_kept() {
    let dir = StoreDir::default();
    let goal = path("x.drv");
    let of = |kind_of: &str| {
        let failure = all().into_iter().find(|f| kind(f) == kind_of).unwrap();
        long(&failure, &goal, &dir)
    };
    let drv = dir.print(&goal);
    let out = dir.print(&path("x"));
    assert_eq!(of("exit-code"), "builder failed with exit code 3");
    assert_eq!(of("signal"), "builder failed due to signal 9 (SIGKILL)");
    assert_eq!(
        of("cannot-start"),
        "cannot set up the build environment: in step executing `/bin/x`: No such file; a builder \
         is the full path of a program that is here, with the interpreter it names"
    );
    assert_eq!(of("bad-output"), "'/f': mode 777; rejecting output 'out'");
    assert_eq!(of("timeout"), "timed out after 6 seconds");
    assert_eq!(
        of("log-limit"),
        format!("{drv} killed after writing more than 7 bytes of log output")
    );
    let want =
        format!("builder for '{drv}' failed to produce output path for output 'out' at '{out}'");
    assert_eq!(of("missing-output"), want);
    assert!(of("hash-mismatch").starts_with(&format!(
        "hash mismatch in fixed-output derivation '{drv}':\n  specified: sha256-47DEQ"
    )));
    let want = format!("closure of path '{out}' is too large at 9 bytes; limit is 8 bytes");
    assert_eq!(of("too-large"), want);
    let want = format!(
        "derivation '{drv}' may not be deterministic: output '{out}' differs from '/k'\n  \
         first difference: /bin/x"
    );
    assert_eq!(of("not-deterministic"), want);
    assert_eq!(
        of("inputs-failed"),
        format!("Cannot build '{drv}'. Reason: 2 dependencies failed.")
    );
}

#[test]
fn bits_are_those_of_nix() {
    let code = |kind_of: &str| {
        let failure = all().into_iter().find(|f| kind(f) == kind_of).unwrap();
        bits(&failure)
    };
    let cases = [
        ("exit-code", 4),
        ("too-large", 4),
        ("timeout", 5),
        ("silence", 5),
        ("hash-mismatch", 6),
        ("not-deterministic", 8),
        ("not-supported", 4),
        ("no-space", 0),
        ("engine", 0),
        ("substitutes-failed", 0),
        ("inputs-failed", 0),
    ];
    cases.into_iter().for_each(|(kind, want)| assert_eq!(code(kind), want, "{kind}"));
}

#[test]
fn details_are_numbers_and_paths() {
    let failures = all();
    assert_eq!(details(&failures[0]).exit_code, Some(3));
    assert_eq!(details(&failures[1]).signal, Some(9));
    assert_eq!(details(&failures[4]).limit, Some(6));
    assert_eq!(details(&failures[10]).paths, [path("x.drv")]);
    assert_eq!(details(&failures[11]).limit, Some(8));
    assert_eq!(details(&failures[25]), Details::default());
}
