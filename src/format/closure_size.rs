//! How many bytes each of many paths needs with all that it refers to.
//!
//! Closures overlap, so sizes do not add up along references. What saves the walk for each path:
//! one that refers to one other path needs that path's closure and itself, and 64 of the rest go
//! through the graph together, a bit each. Pure; knows no store. References that are not among the
//! paths given count nothing.

use std::collections::BTreeMap;

use super::{StorePath, ValidPathInfo};

/// Paths that share a walk: the bits of a word.
const TOGETHER: usize = 64;

/// A path: its bytes and the places of what it refers to, itself left out.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    size: u64,
    references: Vec<usize>,
}

/// Bytes of the NARs of each of `infos` with all that it reaches among them; those of one path are
/// counted once.
#[must_use]
pub fn closure_sizes(infos: &BTreeMap<StorePath, ValidPathInfo>) -> BTreeMap<StorePath, u64> {
    let places: BTreeMap<&StorePath, usize> = infos.keys().zip(0..).collect();
    let node = |(place, info): (usize, &ValidPathInfo)| {
        let references = info.references.iter().filter_map(|path| places.get(path).copied());
        Node { size: info.nar_size, references: references.filter(|&to| to != place).collect() }
    };
    let nodes: Vec<Node> = infos.values().enumerate().map(node).collect();
    let totals = match references_first(&nodes) {
        Some(order) => in_order(&nodes, &order),
        None => one_by_one(&nodes),
    };
    infos.keys().cloned().zip(totals).collect()
}

/// Places of all nodes, each after those that it refers to; `None` if references go in a circle,
/// which no store should have.
fn references_first(nodes: &[Node]) -> Option<Vec<usize>> {
    let mut order = Vec::with_capacity(nodes.len());
    let mut rank = vec![usize::MAX; nodes.len()];
    let mut seen = vec![false; nodes.len()];
    for root in 0..nodes.len() {
        // A node and which of its references comes next.
        let mut open = if seen[root] { Vec::new() } else { vec![(root, 0)] };
        seen[root] = true;
        while let Some((at, next)) = open.last_mut() {
            match nodes[*at].references.get(*next) {
                Some(&to) => {
                    *next += 1;
                    if !std::mem::replace(&mut seen[to], true) {
                        open.push((to, 0));
                    }
                }
                None => {
                    rank[*at] = order.len();
                    order.push(*at);
                    open.pop();
                }
            }
        }
    }
    let forward =
        |(at, node): (usize, &Node)| node.references.iter().all(|&to| rank[to] < rank[at]);
    nodes.iter().enumerate().all(forward).then_some(order)
}

/// For graphs without circles. `order` has each node after its references.
fn in_order(nodes: &[Node], order: &[usize]) -> Vec<u64> {
    let mut totals = vec![0; nodes.len()];
    let branches: Vec<usize> =
        (0..order.len()).filter(|&rank| nodes[order[rank]].references.len() > 1).collect();
    for ranks in branches.chunks(TOGETHER) {
        walk_together(nodes, order, ranks, &mut totals);
    }
    for &at in order {
        let node = &nodes[at];
        match node.references[..] {
            [] => totals[at] = node.size,
            [only] => totals[at] = node.size.saturating_add(totals[only]),
            _ => {}
        }
    }
    totals
}

/// Sums what each of the nodes at `ranks` of the order reaches.
fn walk_together(nodes: &[Node], order: &[usize], ranks: &[usize], totals: &mut [u64]) {
    let Some(&last) = ranks.last() else { return };
    let mut reached_by = vec![0_u64; nodes.len()];
    for (bit, &rank) in ranks.iter().enumerate() {
        reached_by[order[rank]] |= 1 << bit;
    }
    // Neighbours in the order are mostly reached by the same nodes: their bytes are added up
    // before they are given to each of those.
    let (mut same, mut bytes) = (0_u64, 0_u64);
    let mut give = |mask: u64, bytes: u64| {
        let mut left = mask;
        while left != 0 {
            let total = &mut totals[order[ranks[left.trailing_zeros() as usize]]];
            *total = total.saturating_add(bytes);
            left &= left - 1;
        }
    };
    for &at in order[..=last].iter().rev() {
        let mask = reached_by[at];
        if mask == 0 {
            continue;
        }
        if mask != same {
            give(same, bytes);
            (same, bytes) = (mask, 0);
        }
        bytes = bytes.saturating_add(nodes[at].size);
        nodes[at].references.iter().for_each(|&to| reached_by[to] |= mask);
    }
    give(same, bytes);
}

/// For any graph: a walk for each node.
fn one_by_one(nodes: &[Node]) -> Vec<u64> {
    // Who saw a node last: no set has to be emptied between the walks.
    let mut seen = vec![usize::MAX; nodes.len()];
    let size = |root: usize| {
        let (mut total, mut open) = (0_u64, vec![root]);
        seen[root] = root;
        while let Some(at) = open.pop() {
            total = total.saturating_add(nodes[at].size);
            for &to in &nodes[at].references {
                if std::mem::replace(&mut seen[to], root) != root {
                    open.push(to);
                }
            }
        }
        total
    };
    (0..nodes.len()).map(size).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn totals(nodes: &[Node]) -> Vec<u64> {
        in_order(nodes, &references_first(nodes).expect("no circle"))
    }

    /// References only to places below, so there is no circle; each node's size is a power of its
    /// own in a small graph, so a sum tells exactly what is in it.
    fn graph(references: &[Vec<usize>]) -> Vec<Node> {
        let node = |(place, to): (usize, &Vec<usize>)| {
            let mut references: Vec<usize> =
                to.iter().filter(|_| place > 0).map(|to| to % place.max(1)).collect();
            references.sort_unstable();
            references.dedup();
            Node { size: 3 + (place * place) as u64, references }
        };
        references.iter().enumerate().map(node).collect()
    }

    proptest! {
        #[test]
        fn many_at_once_are_as_one_by_one(
            references in proptest::collection::vec(
                proptest::collection::vec(0_usize..1000, 0..4), 0..300)
        ) {
            let nodes = graph(&references);
            prop_assert_eq!(totals(&nodes), one_by_one(&nodes));
        }
    }

    #[test]
    fn what_is_shared_counts_once_and_circles_end() {
        let node = |size, references: &[usize]| Node { size, references: references.to_vec() };
        let diamond = [node(1, &[1, 2]), node(10, &[3]), node(100, &[3]), node(1000, &[])];
        assert_eq!(totals(&diamond), [1111, 1010, 1100, 1000]);
        let circle = [node(1, &[1]), node(10, &[0, 2]), node(100, &[])];
        assert_eq!(references_first(&circle), None);
        assert_eq!(one_by_one(&circle), [111, 111, 100]);
        assert_eq!(totals(&[]), [0; 0]);
    }

    #[test]
    fn a_long_chain_takes_no_walk_a_path() {
        // A walk for each of these would be 5e9 steps: minutes in a debug build.
        let most = 100_000_usize;
        let below = |place: usize| place.checked_sub(1).into_iter().collect();
        let chain: Vec<Node> =
            (0..most).map(|place| Node { size: 1, references: below(place) }).collect();
        assert_eq!(totals(&chain)[most - 1], most as u64);
    }

    #[test]
    fn a_dense_graph_is_walked_by_many_at_once() {
        // A walk for each: 4e8 steps and more.
        let most = 20_000_usize;
        let references = |place: usize| {
            let mut to: Vec<usize> =
                [1, 2, 17].iter().filter_map(|d| place.checked_sub(*d)).collect();
            to.dedup();
            to
        };
        let dense: Vec<Node> =
            (0..most).map(|place| Node { size: 1, references: references(place) }).collect();
        let all: Vec<u64> = (1..=most as u64).collect();
        assert_eq!(totals(&dense), all);
    }
}
