//! The small form of a sorted set: a listpack of members and scores in turn, in order.
//!
//! A score that is a whole number is kept as an integer, as in Redis, which forgets the sign of
//! -0; any other is kept as text. All ways through it are linear.

use crate::base::double::{as_i64, push_shortest};
use crate::base::num::parse_f64;
use crate::data::listpack::{Item, Listpack, Pos, all_differ};
use crate::data::zset::range::{LexRange, ScoreRange};
use crate::data::zset::table::order;
use std::cmp::Ordering;
use std::ops::Range;

/// The longest text of a score.
const SCORE_LEN: usize = 32;

/// A sorted set in a listpack.
#[derive(Clone)]
pub struct Packed(Listpack);

fn parse_score(item: Item) -> Option<f64> {
    match item {
        Item::Int(number) => Some(number as f64),
        Item::Bytes(text) => parse_f64(text),
    }
}

/// Hands on a score as it is kept.
fn with_score(score: f64, keep: impl FnOnce(Item)) {
    match as_i64(score) {
        Some(whole) => keep(Item::Int(whole)),
        None => {
            let mut text = Vec::with_capacity(SCORE_LEN);
            push_shortest(&mut text, score);
            keep(Item::of(&text));
        }
    }
}

impl Packed {
    /// An empty one.
    pub fn new() -> Packed {
        Packed(Listpack::new())
    }

    /// Takes a listpack over. It may come from elsewhere: `None` unless it holds members and scores
    /// in order, and no member twice.
    pub fn from_listpack(block: Listpack) -> Option<Packed> {
        if !block.len().is_multiple_of(2) {
            return None;
        }
        let packed = Packed(block);
        let mut last: Option<(Item, f64)> = None;
        let (mut a, mut b) = ([0; 20], [0; 20]);
        for (_, item, score) in packed.texts() {
            let score = parse_score(score)?;
            let member = item.bytes(&mut a);
            let in_order = last.is_none_or(|(other, least)| {
                order(least, other.bytes(&mut b), score, member).is_lt()
            });
            if !in_order {
                return None;
            }
            last = Some((item, score));
        }
        let differ = all_differ(packed.texts().map(|(_, member, _)| member));
        differ.then_some(packed)
    }

    /// Takes back the block of another one, which needs no look.
    pub fn restored(block: Listpack) -> Packed {
        Packed(block)
    }

    /// The listpack.
    pub fn block(&self) -> &Listpack {
        &self.0
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.0.len() / 2
    }

    /// Whether so many members of so many bytes can be added at all.
    pub fn has_room(&self, more: usize, longest: usize) -> bool {
        // Both with their headers.
        self.0.has_room(more.saturating_mul(longest + SCORE_LEN + 16))
    }

    /// Where the members are, and what stands there and behind it.
    fn texts(&self) -> impl Iterator<Item = (Pos, Item<'_>, Item<'_>)> {
        self.texts_from(self.0.first())
    }

    fn texts_from(&self, start: Option<Pos>) -> impl Iterator<Item = (Pos, Item<'_>, Item<'_>)> {
        let mut next = start;
        std::iter::from_fn(move || {
            let at = next?;
            let score = self.0.next(at)?;
            next = self.0.next(score);
            Some((at, self.0.at(at), self.0.at(score)))
        })
    }

    /// The same with scores as numbers.
    fn pairs(&self) -> impl Iterator<Item = (Pos, Item<'_>, f64)> {
        self.texts().map(|(at, member, score)| (at, member, parse_score(score).unwrap_or(0.0)))
    }

    fn position(&self, member: &[u8]) -> Option<Pos> {
        let first = self.0.first()?;
        self.0.find(member, first, 1)
    }

    fn score_at(&self, member: Pos) -> f64 {
        let score = self.0.next(member).and_then(|at| parse_score(self.0.at(at)));
        score.unwrap_or(0.0)
    }

    /// The score of a member.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        Some(self.score_at(self.position(member)?))
    }

    /// The number of members before this one, and its score.
    pub fn find(&self, member: &[u8]) -> Option<(usize, f64)> {
        let sought = Item::of(member);
        let is = |item: &Item| *item == sought || item.is(member);
        let (rank, (_, _, score)) = self.texts().enumerate().find(|(_, (_, item, _))| is(item))?;
        Some((rank, parse_score(score).unwrap_or(0.0)))
    }

    /// Adds a member that is not there.
    pub fn add(&mut self, member: &[u8], score: f64) {
        match self.place(member, score) {
            Some(at) => with_score(score, |score| {
                self.0.insert_items(at, [Item::of(member), score].into_iter());
            }),
            None => self.push(member, score),
        }
    }

    /// The first member that comes behind a new one.
    fn place(&self, member: &[u8], score: f64) -> Option<Pos> {
        let mut next = self.0.first();
        while let Some(at) = next {
            let (item, following) = self.0.step(self.0.next(at)?);
            let other = parse_score(item)?;
            let behind = match other.partial_cmp(&score)? {
                Ordering::Greater => true,
                Ordering::Equal => self.0.at(at).bytes(&mut [0; 20]) > member,
                Ordering::Less => false,
            };
            if behind {
                return Some(at);
            }
            next = following;
        }
        None
    }

    /// Adds a member that is not there and belongs behind all others.
    pub fn push(&mut self, member: &[u8], score: f64) {
        with_score(score, |score| self.0.extend_items([Item::of(member), score].into_iter()));
    }

    /// Gives a member another score; the one that it had, if it is there.
    pub fn change(&mut self, member: &[u8], score: f64) -> Option<f64> {
        let at = self.position(member)?;
        let old = self.score_at(at);
        if old != score {
            self.remove_at(at);
            self.add(member, score);
        }
        Some(old)
    }

    fn remove_at(&mut self, member: Pos) {
        if let Some(score) = self.0.remove(member) {
            self.0.remove(score);
        }
    }

    /// Removes a member; the score that it had.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let at = self.position(member)?;
        let score = self.score_at(at);
        self.remove_at(at);
        Some(score)
    }

    /// Removes the members with these ranks.
    pub fn remove_ranks(&mut self, ranks: Range<usize>) {
        self.0.remove_range(2 * ranks.start, 2 * ranks.len());
    }

    /// The ranks of the members whose scores are in a range.
    pub fn ranks_by_score(&self, range: &ScoreRange) -> Range<usize> {
        let start = self.pairs().take_while(|(_, _, score)| range.is_above(*score)).count();
        let end = self.pairs().take_while(|(_, _, score)| range.reaches(*score)).count();
        start..end.max(start)
    }

    /// The ranks of the members in a range, as they are met by one who goes through all from one
    /// end until he finds the first inside and then the first outside.
    pub fn ranks_by_lex(&self, range: &LexRange, reverse: bool) -> Range<usize> {
        let places: Vec<(bool, bool)> = self
            .texts()
            .map(|(_, item, _)| {
                let mut buf = [0; 20];
                let member = item.bytes(&mut buf);
                (range.is_above(member), range.reaches(member))
            })
            .collect();
        let (Some(first), Some(last)) = (places.first(), places.last()) else { return 0..0 };
        if last.0 || !first.1 {
            return 0..0;
        }
        if reverse {
            let end = places.iter().rposition(|(_, reaches)| *reaches).map_or(0, |at| at + 1);
            let start = places[..end].iter().rposition(|(above, _)| *above).map_or(0, |at| at + 1);
            return start..end;
        }
        let start = places.iter().position(|(above, _)| !above).unwrap_or(places.len());
        let inside = places[start..].iter().take_while(|(_, reaches)| *reaches).count();
        start..start + inside
    }

    /// Visits the members with these ranks in their order.
    pub fn each(&self, ranks: Range<usize>, mut visit: impl FnMut(&[u8], f64)) {
        let start = i64::try_from(ranks.start).ok().and_then(|at| self.0.seek(at.checked_mul(2)?));
        for (_, member, score) in self.texts_from(start).take(ranks.len()) {
            visit(member.bytes(&mut [0; 20]), parse_score(score).unwrap_or(0.0));
        }
    }

    /// Visits the members with these ranks from the last to the first.
    pub fn each_back(&self, ranks: Range<usize>, mut visit: impl FnMut(&[u8], f64)) {
        let end = ranks.end.min(self.len());
        let mut left = end.saturating_sub(ranks.start);
        let mut next = end.checked_sub(1).and_then(|last| self.0.seek(2 * last as i64));
        while let Some(at) = next.filter(|_| left > 0) {
            visit(self.0.at(at).bytes(&mut [0; 20]), self.score_at(at));
            left -= 1;
            next = self.0.prev(at).and_then(|score| self.0.prev(score));
        }
    }

    /// All members with their scores, in order.
    pub fn to_vec(&self) -> Vec<(Vec<u8>, f64)> {
        self.pairs().map(|(_, member, score)| (member.to_vec(), score)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(texts: &[&str]) -> Listpack {
        let mut block = Listpack::new();
        texts.iter().for_each(|text| block.push(text.as_bytes()));
        block
    }

    #[test]
    fn scores_are_kept_as_redis_keeps_them() {
        let mut packed = Packed::new();
        for (member, score) in [("a", 0.1), ("b", 3.0), ("c", -0.0), ("d", f64::INFINITY)] {
            packed.add(member.as_bytes(), score);
        }
        packed.add(b"7", 1e20);
        let texts = ["c", "0", "a", "0.1", "b", "3", "7", "1e+20", "d", "inf"];
        assert!(packed.block() == &block(&texts));
        assert!(packed.score(b"c").unwrap().is_sign_positive());
    }

    #[test]
    fn foreign_blocks_are_checked() {
        let taken = |texts: &[&str]| Packed::from_listpack(block(texts)).is_some();
        assert!(taken(&[]) && taken(&["a", "1", "b", "1", "5", "2.5"]) && taken(&["a", "-inf"]));
        for bad in [
            &["a"][..],
            &["a", "x"],
            &["a", "nan"],
            &["b", "1", "a", "1"],
            &["a", "2", "b", "1"],
            &["a", "1", "a", "1"],
            &["a", "1", "a", "2"],
            &["a", "1", "b", ""],
        ] {
            assert!(!taken(bad), "{bad:?}");
        }
    }

    #[test]
    fn mixed_scores_have_two_ranges_of_members() {
        let packed = Packed(block(&["c", "1", "a", "2", "b", "3"]));
        let ranks = |min: &str, max: &str, reverse| {
            let range = LexRange::parse(min.as_bytes(), max.as_bytes()).unwrap();
            packed.ranks_by_lex(&range, reverse)
        };
        assert_eq!((ranks("[a", "[c", false), ranks("[a", "[c", true)), (0..3, 0..3));
        assert_eq!((ranks("[b", "[c", false), ranks("[b", "[c", true)), (0..3, 2..3));
    }
}
