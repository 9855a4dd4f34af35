//! Steps as bytes, for the way from drover to the keeper that performs them. Both are the same
//! program file, so there is no version: a byte for the kind, numbers as 8 bytes, texts with their
//! length before them. Reading never trusts: anything odd is `None`.

use bstr::BString;

use super::steps::Step;

/// The bytes of `steps`.
pub fn encode(steps: &[Step]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4096);
    for step in steps {
        write_step(&mut out, step);
    }
    out
}

fn write_step(out: &mut Vec<u8>, step: &Step) {
    match step {
        Step::NewSession => out.push(0),
        Step::DieWithKeeper => out.push(1),
        Step::Streams => out.push(2),
        Step::CloseOthers => out.push(3),
        Step::OpenFiles(soft, hard) => {
            out.push(4);
            number(out, *soft);
            number(out, *hard);
        }
        Step::NoCore => out.push(5),
        Step::Linux32 => out.push(6),
        Step::FixedAddresses => out.push(7),
        Step::Umask(mask) => {
            out.push(8);
            number(out, u64::from(*mask));
        }
        Step::Enter(folder) => {
            out.push(9);
            text(out, folder);
        }
        Step::CleanSignals => out.push(10),
        Step::Execute { program, argv, env } => {
            out.push(11);
            text(out, program);
            texts(out, argv);
            texts(out, env);
        }
    }
}

fn number(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(&n.to_ne_bytes());
}

fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn texts(out: &mut Vec<u8>, all: &[BString]) {
    number(out, all.len() as u64);
    for each in all {
        text(out, each);
    }
}

/// The steps in `bytes`.
pub fn decode(bytes: &[u8]) -> Option<Vec<Step>> {
    let mut rest = Reader(bytes);
    let mut steps = Vec::new();
    while let Some((kind, tail)) = rest.0.split_first() {
        rest.0 = tail;
        steps.push(rest.step(*kind)?);
    }
    Some(steps)
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn step(&mut self, kind: u8) -> Option<Step> {
        Some(match kind {
            0 => Step::NewSession,
            1 => Step::DieWithKeeper,
            2 => Step::Streams,
            3 => Step::CloseOthers,
            4 => Step::OpenFiles(self.number()?, self.number()?),
            5 => Step::NoCore,
            6 => Step::Linux32,
            7 => Step::FixedAddresses,
            8 => Step::Umask(self.number()?.try_into().ok()?),
            9 => Step::Enter(self.text()?),
            10 => Step::CleanSignals,
            11 => Step::Execute { program: self.text()?, argv: self.texts()?, env: self.texts()? },
            _ => return None,
        })
    }

    fn number(&mut self) -> Option<u64> {
        let (bytes, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_ne_bytes(*bytes))
    }

    fn text(&mut self) -> Option<BString> {
        let size = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(size)?;
        self.0 = rest;
        Some(bytes.into())
    }

    fn texts(&mut self) -> Option<Vec<BString>> {
        let count = self.number()?;
        (0..count).map(|_| self.text()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Step> {
        vec![
            Step::NewSession,
            Step::DieWithKeeper,
            Step::Streams,
            Step::CloseOthers,
            Step::OpenFiles(u64::MAX, 5),
            Step::NoCore,
            Step::Linux32,
            Step::FixedAddresses,
            Step::Umask(0o777),
            Step::Enter("/x".into()),
            Step::CleanSignals,
            Step::Execute {
                program: b"/\xff".into(),
                argv: vec!["".into(), "b".into()],
                env: vec![],
            },
        ]
    }

    #[test]
    fn every_step_comes_back() {
        let bytes = encode(&all());
        assert_eq!(decode(&bytes), Some(all()));
    }

    #[test]
    fn cut_or_odd_bytes_are_refused_or_shorter() {
        let bytes = encode(&all());
        for end in 0..bytes.len() {
            assert_ne!(decode(&bytes[..end]), Some(all()));
        }
        assert_eq!(decode(&[12]), None);
        let endless = [[11].as_slice(), &u64::MAX.to_ne_bytes()].concat();
        assert_eq!(decode(&endless), None);
    }
}
