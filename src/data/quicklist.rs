//! A long list: a chain of nodes, each a listpack of some kilobytes, without a pointer per element.
//!
//! An element of a gigabyte or more stands alone in a plain node. Where elements go, and when nodes
//! are split and merged, follows Redis, so that a dumped list has the same nodes. This file must
//! not know when a list is long enough to be kept like this: `list.rs` decides that.
//!
//! Invariants: no node is empty; `len` and the counts beside the nodes are those of the nodes.
//! Nodes are shared with copies of the list, and copied when one of the two changes them.

use std::collections::VecDeque;
use std::collections::vec_deque;
use std::sync::Arc;

use crate::data::listpack::{self, Item, Listpack};

/// What Redis adds to an element's length to guess at the size of its entry.
const ENTRY_OVERHEAD: usize = 8;
/// How large a node gets whose limit is a count.
const SAFE_NODE_BYTES: usize = 8192;
/// From which length on an element gets a node of its own that is no listpack.
const PLAIN_BYTES: usize = 1 << 30;

/// How much a node may hold: what the parameter `list-max-listpack-size` says.
#[derive(Clone, Copy, Debug)]
pub struct Fill {
    bytes: usize,
    count: usize,
    plain: usize,
}

impl Fill {
    /// From the parameter: a positive number counts elements, -1 to -5 stand for 4 to 64 KiB.
    pub fn new(parameter: i64) -> Fill {
        let plain = PLAIN_BYTES;
        match usize::try_from(parameter) {
            Ok(count) => Fill { bytes: SAFE_NODE_BYTES, count: count.max(1), plain },
            Err(_) => Fill { bytes: 2048 << parameter.max(-5).abs(), count: usize::MAX, plain },
        }
    }

    /// Whether a node may have so many bytes and elements.
    pub fn allows(self, bytes: usize, count: usize) -> bool {
        bytes <= self.bytes && count <= self.count
    }

    /// Whether so many bytes and elements are within this share of the limit. With a limit by
    /// count, bytes do not matter here, other than for a node that is to grow.
    pub fn holds(self, bytes: usize, count: usize, share: usize) -> bool {
        let by_bytes = self.count == usize::MAX;
        (!by_bytes || bytes <= self.bytes / share) && count <= self.count / share
    }

    fn is_plain(self, value: &[u8]) -> bool {
        value.len() >= self.plain
    }
}

/// What a node holds.
#[derive(Clone, Debug)]
pub enum Block {
    /// Some elements.
    Packed(Listpack),
    /// One huge element.
    Plain(Box<[u8]>),
}

/// What a node holds, borrowed.
#[derive(Clone, Copy, Debug)]
pub enum BlockRef<'a> {
    /// Some elements.
    Packed(&'a Listpack),
    /// One huge element.
    Plain(&'a [u8]),
}

/// A node, with what is asked of it most often beside it.
#[derive(Clone, Debug)]
struct Node {
    block: Arc<Block>,
    count: u32,
    /// The length of the block; saturates.
    bytes: u32,
}

impl Node {
    fn new(block: Block) -> Node {
        let mut node = Node { block: Arc::new(block), count: 0, bytes: 0 };
        node.measure();
        node
    }

    /// A node for one element.
    fn single(value: &[u8], fill: Fill) -> Node {
        if fill.is_plain(value) {
            return Node::new(Block::Plain(value.into()));
        }
        let mut list = Listpack::new();
        list.push(value);
        Node::new(Block::Packed(list))
    }

    fn measure(&mut self) {
        let (count, bytes) = match &*self.block {
            Block::Packed(list) => (list.len(), list.byte_len()),
            Block::Plain(value) => (1, value.len()),
        };
        self.count = u32::try_from(count).unwrap_or(u32::MAX);
        self.bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    }

    fn packed(&self) -> Option<&Listpack> {
        match &*self.block {
            Block::Packed(list) => Some(list),
            Block::Plain(_) => None,
        }
    }

    /// Changes the listpack, if the node is one.
    fn change<R>(&mut self, change: impl FnOnce(&mut Listpack) -> R) -> Option<R> {
        let Block::Packed(list) = Arc::make_mut(&mut self.block) else { return None };
        let result = change(list);
        self.measure();
        Some(result)
    }

    fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether one more element may come into this node.
    fn takes(&self, value: &[u8], fill: Fill) -> bool {
        let bytes = self.bytes as usize + value.len() + ENTRY_OVERHEAD;
        self.packed().is_some() && !fill.is_plain(value) && fill.allows(bytes, self.len() + 1)
    }

    fn iter(&self) -> NodeIter<'_> {
        match &*self.block {
            Block::Packed(list) => NodeIter::Packed(list.iter()),
            Block::Plain(value) => NodeIter::Plain(value),
        }
    }

    fn iter_from(&self, offset: usize) -> NodeIter<'_> {
        match &*self.block {
            Block::Packed(list) => match list.seek(offset as i64) {
                Some(at) => NodeIter::Packed(list.iter_from(at)),
                None => NodeIter::None,
            },
            Block::Plain(value) => NodeIter::Plain(value),
        }
    }
}

/// The chain.
#[derive(Clone, Debug, Default)]
pub struct Quicklist {
    nodes: VecDeque<Node>,
    len: usize,
}

impl Quicklist {
    /// An empty one.
    pub fn new() -> Quicklist {
        Quicklist::default()
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes on the heap: the nodes, and what leads to them.
    pub fn heap_size(&self) -> usize {
        let blocks: usize = self.nodes.iter().map(|node| node.bytes as usize).sum();
        let around = size_of::<Block>() + 2 * size_of::<usize>();
        blocks + self.nodes.len() * around + self.nodes.capacity() * size_of::<Node>()
    }

    /// The nodes in order.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = BlockRef<'_>> {
        self.nodes.iter().map(|node| match &*node.block {
            Block::Packed(list) => BlockRef::Packed(list),
            Block::Plain(value) => BlockRef::Plain(value),
        })
    }

    /// The only node, if it is a listpack.
    pub fn only_listpack(&self) -> Option<&Listpack> {
        if self.nodes.len() == 1 { self.nodes[0].packed() } else { None }
    }

    /// Adds a node at the end, unless it is empty.
    pub fn push_block(&mut self, block: Block) {
        let node = Node::new(block);
        if node.count > 0 {
            self.len += node.len();
            self.nodes.push_back(node);
        }
    }

    /// Adds an element at the end.
    pub fn push_back(&mut self, value: &[u8], fill: Fill) {
        if let Some(node) = self.nodes.back_mut().filter(|node| node.takes(value, fill)) {
            node.change(|list| list.push(value));
        } else {
            self.nodes.push_back(Node::single(value, fill));
        }
        self.len += 1;
    }

    /// Adds an element at the start.
    pub fn push_front(&mut self, value: &[u8], fill: Fill) {
        if let Some(node) = self.nodes.front_mut().filter(|node| node.takes(value, fill)) {
            node.change(|list| list.push_front(value));
        } else {
            self.nodes.push_front(Node::single(value, fill));
        }
        self.len += 1;
    }

    /// The element with this index.
    pub fn get(&self, index: usize) -> Option<Item<'_>> {
        let (node, offset) = self.locate(index)?;
        match &*self.nodes[node].block {
            Block::Packed(list) => list.seek(offset as i64).map(|at| list.at(at)),
            Block::Plain(value) => Some(Item::Bytes(value)),
        }
    }

    /// All elements, from either end.
    pub fn iter(&self) -> Iter<'_> {
        Iter { front: NodeIter::None, nodes: self.nodes.iter(), back: NodeIter::None }
    }

    /// The elements from an index on.
    pub fn iter_from(&self, index: usize) -> Iter<'_> {
        let (front, behind) = match self.locate(index) {
            Some((node, offset)) => (self.nodes[node].iter_from(offset), node + 1),
            None => (NodeIter::None, self.nodes.len()),
        };
        Iter { front, nodes: self.nodes.range(behind..), back: NodeIter::None }
    }

    /// Puts an element before (or behind) the one with this index, which exists.
    pub fn insert(&mut self, index: usize, after: bool, value: &[u8], fill: Fill) {
        let Some((at, offset)) = self.locate(index) else { return };
        self.len += 1;
        let node = &mut self.nodes[at];
        let place = offset + usize::from(after);
        if node.takes(value, fill) {
            node.change(|list| insert_at(list, place, value));
        } else if place == 0 || place == node.len() {
            self.insert_between(at + usize::from(after), after, value, fill);
        } else {
            self.insert_by_split(at, place, after, value, fill);
        }
    }

    /// Changes the element with this index, which exists.
    pub fn set(&mut self, index: usize, value: &[u8], fill: Fill) {
        let Some((at, offset)) = self.locate(index) else { return };
        let node = &mut self.nodes[at];
        let room = node.packed().is_some_and(|list| list.has_room(value.len() + ENTRY_OVERHEAD));
        if room && !fill.is_plain(value) {
            node.change(|list| {
                if let Some(pos) = list.seek(offset as i64) {
                    list.replace(pos, value);
                }
            });
        } else {
            self.insert(index, true, value, fill);
            self.remove_range(index, 1);
        }
    }

    /// Takes out up to `count` elements from an index on.
    pub fn remove_range(&mut self, index: usize, count: usize) {
        let Some((first, mut offset)) = self.locate(index) else { return };
        let mut left = count.min(self.len - index);
        self.len -= left;
        // Whole nodes in the middle are dropped at once.
        let mut at = first;
        let mut whole = first..first;
        while left > 0 {
            let node = &mut self.nodes[at];
            let taken = left.min(node.len() - offset);
            if taken == node.len() {
                whole.start = if whole.is_empty() { at } else { whole.start };
                whole.end = at + 1;
            } else {
                node.change(|list| list.remove_range(offset, taken));
            }
            left -= taken;
            offset = 0;
            at += 1;
        }
        self.remove_nodes(whole);
    }

    /// Takes out up to `limit` elements with this value, the first or the last ones, and returns
    /// how many there were.
    pub fn remove_equal(&mut self, value: &[u8], limit: usize, from_back: bool) -> usize {
        let mut removed = 0;
        let mut remove_in = |node: &mut Node| {
            if removed == limit {
                return;
            }
            let mut items = node.iter();
            let items = std::iter::from_fn(|| items.step(false));
            let count = items.filter(|item| item.is(value)).count();
            let here = count.min(limit - removed);
            if here == node.len() {
                node.count = 0;
            } else if here > 0 {
                node.change(|list| remove_equal(list, value, here, from_back));
            }
            removed += here;
        };
        if from_back {
            self.nodes.iter_mut().rev().for_each(&mut remove_in);
        } else {
            self.nodes.iter_mut().for_each(&mut remove_in);
        }
        self.nodes.retain(|node| node.count > 0);
        self.len -= removed;
        removed
    }

    /// The node of an element and its index there, searched from the nearer end.
    fn locate(&self, index: usize) -> Option<(usize, usize)> {
        if index >= self.len {
            return None;
        }
        if index < self.len / 2 {
            let mut before = 0;
            for (at, node) in self.nodes.iter().enumerate() {
                if index < before + node.len() {
                    return Some((at, index - before));
                }
                before += node.len();
            }
        } else {
            let mut start = self.len;
            for (at, node) in self.nodes.iter().enumerate().rev() {
                start -= node.len();
                if index >= start {
                    return Some((at, index - start));
                }
            }
        }
        None
    }

    /// Puts an element before the node `at`, next to a full one on the side that `after` names:
    /// into the node on the other side if that takes it, and else into one of its own.
    fn insert_between(&mut self, at: usize, after: bool, value: &[u8], fill: Fill) {
        let other = if after { Some(at) } else { at.checked_sub(1) };
        let other = other.and_then(|other| self.nodes.get_mut(other));
        let Some(node) = other.filter(|node| node.takes(value, fill)) else {
            return self.nodes.insert(at, Node::single(value, fill));
        };
        node.change(|list| if after { list.push_front(value) } else { list.push(value) });
    }

    /// Puts an element into the middle of a full node, which becomes two. Then what became small
    /// around the node with the reference element is merged.
    fn insert_by_split(&mut self, at: usize, place: usize, after: bool, value: &[u8], fill: Fill) {
        let Some(mut tail) = self.nodes[at].change(|list| list.split_off(place)) else { return };
        if fill.is_plain(value) {
            self.nodes.insert(at + 1, Node::new(Block::Packed(tail)));
            self.nodes.insert(at + 1, Node::single(value, fill));
            return;
        }
        if after {
            tail.push_front(value);
        } else {
            self.nodes[at].change(|list| list.push(value));
        }
        self.nodes.insert(at + 1, Node::new(Block::Packed(tail)));
        self.merge_around(at + usize::from(!after), fill);
    }

    /// Merges the two nodes before `center`, the two behind it, and then it with its neighbours, as
    /// far as the results are no larger than nodes may be.
    fn merge_around(&mut self, center: usize, fill: Fill) {
        let mut center = center;
        if center >= 2 && self.merge(center - 2, fill) {
            center -= 1;
        }
        self.merge(center + 1, fill);
        if center >= 1 && self.merge(center - 1, fill) {
            center -= 1;
        }
        self.merge(center, fill);
    }

    /// Makes one node of this one and the next.
    fn merge(&mut self, left: usize, fill: Fill) -> bool {
        let (Some(a), Some(b)) = (self.nodes.get(left), self.nodes.get(left + 1)) else {
            return false;
        };
        let (Some(_), Some(tail)) = (a.packed(), b.packed()) else { return false };
        let overhead = Listpack::new().byte_len();
        let bytes = a.bytes as usize + b.bytes as usize - overhead;
        if !fill.allows(bytes, a.len() + b.len()) {
            return false;
        }
        let tail = tail.clone();
        self.nodes[left].change(|list| list.append(&tail));
        self.nodes.remove(left + 1);
        true
    }

    /// Drops nodes, and the room for them if it has become much too large.
    fn remove_nodes(&mut self, range: std::ops::Range<usize>) {
        self.nodes.drain(range);
        if self.nodes.capacity() > 64 && self.nodes.capacity() / 4 > self.nodes.len() {
            self.nodes.shrink_to(self.nodes.len() * 2);
        }
    }
}

/// Puts an element at an index of a listpack, which may be its length.
pub fn insert_at(list: &mut Listpack, index: usize, value: &[u8]) {
    match list.seek(index as i64) {
        Some(at) => {
            list.insert_before(at, value);
        }
        None => list.push(value),
    }
}

/// Takes out up to `limit` elements with this value of a listpack, the first or the last ones, and
/// returns how many there were. It is written anew, since each removal would move all that follows.
pub fn remove_equal(list: &mut Listpack, value: &[u8], limit: usize, from_back: bool) -> usize {
    let matches = list.iter().filter(|item| item.is(value)).count();
    let skipped = if from_back { matches.saturating_sub(limit) } else { 0 };
    let gone = skipped..skipped.saturating_add(limit).min(matches);
    if gone.is_empty() {
        return 0;
    }
    let mut kept = listpack::Builder::with_capacity(list.byte_len());
    let mut seen = 0;
    for item in list.iter() {
        let is = item.is(value);
        if !(is && gone.contains(&seen)) {
            kept.push_item(item);
        }
        seen += usize::from(is);
    }
    *list = kept.finish();
    gone.len()
}

/// The elements of a node.
#[derive(Clone)]
enum NodeIter<'a> {
    None,
    Packed(listpack::Iter<'a>),
    Plain(&'a [u8]),
}

impl<'a> NodeIter<'a> {
    fn step(&mut self, from_back: bool) -> Option<Item<'a>> {
        match self {
            NodeIter::None => None,
            NodeIter::Packed(iter) if from_back => iter.next_back(),
            NodeIter::Packed(iter) => iter.next(),
            NodeIter::Plain(value) => {
                let item = Item::Bytes(value);
                *self = NodeIter::None;
                Some(item)
            }
        }
    }
}

/// The elements of a list, from either end.
#[derive(Clone)]
pub struct Iter<'a> {
    front: NodeIter<'a>,
    nodes: vec_deque::Iter<'a, Node>,
    back: NodeIter<'a>,
}

impl<'a> Iter<'a> {
    /// The elements of a list that is one listpack; `None` for no elements.
    pub fn packed(iter: Option<listpack::Iter<'a>>) -> Iter<'a> {
        let front = iter.map_or(NodeIter::None, NodeIter::Packed);
        Iter { front, nodes: vec_deque::Iter::default(), back: NodeIter::None }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        loop {
            if let Some(item) = self.front.step(false) {
                return Some(item);
            }
            match self.nodes.next() {
                Some(node) => self.front = node.iter(),
                None => return self.back.step(false),
            }
        }
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.back.step(true) {
                return Some(item);
            }
            match self.nodes.next_back() {
                Some(node) => self.back = node.iter(),
                None => return self.front.step(true),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    const SMALL: Fill = Fill { bytes: 60, count: usize::MAX, plain: 100 };

    fn check(list: &Quicklist, model: &[Vec<u8>], fill: Fill) {
        let texts: Vec<_> = list.iter().map(|item| item.to_vec()).collect();
        assert_eq!(texts, model);
        let back: Vec<_> = list.iter().rev().map(|item| item.to_vec()).collect();
        assert!(back.iter().eq(model.iter().rev()));
        assert_eq!((list.len(), list.nodes.is_empty()), (model.len(), model.is_empty()));
        for node in &list.nodes {
            let mut again = node.clone();
            again.measure();
            assert_eq!((again.count, again.bytes), (node.count, node.bytes));
            assert!(node.count > 0);
            assert!(node.packed().is_some() || node.bytes as usize >= fill.plain);
        }
    }

    fn random_value(rng: &mut Rng) -> Vec<u8> {
        let random = rng.next_u64();
        match random % 16 {
            0 => vec![b'p'; 95 + (random >> 8) as usize % 10],
            1 => vec![b'q'; 50 + (random >> 8) as usize % 20],
            2..8 => (random >> 8 & 15).to_string().into_bytes(),
            _ => vec![b'a' + (random >> 8 & 7) as u8; (random >> 16) as usize % 6],
        }
    }

    fn random_change(rng: &mut Rng, list: &mut Quicklist, model: &mut Vec<Vec<u8>>, fill: Fill) {
        let value = random_value(rng);
        let roll = rng.next_u64();
        let index = (roll >> 32) as usize % (model.len() + 1);
        let count = 1 + (roll >> 8) as usize % if roll & 0x80 == 0 { 3 } else { 20 };
        match roll % 10 {
            0 | 1 => {
                list.push_back(&value, fill);
                model.push(value);
            }
            2 | 3 => {
                list.push_front(&value, fill);
                model.insert(0, value);
            }
            4..7 if index < model.len() => {
                let after = roll & 0x1000 != 0;
                list.insert(index, after, &value, fill);
                model.insert(index + usize::from(after), value);
            }
            7 if index < model.len() => {
                list.set(index, &value, fill);
                model[index] = value;
            }
            8 => {
                list.remove_range(index, count);
                model.drain(index..model.len().min(index + count));
            }
            9 if roll & 0x70 == 0 => {
                let from_back = roll & 0x1000 != 0;
                let places: Vec<_> = (0..model.len()).filter(|at| model[*at] == value).collect();
                assert_eq!(list.remove_equal(&value, count, from_back), places.len().min(count));
                let skip = if from_back { places.len().saturating_sub(count) } else { 0 };
                places[skip..].iter().take(count).rev().for_each(|at| drop(model.remove(*at)));
            }
            _ => {
                assert_eq!(list.get(index).map(|item| item.to_vec()).as_ref(), model.get(index));
                let rest: Vec<_> = list.iter_from(index).map(|item| item.to_vec()).collect();
                assert_eq!(rest, model[index..]);
            }
        }
    }

    #[test]
    fn random_changes_match_a_vector() {
        for (seed, fill) in
            [SMALL, Fill { bytes: 300, count: 5, plain: 100 }].into_iter().enumerate()
        {
            let mut rng = Rng::seeded(seed as u64 + 3);
            let (mut list, mut model) = (Quicklist::new(), Vec::new());
            for step in 0..6000 {
                let old = (step % 64 == 0).then(|| (list.clone(), model.clone()));
                random_change(&mut rng, &mut list, &mut model, fill);
                if step % 8 == 0 {
                    check(&list, &model, fill);
                }
                if let Some((old_list, old_model)) = old {
                    check(&old_list, &old_model, fill);
                }
            }
        }
    }

    #[test]
    fn the_parameter_counts_bytes_or_elements() {
        assert!(Fill::new(-2).allows(8192, 100_000) && !Fill::new(-2).allows(8193, 1));
        assert!(Fill::new(-99).allows(65536, 1) && !Fill::new(i64::MIN).allows(65537, 1));
        assert!(Fill::new(3).allows(8192, 3) && !Fill::new(3).allows(20, 4));
        assert!(Fill::new(0).allows(20, 1) && !Fill::new(0).allows(20, 2));
        assert!(Fill::new(128).holds(9000, 64, 2) && !Fill::new(128).holds(10, 65, 2));
        assert!(Fill::new(-2).holds(4096, 65, 2) && !Fill::new(-2).holds(4097, 1, 2));
    }

    #[test]
    fn a_copy_shares_what_does_not_change() {
        let fill = Fill::new(-2);
        let mut list = Quicklist::new();
        (0..100_000).for_each(|number| list.push_back(format!("item {number}").as_bytes(), fill));
        let copy = list.clone();
        list.set(50_000, b"new", fill);
        let own = list.nodes.iter().zip(&copy.nodes);
        assert_eq!(own.filter(|(a, b)| !Arc::ptr_eq(&a.block, &b.block)).count(), 1);
        assert!(copy.get(50_000).is_some_and(|item| item.is(b"item 50000")));
    }

    #[test]
    fn a_long_list_has_little_beside_its_entries() {
        let fill = Fill::new(-2);
        let mut list = Quicklist::new();
        (0..100_000).for_each(|_| list.push_front(b"0123456789abcdef", fill));
        assert!(list.heap_size() < 100_000 * 18 * 21 / 20, "{}", list.heap_size());
        list.remove_range(10, 99_980);
        assert_eq!((list.len(), list.nodes.len()), (20, 2));
        assert!(list.heap_size() < 1000, "{}", list.heap_size());
    }
}
