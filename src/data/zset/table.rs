//! The large form of a sorted set: records, an index to find them by member, and a tree that keeps
//! them in order.
//!
//! A handle is the number of a record. Records lie close together: the last one takes the place of
//! one that is removed. So memory follows the number of members down as well as up, and a random
//! handle is a random member. The record holds the member's bytes, once; index and tree hold the
//! handle. A member of 16 bytes takes 32 bytes in its record, 6 to 7 in the index and about 15 in
//! the tree.
//!
//! A clone shares everything, and a change to one of them copies only the blocks and nodes on its
//! way.
//!
//! Invariants: tree and index hold each handle below the number of records exactly once; the tree
//! is in the order of scores, and of members where these are equal; no score is NaN.

use crate::base::hash::Seed;
use crate::base::small::SmallBytes;
use crate::data::zset::blocks::Blocks;
use crate::data::zset::index::Index;
use crate::data::zset::tree::{Item, Tree};
use std::cmp::Ordering;
use std::ops::Range;

/// A member with its score.
#[derive(Clone, Default)]
struct Record {
    score: f64,
    member: SmallBytes,
}

/// A sorted set of any size.
#[derive(Clone)]
pub struct Table {
    seed: Seed,
    records: Blocks<Record>,
    index: Index,
    tree: Tree,
    /// Bytes of the members that do not fit into their records.
    outside: usize,
}

/// The order of members: by score, then by bytes.
pub fn order(score: f64, member: &[u8], other_score: f64, other: &[u8]) -> Ordering {
    score.partial_cmp(&other_score).unwrap_or(Ordering::Equal).then_with(|| member.cmp(other))
}

impl Table {
    /// An empty one.
    pub fn new() -> Table {
        Table {
            seed: Seed::random(),
            records: Blocks::default(),
            index: Index::default(),
            tree: Tree::default(),
            outside: 0,
        }
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    fn record(&self, handle: u32) -> &Record {
        self.records.get(handle as usize)
    }

    fn member(&self, handle: u32) -> &[u8] {
        self.record(handle).member.as_slice()
    }

    fn find(&self, member: &[u8]) -> Option<u32> {
        self.find_hashed(self.seed.hash(member), member)
    }

    fn find_hashed(&self, hash: u64, member: &[u8]) -> Option<u32> {
        self.index.find(hash, |handle| self.member(handle) == member)
    }

    /// The score of a member.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        Some(self.record(self.find(member)?).score)
    }

    /// The number of members before this one, which need not be there.
    pub fn rank(&self, score: f64, member: &[u8]) -> usize {
        self.tree.partition_point(|item| {
            let before = item.score().partial_cmp(&score).unwrap_or(Ordering::Equal);
            before.then_with(|| self.member(item.handle).cmp(member)).is_lt()
        })
    }

    /// The number of members for whose scores `before` holds, if they are the first ones.
    pub fn rank_by_score(&self, before: impl Fn(f64) -> bool) -> usize {
        self.tree.partition_point(|item| before(item.score()))
    }

    /// The number of members for which `before` holds, if they are the first ones.
    pub fn rank_by_member(&self, before: impl Fn(&[u8]) -> bool) -> usize {
        self.tree.partition_point(|item| before(self.member(item.handle)))
    }

    /// Adds a member that is not there yet and comes behind all others.
    pub fn push(&mut self, member: &[u8], score: f64) {
        self.add_at(self.len(), self.seed.hash(member), member, score);
    }

    fn add_at(&mut self, at: usize, hash: u64, member: &[u8], score: f64) {
        let handle = u32::try_from(self.len()).expect("memory ends before handles do");
        let record = Record { score, member: SmallBytes::new(member) };
        self.outside += record.member.heap_size();
        self.records.push(record);
        let (records, seed) = (&self.records, &self.seed);
        let hash_of = |handle: u32| seed.hash(records.get(handle as usize).member.as_slice());
        self.index.insert(hash, handle, hash_of);
        self.tree.insert(at, Item::new(score, handle));
    }

    /// Adds a member, or gives it another score; the score that it had.
    pub fn set(&mut self, member: &[u8], score: f64) -> Option<f64> {
        let hash = self.seed.hash(member);
        let Some(handle) = self.find_hashed(hash, member) else {
            self.add_at(self.rank(score, member), hash, member, score);
            return None;
        };
        let old = self.record(handle).score;
        if old != score {
            self.move_to(handle, old, member, score);
        }
        Some(old)
    }

    fn move_to(&mut self, handle: u32, old: f64, member: &[u8], score: f64) {
        let (from, to) = (self.rank(old, member), self.rank(score, member));
        self.records.get_mut(handle as usize).score = score;
        let item = Item::new(score, handle);
        if to == from || to == from + 1 {
            self.tree.replace(from, item);
        } else {
            self.tree.remove(from);
            self.tree.insert(if to > from { to - 1 } else { to }, item);
        }
    }

    /// Removes a member; the score that it had.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let handle = self.find(member)?;
        let score = self.record(handle).score;
        self.remove_at(self.rank(score, member));
        Some(score)
    }

    /// Removes the member with this rank.
    pub fn remove_at(&mut self, rank: usize) {
        let handle = self.tree.remove(rank).handle;
        self.index.remove(self.seed.hash(self.member(handle)), handle);
        let Some(last) = self.records.pop() else { return };
        let moved = self.records.len() as u32;
        if handle == moved {
            self.outside -= last.member.heap_size();
            return;
        }
        // The last record takes the place of the removed one.
        let member = last.member.as_slice();
        self.index.replace(self.seed.hash(member), moved, handle);
        let place = self.tree.partition_point(|item| {
            let other: &[u8] = if item.handle == moved { member } else { self.member(item.handle) };
            order(item.score(), other, last.score, member).is_lt()
        });
        self.tree.replace(place, Item::new(last.score, handle));
        let removed = std::mem::replace(self.records.get_mut(handle as usize), last);
        self.outside -= removed.member.heap_size();
    }

    /// Visits the members with these ranks in their order.
    pub fn each(&self, ranks: Range<usize>, mut visit: impl FnMut(&[u8], f64)) {
        let (mut at, end) = (ranks.start, ranks.end.min(self.len()));
        while at < end {
            let (leaf, offset) = self.tree.leaf(at);
            let items = &leaf[offset..leaf.len().min(offset + end - at)];
            for item in items {
                visit(self.member(item.handle), item.score());
            }
            at += items.len();
        }
    }

    /// Visits the members with these ranks from the last to the first.
    pub fn each_back(&self, ranks: Range<usize>, mut visit: impl FnMut(&[u8], f64)) {
        let mut end = ranks.end.min(self.len());
        while end > ranks.start {
            let (leaf, offset) = self.tree.leaf(end - 1);
            let items = &leaf[(offset + 1).saturating_sub(end - ranks.start)..=offset];
            for item in items.iter().rev() {
                visit(self.member(item.handle), item.score());
            }
            end -= items.len();
        }
    }

    /// The member with a handle below the length.
    pub fn by_handle(&self, handle: usize) -> (&[u8], f64) {
        let record = self.records.get(handle);
        (record.member.as_slice(), record.score)
    }

    /// One step of a scan, as [`Index::scan`] makes it.
    pub fn scan(&self, cursor: u64, mut visit: impl FnMut(&[u8], f64)) -> (u64, usize) {
        self.index.scan(cursor, |handle| {
            let record = self.record(handle);
            visit(record.member.as_slice(), record.score);
        })
    }

    /// Bytes on the heap.
    pub fn heap_size(&self) -> usize {
        size_of::<Table>()
            + self.records.heap_size()
            + self.index.heap_size()
            + self.tree.heap_size()
            + self.outside
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use std::collections::BTreeMap;

    fn all(table: &Table) -> Vec<(Vec<u8>, f64)> {
        let mut all = Vec::new();
        table.each(0..usize::MAX, |member, score| all.push((member.to_vec(), score)));
        all
    }

    fn in_order(model: &BTreeMap<Vec<u8>, f64>) -> Vec<(Vec<u8>, f64)> {
        let mut all: Vec<_> =
            model.iter().map(|(member, score)| (member.clone(), *score)).collect();
        all.sort_by(|a, b| order(a.1, &a.0, b.1, &b.0));
        all
    }

    #[test]
    fn random_changes_agree_with_a_map() {
        let mut rng = Rng::seeded(3);
        let (mut table, mut model) = (Table::new(), BTreeMap::new());
        assert_eq!(size_of::<Record>(), 32);
        for phase in 0..8 {
            for _ in 0..1_500 {
                let random = rng.next_u64();
                let name = format!("{}-{:0width$}", random % 900, 0, width = random as usize % 30);
                let score = (rng.next_u64() % 40) as f64 - 20.0;
                if phase % 4 != 3 {
                    assert_eq!(table.set(name.as_bytes(), score), model.insert(name.into(), score));
                } else {
                    assert_eq!(table.remove(name.as_bytes()), model.remove(name.as_bytes()));
                    if !model.is_empty() {
                        let rank = rng.next_u64() as usize % model.len();
                        let member = all_at(&table, rank);
                        table.remove_at(rank);
                        assert!(model.remove(&member).is_some());
                    }
                }
            }
            let expected = in_order(&model);
            assert_eq!(all(&table), expected);
            for (rank, (member, score)) in expected.iter().enumerate().step_by(7) {
                assert_eq!(table.score(member), Some(*score));
                assert_eq!(table.rank(*score, member), rank);
            }
            let outside: usize = expected.iter().map(|(m, _)| m.len()).filter(|l| *l > 22).sum();
            assert_eq!(table.outside, outside);
        }
    }

    fn all_at(table: &Table, rank: usize) -> Vec<u8> {
        let mut found = Vec::new();
        table.each(rank..rank + 1, |member, _| found = member.to_vec());
        found
    }

    #[test]
    fn ranges_are_visited_in_both_directions() {
        let mut table = Table::new();
        for number in 0..500 {
            table.set(format!("{number:03}").as_bytes(), f64::from(number));
        }
        for range in [0..0, 0..1, 3..400, 63..65, 499..500, 0..500, 490..700, 600..700] {
            let (mut there, mut back) = (Vec::new(), Vec::new());
            table.each(range.clone(), |_, score| there.push(score as usize));
            table.each_back(range.clone(), |_, score| back.push(score as usize));
            back.reverse();
            let expected: Vec<usize> = range.filter(|n| *n < 500).collect();
            assert_eq!((&there, &back), (&expected, &expected));
        }
    }

    #[test]
    fn clones_are_apart() {
        let mut table = Table::new();
        for number in 0..3_000u32 {
            table.set(&number.to_be_bytes(), f64::from(number % 7));
        }
        let clone = table.clone();
        let before = all(&clone);
        for number in 0..3_000u32 {
            if number % 3 == 0 {
                table.remove(&number.to_be_bytes());
            } else {
                table.set(&number.to_be_bytes(), f64::from(number));
            }
        }
        assert_eq!(all(&clone), before);
        assert!((0..3_000u32).all(|n| clone.score(&n.to_be_bytes()) == Some(f64::from(n % 7))));
        assert_eq!(table.len(), 2_000);
    }
}
