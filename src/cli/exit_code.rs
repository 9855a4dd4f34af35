//! The exit code of a run: 0, 1, 96 + bits, or 128 + the signal that stopped it.
//!
//! Scripts depend on these numbers: `--help`, the manual page and README repeat the table here, and
//! they agree with the bits of Nix's `build` commands. A failure of a derivation outweighs an error
//! of our own, and an interruption both, since then nothing is known of what was left.

use crate::engine::report::{RunReport, Status};

use crate::engine::failure_words;

/// The table as `--help` prints it and README repeats it.
pub const EXIT_CODES: &str = "\
Exit codes:
  0        all is there
  1        an error of drover's own, no space left, or a source of paths failed
  2        wrong usage
  96+bits  derivations failed, bits or-ed over all failures:
             4  a derivation failed, or is of a kind that is not built yet (100)
             1  and it was a time limit (101)
             2  and it was the hash of a fixed output (102)
             8  a second build made something else (104)
  130/143  interrupted by SIGINT / SIGTERM";

/// The code as README and `--help` explain it.
#[must_use]
pub fn exit_code(report: &RunReport) -> u8 {
    if let Some(signal) = report.interrupted {
        return u8::try_from(128 + signal).unwrap_or(u8::MAX);
    }
    let bits = report.failures.iter().fold(0, |bits, f| bits | failure_words::bits(&f.failure));
    let there =
        |status| matches!(status, Status::Built | Status::AlreadyValid | Status::Substituted);
    if bits != 0 {
        96 | bits
    } else if report.error.is_some()
        || !report.failures.is_empty()
        || report.targets.iter().any(|target| !there(target.status))
    {
        1
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::report::FailureReport;
    use crate::format::{Hash, StorePath};
    use crate::machine::Failure;

    fn of(failures: &[Failure]) -> RunReport {
        let path = StorePath::from_parts(&[1; 20], "x.drv").unwrap();
        let report = |failure: &Failure| FailureReport {
            path: path.clone(),
            failure: failure.clone(),
            blocked: 0,
            outputs: std::collections::BTreeMap::new(),
            log: None,
            times: None,
            last_lines: Vec::new(),
        };
        RunReport { failures: failures.iter().map(report).collect(), ..RunReport::default() }
    }

    #[test]
    fn codes_are_those_of_nix() {
        let path = StorePath::from_parts(&[1; 20], "x").unwrap();
        let hash = Hash::sha256(b"");
        let exit = Failure::ExitCode(1);
        let timeout = Failure::Timeout { limit: 1 };
        let mismatch =
            Failure::HashMismatch { path: path.clone(), specified: hash.into(), got: hash.into() };
        let kept = None;
        let differs = Failure::NotDeterministic { path, first_difference: String::new(), kept };
        let space = Failure::NoSpace { place: "/".into() };
        let cases: [(&[Failure], u8); 10] = [
            (&[], 0),
            (std::slice::from_ref(&exit), 100),
            (std::slice::from_ref(&timeout), 101),
            (std::slice::from_ref(&mismatch), 102),
            (std::slice::from_ref(&differs), 104),
            (&[timeout.clone(), mismatch.clone()], 103),
            (&[exit.clone(), differs.clone()], 108),
            (std::slice::from_ref(&space), 1),
            (&[space.clone(), exit.clone()], 100),
            (&[Failure::SubstitutesFailed, Failure::Engine("x".into())], 1),
        ];
        for (failures, want) in cases {
            assert_eq!(exit_code(&of(failures)), want, "{failures:?}");
        }
    }

    #[test]
    fn stops_and_errors_have_codes() {
        for (signal, want) in [(2, 130), (15, 143)] {
            let report = of(&[Failure::ExitCode(1)]);
            assert_eq!(exit_code(&RunReport { interrupted: Some(signal), ..report }), want);
        }
        let error = Some("the database is of a newer schema".to_owned());
        assert_eq!(exit_code(&RunReport { error, ..of(&[]) }), 1);
    }
}
