//! The reference scan: which store paths does a stream of bytes name?
//!
//! A reference is the 32 base-32 digits of a candidate's hash part anywhere in the NAR of a tree:
//! contents, file names and symlink targets alike (`src/libutil/references.cc` of
//! Nix). Lengths and padding between them hold zero bytes, so no match ever spans two of them.
//! Knows nothing of where the bytes come from; pieces of any length give the same result as one.
//!
//! How: a window of 32 digits covers a whole block of 16 at any fixed phase, so blocks with a
//! byte outside the alphabet, nearly all in practice, are skipped without looking closer.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::StorePath;
use super::base32::is_digit;
use super::store_path::HASH_LEN;

/// Bytes that are looked at in one step. At most `(HASH_LEN + 1) / 2`.
const BLOCK: usize = 16;

/// The digits of a hash part.
pub type HashPart = [u8; HASH_LEN];

/// The hash part of `path` as bytes.
#[must_use]
pub fn hash_part(path: &StorePath) -> HashPart {
    let mut part = [0; HASH_LEN];
    part.copy_from_slice(path.hash_part().as_bytes());
    part
}

/// Looks for the hash parts of candidates in a stream.
pub struct Scanner {
    candidates: HashMap<HashPart, StorePath>,
    filter: Filter,
    found: BTreeSet<StorePath>,
    /// The last bytes of the stream, fewer than a hash part.
    tail: Vec<u8>,
}

impl Scanner {
    /// Prepares to look for `candidates`. Of those with equal hash parts the first one counts.
    #[must_use]
    pub fn new<'p>(candidates: impl IntoIterator<Item = &'p StorePath>) -> Self {
        let mut map = HashMap::new();
        for path in candidates {
            map.entry(hash_part(path)).or_insert_with(|| path.clone());
        }
        let filter = Filter::new(map.keys());
        let tail = Vec::with_capacity(2 * HASH_LEN);
        Self { candidates: map, filter, found: BTreeSet::new(), tail }
    }

    /// Scans the next piece of the stream.
    pub fn update(&mut self, data: &[u8]) {
        if self.candidates.is_empty() {
            return;
        }
        let mut seam = std::mem::take(&mut self.tail);
        if !seam.is_empty() {
            seam.extend_from_slice(&data[..data.len().min(HASH_LEN - 1)]);
            self.scan(&seam);
        }
        self.scan(data);
        if data.len() >= HASH_LEN - 1 {
            seam.clear();
            seam.extend_from_slice(&data[data.len() - (HASH_LEN - 1)..]);
        } else if seam.is_empty() {
            seam.extend_from_slice(data);
        } else {
            seam.drain(..seam.len().saturating_sub(HASH_LEN - 1));
        }
        self.tail = seam;
    }

    /// The candidates that were found so far.
    #[must_use]
    pub fn found(&self) -> BTreeSet<StorePath> {
        self.found.clone()
    }

    /// The candidates that were found, after the last piece.
    #[must_use]
    pub fn finish(self) -> BTreeSet<StorePath> {
        self.found
    }

    fn scan(&mut self, data: &[u8]) {
        each_run(data, |start, end| {
            for window in data[start..end].windows(HASH_LEN) {
                if !self.filter.may_have(window) {
                    continue;
                }
                // Found once is found: removing keeps repeated references cheap.
                if let Some(path) = self.candidates.remove(window) {
                    self.found.insert(path);
                }
            }
        });
    }
}

/// Replaces hash parts in a stream by others of the same length.
///
/// Bytes come out at most 31 later than they went in; [`Rewriter::finish`] gives the rest.
pub struct Rewriter {
    map: HashMap<HashPart, HashPart>,
    filter: Filter,
    pending: Vec<u8>,
}

impl Rewriter {
    /// Prepares to put each value in the place of its key.
    #[must_use]
    pub fn new(map: impl IntoIterator<Item = (HashPart, HashPart)>) -> Self {
        let map: HashMap<_, _> = map.into_iter().collect();
        let filter = Filter::new(map.keys());
        Self { map, filter, pending: Vec::new() }
    }

    /// Rewrites a whole piece in place, such as a name or a symlink's target.
    pub fn rewrite(&self, data: &mut [u8]) {
        let mut hits = Vec::new();
        each_run(data, |start, end| {
            let mut at = start;
            while at + HASH_LEN <= end {
                let window = &data[at..at + HASH_LEN];
                let to = if self.filter.may_have(window) { self.map.get(window) } else { None };
                at += match to {
                    Some(to) => {
                        hits.push((at, to));
                        HASH_LEN
                    }
                    None => 1,
                };
            }
        });
        for (at, to) in hits {
            data[at..at + HASH_LEN].copy_from_slice(to);
        }
    }

    /// Takes the next piece of a stream and returns what is certain by now.
    pub fn update(&mut self, data: &[u8]) -> Certain<'_> {
        self.pending.extend_from_slice(data);
        let mut pending = std::mem::take(&mut self.pending);
        self.rewrite(&mut pending);
        self.pending = pending;
        let certain = self.pending.len().saturating_sub(HASH_LEN - 1);
        Certain { pending: &mut self.pending, certain }
    }

    /// Ends the stream and returns its last bytes; the next piece begins another stream.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pending)
    }
}

/// Bytes of a rewritten stream that no later byte can change; gone from it once dropped.
pub struct Certain<'r> {
    pending: &'r mut Vec<u8>,
    certain: usize,
}

impl std::ops::Deref for Certain<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.pending[..self.certain]
    }
}

impl Drop for Certain<'_> {
    fn drop(&mut self) {
        self.pending.drain(..self.certain);
    }
}

/// Orders paths so that each comes after those of them that it refers to; a reference to itself
/// or to a path outside `references` does not count.
///
/// # Errors
/// The paths on a circle, each referring to the next and the last to the first.
pub fn sort_by_references(
    references: &BTreeMap<StorePath, BTreeSet<StorePath>>,
) -> Result<Vec<StorePath>, Vec<StorePath>> {
    let inner = |path: &StorePath| {
        let all = references.get(path).into_iter().flatten();
        let own = path.clone();
        all.filter(move |r| **r != own && references.contains_key(*r))
    };
    let mut sorted = Vec::with_capacity(references.len());
    let mut referrers: BTreeMap<&StorePath, Vec<&StorePath>> = BTreeMap::new();
    let mut waits: BTreeMap<&StorePath, usize> = BTreeMap::new();
    for path in references.keys() {
        waits.insert(path, inner(path).count());
        inner(path).for_each(|r| referrers.entry(r).or_default().push(path));
    }
    let mut ready: BTreeSet<&StorePath> =
        waits.iter().filter(|(_, n)| **n == 0).map(|(path, _)| *path).collect();
    while let Some(path) = ready.pop_first() {
        waits.remove(path);
        sorted.push(path.clone());
        for &referrer in referrers.get(path).into_iter().flatten() {
            if let Some(left) = waits.get_mut(referrer) {
                *left -= 1;
                if *left == 0 {
                    ready.insert(referrer);
                }
            }
        }
    }
    // Each path that still waits refers to another that waits: following leads into a circle.
    let mut trail: Vec<&StorePath> = waits.keys().next().copied().into_iter().collect();
    while let Some(&last) = trail.last() {
        let Some(next) = inner(last).find(|r| waits.contains_key(*r)) else { break };
        if let Some(start) = trail.iter().position(|p| *p == next) {
            return Err(trail[start..].iter().map(|p| (*p).clone()).collect());
        }
        trail.push(next);
    }
    Ok(sorted)
}

/// Calls `visit` with start and end of each longest run of at least 32 digits.
fn each_run(data: &[u8], mut visit: impl FnMut(usize, usize)) {
    let (blocks, rest) = data.as_chunks::<BLOCK>();
    // Up to where runs have been visited.
    let mut done = 0;
    for (n, block) in blocks.iter().enumerate() {
        if !all_digits(block) {
            continue;
        }
        let at = n * BLOCK;
        if at < done {
            continue;
        }
        let before = data[done..at].iter().rev().take_while(|&&b| is_digit(b)).count();
        let after = data[at + BLOCK..].iter().take_while(|&&b| is_digit(b)).count();
        done = at + BLOCK + after;
        if before + BLOCK + after >= HASH_LEN {
            visit(at - before, done);
        }
    }
    debug_assert!(rest.len() < BLOCK, "a run of 32 digits has a whole block");
}

/// Whether all bytes are digits. Written without branches so that it becomes vector code.
fn all_digits(block: &[u8; BLOCK]) -> bool {
    let mut all = 0xff_u8;
    for &b in block {
        let number = u8::from(b.wrapping_sub(b'0') < 10);
        let letter = u8::from(b.wrapping_sub(b'a') < 26);
        let hole = u8::from(b == b'e') | u8::from(b == b'o');
        let hole = hole | u8::from(b == b't') | u8::from(b == b'u');
        all &= number | (letter & !hole);
    }
    all & 1 == 1
}

/// A table that says of nearly all windows that they are no candidate, so that long runs of
/// digits (hex dumps, other hashes) cost no hashing.
struct Filter {
    bits: Vec<u64>,
    mask: u64,
}

impl Filter {
    fn new<'p>(parts: impl ExactSizeIterator<Item = &'p HashPart>) -> Self {
        let words = (parts.len() / 2).next_power_of_two().max(8);
        let mask = (words * 64 - 1) as u64;
        let mut filter = Self { bits: vec![0; words], mask };
        for part in parts {
            let bit = filter.bit(part);
            filter.bits[(bit / 64) as usize] |= 1 << (bit % 64);
        }
        filter
    }

    fn may_have(&self, window: &[u8]) -> bool {
        let bit = self.bit(window);
        self.bits[(bit / 64) as usize] >> (bit % 64) & 1 == 1
    }

    fn bit(&self, window: &[u8]) -> u64 {
        let mut first = [0; 8];
        first.copy_from_slice(&window[..8]);
        let mixed = u64::from_le_bytes(first).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) & self.mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> StorePath {
        StorePath::from_base_name(text.as_bytes()).unwrap()
    }

    fn candidates() -> Vec<StorePath> {
        vec![
            path("7h7qgvs4kgzsn8a6rb273saxyqh4jxlz-a"),
            path("00000000000000000000000000000000-b"),
            path("zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz-c"),
        ]
    }

    /// All windows, one by one: the definition.
    fn by_definition(data: &[u8], candidates: &[StorePath]) -> BTreeSet<StorePath> {
        let has = |p: &&StorePath| data.windows(32).any(|w| w == p.hash_part().as_bytes());
        candidates.iter().filter(has).cloned().collect()
    }

    #[test]
    fn digits_agree_with_the_alphabet() {
        for b in 0..=255 {
            let mut block = [b'0'; BLOCK];
            block[7] = b;
            assert_eq!(all_digits(&block), is_digit(b), "{b}");
        }
    }

    #[test]
    fn every_offset_and_every_cut() {
        let all = candidates();
        for offset in 0..40 {
            let mut data = vec![b'-'; offset];
            data.extend_from_slice(all[0].hash_part().as_bytes());
            data.extend_from_slice(b"1/x");
            for cut in 0..data.len() {
                let mut scanner = Scanner::new(&all);
                scanner.update(&data[..cut]);
                scanner.update(&data[cut..]);
                assert_eq!(scanner.found(), BTreeSet::from([all[0].clone()]), "{offset} {cut}");
            }
            let mut scanner = Scanner::new(&all);
            data.iter().for_each(|b| scanner.update(&[*b]));
            assert_eq!(scanner.finish().len(), 1, "byte by byte at {offset}");
        }
    }

    #[test]
    fn the_first_of_equal_hash_parts_counts() {
        let twins = [
            path("7h7qgvs4kgzsn8a6rb273saxyqh4jxlz-x"),
            path("7h7qgvs4kgzsn8a6rb273saxyqh4jxlz-a"),
        ];
        let mut scanner = Scanner::new(&twins);
        scanner.update(twins[0].hash_part().as_bytes());
        assert_eq!(scanner.finish(), BTreeSet::from([twins[0].clone()]));
    }

    #[test]
    fn references_come_first_and_circles_are_named() {
        let [a, b, c] = <[StorePath; 3]>::try_from(candidates()).unwrap();
        let outside = path("1h7qgvs4kgzsn8a6rb273saxyqh4jxlz-x");
        let set = |paths: &[&StorePath]| paths.iter().map(|p| (*p).clone()).collect();
        let mut graph: BTreeMap<StorePath, BTreeSet<StorePath>> = BTreeMap::from([
            (a.clone(), set(&[&a, &b, &outside])),
            (b.clone(), set(&[&c])),
            (c.clone(), set(&[])),
        ]);
        assert_eq!(sort_by_references(&graph), Ok(vec![c.clone(), b.clone(), a.clone()]));
        graph.insert(c.clone(), set(&[&b]));
        let mut circle = sort_by_references(&graph).unwrap_err();
        circle.sort();
        assert_eq!(circle, [b, c], "and not what merely leads to it");
    }

    #[test]
    fn rewrites_names() {
        let all = candidates();
        let rewriter = Rewriter::new([(hash_part(&all[0]), hash_part(&all[2]))]);
        let mut name = format!("x{}.{}", all[0], all[1]).into_bytes();
        rewriter.rewrite(&mut name);
        assert_eq!(name, format!("x{}-a.{}", all[2].hash_part(), all[1]).into_bytes());
    }

    proptest::proptest! {
        #[test]
        fn pieces_equal_the_definition(
            // Few kinds of pieces, so that digits, parts of hashes and whole ones meet.
            kinds in proptest::collection::vec(0_usize..8, 0..60),
            step in 1_usize..80,
        ) {
            let all = candidates();
            let mut data = Vec::new();
            for kind in kinds {
                match kind {
                    0..3 => data.extend_from_slice(all[kind].hash_part().as_bytes()),
                    3..5 => data.extend_from_slice(&all[kind - 3].hash_part().as_bytes()[..17]),
                    5 => data.push(b'e'),
                    _ => data.push(b'0'),
                }
            }
            let mut scanner = Scanner::new(&all);
            data.chunks(step).for_each(|piece| scanner.update(piece));
            proptest::prop_assert_eq!(scanner.found(), by_definition(&data, &all));

            let map = [(hash_part(&all[0]), [b'1'; 32])];
            let mut whole = data.clone();
            Rewriter::new(map).rewrite(&mut whole);
            let mut rewriter = Rewriter::new(map);
            let mut pieces = Vec::new();
            for piece in data.chunks(step) {
                pieces.extend_from_slice(&rewriter.update(piece));
            }
            pieces.extend(rewriter.finish());
            proptest::prop_assert_eq!(pieces, whole);
        }
    }
}
