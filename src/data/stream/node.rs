//! A run of a stream's entries in one listpack, laid out as Redis does, so that RDB bodies are the
//! nodes themselves.
//!
//! ```text
//! master entry: live, deleted, fields, name ..., 0
//! entry:        flags, ms, seq, [fields, name, value, ... | value ...], pieces
//! ```
//!
//! The master entry holds the names of the first entry's fields; an entry that has the same ones
//! (flag 2) leaves them out. `ms` and `seq` are distances from the id under which the stream keeps
//! the node, `pieces` is how many values stand before it in its entry, for the way back. An entry
//! that was deleted (flag 1) stays; a node without live entries goes.
//!
//! Invariant: the listpack is of that form, which [`Node::new`] makes sure of and
//! [`Node::from_listpack`] checks.

use std::iter;

use super::id::Id;
use crate::data::listpack::{Builder, Item, Listpack, Pos};

const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;

/// Flags, and the two parts of the id.
const FIXED_PIECES: usize = 3;

/// A node.
#[derive(Clone, Debug)]
pub struct Node(Listpack);

/// An entry, deleted or not.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    /// Its id.
    pub id: Id,
    list: &'a Listpack,
    flags_at: Pos,
    flags: i64,
    fields: usize,
    /// The first name, and the first value (or name and value, without [`SAME_FIELDS`]).
    names_at: Option<Pos>,
    body_at: Option<Pos>,
}

impl<'a> Entry<'a> {
    /// How many fields it has.
    pub fn field_count(&self) -> usize {
        self.fields
    }

    /// Its fields: name and value.
    pub fn pairs(&self) -> impl Iterator<Item = (Item<'a>, Item<'a>)> + use<'a> {
        let (list, same) = (self.list, self.has_same_fields());
        let (mut names, mut body) = (self.names_at, self.body_at);
        (0..self.fields).map_while(move |_| {
            let source = if same { &mut names } else { &mut body };
            let name = take(list, source)?;
            Some((name, take(list, &mut body)?))
        })
    }

    /// Whether it was deleted.
    pub fn is_deleted(&self) -> bool {
        self.flags & DELETED != 0
    }

    fn has_same_fields(&self) -> bool {
        self.flags & SAME_FIELDS != 0
    }

    /// How many values stand between the id and the number of pieces, without the number of
    /// fields.
    fn body_len(&self) -> usize {
        self.fields * if self.has_same_fields() { 1 } else { 2 }
    }
}

/// Takes the value at a position and moves that on.
#[inline]
fn take<'a>(list: &'a Listpack, at: &mut Option<Pos>) -> Option<Item<'a>> {
    let (item, next) = list.step((*at)?);
    *at = next;
    Some(item)
}

/// Takes an integer.
#[inline]
fn take_int(list: &Listpack, at: &mut Option<Pos>) -> Option<i64> {
    take(list, at)?.int()
}

/// Takes a count, which fits into what is really there.
#[inline]
fn take_count(list: &Listpack, at: &mut Option<Pos>) -> Option<usize> {
    usize::try_from(take_int(list, at)?).ok().filter(|count| *count <= list.byte_len())
}

/// The position `count` values behind another one.
fn skip(list: &Listpack, at: Option<Pos>, count: usize) -> Option<Pos> {
    (0..count).try_fold(at?, |at, _| list.next(at))
}

/// The master entry.
#[derive(Clone, Copy)]
struct Master {
    live: usize,
    deleted: usize,
    fields: usize,
    names_at: Option<Pos>,
    /// Where its closing zero is.
    end_at: Pos,
}

impl Node {
    /// A node for a first entry with these fields (name, value, ...), which is in it.
    pub fn new(pairs: &[&[u8]]) -> Node {
        let mut list = Builder::with_capacity(pairs.iter().map(|part| part.len() + 4).sum());
        list.push_int(0);
        list.push_int(0);
        list.push_int((pairs.len() / 2) as i64);
        pairs.iter().step_by(2).for_each(|name| list.push(name));
        list.push_int(0);
        let mut node = Node(list.finish());
        node.push(0, 0, pairs);
        node
    }

    /// Checks a listpack from elsewhere: its layout, its counts, and that the live entries ascend
    /// from `base` on. (The ids of deleted ones need not: XSETID can go back behind them.) Returns
    /// the node and the id of its last live entry.
    pub fn from_listpack(list: Listpack, base: Id) -> Option<(Node, Option<Id>)> {
        let node = Node(list);
        let master = node.master()?;
        if node.0.at(master.end_at).int() != Some(0) {
            return None;
        }
        let mut counts = [0, 0];
        let mut last = None;
        let mut at = node.0.next(master.end_at);
        while let Some(flags_at) = at {
            let entry = node.entry(base, &master, flags_at)?;
            let end = node.end_of(&entry)?;
            let extra = usize::from(!entry.has_same_fields());
            let pieces = i64::try_from(FIXED_PIECES + extra + entry.body_len()).ok();
            if node.0.at(end).int() != pieces {
                return None;
            }
            counts[usize::from(entry.is_deleted())] += 1;
            if !entry.is_deleted() {
                let ascends = entry.id >= base && last.is_none_or(|last| last < entry.id);
                if !ascends || entry.fields == 0 {
                    return None;
                }
                last = Some(entry.id);
            }
            at = node.0.next(end);
        }
        let counted = counts == [master.live, master.deleted] && counts != [0, 0];
        counted.then_some((node, last))
    }

    /// The listpack.
    pub fn list(&self) -> &Listpack {
        &self.0
    }

    /// Bytes of the listpack.
    pub fn byte_len(&self) -> usize {
        self.0.byte_len()
    }

    /// How many entries are live.
    pub fn live(&self) -> usize {
        self.head().0
    }

    /// How many entries there are, deleted ones included.
    pub fn len_with_deleted(&self) -> usize {
        let (live, deleted) = self.head();
        live + deleted
    }

    /// Live and deleted entries.
    fn head(&self) -> (usize, usize) {
        let mut at = self.0.first();
        let live = take_count(&self.0, &mut at).unwrap_or(0);
        (live, take_count(&self.0, &mut at).unwrap_or(0))
    }

    fn master(&self) -> Option<Master> {
        let list = &self.0;
        let mut at = list.first();
        let live = take_count(list, &mut at)?;
        let deleted = take_count(list, &mut at)?;
        let fields = take_count(list, &mut at)?;
        let end_at = skip(list, at, fields)?;
        Some(Master { live, deleted, fields, names_at: at, end_at })
    }

    /// The entry whose flags are at a position.
    fn entry(&self, base: Id, master: &Master, flags_at: Pos) -> Option<Entry<'_>> {
        let list = &self.0;
        let mut at = Some(flags_at);
        let flags = take_int(list, &mut at)?;
        let ms = base.ms.wrapping_add_signed(take_int(list, &mut at)?);
        let seq = base.seq.wrapping_add_signed(take_int(list, &mut at)?);
        let same = flags & SAME_FIELDS != 0;
        let fields = if same { master.fields } else { take_count(list, &mut at)? };
        let names_at = master.names_at;
        Some(Entry { id: Id { ms, seq }, list, flags_at, flags, fields, names_at, body_at: at })
    }

    /// Where the number of pieces of an entry is, its last value.
    fn end_of(&self, entry: &Entry) -> Option<Pos> {
        skip(&self.0, entry.body_at, entry.body_len())
    }

    /// The entry that ends before a position, if it is not the master entry.
    fn entry_before(&self, base: Id, master: &Master, at: Option<Pos>) -> Option<Entry<'_>> {
        let end = match at {
            Some(at) => self.0.prev(at)?,
            None => self.0.last()?,
        };
        let pieces = self.0.at(end).int().filter(|pieces| *pieces != 0)?;
        let flags_at = (0..pieces).try_fold(end, |at, _| self.0.prev(at))?;
        self.entry(base, master, flags_at)
    }

    /// The entries, deleted ones included, in order. `base` is the id that the node is kept under,
    /// here and below.
    pub fn entries(&self, base: Id) -> impl Iterator<Item = Entry<'_>> {
        let master = self.master();
        let mut at = master.and_then(|master| self.0.next(master.end_at));
        iter::from_fn(move || {
            let entry = self.entry(base, &master?, at?)?;
            at = self.end_of(&entry).and_then(|end| self.0.next(end));
            Some(entry)
        })
    }

    /// The same from the last one to the first.
    pub fn entries_back(&self, base: Id) -> impl Iterator<Item = Entry<'_>> {
        let master = self.master();
        let mut at = None;
        iter::from_fn(move || {
            let entry = self.entry_before(base, &master?, at)?;
            at = Some(entry.flags_at);
            Some(entry)
        })
    }

    /// Adds an entry with these fields (name, value, ...).
    pub fn add(&mut self, base: Id, id: Id, pairs: &[&[u8]]) {
        let ms = id.ms.wrapping_sub(base.ms) as i64;
        let seq = id.seq.wrapping_sub(base.seq) as i64;
        self.push(ms, seq, pairs);
    }

    fn push(&mut self, ms: i64, seq: i64, pairs: &[&[u8]]) {
        let master = self.master();
        let (pairs, _) = pairs.as_chunks::<2>();
        let fields = pairs.len();
        if master.is_some_and(|master| self.has_fields(&master, pairs)) {
            // Names that are in the master entry are left out.
            let values = pairs.iter().map(|[_, value]| Item::of(value));
            self.append([SAME_FIELDS, ms, seq], values, FIXED_PIECES + fields);
        } else {
            let parts = pairs.as_flattened().iter().map(|part| Item::of(part));
            let body = iter::once(Item::Int(fields as i64)).chain(parts);
            self.append([0, ms, seq], body, FIXED_PIECES + 1 + 2 * fields);
        }
        self.set_int(0, master.map_or(0, |master| master.live) as i64 + 1);
    }

    fn append<'a>(
        &mut self,
        fixed: [i64; FIXED_PIECES],
        body: impl Iterator<Item = Item<'a>> + Clone,
        pieces: usize,
    ) {
        let fixed = fixed.into_iter().map(Item::Int);
        self.0.extend_items(fixed.chain(body).chain([Item::Int(pieces as i64)]));
    }

    /// Whether the master entry has the names of these fields.
    fn has_fields(&self, master: &Master, pairs: &[[&[u8]; 2]]) -> bool {
        let mut at = master.names_at;
        let mut has = |name: &[u8]| take(&self.0, &mut at).is_some_and(|item| item.is(name));
        master.fields == pairs.len() && pairs.iter().all(|[name, _]| has(name))
    }

    fn set_head(&mut self, live: usize, deleted: usize) {
        self.set_int(0, live as i64);
        self.set_int(1, deleted as i64);
    }

    /// Changes a number of the master entry.
    fn set_int(&mut self, index: usize, value: i64) {
        if let Some(at) = skip(&self.0, self.0.first(), index) {
            self.set_int_at(at, value);
        }
    }

    fn set_int_at(&mut self, at: Pos, value: i64) {
        if self.0.at(at) != Item::Int(value) {
            self.0.replace_int(at, value);
        }
    }

    /// Marks the entry with this id as deleted; whether it was live.
    pub fn delete(&mut self, base: Id, id: Id) -> bool {
        let found = self.entries(base).find(|entry| entry.id == id && !entry.is_deleted());
        let Some((flags_at, flags)) = found.map(|entry| (entry.flags_at, entry.flags)) else {
            return false;
        };
        self.set_int_at(flags_at, flags | DELETED);
        let (live, deleted) = self.head();
        self.set_head(live.saturating_sub(1), deleted + 1);
        true
    }

    /// Marks live entries from the first on as deleted, up to the first entry for which `stop`
    /// says so; it is asked with the id and the number deleted so far. Returns that number.
    pub fn delete_while(&mut self, base: Id, mut stop: impl FnMut(Id, usize) -> bool) -> usize {
        let mut doomed = Vec::new();
        for entry in self.entries(base) {
            if stop(entry.id, doomed.len()) {
                break;
            }
            if !entry.is_deleted() {
                doomed.push((entry.flags_at, entry.flags));
            }
        }
        // The flags keep their width, and the head comes last, so the positions stay good.
        for &(flags_at, flags) in &doomed {
            self.set_int_at(flags_at, flags | DELETED);
        }
        let (live, deleted) = self.head();
        self.set_head(live.saturating_sub(doomed.len()), deleted + doomed.len());
        doomed.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Id = Id::new(100, 5);

    fn pairs(text: &str) -> Vec<&[u8]> {
        text.split(' ').map(str::as_bytes).collect()
    }

    fn show(node: &Node) -> Vec<String> {
        let shown = |entry: Entry| {
            let mut text = format!("{}{}", if entry.is_deleted() { "-" } else { "" }, entry.id);
            for (name, value) in entry.pairs() {
                for item in [name, value] {
                    text.push(' ');
                    text.push_str(&String::from_utf8_lossy(&item.to_vec()));
                }
            }
            text
        };
        let forward: Vec<String> = node.entries(BASE).map(shown).collect();
        let mut back: Vec<String> = node.entries_back(BASE).map(shown).collect();
        back.reverse();
        assert_eq!(forward, back);
        forward
    }

    fn sample() -> Node {
        let mut node = Node::new(&pairs("a 1 b x"));
        node.add(BASE, Id::new(100, 6), &pairs("a 2 b y"));
        node.add(BASE, Id::new(101, 0), &pairs("b 1 a z"));
        node.add(BASE, Id::new(102, 9), &pairs("a 7"));
        node
    }

    #[test]
    fn the_layout_is_that_of_redis() {
        let numbers = |node: &Node| {
            let texts: Vec<Vec<u8>> = node.list().iter().map(|item| item.to_vec()).collect();
            String::from_utf8(texts.join(&b' ')).unwrap()
        };
        let expected = "4 0 2 a b 0 2 0 0 1 x 5 2 0 1 2 y 5 0 1 -5 2 b 1 a z 8 0 2 4 1 a 7 6";
        assert_eq!(numbers(&sample()), expected);
        let mut node = sample();
        assert!(node.delete(BASE, Id::new(100, 6)));
        let expected = "3 1 2 a b 0 2 0 0 1 x 5 3 0 1 2 y 5 0 1 -5 2 b 1 a z 8 0 2 4 1 a 7 6";
        assert_eq!(numbers(&node), expected);
    }

    #[test]
    fn entries_both_ways() {
        let mut node = sample();
        let all = ["100-5 a 1 b x", "100-6 a 2 b y", "101-0 b 1 a z", "102-9 a 7"];
        assert_eq!(show(&node), all);
        assert!(node.delete(BASE, Id::new(101, 0)) && !node.delete(BASE, Id::new(101, 0)));
        assert!(!node.delete(BASE, Id::new(101, 1)));
        assert_eq!((node.live(), node.len_with_deleted()), (3, 4));
        assert_eq!(show(&node)[2], "-101-0 b 1 a z");
        assert_eq!(node.delete_while(BASE, |id, _| id > Id::new(101, 5)), 2);
        assert_eq!((node.live(), node.len_with_deleted()), (1, 4));
    }

    #[test]
    fn counts_may_grow_wide() {
        let mut node = Node::new(&pairs("a 1"));
        for seq in 6..400 {
            node.add(BASE, Id::new(100, seq), &pairs("a 1"));
        }
        assert_eq!(node.delete_while(BASE, |_, deleted| deleted == 200), 200);
        assert_eq!((node.live(), node.len_with_deleted()), (195, 395));
        assert_eq!(show(&node)[200], "100-205 a 1");
        assert!(Node::from_listpack(node.list().clone(), BASE).is_some());
    }

    #[test]
    fn damage_is_found() {
        let check = |texts: &[&str]| {
            let mut list = Listpack::new();
            list.extend(texts.iter().map(|text| text.as_bytes()));
            Node::from_listpack(list, BASE).map(|(_, last)| last)
        };
        let good: Vec<&str> = "2 1 1 a 0 2 0 0 x 4 3 0 9 y 4 0 1 -5 1 b z 6".split(' ').collect();
        let last = Some(Some(Id::new(101, 0)));
        assert_eq!(check(&good), last);
        for cut in 0..good.len() {
            assert_eq!(check(&good[..cut]), None, "cut at {cut}");
            // Names, values and the ids of deleted entries may be anything.
            if ["a", "b", "x", "y", "z"].contains(&good[cut]) || [11, 12].contains(&cut) {
                continue;
            }
            for other in ["", "q", "-1", "9", "9223372036854775807"] {
                let mut bad = good.clone();
                bad[cut] = other;
                let found = check(&bad);
                assert!(found.is_none_or(|last| last >= Some(BASE)), "{other} at {cut}: {found:?}");
            }
        }
        assert_eq!(check(&["0", "0", "1", "a", "0"]), None);
    }
}
