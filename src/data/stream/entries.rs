//! The entries of a stream and what it remembers of those that are gone. Knows nothing of groups
//! but how to count for them.
//!
//! Invariants: every node has an entry and is kept under an id that none of its live entries is
//! below; `length` is the number of live entries, `bytes` the size of all nodes; live entries
//! ascend and none is above `last_id`; `first_id` is the first live entry, as far as Redis keeps
//! track of it.

use std::sync::Arc;

use super::group::Group;
use super::id::Id;
use super::idmap::IdMap;
use super::node::{Entry, Node};
use super::radix;
use crate::data::listpack::Listpack;

/// How many bytes an entry's names and values may have together, and a node, whatever the
/// configuration says.
const SIZE_MAX: usize = 1 << 30;

/// What a stream remembers besides its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// The first live entry; 0-0 without entries.
    pub first_id: Id,
    /// The last id that was given out.
    pub last_id: Id,
    /// The largest id that XDEL has removed; 0-0 for none.
    pub max_deleted_id: Id,
    /// How many entries were ever added.
    pub entries_added: u64,
}

/// Which id a new entry gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewId {
    /// One made from the clock (Unix milliseconds).
    Auto(u64),
    /// The next one of this time.
    AutoSeq(u64),
    /// This one.
    Given(Id),
}

/// Why an entry cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddError {
    /// Its id is not above all others.
    NotGreater,
    /// There is no id above all others.
    Exhausted,
    /// It is too large.
    TooLarge,
}

/// How large nodes may become; 0 is no limit.
#[derive(Clone, Copy, Debug)]
pub struct NodeLimits {
    /// Bytes of the listpack, with the strings of the entry to be added.
    pub bytes: usize,
    /// Entries, deleted ones included.
    pub entries: usize,
}

/// What is to be cut off at the old end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrimTo {
    /// All but so many entries.
    MaxLen(u64),
    /// The entries below this id.
    MinId(Id),
}

/// A trimming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    /// What is to go.
    pub to: TrimTo,
    /// Only whole nodes go.
    pub approximate: bool,
    /// At most so many entries go; 0 is no limit.
    pub limit: u64,
}

/// The entries.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    nodes: IdMap<Arc<Node>>,
    pub(super) bytes: usize,
    length: u64,
    counters: Counters,
}

/// Looking.
impl Entries {
    /// How many entries there are.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// What is remembered.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The nodes and the ids that they are kept under.
    pub fn nodes(&self) -> impl Iterator<Item = (Id, &Node)> {
        self.nodes.iter().map(|(base, node)| (base, &**node))
    }

    /// How many nodes there are.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// How many nodes the radix tree has in which Redis would keep them.
    pub fn radix_node_count(&self) -> usize {
        let keys: Vec<[u8; 16]> = self.nodes.iter().map(|(base, _)| base.to_bytes()).collect();
        radix::node_count(&keys)
    }

    /// The live entries between two ids, these included.
    pub fn range(&self, from: Id, to: Id) -> impl Iterator<Item = Entry<'_>> {
        let nodes = self.nodes.iter_from_floor(from).take_while(move |(base, _)| *base <= to);
        nodes
            .flat_map(|(base, node)| node.entries(base))
            .filter(|entry| !entry.is_deleted())
            .skip_while(move |entry| entry.id < from)
            .take_while(move |entry| entry.id <= to)
    }

    /// The same from the last one to the first.
    pub fn range_back(&self, from: Id, to: Id) -> impl Iterator<Item = Entry<'_>> {
        let nodes = self.nodes.iter_back(to);
        nodes
            .flat_map(|(base, node)| node.entries_back(base))
            .filter(|entry| !entry.is_deleted())
            .skip_while(move |entry| entry.id > to)
            .take_while(move |entry| entry.id >= from)
    }

    /// All live entries.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.range(Id::MIN, Id::MAX)
    }

    /// The live entry with this id.
    pub fn get(&self, id: Id) -> Option<Entry<'_>> {
        self.range(id, id).next()
    }

    /// The id of the last live entry.
    pub fn last_live_id(&self) -> Option<Id> {
        self.range_back(Id::MIN, Id::MAX).next().map(|entry| entry.id)
    }

    /// The id of the first entry, be it a deleted one.
    pub fn first_kept_id(&self) -> Option<Id> {
        let (base, node) = self.nodes.first()?;
        node.entries(base).next().map(|entry| entry.id)
    }

    /// Bytes on the heap.
    pub fn heap_size(&self) -> usize {
        let of_node = size_of::<Node>() + 2 * size_of::<usize>();
        self.nodes.heap_size() + self.nodes.len() * of_node + self.bytes
    }
}

/// Counting for groups, by Redis's rules: a count is only given where no deleted entry can make it
/// wrong.
impl Entries {
    /// Whether XDEL has removed an entry with this id or above that came behind the first one.
    fn has_gap_from(&self, id: Id) -> bool {
        let Counters { first_id, max_deleted_id, .. } = self.counters;
        self.length > 0
            && !max_deleted_id.is_zero()
            && first_id <= max_deleted_id
            && id <= max_deleted_id
    }

    /// How many of all entries ever added have this id or one below it, as far as that can be told.
    pub fn count_up_to(&self, id: Id) -> Option<i64> {
        let Counters { first_id, last_id, max_deleted_id, entries_added } = self.counters;
        let before_first = entries_added.wrapping_sub(self.length);
        let whole = max_deleted_id.is_zero() || max_deleted_id < first_id;
        let count = if entries_added == 0 {
            0
        } else if id == last_id || (self.length == 0 && id < last_id) {
            entries_added
        } else if id < last_id && whole && id < first_id {
            before_first
        } else if id < last_id && whole && id == first_id {
            before_first.wrapping_add(1)
        } else {
            return None;
        };
        Some(count as i64)
    }

    /// How many entries a group has still to read, as far as that can be told.
    pub fn lag_of(&self, group: &Group) -> Option<i64> {
        let added = self.counters.entries_added;
        if added == 0 {
            return Some(0);
        }
        let read = match group.entries_read {
            Some(read) if !self.has_gap_from(group.last_id) => read,
            _ => self.count_up_to(group.last_id)?,
        };
        Some((added as i64).wrapping_sub(read))
    }

    /// Lets a group have read up to an entry, if it was not that far.
    pub fn advance(&self, group: &mut Group, id: Id) -> bool {
        if id <= group.last_id {
            return false;
        }
        group.last_id = id;
        match &mut group.entries_read {
            Some(read) if !self.has_gap_from(id) => *read = read.wrapping_add(1),
            read if self.counters.entries_added > 0 => *read = self.count_up_to(id),
            _ => {}
        }
        true
    }
}

/// Changing.
impl Entries {
    /// Adds an entry with these fields (name, value, ...) and returns its id.
    pub fn add(&mut self, id: NewId, pairs: &[&[u8]], max: NodeLimits) -> Result<Id, AddError> {
        let id = self.new_id(id)?;
        let size: usize = pairs.iter().map(|part| part.len()).sum();
        if size > SIZE_MAX {
            return Err(AddError::TooLarge);
        }
        match self.nodes.last_mut() {
            Some((base, node)) if has_room(node, size, max) => {
                let node = Arc::make_mut(node);
                self.bytes -= node.byte_len();
                node.add(base, id, pairs);
                self.bytes += node.byte_len();
            }
            _ => {
                let node = Node::new(pairs);
                self.bytes += node.byte_len();
                self.nodes.insert(id, Arc::new(node));
            }
        }
        self.length += 1;
        self.counters.entries_added = self.counters.entries_added.wrapping_add(1);
        self.counters.last_id = id;
        if self.length == 1 {
            self.counters.first_id = id;
        }
        Ok(id)
    }

    fn new_id(&self, id: NewId) -> Result<Id, AddError> {
        let last = self.counters.last_id;
        let next = last.next().ok_or(AddError::Exhausted)?;
        let id = match id {
            NewId::Auto(ms) if ms > last.ms => Id::new(ms, 0),
            NewId::Auto(_) => next,
            // The number must not run over into the next millisecond.
            NewId::AutoSeq(ms) if ms == last.ms && next.ms != ms => {
                return Err(AddError::NotGreater);
            }
            NewId::AutoSeq(ms) if ms == last.ms => next,
            NewId::AutoSeq(ms) => Id::new(ms, 0),
            NewId::Given(id) => id,
        };
        if id > last { Ok(id) } else { Err(AddError::NotGreater) }
    }

    /// Deletes an entry as XDEL does; whether it was there. Call [`Entries::find_first`] at the end
    /// of a series.
    pub fn delete(&mut self, id: Id) -> bool {
        let Some(base) = self.nodes.iter_from_floor(id).next().map(|(base, _)| base) else {
            return false;
        };
        // A node that somebody else holds is not copied before it is known to change.
        if self.get(id).is_none() {
            return false;
        }
        let Some(node) = self.nodes.get_mut(base) else { return false };
        let node = Arc::make_mut(node);
        self.bytes -= node.byte_len();
        if !node.delete(base, id) {
            self.bytes += node.byte_len();
            return false;
        }
        if node.live() == 0 {
            self.nodes.remove(base);
        } else {
            self.bytes += node.byte_len();
        }
        self.length -= 1;
        self.counters.max_deleted_id = self.counters.max_deleted_id.max(id);
        true
    }

    /// Sets the first entry's id anew.
    pub fn find_first(&mut self) {
        let first = self.iter().next().map(|entry| entry.id);
        self.counters.first_id = first.unwrap_or_default();
    }

    /// Cuts off old entries and returns how many.
    pub fn trim(&mut self, trim: Trim) -> u64 {
        let mut removed = 0;
        while let Some((base, node)) = self.nodes.first() {
            let live = node.live() as u64;
            if matches!(trim.to, TrimTo::MaxLen(max) if self.length <= max)
                || (trim.limit > 0 && removed + live > trim.limit)
            {
                break;
            }
            if self.is_out(trim.to, base, node, live) {
                self.bytes -= node.byte_len();
                self.nodes.remove(base);
                self.length -= live;
                removed += live;
            } else {
                if !trim.approximate {
                    removed += self.trim_inside(trim.to, base);
                }
                break;
            }
        }
        if removed > 0 || self.length == 0 {
            self.find_first();
        }
        removed
    }

    /// Whether a whole node is to go.
    fn is_out(&self, to: TrimTo, base: Id, node: &Node, live: u64) -> bool {
        match to {
            TrimTo::MaxLen(max) => self.length - live >= max,
            TrimTo::MinId(min) => node.entries_back(base).next().is_none_or(|last| last.id < min),
        }
    }

    /// Cuts off entries in a node.
    fn trim_inside(&mut self, to: TrimTo, base: Id) -> u64 {
        let Some(node) = self.nodes.get_mut(base) else { return 0 };
        let length = self.length;
        let stop = |id: Id, removed: usize| match to {
            TrimTo::MaxLen(max) => length - removed as u64 <= max,
            TrimTo::MinId(min) => id >= min,
        };
        if node.entries(base).next().is_none_or(|first| stop(first.id, 0)) {
            return 0;
        }
        let node = Arc::make_mut(node);
        self.bytes -= node.byte_len();
        let removed = node.delete_while(base, stop) as u64;
        self.bytes += node.byte_len();
        self.length -= removed;
        removed
    }

    /// XSETID: sets what is given.
    pub fn set_id(&mut self, last_id: Id, entries_added: Option<u64>, max_deleted: Option<Id>) {
        let counters = &mut self.counters;
        counters.last_id = last_id;
        counters.entries_added = entries_added.unwrap_or(counters.entries_added);
        counters.max_deleted_id = max_deleted.unwrap_or(counters.max_deleted_id);
    }

    /// Adds a node from elsewhere behind all others; whether it is sound and belongs there.
    pub fn load_node(&mut self, base: Id, list: Listpack) -> bool {
        let Some((node, last)) = Node::from_listpack(list, base) else { return false };
        let before = self.nodes.last().map(|(before, _)| before.max(self.counters.last_id));
        if before.is_some_and(|before| before >= base) {
            return false;
        }
        self.bytes += node.byte_len();
        self.length += node.live() as u64;
        self.counters.last_id = last.unwrap_or(self.counters.last_id);
        self.nodes.insert(base, Arc::new(node));
        true
    }

    /// Ends loading with the number of entries and the last id that come with the nodes; whether
    /// they agree. The other counters are what they are for a stream that nothing was deleted from.
    pub fn finish_loading(&mut self, length: u64, last_id: Id) -> bool {
        let agrees = length == self.length && last_id >= self.counters.last_id;
        self.counters.last_id = last_id;
        self.counters.entries_added = length;
        self.find_first();
        agrees
    }

    /// Sets the counters of a loaded stream that knows them itself.
    pub fn load_counters(&mut self, first_id: Id, max_deleted_id: Id, entries_added: u64) {
        let last_id = self.counters.last_id;
        self.counters = Counters { first_id, last_id, max_deleted_id, entries_added };
    }
}

/// Whether a node can take another entry, whose strings have so many bytes together.
fn has_room(node: &Node, size: usize, max: NodeLimits) -> bool {
    let bytes = if max.bytes == 0 { SIZE_MAX } else { max.bytes.min(SIZE_MAX) };
    node.byte_len().saturating_add(size) < bytes
        && (max.entries == 0 || node.len_with_deleted() < max.entries)
}

impl PartialEq for Entries {
    /// Equal are the same entries and counters, whatever nodes they are in.
    fn eq(&self, other: &Self) -> bool {
        let same = |(a, b): (Entry, Entry)| a.id == b.id && a.pairs().eq(b.pairs());
        (self.length, self.counters) == (other.length, other.counters)
            && self.iter().zip(other.iter()).all(same)
    }
}
