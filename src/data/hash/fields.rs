//! A large hash: a table of fields, and the order in which they are due.
//!
//! The deadlines are the stamps of the table's elements. Their order is kept beside the table and
//! is not cloned with it: a clone, made for a snapshot under a shard's guard, takes constant time,
//! and makes its own order when it is changed.
//!
//! Invariants: `timed` is the number of elements with a stamp and `earliest` the smallest stamp;
//! `order`, where it is known, holds (deadline, hash of the name) of each (two names with the same
//! hash and deadline, which a keyed hash makes a curiosity, share one).

use std::collections::BTreeSet;

use crate::base::table::{self, Table};
use crate::data::hash::{Deadline, Field};
use crate::data::listpack::Item;

/// The fields.
#[derive(Default)]
pub struct Fields {
    table: Table,
    timed: usize,
    earliest: Option<i64>,
    order: Option<BTreeSet<(i64, u64)>>,
}

impl Clone for Fields {
    fn clone(&self) -> Self {
        let Fields { timed, earliest, .. } = *self;
        Fields { table: self.table.clone(), timed, earliest, order: None }
    }
}

fn field(item: table::Item<'_>) -> Field<'_> {
    Field {
        name: Item::Bytes(item.key),
        value: Item::Bytes(item.value),
        deadline: item.stamp,
        shared: item.shared,
    }
}

impl Fields {
    /// Number of fields.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// See [`Table::is_unchanged_since`].
    pub fn is_unchanged_since(&self, clone: &Fields) -> bool {
        self.table.is_unchanged_since(&clone.table)
    }

    /// Bytes on the heap.
    pub fn heap_size(&self) -> usize {
        // The nodes of a B-tree are about two thirds full.
        let order = self.order.as_ref().map_or(0, BTreeSet::len);
        self.table.heap_size() + order * size_of::<(i64, u64)>() * 3 / 2
    }

    /// The field of a name.
    pub fn get(&self, name: &[u8]) -> Option<Field<'_>> {
        self.table.get(name).map(field)
    }

    /// All fields, in no order.
    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.table.iter().map(field)
    }

    /// See [`Table::scan`].
    pub fn scan<'a>(&'a self, cursor: u64, mut visit: impl FnMut(Field<'a>)) -> u64 {
        self.table.scan(cursor, |item| visit(field(item)))
    }

    /// See [`Table::random`].
    pub fn random(&self, rng: &mut impl FnMut() -> u64) -> Option<Field<'_>> {
        self.table.random(rng).map(field)
    }

    /// The earliest deadline.
    pub fn next_deadline(&self) -> Option<i64> {
        self.earliest
    }

    /// Sets the value of a field; whether the field is new.
    pub fn set(&mut self, name: &[u8], value: &[u8], deadline: Deadline) -> bool {
        if self.timed == 0 {
            return self.table.insert(name, value, None);
        }
        let old = self.table.get(name).and_then(|item| item.stamp);
        let new = if deadline == Deadline::Keep { old } else { None };
        self.put_over(name, value, old, new)
    }

    /// Puts in a field with its deadline.
    pub fn put(&mut self, name: &[u8], value: &[u8], deadline: Option<i64>) -> bool {
        let old = self.table.get(name).and_then(|item| item.stamp);
        self.put_over(name, value, old, deadline)
    }

    fn put_over(&mut self, name: &[u8], value: &[u8], old: Option<i64>, new: Option<i64>) -> bool {
        if old != new {
            let hash = self.table.hash(name);
            self.reorder(hash, old, new);
        }
        self.table.insert(name, value, new)
    }

    /// Sets or removes the deadline of a field; whether it is there.
    pub fn set_deadline(&mut self, name: &[u8], deadline: Option<i64>) -> bool {
        let Some(item) = self.table.get(name) else { return false };
        let (old, value) = (item.stamp, item.value.to_vec());
        self.put_over(name, &value, old, deadline);
        true
    }

    /// Takes a field out; whether it was there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        if self.timed > 0
            && let Some(old) = self.table.get(name).and_then(|item| item.stamp)
        {
            let hash = self.table.hash(name);
            self.reorder(hash, Some(old), None);
        }
        self.table.remove(name)
    }

    /// Takes out the field with the earliest deadline and returns its name.
    pub fn pop_first(&mut self) -> Option<Vec<u8>> {
        let &(at, hash) = self.order().first()?;
        let item = self.table.find_by_hash(hash, |item| item.stamp == Some(at))?;
        let name = item.key.to_vec();
        self.remove(&name);
        Some(name)
    }

    /// Notes that a field with this hash has got another deadline.
    fn reorder(&mut self, hash: u64, old: Option<i64>, new: Option<i64>) {
        let order = self.order();
        if let Some(old) = old {
            order.remove(&(old, hash));
        }
        if let Some(new) = new {
            order.insert((new, hash));
        }
        self.earliest = order.first().map(|&(at, _)| at);
        self.timed = self.timed + usize::from(new.is_some()) - usize::from(old.is_some());
    }

    /// The order of the deadlines, made from the table if it is not known.
    fn order(&mut self) -> &mut BTreeSet<(i64, u64)> {
        let Fields { table, timed, order, .. } = self;
        order.get_or_insert_with(|| {
            let pair = |item: table::Item| Some((item.stamp?, table.hash(item.key)));
            if *timed == 0 { BTreeSet::new() } else { table.iter().filter_map(pair).collect() }
        })
    }
}
