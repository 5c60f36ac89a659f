//! The stream type: entries with ascending ids, and groups of consumers that read them.
//!
//! The entries are in nodes ([`node`]), each kept under the id of its first entry. Nodes, groups
//! and the stream itself are behind `Arc`s: a clone shares all of them, and a change of either copy
//! takes apart the one node or group that it meets. A stream without entries is a value like any
//! other.

pub mod entries;
pub mod group;
pub mod id;
mod idmap;
pub mod node;
mod radix;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use entries::{AddError, Entries, NewId, NodeLimits, Trim, TrimTo};
pub use group::{Consumer, Group, Pending};
pub use id::{Id, Seq};
pub use node::Entry;

/// A stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stream(Arc<Body>);

#[derive(Clone, Debug, Default, PartialEq)]
struct Body {
    entries: Entries,
    groups: BTreeMap<Box<[u8]>, Arc<Group>>,
}

impl Stream {
    /// See [`crate::data::Value::is_unchanged_since`].
    pub(in crate::data) fn is_unchanged_since(&self, clone: &Self) -> bool {
        Arc::ptr_eq(&self.0, &clone.0)
    }

    /// The entries.
    pub fn entries(&self) -> &Entries {
        &self.0.entries
    }

    /// The entries, to be changed.
    pub fn entries_mut(&mut self) -> &mut Entries {
        &mut Arc::make_mut(&mut self.0).entries
    }

    /// The groups by name.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = (&[u8], &Group)> {
        self.0.groups.iter().map(|(name, group)| (&**name, &**group))
    }

    /// A group.
    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.0.groups.get(name).map(|group| &**group)
    }

    /// A group to be changed, and the entries that it reads.
    pub fn group_mut(&mut self, name: &[u8]) -> Option<(&Entries, &mut Group)> {
        self.group(name)?;
        let body = Arc::make_mut(&mut self.0);
        let group = body.groups.get_mut(name)?;
        Some((&body.entries, Arc::make_mut(group)))
    }

    /// Adds a group, unless there is one of that name; whether there was none.
    pub fn add_group(&mut self, name: &[u8], group: Group) -> bool {
        let new = self.group(name).is_none();
        if new {
            Arc::make_mut(&mut self.0).groups.insert(name.into(), Arc::new(group));
        }
        new
    }

    /// Removes a group; whether it was there.
    pub fn remove_group(&mut self, name: &[u8]) -> bool {
        self.group(name).is_some() && Arc::make_mut(&mut self.0).groups.remove(name).is_some()
    }

    /// The name that OBJECT ENCODING answers.
    pub fn encoding(&self) -> &'static str {
        "stream"
    }

    /// Bytes on the heap.
    pub fn heap_size(&self) -> usize {
        let of_group = |name: &[u8], group: &Group| {
            size_of::<Box<[u8]>>() + name.len() + size_of::<Group>() + group.heap_size()
        };
        let groups: usize = self.0.groups.iter().map(|(name, group)| of_group(name, group)).sum();
        size_of::<Body>() + self.0.entries.heap_size() + groups
    }
}

#[cfg(test)]
mod tests;
