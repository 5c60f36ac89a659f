//! The sorted set: members with scores, in the order of scores and, where these are equal, of
//! bytes.
//!
//! A small one is a listpack of members and scores in turn, as Redis has it; a large one is a
//! [`Table`]. Which one it is, is decided by the limits that come with each change; a large one
//! stays large.
//!
//! Must not know commands or options. Invariants: no member is there twice, no score is NaN, a
//! listpack has a score behind each member, and is in order.

mod blocks;
mod index;
mod packed;
pub mod range;
mod table;
mod tree;

use crate::base::rng::Rng;
use crate::data::Limits;
use crate::data::listpack::Listpack;
use packed::Packed;
pub use range::{LexRange, ScoreRange};
use std::ops::Range;
use std::sync::Arc;
use table::Table;
pub use table::order;

/// So many members are visited before the question whether that was enough.
const CHUNK: usize = 64;

/// The content of a sorted set.
#[derive(Clone)]
pub struct Zset(Repr);

#[derive(Clone)]
enum Repr {
    Packed(Packed),
    Table(Arc<Table>),
}

impl Default for Zset {
    fn default() -> Self {
        Zset(Repr::Packed(Packed::new()))
    }
}

impl Zset {
    /// Takes a listpack over, if it is one of members and scores in order; `None` otherwise.
    pub fn from_listpack(block: Listpack) -> Option<Zset> {
        Packed::from_listpack(block).map(|packed| Zset(Repr::Packed(packed)))
    }

    /// A small one, from the block of another.
    pub(super) fn small(block: Listpack) -> Zset {
        Zset(Repr::Packed(Packed::restored(block)))
    }

    /// The listpack of a small one.
    pub fn as_listpack(&self) -> Option<&Listpack> {
        match &self.0 {
            Repr::Packed(packed) => Some(packed.block()),
            Repr::Table(_) => None,
        }
    }

    /// A sorted set of these members, in any order. No member may be there twice.
    pub fn from_pairs<M: AsRef<[u8]>>(mut pairs: Vec<(M, f64)>, limits: &Limits) -> Zset {
        pairs.sort_unstable_by(|a, b| order(a.1, a.0.as_ref(), b.1, b.0.as_ref()));
        let longest = pairs.iter().map(|(member, _)| member.as_ref().len()).max().unwrap_or(0);
        let mut zset = Zset::default();
        zset.make_room(pairs.len(), longest, limits);
        for (member, score) in pairs {
            zset.push(member.as_ref(), score, limits);
        }
        zset
    }

    /// Adds a member that is not there and belongs behind all others.
    fn push(&mut self, member: &[u8], score: f64, limits: &Limits) {
        self.make_room(1, member.len(), limits);
        match &mut self.0 {
            Repr::Packed(packed) => packed.push(member, score),
            Repr::Table(table) => Arc::make_mut(table).push(member, score),
        }
    }

    /// Becomes large if so many more members, the longest of so many bytes, are too much for a
    /// small one.
    fn make_room(&mut self, more: usize, longest: usize, limits: &Limits) {
        if let Repr::Packed(packed) = &self.0
            && (packed.len() + more > limits.zset_max_listpack_entries
                || longest > limits.zset_max_listpack_value
                || !packed.has_room(more, longest))
        {
            self.enlarge();
        }
    }

    /// Becomes large if so many members, in one command, are too much for a small one.
    pub fn expect(&mut self, count: usize, limits: &Limits) {
        if count > limits.zset_max_listpack_entries {
            self.enlarge();
        }
    }

    /// Becomes large.
    fn enlarge(&mut self) {
        let Repr::Packed(packed) = &self.0 else { return };
        let mut table = Table::new();
        packed.each(0..usize::MAX, |member, score| table.push(member, score));
        self.0 = Repr::Table(Arc::new(table));
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Packed(packed) => packed.len(),
            Repr::Table(table) => table.len(),
        }
    }

    /// Whether it has no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The score of a member.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match &self.0 {
            Repr::Packed(packed) => packed.score(member),
            Repr::Table(table) => table.score(member),
        }
    }

    /// The number of members before this one, and its score.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        match &self.0 {
            Repr::Packed(packed) => packed.find(member),
            Repr::Table(table) => {
                let score = table.score(member)?;
                Some((table.rank(score, member), score))
            }
        }
    }

    /// Adds a member, or gives it another score, which is not NaN; the score that it had.
    pub fn set(&mut self, member: &[u8], score: f64, limits: &Limits) -> Option<f64> {
        if let Repr::Packed(packed) = &mut self.0 {
            if let Some(old) = packed.change(member, score) {
                return Some(old);
            }
            self.make_room(1, member.len(), limits);
        }
        match &mut self.0 {
            Repr::Packed(packed) => {
                packed.add(member, score);
                None
            }
            Repr::Table(table) => Arc::make_mut(table).set(member, score),
        }
    }

    /// Removes a member; the score that it had.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match &mut self.0 {
            Repr::Packed(packed) => packed.remove(member),
            // Looked for first, so that nothing is copied for a member that is not there.
            Repr::Table(table) => {
                table.score(member)?;
                Arc::make_mut(table).remove(member)
            }
        }
    }

    /// Removes the members with these ranks.
    pub fn remove_ranks(&mut self, ranks: Range<usize>) {
        let ranks = ranks.start..ranks.end.min(self.len());
        if ranks.is_empty() {
            return;
        }
        match &mut self.0 {
            Repr::Packed(packed) => packed.remove_ranks(ranks),
            Repr::Table(table) => {
                let table = Arc::make_mut(table);
                ranks.clone().for_each(|_| table.remove_at(ranks.start));
            }
        }
    }

    /// The ranks of the members whose scores are in a range.
    pub fn ranks_by_score(&self, range: &ScoreRange) -> Range<usize> {
        match &self.0 {
            Repr::Packed(packed) => packed.ranks_by_score(range),
            Repr::Table(table) => {
                let start = table.rank_by_score(|score| range.is_above(score));
                let end = table.rank_by_score(|score| range.reaches(score));
                start..end.max(start)
            }
        }
    }

    /// The ranks of the members that are in a range. Where scores differ the answer means little;
    /// Redis has then another one for each direction, which a small set gives, too.
    pub fn ranks_by_lex(&self, range: &LexRange, reverse: bool) -> Range<usize> {
        if range.is_empty() {
            return 0..0;
        }
        match &self.0 {
            Repr::Packed(packed) => packed.ranks_by_lex(range, reverse),
            Repr::Table(table) => {
                let start = table.rank_by_member(|member| range.is_above(member));
                let end = table.rank_by_member(|member| range.reaches(member));
                start..end.max(start)
            }
        }
    }

    /// Visits the members with these ranks in their order.
    pub fn each(&self, ranks: Range<usize>, visit: impl FnMut(&[u8], f64)) {
        match &self.0 {
            Repr::Packed(packed) => packed.each(ranks, visit),
            Repr::Table(table) => table.each(ranks, visit),
        }
    }

    /// Visits the members with these ranks from the last to the first.
    pub fn each_back(&self, ranks: Range<usize>, visit: impl FnMut(&[u8], f64)) {
        match &self.0 {
            Repr::Packed(packed) => packed.each_back(ranks, visit),
            Repr::Table(table) => table.each_back(ranks, visit),
        }
    }

    /// Visits the members with these ranks in their order, until `visit` answers `false`.
    pub fn each_while(&self, ranks: Range<usize>, mut visit: impl FnMut(&[u8], f64) -> bool) {
        let mut more = true;
        for start in ranks.clone().step_by(CHUNK) {
            self.each(start..ranks.end.min(start + CHUNK), |member, score| {
                more = more && visit(member, score);
            });
            if !more {
                return;
            }
        }
    }

    /// Visits `count` members at random, each as probable as any other, some perhaps again, until
    /// `visit` says that it is enough (`false`).
    pub fn sample(&self, count: u64, rng: &mut Rng, mut visit: impl FnMut(&[u8], f64) -> bool) {
        let len = self.len() as u64;
        if len == 0 {
            return;
        }
        if let Repr::Packed(packed) = &self.0 {
            let all = packed.to_vec();
            for _ in 0..count {
                let (member, score) = &all[rng.below(len) as usize];
                if !visit(member, *score) {
                    return;
                }
            }
            return;
        }
        let mut goes_on = true;
        for _ in 0..count {
            let number = rng.below(len) as usize;
            self.by_number(number, &mut |member, score| goes_on = visit(member, score));
            if !goes_on {
                return;
            }
        }
    }

    /// Visits `count` different members at random; all if there are not more.
    pub fn sample_different(&self, count: usize, rng: &mut Rng, mut visit: impl FnMut(&[u8], f64)) {
        let len = self.len();
        if count >= len {
            return self.each_back(0..len, visit);
        }
        for number in rng.distinct_below(len, count) {
            self.by_number(number, &mut visit);
        }
    }

    /// Visits the member with a number below the length. The numbers are in no order.
    fn by_number(&self, number: usize, visit: &mut impl FnMut(&[u8], f64)) {
        match &self.0 {
            Repr::Packed(packed) => packed.each(number..number + 1, visit),
            Repr::Table(table) => {
                let (member, score) = table.by_handle(number);
                visit(member, score);
            }
        }
    }

    /// One step of a scan over a large one: the next cursor, 0 at the end, and how many were
    /// visited. A small one is visited whole.
    pub fn scan(&self, cursor: u64, visit: impl FnMut(&[u8], f64)) -> (u64, usize) {
        match &self.0 {
            Repr::Packed(packed) => {
                packed.each(0..usize::MAX, visit);
                (0, packed.len())
            }
            Repr::Table(table) => table.scan(cursor, visit),
        }
    }

    /// See [`crate::data::Value::is_unchanged_since`].
    pub(in crate::data) fn is_unchanged_since(&self, clone: &Self) -> bool {
        match (&self.0, &clone.0) {
            (Repr::Table(now), Repr::Table(then)) => Arc::ptr_eq(now, then),
            (Repr::Packed(_), Repr::Packed(_)) => self == clone,
            _ => false,
        }
    }

    /// The name of its form in memory.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Repr::Packed(_) => "listpack",
            Repr::Table(_) => "skiplist",
        }
    }

    /// Bytes on the heap.
    pub fn heap_size(&self) -> usize {
        match &self.0 {
            Repr::Packed(packed) => packed.block().heap_size(),
            Repr::Table(table) => table.heap_size(),
        }
    }

    /// All members with their scores, in order.
    pub fn to_vec(&self) -> Vec<(Vec<u8>, f64)> {
        let mut all = Vec::with_capacity(self.len());
        self.each(0..self.len(), |member, score| all.push((member.to_vec(), score)));
        all
    }
}

impl PartialEq for Zset {
    fn eq(&self, other: &Self) -> bool {
        if self.len() != other.len() {
            return false;
        }
        let mut equal = true;
        self.each(0..self.len(), |member, score| {
            equal = equal && other.score(member) == Some(score);
        });
        equal
    }
}

impl std::fmt::Debug for Zset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = self.to_vec();
        let shown = all.iter().map(|(member, score)| (member.escape_ascii().to_string(), score));
        f.debug_map().entries(shown).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn limits(entries: usize) -> Limits {
        Limits { zset_max_listpack_entries: entries, ..Limits::default() }
    }

    #[test]
    fn it_is_small_in_its_entry() {
        assert_eq!(size_of::<Zset>(), 16);
    }

    #[test]
    fn both_forms_agree_with_a_map() {
        let mut rng = Rng::seeded(5);
        let (mut small, mut large) = (Zset::default(), Zset::default());
        let mut model: BTreeMap<Vec<u8>, f64> = BTreeMap::new();
        for step in 0..3_000 {
            let member = match rng.below(3) {
                0 => rng.below(60).to_string(),
                1 => format!("m{}", rng.below(60)),
                _ => "x".repeat(rng.below(40) as usize),
            };
            let score = [0.5, 1.0, 1.0, -3.25, 1e300, f64::INFINITY][rng.below(6) as usize];
            if rng.below(3) > 0 {
                let old = model.insert(member.clone().into(), score);
                assert_eq!(small.set(member.as_bytes(), score, &limits(1_000)), old);
                assert_eq!(large.set(member.as_bytes(), score, &limits(0)), old);
            } else {
                let old = model.remove(member.as_bytes());
                assert_eq!(
                    [small.remove(member.as_bytes()), large.remove(member.as_bytes())],
                    [old, old]
                );
            }
            if step % 50 == 0 {
                compare(&small, &large, &model, &mut rng);
            }
        }
        assert_eq!((small.encoding(), large.encoding()), ("listpack", "skiplist"));
    }

    fn compare(small: &Zset, large: &Zset, model: &BTreeMap<Vec<u8>, f64>, rng: &mut Rng) {
        let mut expected: Vec<_> = model.iter().map(|(m, s)| (m.clone(), *s)).collect();
        expected.sort_by(|a, b| order(a.1, &a.0, b.1, &b.0));
        assert_eq!(small, large);
        for zset in [small, large] {
            assert_eq!(zset.to_vec(), expected);
            for (rank, (member, score)) in expected.iter().enumerate() {
                assert_eq!(zset.rank(member), Some((rank, *score)));
            }
            for bounds in [("-inf", "+inf"), ("(0.5", "1"), ("1", "(1"), ("(1", "inf"), ("2", "1")]
            {
                let range = ScoreRange::parse(bounds.0.as_bytes(), bounds.1.as_bytes()).unwrap();
                let inside = |score| !range.is_above(score) && range.reaches(score);
                let count = expected.iter().filter(|(_, score)| inside(*score)).count();
                let ranks = zset.ranks_by_score(&range);
                assert_eq!(ranks.len(), count);
                zset.each(ranks, |_, score| assert!(inside(score)));
            }
            let mut fewer = zset.clone();
            let start = rng.below(70) as usize;
            let end = start + rng.below(9) as usize;
            fewer.remove_ranks(start..end);
            let mut left = expected.clone();
            left.drain(start.min(left.len())..end.min(left.len()));
            assert_eq!(fewer.to_vec(), left);
            let mut seen = Vec::new();
            zset.sample_different(7, rng, |member, _| seen.push(member.to_vec()));
            let seen_count = seen.len();
            seen.sort();
            seen.dedup();
            assert_eq!((seen.len(), seen_count), (7.min(expected.len()), 7.min(expected.len())));
            let mut drawn = 0;
            zset.sample(20, rng, |member, score| {
                drawn += 1;
                assert_eq!(model.get(member), Some(&score));
                drawn < 11
            });
            assert_eq!(drawn, if expected.is_empty() { 0 } else { 11 });
        }
    }

    #[test]
    fn members_of_one_score_have_ranges() {
        for entries in [0, 100] {
            let names: Vec<String> = (0..50).map(|n| format!("{n:02}")).collect();
            let pairs = names.iter().rev().map(|name| (name.as_bytes(), 7.0)).collect();
            let zset = Zset::from_pairs(pairs, &limits(entries));
            assert_eq!(zset.encoding(), if entries == 0 { "skiplist" } else { "listpack" });
            let cases = [
                ("-", "+", 0..50),
                ("[10", "[20", 10..21),
                ("(10", "(20", 11..20),
                ("[100", "+", 11..50),
                ("(49", "+", 50..50),
                ("-", "(00", 0..0),
                ("[30", "[20", 0..0),
                ("+", "-", 0..0),
            ];
            for (min, max, expected) in cases {
                let range = LexRange::parse(min.as_bytes(), max.as_bytes()).unwrap();
                for reverse in [false, true] {
                    let ranks = zset.ranks_by_lex(&range, reverse);
                    assert_eq!(ranks.is_empty(), expected.is_empty(), "{min} {max}");
                    assert!(ranks.is_empty() || ranks == expected, "{min} {max}: {ranks:?}");
                }
            }
        }
    }

    #[test]
    fn limits_decide_the_form() {
        let limits = Limits::default();
        let mut zset = Zset::default();
        zset.set(&[b'x'; 64], 1.0, &limits);
        assert_eq!(zset.encoding(), "listpack");
        zset.set(&[b'x'; 65], 1.0, &limits);
        assert_eq!((zset.encoding(), zset.len()), ("skiplist", 2));
        let mut zset = Zset::default();
        for number in 0..128u32 {
            zset.set(&number.to_be_bytes(), 1.0, &limits);
        }
        zset.set(&[0; 4], 2.0, &limits);
        assert_eq!(zset.encoding(), "listpack");
        zset.set(b"one more", 1.0, &limits);
        assert_eq!((zset.encoding(), zset.len()), ("skiplist", 129));
    }
}
