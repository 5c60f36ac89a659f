//! A consumer group: how far it has read, and which entries it was given that nobody has
//! acknowledged.
//!
//! Invariants: an entry pending for the group is in the list of exactly one consumer, the one that
//! its [`Pending`] names, and that consumer exists; a consumer's list holds nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::id::Id;
use super::idmap::IdMap;

/// An entry that was delivered and not acknowledged.
#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    /// Who was given it last.
    pub consumer: Arc<[u8]>,
    /// When that was, in Unix milliseconds.
    pub delivered_ms: i64,
    /// How often it was delivered.
    pub deliveries: u64,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Consumer {
    /// Unix milliseconds of its last command.
    pub seen_ms: i64,
    /// Unix milliseconds of the last one that gave it entries; -1 before.
    pub active_ms: i64,
    pending: IdMap<()>,
}

impl Consumer {
    /// How many entries are pending for it.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// Whether an entry is pending for it.
    pub fn is_pending(&self, id: Id) -> bool {
        self.pending_from(id).next() == Some(id)
    }

    /// The entries that are pending for it, from `id` on.
    pub fn pending_from(&self, id: Id) -> impl Iterator<Item = Id> {
        self.pending.iter_from(id).map(|(id, ())| id)
    }
}

/// A group. Its name is the stream's to know.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The last entry that was delivered to any consumer.
    pub last_id: Id,
    /// How many of the stream's entries were read up to there; `None` where that is not known.
    pub entries_read: Option<i64>,
    pending: IdMap<Pending>,
    consumers: BTreeMap<Arc<[u8]>, Consumer>,
}

impl Group {
    /// A group without consumers that reads on behind `last_id`.
    pub fn new(last_id: Id, entries_read: Option<i64>) -> Group {
        let (pending, consumers) = (IdMap::default(), BTreeMap::new());
        Group { last_id, entries_read, pending, consumers }
    }

    /// How many entries are pending.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// The pending entries from `id` on.
    pub fn pending_from(&self, id: Id) -> impl Iterator<Item = (Id, &Pending)> {
        self.pending.iter_from(id)
    }

    /// The last pending entry.
    pub fn last_pending(&self) -> Option<Id> {
        self.pending.last().map(|(id, _)| id)
    }

    /// What is known of a pending entry.
    pub fn pending(&self, id: Id) -> Option<&Pending> {
        self.pending.get(id)
    }

    /// The same, to be changed; not its consumer.
    pub fn pending_mut(&mut self, id: Id) -> Option<&mut Pending> {
        self.pending.get_mut(id)
    }

    /// The consumers by name.
    pub fn consumers(&self) -> impl ExactSizeIterator<Item = (&[u8], &Consumer)> {
        self.consumers.iter().map(|(name, consumer)| (&**name, consumer))
    }

    /// A consumer.
    pub fn consumer(&self, name: &[u8]) -> Option<&Consumer> {
        self.consumers.get(name)
    }

    /// A consumer, to be changed.
    pub fn consumer_mut(&mut self, name: &[u8]) -> Option<&mut Consumer> {
        self.consumers.get_mut(name)
    }

    /// Adds a consumer; whether it was not there.
    pub fn add_consumer(&mut self, name: &[u8], now_ms: i64) -> bool {
        let new = !self.consumers.contains_key(name);
        if new {
            let consumer = Consumer { seen_ms: now_ms, active_ms: -1, pending: IdMap::default() };
            self.consumers.insert(name.into(), consumer);
        }
        new
    }

    /// Removes a consumer and what is pending for it; how many entries that were, if it was there.
    pub fn remove_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let consumer = self.consumers.remove(name)?;
        for (id, ()) in consumer.pending.iter() {
            self.pending.remove(id);
        }
        Some(consumer.pending.len())
    }

    /// Makes an entry pending for a consumer, whoever had it before. The consumer must be there.
    pub fn assign(&mut self, id: Id, consumer: &[u8], delivered_ms: i64, deliveries: u64) {
        let Some((name, _)) = self.consumers.get_key_value(consumer) else { return };
        let pending = Pending { consumer: Arc::clone(name), delivered_ms, deliveries };
        if let Some(before) = self.pending.insert(id, pending)
            && *before.consumer != *consumer
            && let Some(owner) = self.consumers.get_mut(&before.consumer)
        {
            owner.pending.remove(id);
        }
        if let Some(owner) = self.consumers.get_mut(consumer) {
            owner.pending.insert(id, ());
        }
    }

    /// Forgets a pending entry; whether it was one.
    pub fn acknowledge(&mut self, id: Id) -> bool {
        let Some(pending) = self.pending.remove(id) else { return false };
        if let Some(owner) = self.consumers.get_mut(&pending.consumer) {
            owner.pending.remove(id);
        }
        true
    }

    /// Bytes on the heap.
    pub fn heap_size(&self) -> usize {
        let of_consumer = |(name, consumer): (&Arc<[u8]>, &Consumer)| {
            let arc = name.len() + 2 * size_of::<usize>();
            arc + size_of_val(name) + size_of_val(consumer) + consumer.pending.heap_size()
        };
        self.pending.heap_size() + self.consumers.iter().map(of_consumer).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Id = Id::new(1, 0);
    const B: Id = Id::new(2, 0);

    fn lists(group: &Group) -> (Vec<Id>, Vec<Vec<Id>>) {
        let of = |(_, consumer): (_, &Consumer)| consumer.pending_from(Id::MIN).collect();
        let all = group.pending_from(Id::MIN).map(|(id, _)| id).collect();
        (all, group.consumers().map(of).collect())
    }

    #[test]
    fn an_entry_is_pending_for_one_consumer() {
        let mut group = Group::new(Id::MIN, None);
        assert!(group.add_consumer(b"x", 5) && group.add_consumer(b"y", 5));
        assert!(!group.add_consumer(b"x", 6));
        group.assign(A, b"x", 10, 1);
        group.assign(B, b"x", 10, 1);
        group.assign(A, b"y", 11, 2);
        group.assign(A, b"y", 12, 3);
        group.assign(A, b"nobody", 12, 3);
        assert_eq!(lists(&group), (vec![A, B], vec![vec![B], vec![A]]));
        assert_eq!(group.pending(A).map(|p| (p.delivered_ms, p.deliveries)), Some((12, 3)));
        assert!(group.acknowledge(B) && !group.acknowledge(B));
        assert_eq!(lists(&group), (vec![A], vec![vec![], vec![A]]));
        assert_eq!((group.remove_consumer(b"x"), group.remove_consumer(b"x")), (Some(0), None));
        assert_eq!(group.remove_consumer(b"y"), Some(1));
        assert_eq!(lists(&group), (vec![], vec![]));
    }
}
