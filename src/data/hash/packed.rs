//! A small hash as one listpack, with or without deadlines. See the parent module for the form.
//!
//! Invariants: the number of entries is a multiple of the shape's width; each name comes once; in
//! triples the third is an integer, 0 for no deadline, and the deadlines ascend, none being last.

use crate::data::hash::{Deadline, Field};
use crate::data::listpack::{Builder, Item, Listpack, Pos, all_differ};

/// The third entry of a field without a deadline.
const NO_DEADLINE: i64 = 0;

/// Whether each field has a deadline, or "none" in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Pairs,
    Triples,
}

impl Shape {
    /// Entries per field.
    pub fn width(self) -> usize {
        match self {
            Shape::Pairs => 2,
            Shape::Triples => 3,
        }
    }
}

/// The field whose name is at a position.
fn field_at(list: &Listpack, shape: Shape, at: Pos) -> Option<Field<'_>> {
    let value = list.next(at)?;
    let deadline = match shape {
        Shape::Pairs => None,
        Shape::Triples => deadline_of(list.at(list.next(value)?)),
    };
    Some(Field { name: list.at(at), value: list.at(value), deadline, shared: None })
}

fn deadline_of(item: Item) -> Option<i64> {
    item.int().filter(|&at| at != NO_DEADLINE)
}

fn find(list: &Listpack, shape: Shape, name: &[u8]) -> Option<Pos> {
    list.find(name, list.first()?, shape.width() - 1)
}

/// The field of a name.
pub fn get<'a>(list: &'a Listpack, shape: Shape, name: &[u8]) -> Option<Field<'a>> {
    field_at(list, shape, find(list, shape, name)?)
}

/// The field number `index`.
pub fn nth(list: &Listpack, shape: Shape, index: u64) -> Option<Field<'_>> {
    let entry = i64::try_from(index).ok()?.checked_mul(shape.width() as i64)?;
    field_at(list, shape, list.seek(entry)?)
}

/// All fields, in order.
pub fn fields(list: &Listpack, shape: Shape) -> impl Iterator<Item = Field<'_>> {
    let mut items = list.iter();
    std::iter::from_fn(move || {
        let (name, value) = (items.next()?, items.next()?);
        let deadline = match shape {
            Shape::Pairs => None,
            Shape::Triples => deadline_of(items.next()?),
        };
        Some(Field { name, value, deadline, shared: None })
    })
}

/// Sets the value of a field; whether the field is new.
pub fn set(
    list: &mut Listpack,
    shape: Shape,
    name: &[u8],
    value: &[u8],
    deadline: Deadline,
) -> bool {
    let Some(at) = find(list, shape, name) else {
        append(list, shape, name, value);
        return true;
    };
    let timed = field_at(list, shape, at).is_some_and(|field| field.deadline.is_some());
    if timed && deadline == Deadline::Clear {
        cut(list, shape, at);
        append(list, shape, name, value);
    } else if let Some(at) = list.next(at) {
        list.replace(at, value);
    }
    false
}

/// Adds a field without a deadline, whose name is not there.
pub fn append(list: &mut Listpack, shape: Shape, name: &[u8], value: &[u8]) {
    match shape {
        Shape::Pairs => list.extend([name, value]),
        Shape::Triples => list.extend([name, value, b"0"]),
    }
}

/// Takes out the field whose name is at a position.
fn cut(list: &mut Listpack, shape: Shape, at: Pos) {
    let mut at = Some(at);
    for _ in 0..shape.width() {
        at = at.and_then(|at| list.remove(at));
    }
}

/// Takes a field out; whether it was there.
pub fn remove(list: &mut Listpack, shape: Shape, name: &[u8]) -> bool {
    let at = find(list, shape, name);
    if let Some(at) = at {
        cut(list, shape, at);
    }
    at.is_some()
}

/// The pairs as triples without deadlines.
pub fn with_deadlines(pairs: &Listpack) -> Listpack {
    let mut triples = Builder::with_capacity(pairs.byte_len() + pairs.len());
    for field in fields(pairs, Shape::Pairs) {
        triples.push_item(field.name);
        triples.push_item(field.value);
        triples.push_int(NO_DEADLINE);
    }
    triples.finish()
}

/// The earliest deadline of triples.
pub fn first_deadline(triples: &Listpack) -> Option<i64> {
    nth(triples, Shape::Triples, 0)?.deadline
}

/// Takes the first field out and returns its name.
pub fn pop_first(list: &mut Listpack, shape: Shape) -> Option<Vec<u8>> {
    let first = list.first()?;
    let name = list.at(first).to_vec();
    cut(list, shape, first);
    Some(name)
}

/// Sets or removes the deadline of a field of triples; whether it is there.
pub fn set_deadline(triples: &mut Listpack, name: &[u8], deadline: Option<i64>) -> bool {
    let Some(at) = find(triples, Shape::Triples, name) else { return false };
    let field = field_at(triples, Shape::Triples, at);
    let value = field.map(|field| field.value.to_vec()).unwrap_or_default();
    cut(triples, Shape::Triples, at);
    match deadline.and_then(|deadline| Some((deadline, first_not_before(triples, deadline)?))) {
        Some((deadline, at)) => {
            let at = triples.insert_before(at, name);
            let at = triples.insert_after(at, &value);
            triples.insert_after(at, deadline.to_string().as_bytes());
        }
        None => {
            triples.extend([name, &value]);
            triples.push_int(deadline.unwrap_or(NO_DEADLINE));
        }
    }
    true
}

/// Where the first field stands that has no earlier deadline than this.
fn first_not_before(triples: &Listpack, deadline: i64) -> Option<Pos> {
    let mut at = triples.first()?;
    loop {
        let other = field_at(triples, Shape::Triples, at)?.deadline;
        if other.is_none_or(|other| other >= deadline) {
            return Some(at);
        }
        for _ in 0..Shape::Triples.width() {
            at = triples.next(at)?;
        }
    }
}

/// Whether a block from elsewhere has this shape, with fields, each of them once, and with the
/// deadlines in order.
pub fn is_sound(list: &Listpack, shape: Shape) -> bool {
    let len = list.len();
    if len == 0 || !len.is_multiple_of(shape.width()) {
        return false;
    }
    all_differ(fields(list, shape).map(|field| field.name))
        && (shape == Shape::Pairs || deadlines_ascend(list))
}

fn deadlines_ascend(triples: &Listpack) -> bool {
    let mut earlier = 0;
    triples.iter().skip(2).step_by(Shape::Triples.width()).all(|item| {
        let deadline = item.int().filter(|&at| at >= 0).map(|at| match at {
            NO_DEADLINE => i64::MAX,
            at => at,
        });
        let ascends = deadline.is_some_and(|deadline| deadline >= earlier);
        earlier = deadline.unwrap_or(earlier);
        ascends
    })
}
