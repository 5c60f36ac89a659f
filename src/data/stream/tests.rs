//! Random operations on a stream against a plain map.

use std::collections::BTreeMap;

use super::entries::Counters;
use super::*;
use crate::base::rng::Rng;

type Model = BTreeMap<Id, Vec<Vec<u8>>>;

const LIMITS: NodeLimits = NodeLimits { bytes: 200, entries: 7 };

fn fields(entry: Entry) -> Vec<Vec<u8>> {
    entry.pairs().flat_map(|(name, value)| [name.to_vec(), value.to_vec()]).collect()
}

fn check(entries: &Entries, model: &Model) {
    assert_eq!(entries.len(), model.len() as u64);
    let found: Vec<_> = entries.iter().map(|entry| (entry.id, fields(entry))).collect();
    assert!(found.iter().map(|(id, fields)| (id, fields)).eq(model));
    let bytes: usize = entries.nodes().map(|(_, node)| node.byte_len()).sum();
    assert_eq!(entries.bytes, bytes);
    let first = model.keys().next().copied().unwrap_or_default();
    assert_eq!(entries.counters().first_id, first);
    assert_eq!(entries.last_live_id(), model.keys().next_back().copied());
}

/// The same through the form in which streams are stored.
fn reloaded(entries: &Entries) -> Entries {
    let mut loaded = Entries::default();
    for (base, node) in entries.nodes() {
        assert!(loaded.load_node(base, node.list().clone()));
    }
    let Counters { first_id, last_id, max_deleted_id, entries_added } = entries.counters();
    assert!(loaded.finish_loading(entries.len(), last_id));
    loaded.load_counters(first_id, max_deleted_id, entries_added);
    loaded
}

struct Run {
    rng: Rng,
    stream: Stream,
    model: Model,
}

impl Run {
    fn below(&mut self, limit: u64) -> u64 {
        self.rng.next_u64() % limit
    }

    fn some_id(&mut self) -> Id {
        let last = self.stream.entries().counters().last_id;
        Id::new(self.rng.next_u64() % (last.ms + 2), self.rng.next_u64() % 4)
    }

    fn add(&mut self) {
        let last = self.stream.entries().counters().last_id;
        let names: [&[&[u8]]; 4] =
            [&[b"a", b"1"], &[b"a", b"some text"], &[b"a", b"1", b"b", b"-70000"], &[b"", b""]];
        let pairs = names[self.below(4) as usize];
        let id = match self.below(3) {
            0 => NewId::Auto(last.ms + self.below(2)),
            1 => NewId::AutoSeq(last.ms + self.below(3)),
            _ => NewId::Given(Id::new(last.ms + self.below(2), last.seq + self.below(3))),
        };
        match self.stream.entries_mut().add(id, pairs, LIMITS) {
            Ok(id) => {
                assert!(id > last);
                let pairs = pairs.iter().map(|part| part.to_vec()).collect();
                assert_eq!(self.model.insert(id, pairs), None);
            }
            Err(error) => assert_eq!(error, AddError::NotGreater),
        }
    }

    fn trim(&mut self) {
        let len = self.model.len() as u64;
        let to = match self.below(2) {
            0 => TrimTo::MaxLen(len.saturating_sub(self.below(12))),
            _ => {
                let ids: Vec<Id> = self.model.keys().copied().take(12).collect();
                let index = self.below(13) as usize;
                TrimTo::MinId(ids.get(index).copied().unwrap_or_default())
            }
        };
        let approximate = self.below(2) == 0;
        let limit = if approximate { self.below(3) * 5 } else { 0 };
        let removed = self.stream.entries_mut().trim(Trim { to, approximate, limit });
        let wanted = match to {
            TrimTo::MaxLen(max) => len.saturating_sub(max),
            TrimTo::MinId(min) => self.model.range(..min).count() as u64,
        };
        assert!(if approximate { removed <= wanted } else { removed == wanted });
        assert!(limit == 0 || removed <= limit);
        (0..removed).for_each(|_| drop(self.model.pop_first()));
    }

    fn ranges(&mut self) {
        let (from, to) = (self.some_id(), self.some_id());
        let expected: Vec<Id> = match from <= to {
            true => self.model.range(from..=to).map(|(id, _)| *id).collect(),
            false => Vec::new(),
        };
        let entries = self.stream.entries();
        assert!(entries.range(from, to).map(|entry| entry.id).eq(expected.iter().copied()));
        let back = entries.range_back(from, to).map(|entry| entry.id);
        assert!(back.eq(expected.iter().rev().copied()));
        assert_eq!(entries.get(from).map(fields), self.model.get(&from).cloned());
    }
}

#[test]
fn agrees_with_a_map() {
    let mut run = Run { rng: Rng::seeded(11), stream: Stream::default(), model: Model::default() };
    let mut kept = (run.stream.clone(), run.model.clone());
    for step in 0..20_000 {
        match run.below(20) {
            0 => run.trim(),
            1..=8 => {
                let id = run.some_id();
                let entries = run.stream.entries_mut();
                assert_eq!(entries.delete(id), run.model.remove(&id).is_some());
                entries.find_first();
            }
            9 | 10 => run.ranges(),
            _ => run.add(),
        }
        if step % 500 == 0 {
            check(run.stream.entries(), &run.model);
            check(kept.0.entries(), &kept.1);
            assert!(reloaded(run.stream.entries()) == *run.stream.entries());
            kept = (run.stream.clone(), run.model.clone());
        }
    }
    assert!(run.model.len() > 10);
}

#[test]
fn new_ids() {
    let mut entries = Entries::default();
    let mut add = |id| entries.add(id, &[b"f", b"v"], LIMITS);
    assert_eq!(add(NewId::Given(Id::MIN)), Err(AddError::NotGreater));
    assert_eq!(add(NewId::AutoSeq(0)), Ok(Id::new(0, 1)));
    assert_eq!(add(NewId::AutoSeq(0)), Ok(Id::new(0, 2)));
    assert_eq!(add(NewId::Auto(5)), Ok(Id::new(5, 0)));
    assert_eq!(add(NewId::Auto(4)), Ok(Id::new(5, 1)));
    assert_eq!(add(NewId::AutoSeq(4)), Err(AddError::NotGreater));
    assert_eq!(add(NewId::Given(Id::new(6, u64::MAX))), Ok(Id::new(6, u64::MAX)));
    assert_eq!(add(NewId::AutoSeq(6)), Err(AddError::NotGreater));
    assert_eq!(add(NewId::Auto(6)), Ok(Id::new(7, 0)));
    assert_eq!(add(NewId::Given(Id::MAX)), Ok(Id::MAX));
    assert_eq!(add(NewId::Auto(8)), Err(AddError::Exhausted));
}

#[test]
fn counts_for_groups() {
    let mut entries = Entries::default();
    for ms in 1..=5 {
        entries.add(NewId::Given(Id::new(ms, 0)), &[b"f", b"v"], LIMITS).unwrap();
    }
    let mut group = Group::new(Id::MIN, None);
    assert_eq!(entries.lag_of(&group), Some(5));
    assert!(entries.advance(&mut group, Id::new(1, 0)));
    assert_eq!((group.entries_read, entries.lag_of(&group)), (Some(1), Some(4)));
    assert!(!entries.advance(&mut group, Id::new(1, 0)));
    assert!(entries.delete(Id::new(3, 0)));
    assert_eq!(entries.lag_of(&group), None);
    assert!(entries.advance(&mut group, Id::new(2, 0)));
    assert_eq!((group.entries_read, entries.lag_of(&group)), (None, None));
    assert!(entries.advance(&mut group, Id::new(5, 0)));
    assert_eq!((group.entries_read, entries.lag_of(&group)), (Some(5), Some(0)));
}

#[test]
fn a_copy_shares_what_does_not_change() {
    assert_eq!(size_of::<Stream>(), 8);
    let mut stream = Stream::default();
    for ms in 1..=100 {
        stream.entries_mut().add(NewId::Given(Id::new(ms, 0)), &[b"f", b"v"], LIMITS).unwrap();
    }
    let copy = stream.clone();
    assert!(stream.add_group(b"g", Group::new(Id::MIN, None)));
    assert!(!stream.add_group(b"g", Group::new(Id::MAX, None)));
    stream.entries_mut().add(NewId::Given(Id::new(200, 0)), &[b"f", b"v"], LIMITS).unwrap();
    let shared = stream.entries().nodes().zip(copy.entries().nodes());
    let same = shared.filter(|((_, a), (_, b))| std::ptr::eq(*a, *b)).count();
    assert_eq!(same, copy.entries().node_count() - 1);
    assert_eq!((copy.groups().len(), copy.entries().len()), (0, 100));
    assert!(stream != copy && stream.heap_size() > copy.heap_size());
    assert!(stream.remove_group(b"g") && !stream.remove_group(b"g"));
}
