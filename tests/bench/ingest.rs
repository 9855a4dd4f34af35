//! What ingest costs beside its floor: `cargo bench --bench ingest [-- FOLDER [MIB]]`.
//!
//! Prints, as minima over three interleaved rounds, the seconds of SHA-256 alone over one large
//! file (random and text) with the same library and of its ingest with 200 candidates, their
//! ratio, the scan alone, and 20,000 small files. FOLDER should be memory-backed (default
//! /dev/shm).

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use drover::base::Cancel;
use drover::format::refs::Scanner;
use drover::format::{Algorithm, StorePath, base32, hash::Hasher};
use drover::store::canonicalise::{InodesSeen, Rules};
use drover::store::ingest::{IngestRequest, ingest};

const PIECE: usize = 256 * 1024;

/// Appends one piece of contents.
type Fill = fn(&mut Noise, &mut Vec<u8>);
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// A generator that needs no crate: xorshift.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn candidates() -> Outcome<BTreeSet<StorePath>> {
    let mut noise = Noise(77);
    let mut all = BTreeSet::new();
    for n in 0..200 {
        let mut digest = [0; 20];
        digest.fill_with(|| noise.next() as u8);
        let base = format!("{}-candidate-{n}", base32::encode(&digest));
        all.insert(StorePath::from_base_name(base.as_bytes())?);
    }
    Ok(all)
}

fn random(noise: &mut Noise, piece: &mut Vec<u8>) {
    while piece.len() < PIECE {
        piece.extend_from_slice(&noise.next().to_le_bytes());
    }
}

fn text(noise: &mut Noise, piece: &mut Vec<u8>) {
    let words: [&[u8]; 16] = [
        b"static",
        b"int",
        b"main(",
        b"return",
        b"pkgs",
        b"lib",
        b"0x1f",
        b"=",
        b"{\n",
        b"};\n",
        b"include",
        b"mkDerivation",
        b"/bin/sh",
        b"lvxhs",
        b"src",
        b"#define",
    ];
    while piece.len() < PIECE {
        piece.extend_from_slice(words[(noise.next() >> 20) as usize % words.len()]);
        piece.push(b' ');
    }
    piece.truncate(PIECE);
}

fn make(path: &Path, mib: usize, fill: Fill) -> Outcome<()> {
    let mut noise = Noise(42);
    let mut file = fs::File::create(path)?;
    for _ in 0..mib * 4 {
        let mut piece = Vec::with_capacity(PIECE + 16);
        fill(&mut noise, &mut piece);
        file.write_all(&piece)?;
    }
    Ok(())
}

fn seconds<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64())
}

fn each_piece(path: &Path, mut take: impl FnMut(&[u8])) -> Outcome<()> {
    let mut file = fs::File::open(path)?;
    let mut piece = vec![0; PIECE];
    loop {
        let got = file.read(&mut piece)?;
        if got == 0 {
            return Ok(());
        }
        take(&piece[..got]);
    }
}

fn hash_alone(path: &Path) -> Outcome<()> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    each_piece(path, |piece| hasher.update(piece))?;
    std::hint::black_box(hasher.finish());
    Ok(())
}

fn scan_alone(path: &Path, all: &BTreeSet<StorePath>) -> Outcome<()> {
    let mut scanner = Scanner::new(all);
    each_piece(path, |piece| scanner.update(piece))?;
    std::hint::black_box(scanner.finish());
    Ok(())
}

fn whole(path: &Path, all: &BTreeSet<StorePath>) -> Outcome<()> {
    let rules = Rules { owner: None, ignored_acls: &[] };
    let cancel = &Cancel::new()?;
    let request = IngestRequest { path, candidates: all, fixed: None, rules, cancel };
    std::hint::black_box(ingest(&request, &mut InodesSeen::default())?);
    Ok(())
}

fn small_files(top: &Path) -> Outcome<()> {
    let mut noise = Noise(5);
    for dir in 0..200 {
        let dir = top.join(format!("d{dir}"));
        fs::create_dir_all(&dir)?;
        for file in 0..100 {
            let mut piece = Vec::new();
            text(&mut noise, &mut piece);
            piece.truncate(500 + (noise.next() % 4000) as usize);
            fs::write(dir.join(format!("f{file}")), piece)?;
        }
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "its output is what it is for")]
fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let folder = args.first().map_or_else(|| PathBuf::from("/dev/shm"), PathBuf::from);
    let mib = args.get(1).map_or(Ok(1024), |n| n.parse())?;
    let all = candidates()?;
    let temp = tempfile::tempdir_in(folder)?;
    let kinds: [(&str, Fill); 2] = [("random", random), ("text", text)];
    for (name, fill) in kinds {
        let path = temp.path().join(name);
        make(&path, mib, fill)?;
        let mut least = [f64::MAX; 3];
        for _ in 0..3 {
            least[0] = least[0].min(seconds(|| hash_alone(&path))?);
            least[1] = least[1].min(seconds(|| scan_alone(&path, &all))?);
            least[2] = least[2].min(seconds(|| whole(&path, &all))?);
        }
        let [hash, scan, ingest] = least;
        let ratio = ingest / hash;
        println!("{name} {mib} MiB: sha256 {hash:.3} s, scan {scan:.3} s, ingest {ingest:.3} s");
        println!("{name} {mib} MiB: ingest is {ratio:.2} x sha256 alone");
        fs::remove_file(&path)?;
    }
    let mut least = f64::MAX;
    for round in 0..3 {
        let top = temp.path().join(format!("small-{round}"));
        small_files(&top)?;
        least = least.min(seconds(|| whole(&top, &all))?);
    }
    println!("20,000 small files: ingest {least:.3} s");
    Ok(())
}
