//! The hash type: fields with values, and with deadlines of their own where they are given any.
//!
//! A small hash is one listpack, `field value field value ...`; with deadlines it is
//! `field value deadline ...`, 0 for none, earliest first and those without at the end, as in Redis
//! 7.4. A large one is a [`Table`](crate::base::table::Table). A hash never goes back to a smaller
//! form.
//!
//! Must not know the time: a field stays until it is removed, and what to make of one whose
//! deadline has passed is for the caller to decide.

mod fields;
mod packed;

use std::sync::Arc;

use crate::data::Limits;
use crate::data::listpack::{Item, Listpack};

use fields::Fields;
use packed::Shape;

/// Bytes that an entry of a listpack takes beside its content, at most.
const ENTRY_OVERHEAD: usize = 10;

/// The content of a hash key.
#[derive(Clone)]
pub struct Hash(Repr);

/// Two words: the small form without deadlines stands in place, the others behind a pointer.
#[derive(Clone)]
enum Repr {
    Pairs(Listpack),
    Boxed(Box<Boxed>),
}

#[derive(Clone)]
enum Boxed {
    Triples(Listpack),
    Table(Fields),
}

/// One field.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// Its name.
    pub name: Item<'a>,
    /// Its value.
    pub value: Item<'a>,
    /// When it is to be removed, in Unix ms.
    pub deadline: Option<i64>,
    /// The value once more, to be shared instead of copied, where it is long.
    pub shared: Option<&'a Arc<Vec<u8>>>,
}

/// What becomes of a field's deadline when it gets a new value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// It is forgotten.
    Clear,
    /// It stays.
    Keep,
}

impl Default for Hash {
    fn default() -> Self {
        Hash(Repr::Pairs(Listpack::new()))
    }
}

impl Hash {
    /// A small one without deadlines.
    pub(super) fn small(block: Listpack) -> Hash {
        Hash(Repr::Pairs(block))
    }

    /// The block of a small one without deadlines.
    pub(super) fn as_small(&self) -> Option<&Listpack> {
        if let Repr::Pairs(block) = &self.0 { Some(block) } else { None }
    }

    /// The small form, if it has that, and how to read it.
    fn packed(&self) -> Option<(&Listpack, Shape)> {
        match &self.0 {
            Repr::Pairs(list) => Some((list, Shape::Pairs)),
            Repr::Boxed(boxed) => match &**boxed {
                Boxed::Triples(list) => Some((list, Shape::Triples)),
                Boxed::Table(_) => None,
            },
        }
    }

    fn table(&self) -> Option<&Fields> {
        match &self.0 {
            Repr::Boxed(boxed) => match &**boxed {
                Boxed::Table(fields) => Some(fields),
                Boxed::Triples(_) => None,
            },
            Repr::Pairs(_) => None,
        }
    }

    /// The small form, to be changed, or else the large one.
    fn parts_mut(&mut self) -> Result<(&mut Listpack, Shape), &mut Fields> {
        match &mut self.0 {
            Repr::Pairs(list) => Ok((list, Shape::Pairs)),
            Repr::Boxed(boxed) => match &mut **boxed {
                Boxed::Triples(list) => Ok((list, Shape::Triples)),
                Boxed::Table(fields) => Err(fields),
            },
        }
    }

    /// Number of fields, whether their deadlines have passed or not.
    pub fn len(&self) -> usize {
        match self.packed() {
            Some((list, shape)) => list.len() / shape.width(),
            None => self.table().map_or(0, Fields::len),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        match self.packed() {
            Some((list, _)) => list.is_empty(),
            None => self.len() == 0,
        }
    }

    /// See [`crate::data::Value::is_unchanged_since`].
    pub(in crate::data) fn is_unchanged_since(&self, clone: &Self) -> bool {
        match (self.table(), clone.table()) {
            (Some(now), Some(then)) => now.is_unchanged_since(then),
            (None, None) => self == clone,
            _ => false,
        }
    }

    /// The name of its form in memory.
    pub fn encoding(&self) -> &'static str {
        match self.packed() {
            Some((_, Shape::Pairs)) => "listpack",
            Some((_, Shape::Triples)) => "listpackex",
            None => "hashtable",
        }
    }

    /// Whether it has the small form, with at most some hundred fields.
    pub fn is_packed(&self) -> bool {
        self.packed().is_some()
    }

    /// Bytes on the heap.
    pub fn heap_size(&self) -> usize {
        let boxed = if matches!(self.0, Repr::Boxed(_)) { size_of::<Boxed>() } else { 0 };
        let content = self.packed().map(|(list, _)| list.heap_size());
        boxed + content.or(self.table().map(Fields::heap_size)).unwrap_or(0)
    }

    /// The field of this name.
    pub fn get(&self, name: &[u8]) -> Option<Field<'_>> {
        match self.packed() {
            Some((list, shape)) => packed::get(list, shape, name),
            None => self.table()?.get(name),
        }
    }

    /// All fields: of a small hash in their order, of a large one in none.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        let small = self.packed().map(|(list, shape)| packed::fields(list, shape));
        let large = self.table().map(Fields::iter);
        small.into_iter().flatten().chain(large.into_iter().flatten())
    }

    /// One step of a scan: visits some fields and returns the next cursor, 0 at the end. A small
    /// hash is visited in one step. See [`Table::scan`](crate::base::table::Table::scan).
    pub fn scan<'a>(&'a self, cursor: u64, mut visit: impl FnMut(Field<'a>)) -> u64 {
        match self.table() {
            Some(fields) => fields.scan(cursor, visit),
            None => {
                self.fields().for_each(&mut visit);
                0
            }
        }
    }

    /// A random field, in constant time if the hash is large; none if it is empty. `rng` must
    /// return 64 random bits.
    pub fn random(&self, rng: &mut impl FnMut() -> u64) -> Option<Field<'_>> {
        match self.packed() {
            Some((list, shape)) => packed::nth(list, shape, rng() % self.len().max(1) as u64),
            None => self.table()?.random(rng),
        }
    }

    /// Goes over to the large form if so many fields, or such long ones, are about to be set.
    pub fn prepare(&mut self, pairs: &[[&[u8]; 2]], limits: &Limits) {
        let Some((list, _)) = self.packed() else { return };
        let too_long = |bytes: &&[u8]| bytes.len() > limits.hash_max_listpack_value;
        let sum = pairs.iter().flatten().map(|bytes| bytes.len() + ENTRY_OVERHEAD).sum();
        if pairs.len() > limits.hash_max_listpack_entries
            || pairs.iter().flatten().any(too_long)
            || !list.has_room(sum)
        {
            self.make_large();
        }
    }

    /// Sets a field's value; whether the field is new.
    pub fn set(&mut self, name: &[u8], value: &[u8], deadline: Deadline, limits: &Limits) -> bool {
        self.prepare(&[[name, value]], limits);
        let new = match self.parts_mut() {
            Ok((list, shape)) => packed::set(list, shape, name, value, deadline),
            Err(fields) => fields.set(name, value, deadline),
        };
        if self.is_packed() && new && self.len() > limits.hash_max_listpack_entries {
            self.make_large();
        }
        new
    }

    /// Takes a field out; whether it was there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        match self.parts_mut() {
            Ok((list, shape)) => packed::remove(list, shape, name),
            Err(fields) => fields.remove(name),
        }
    }

    /// Adds a field; whether it is new. Only a large hash can tell: who adds to a small one knows
    /// that it does not have the field.
    pub fn append(&mut self, name: &[u8], value: &[u8], limits: &Limits) -> bool {
        self.prepare(&[[name, value]], limits);
        match self.parts_mut() {
            Ok((list, shape)) => {
                packed::append(list, shape, name, value);
                true
            }
            Err(fields) => fields.set(name, value, Deadline::Clear),
        }
    }

    /// Goes over to the large form.
    pub fn make_large(&mut self) {
        let mut fields = Fields::default();
        let (mut name, mut value) = ([0; 20], [0; 20]);
        for field in self.fields() {
            let (name, value) = (field.name.bytes(&mut name), field.value.bytes(&mut value));
            fields.put(name, value, field.deadline);
        }
        self.0 = Repr::Boxed(Box::new(Boxed::Table(fields)));
    }
}

/// Deadlines of fields.
impl Hash {
    /// The earliest deadline of a field.
    pub fn next_deadline(&self) -> Option<i64> {
        match &self.0 {
            Repr::Pairs(_) => None,
            Repr::Boxed(boxed) => match &**boxed {
                Boxed::Triples(list) => packed::first_deadline(list),
                Boxed::Table(fields) => fields.next_deadline(),
            },
        }
    }

    /// Makes room for deadlines, which changes the form of a small hash.
    pub fn make_timed(&mut self) {
        if let Repr::Pairs(list) = &self.0 {
            let triples = packed::with_deadlines(list);
            self.0 = Repr::Boxed(Box::new(Boxed::Triples(triples)));
        }
    }

    /// Sets or removes the deadline (Unix ms, above 0) of a field; whether it is there.
    pub fn set_deadline(&mut self, name: &[u8], deadline: Option<i64>) -> bool {
        if deadline.is_some() {
            self.make_timed();
        }
        match self.parts_mut() {
            Ok((list, Shape::Triples)) => packed::set_deadline(list, name, deadline),
            Ok((list, Shape::Pairs)) => packed::get(list, Shape::Pairs, name).is_some(),
            Err(fields) => fields.set_deadline(name, deadline),
        }
    }

    /// Takes out a field whose deadline is before `now_ms`, if there is one, and returns its name.
    pub fn pop_due(&mut self, now_ms: i64) -> Option<Vec<u8>> {
        if self.next_deadline()? >= now_ms {
            return None;
        }
        match self.parts_mut() {
            Ok((list, shape)) => packed::pop_first(list, shape),
            Err(fields) => fields.pop_first(),
        }
    }
}

/// What RDB needs.
impl Hash {
    /// The block of a small hash without deadlines.
    pub fn as_pairs(&self) -> Option<&Listpack> {
        if let Repr::Pairs(list) = &self.0 { Some(list) } else { None }
    }

    /// The block of a small hash with room for deadlines.
    pub fn as_triples(&self) -> Option<&Listpack> {
        self.packed().filter(|(_, shape)| *shape == Shape::Triples).map(|(list, _)| list)
    }

    /// A hash from a block of pairs from elsewhere, if it is one and each name comes once.
    pub fn from_pairs(list: Listpack, limits: &Limits) -> Option<Hash> {
        packed::is_sound(&list, Shape::Pairs).then(|| Hash(Repr::Pairs(list)).fitting(limits))
    }

    /// A hash from a block of triples from elsewhere, if it is one, each name comes once, and the
    /// deadlines are in order.
    pub fn from_triples(list: Listpack, limits: &Limits) -> Option<Hash> {
        let sound = packed::is_sound(&list, Shape::Triples);
        sound.then(|| Hash(Repr::Boxed(Box::new(Boxed::Triples(list)))).fitting(limits))
    }

    fn fitting(mut self, limits: &Limits) -> Hash {
        if self.len() > limits.hash_max_listpack_entries {
            self.make_large();
        }
        self
    }
}

impl Field<'_> {
    /// Whether the deadline has passed. As for keys, a field lives through the millisecond of its
    /// deadline.
    pub fn is_due(&self, now_ms: i64) -> bool {
        self.deadline.is_some_and(|deadline| deadline < now_ms)
    }
}

impl PartialEq for Hash {
    /// Whether both have the same fields, values and deadlines, in whatever form.
    fn eq(&self, other: &Self) -> bool {
        let same = |field: Field| {
            let twin = other.get(field.name.bytes(&mut [0; 20]));
            twin.is_some_and(|twin| {
                twin.deadline == field.deadline && twin.value.is(field.value.bytes(&mut [0; 20]))
            })
        };
        self.len() == other.len() && self.fields().all(same)
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let entries = self.fields().map(|field| (field.name, (field.value, field.deadline)));
        f.debug_map().entries(entries).finish()
    }
}

#[cfg(test)]
mod tests;
