//! A sequence of (score, handle) pairs in a B+-tree that counts what is below each branch.
//!
//! The tree knows positions only: an item is put in, read and taken out by its place. Whoever keeps
//! the sequence in order asks [`Tree::partition_point`] for the place of something, with a question
//! about items that is true for those before it. So the tree must not know what an order is, nor
//! what a handle stands for.
//!
//! Invariants: all leaves are equally deep; no leaf is empty but a lone root; a branch knows the
//! number of items below each child and the first of them; each node but those along the edges has
//! at least [`LEAST`] parts, after removals, at most [`MOST`].
//!
//! Nodes are shared between clones and copied where one of them changes. An item takes 12 bytes,
//! and with the unused room of leaves and all nodes about 15.

use std::mem;
use std::sync::Arc;

/// Items of a leaf, or children of a branch.
const MOST: usize = 64;

/// A node with fewer parts than that is joined with its neighbour, or given some of its.
const LEAST: usize = MOST / 4;

/// A node made of two has at most so many parts, so that it need not be split again soon.
const JOINED: usize = MOST / 4 * 3;

/// A leaf grows by so many items at a time: more would waste memory, less would copy more often.
const GROWTH: usize = 8;

/// A score and the handle of what has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    // In halves, so that three items take 36 bytes and not 48.
    high: u32,
    low: u32,
    /// What the owner of the tree calls the member by.
    pub handle: u32,
}

impl Item {
    /// A pair.
    pub fn new(score: f64, handle: u32) -> Item {
        let bits = score.to_bits();
        Item { high: (bits >> 32) as u32, low: bits as u32, handle }
    }

    /// The score.
    pub fn score(&self) -> f64 {
        f64::from_bits(u64::from(self.high) << 32 | u64::from(self.low))
    }
}

#[derive(Clone)]
enum Node {
    Leaf(Vec<Item>),
    Branch(Vec<Child>),
}

/// A child of a branch. It is never empty.
#[derive(Clone)]
struct Child {
    node: Arc<Node>,
    first: Item,
    count: u32,
}

/// The sequence.
#[derive(Clone)]
pub struct Tree {
    root: Arc<Node>,
    len: usize,
}

impl Default for Tree {
    fn default() -> Self {
        Tree { root: Arc::new(Node::Leaf(Vec::new())), len: 0 }
    }
}

impl Child {
    fn leaf(items: Vec<Item>) -> Child {
        let (first, count) = (items[0], items.len() as u32);
        Child { node: Arc::new(Node::Leaf(items)), first, count }
    }

    fn branch(children: Vec<Child>) -> Child {
        let (first, count) = (children[0].first, children.iter().map(|c| c.count).sum());
        Child { node: Arc::new(Node::Branch(children)), first, count }
    }

    /// Reads anew what its node begins with.
    fn renew(&mut self) {
        match &*self.node {
            Node::Leaf(items) => self.first = items[0],
            Node::Branch(children) => self.first = children[0].first,
        }
    }
}

impl Node {
    fn parts(&self) -> usize {
        match self {
            Node::Leaf(items) => items.len(),
            Node::Branch(children) => children.len(),
        }
    }
}

/// Which edges of the tree a node is on.
#[derive(Clone, Copy)]
struct Edges {
    left: bool,
    right: bool,
}

impl Edges {
    /// Those of one of `count` children.
    fn of_child(self, index: usize, count: usize) -> Edges {
        Edges { left: self.left && index == 0, right: self.right && index + 1 == count }
    }
}

/// Where to split a full node that is to get another part at `at`. In the middle; but items that
/// come in order at one end of the tree leave full nodes behind them.
fn cut(at: usize, len: usize, edges: Edges) -> usize {
    match at {
        0 if edges.left => 0,
        at if at == len && edges.right => len,
        _ => len / 2,
    }
}

/// Puts a part into a full node, of which the right part becomes a new one.
fn split<T>(parts: &mut Vec<T>, at: usize, part: T, edges: Edges) -> Vec<T> {
    let len = parts.len();
    let cut = cut(at, len, edges);
    let mut right = Vec::with_capacity(len - cut + 1);
    right.extend(parts.drain(cut..));
    if at <= cut && cut < len {
        parts.insert(at, part);
    } else {
        right.insert(at - cut, part);
    }
    parts.shrink_to(parts.len() + GROWTH);
    right
}

fn insert(node: &mut Arc<Node>, at: usize, item: Item, edges: Edges) -> Option<Child> {
    match Arc::make_mut(node) {
        Node::Leaf(items) if items.len() < MOST => {
            if items.len() == items.capacity() {
                items.reserve_exact(GROWTH);
            }
            items.insert(at, item);
            None
        }
        Node::Leaf(items) => Some(Child::leaf(split(items, at, item, edges))),
        Node::Branch(children) => {
            let (index, at) = find(children, at, |at, count| at <= count);
            let below = edges.of_child(index, children.len());
            let child = &mut children[index];
            let new = insert(&mut child.node, at, item, below);
            child.count += 1;
            child.renew();
            let new = new?;
            child.count -= new.count;
            if children.len() < MOST {
                children.insert(index + 1, new);
                return None;
            }
            Some(Child::branch(split(children, index + 1, new, edges)))
        }
    }
}

/// The child for which `here` holds of the place in it and its count, and that place; or the last
/// child.
fn find(children: &[Child], mut at: usize, here: impl Fn(usize, usize) -> bool) -> (usize, usize) {
    let last = children.len() - 1;
    for (index, child) in children[..last].iter().enumerate() {
        let count = child.count as usize;
        if here(at, count) {
            return (index, at);
        }
        at -= count;
    }
    (last, at)
}

fn remove(node: &mut Arc<Node>, at: usize) -> Item {
    match Arc::make_mut(node) {
        Node::Leaf(items) => {
            let item = items.remove(at);
            if items.capacity() - items.len() > 2 * GROWTH {
                items.shrink_to(items.len() + GROWTH);
            }
            item
        }
        Node::Branch(children) => {
            let (index, at) = find(children, at, |at, count| at < count);
            let child = &mut children[index];
            let item = remove(&mut child.node, at);
            child.count -= 1;
            if child.count == 0 {
                children.remove(index);
                return item;
            }
            child.renew();
            if child.node.parts() < LEAST && children.len() > 1 {
                balance(children, index.saturating_sub(1));
            }
            item
        }
    }
}

/// Joins a child with the one behind it, or shares their parts evenly.
fn balance(children: &mut Vec<Child>, index: usize) {
    let right = children.remove(index + 1);
    let left = &mut children[index];
    let rest = match (Arc::make_mut(&mut left.node), Arc::unwrap_or_clone(right.node)) {
        (Node::Leaf(items), Node::Leaf(more)) => join(items, more).map(Child::leaf),
        (Node::Branch(parts), Node::Branch(more)) => join(parts, more).map(Child::branch),
        // All leaves are equally deep.
        _ => None,
    };
    left.count += right.count;
    if let Some(rest) = rest {
        left.count -= rest.count;
        children.insert(index + 1, rest);
    }
}

fn join<T>(parts: &mut Vec<T>, more: Vec<T>) -> Option<Vec<T>> {
    parts.reserve_exact(more.len());
    parts.extend(more);
    if parts.len() <= JOINED {
        return None;
    }
    let right = parts.split_off(parts.len() / 2);
    parts.shrink_to(parts.len() + GROWTH);
    Some(right)
}

fn replace(node: &mut Arc<Node>, at: usize, item: Item) {
    match Arc::make_mut(node) {
        Node::Leaf(items) => items[at] = item,
        Node::Branch(children) => {
            let (index, at) = find(children, at, |at, count| at < count);
            let child = &mut children[index];
            replace(&mut child.node, at, item);
            child.renew();
        }
    }
}

impl Tree {
    /// Number of items.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Puts an item at a place up to the length.
    pub fn insert(&mut self, at: usize, item: Item) {
        assert!(at <= self.len, "a place beyond the end");
        let old_len = self.len as u32;
        self.len += 1;
        let edges = Edges { left: true, right: true };
        if let Some(right) = insert(&mut self.root, at, item, edges) {
            let node = mem::replace(&mut self.root, Arc::new(Node::Leaf(Vec::new())));
            let mut left = Child { node, first: item, count: old_len + 1 - right.count };
            left.renew();
            self.root = Arc::new(Node::Branch(vec![left, right]));
        }
    }

    /// Takes the item at a place below the length out.
    pub fn remove(&mut self, at: usize) -> Item {
        assert!(at < self.len, "a place beyond the end");
        let item = remove(&mut self.root, at);
        self.len -= 1;
        while let Node::Branch(children) = &*self.root {
            let lower = match &children[..] {
                [] => Arc::new(Node::Leaf(Vec::new())),
                [only] => Arc::clone(&only.node),
                _ => break,
            };
            self.root = lower;
        }
        item
    }

    /// Puts another item in the place, below the length, of one.
    pub fn replace(&mut self, at: usize, item: Item) {
        assert!(at < self.len, "a place beyond the end");
        replace(&mut self.root, at, item);
    }

    /// The items of the leaf in which a place below the length is, and where in it.
    pub fn leaf(&self, mut at: usize) -> (&[Item], usize) {
        let mut node = &self.root;
        loop {
            match &**node {
                Node::Leaf(items) => return (items, at),
                Node::Branch(children) => {
                    let (index, below) = find(children, at, |at, count| at < count);
                    at = below;
                    node = &children[index].node;
                }
            }
        }
    }

    /// The number of items for which `before` holds, if these are the first ones.
    pub fn partition_point(&self, mut before: impl FnMut(&Item) -> bool) -> usize {
        let (mut node, mut passed) = (&self.root, 0);
        loop {
            match &**node {
                Node::Leaf(items) => return passed + items.partition_point(before),
                Node::Branch(children) => {
                    // The first child may begin before the place although its first item is not.
                    let later = children[1..].partition_point(|child| before(&child.first));
                    passed += children[..later].iter().map(|c| c.count as usize).sum::<usize>();
                    node = &children[later].node;
                }
            }
        }
    }

    /// Bytes on the heap, by the measured average.
    pub fn heap_size(&self) -> usize {
        64 + self.len * 15
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    fn items(tree: &Tree) -> Vec<u32> {
        let mut all = Vec::new();
        while all.len() < tree.len() {
            let (leaf, at) = tree.leaf(all.len());
            assert_eq!(at, 0);
            all.extend(leaf.iter().map(|item| item.handle));
        }
        all
    }

    /// Checks the invariants; the depth, the number of items and the bytes of the nodes.
    fn check(node: &Arc<Node>) -> (usize, usize, usize) {
        let header = 16 + size_of::<Node>();
        match &**node {
            Node::Leaf(items) => {
                assert!(items.len() <= MOST && items.capacity() <= items.len() + 3 * GROWTH);
                (0, items.len(), header + items.capacity() * size_of::<Item>())
            }
            Node::Branch(children) => {
                assert!(!children.is_empty() && children.len() <= MOST);
                let mut whole = (None, 0, header + children.capacity() * size_of::<Child>());
                for child in children {
                    let (depth, count, bytes) = check(&child.node);
                    assert_eq!(child.count as usize, count);
                    let mut renewed = child.clone();
                    renewed.renew();
                    assert_eq!(renewed.first, child.first);
                    assert!(whole.0.is_none_or(|d| d == depth));
                    whole = (Some(depth), whole.1 + count, whole.2 + bytes);
                }
                (whole.0.unwrap() + 1, whole.1, whole.2)
            }
        }
    }

    #[test]
    fn items_are_small_and_keep_their_scores() {
        assert_eq!((size_of::<Item>(), size_of::<Child>(), size_of::<Node>()), (12, 24, 32));
        for score in [0.0, -0.0, 1.5, f64::INFINITY, f64::MIN, 5e-324] {
            assert_eq!(Item::new(score, 7).score().to_bits(), score.to_bits());
        }
    }

    #[test]
    fn places_are_those_of_a_vector() {
        let mut rng = Rng::seeded(1);
        let (mut tree, mut model) = (Tree::default(), Vec::new());
        let mut kept = Vec::new();
        // Phases of growth and of shrinking, at random places and at the ends.
        for phase in 0..12u64 {
            let grows = phase % 3 != 2;
            for step in 0..1_500u32 {
                let random = rng.next_u64();
                if grows || model.is_empty() {
                    let at = match phase % 4 {
                        0 => model.len(),
                        1 => 0,
                        _ => random as usize % (model.len() + 1),
                    };
                    tree.insert(at, Item::new(1.0, step));
                    model.insert(at, step);
                } else {
                    let at = if phase == 8 { 0 } else { random as usize % model.len() };
                    assert_eq!(tree.remove(at).handle, model.remove(at));
                }
                if !model.is_empty() && step % 16 == 0 {
                    let at = (random >> 32) as usize % model.len();
                    tree.replace(at, Item::new(2.0, step + 5));
                    model[at] = step + 5;
                }
            }
            assert_eq!((items(&tree), tree.len()), (model.clone(), model.len()));
            assert_eq!(check(&tree.root).1, model.len());
            kept.push((tree.clone(), model.clone()));
        }
        assert!(kept.iter().all(|(tree, model)| items(tree) == *model), "clones do not change");
        while !model.is_empty() {
            let at = rng.next_u64() as usize % model.len();
            assert_eq!(tree.remove(at).handle, model.remove(at));
        }
        let (depth, count, _) = check(&tree.root);
        assert_eq!((depth, count), (0, 0));
    }

    #[test]
    fn partition_points_are_found() {
        let mut tree = Tree::default();
        for number in 0..5_000 {
            tree.insert(number as usize, Item::new(f64::from(number / 3), number));
        }
        for bound in 0..=1_667u32 {
            let at = tree.partition_point(|item| item.score() < f64::from(bound));
            assert_eq!(at, (bound as usize * 3).min(5_000));
        }
        assert_eq!(tree.partition_point(|_| true), 5_000);
        assert_eq!(tree.partition_point(|_| false), 0);
    }

    #[test]
    fn nodes_are_well_filled() {
        let mut rng = Rng::seeded(2);
        let (mut ascending, mut descending, mut random) =
            (Tree::default(), Tree::default(), Tree::default());
        for number in 0..30_000 {
            ascending.insert(number, Item::new(0.0, 0));
            descending.insert(0, Item::new(0.0, 0));
            random.insert(rng.next_u64() as usize % (number + 1), Item::new(0.0, 0));
        }
        for (tree, most) in [(ascending, 14.0), (descending, 14.0), (random, 15.5)] {
            let (_, _, bytes) = check(&tree.root);
            let each = bytes as f64 / 30_000.0;
            assert!(each < most, "{each}");
        }
    }
}
