//! An ordered map from ids whose copies share what they have in common.
//!
//! The entries are kept in order in chunks of up to [`CHUNK`], each behind an `Arc`. A clone copies
//! the list of chunks only, and a change copies the one chunk that it meets, as long as somebody
//! else still holds it. Ids mostly come in order and go from the front, so a full last chunk is
//! left full and the next one begun.
//!
//! Invariants: no chunk is empty; all ids ascend; `len` is the number of entries.

use std::collections::VecDeque;
use std::sync::Arc;

use super::id::Id;

/// Most entries of a chunk. Larger ones make changes dearer, smaller ones clones.
const CHUNK: usize = 128;

/// Two neighbours with no more entries than this become one.
const MERGE: usize = CHUNK / 2;

type Chunk<V> = Vec<(Id, V)>;

/// The map.
#[derive(Clone)]
pub struct IdMap<V> {
    chunks: VecDeque<Arc<Chunk<V>>>,
    len: usize,
}

impl<V> Default for IdMap<V> {
    fn default() -> Self {
        IdMap { chunks: VecDeque::new(), len: 0 }
    }
}

impl<V> IdMap<V> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The entry with the smallest id.
    pub fn first(&self) -> Option<(Id, &V)> {
        self.chunks.front()?.first().map(pair)
    }

    /// The entry with the largest id.
    pub fn last(&self) -> Option<(Id, &V)> {
        self.chunks.back()?.last().map(pair)
    }

    /// The value of an id.
    pub fn get(&self, id: Id) -> Option<&V> {
        let (chunk, index) = self.place(id);
        let (found, value) = self.chunks.get(chunk)?.get(index)?;
        (*found == id).then_some(value)
    }

    /// All entries, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Id, &V)> {
        self.iter_from(Id::MIN)
    }

    /// The entries with this id and above, in order.
    pub fn iter_from(&self, id: Id) -> impl Iterator<Item = (Id, &V)> {
        let (chunk, index) = self.place(id);
        self.chunks.range(chunk..).flat_map(|chunk| chunk.iter()).skip(index).map(pair)
    }

    /// The entries with this id and below, the largest first.
    pub fn iter_back(&self, id: Id) -> impl Iterator<Item = (Id, &V)> {
        let (chunk, index) = match id.next() {
            Some(above) => self.place(above),
            None => (self.chunks.len(), 0),
        };
        let head = self.chunks.get(chunk).map_or(&[][..], |chunk| &chunk[..index]);
        let rest = self.chunks.range(..chunk).rev().flat_map(|chunk| chunk.iter().rev());
        head.iter().rev().chain(rest).map(pair)
    }

    /// The entries from the last one that is not above `id` on; all if there is none.
    pub fn iter_from_floor(&self, id: Id) -> impl Iterator<Item = (Id, &V)> {
        let floor = self.iter_back(id).next().map_or(Id::MIN, |(floor, _)| floor);
        self.iter_from(floor)
    }

    /// Bytes on the heap, without those of the values' own.
    pub fn heap_size(&self) -> usize {
        let arc = size_of::<Chunk<V>>() + 2 * size_of::<usize>();
        let of_chunk = |chunk: &Arc<Chunk<V>>| arc + chunk.capacity() * size_of::<(Id, V)>();
        let list = self.chunks.capacity() * size_of::<Arc<Chunk<V>>>();
        list + self.chunks.iter().map(of_chunk).sum::<usize>()
    }

    /// Where an id is or would be: the first place whose id is not below it. The chunk may be the
    /// one behind the last.
    fn place(&self, id: Id) -> (usize, usize) {
        // Nearly every id asked for is a new one, above all others.
        if self.chunks.back().is_none_or(|last| last[last.len() - 1].0 < id) {
            return (self.chunks.len(), 0);
        }
        let below = |(other, _): &(Id, V)| *other < id;
        let chunk = self.chunks.partition_point(|chunk| chunk.last().is_some_and(below));
        (chunk, self.chunks.get(chunk).map_or(0, |chunk| chunk.partition_point(below)))
    }
}

fn pair<V>((id, value): &(Id, V)) -> (Id, &V) {
    (*id, value)
}

impl<V: Clone> IdMap<V> {
    /// The value of an id, to be changed.
    pub fn get_mut(&mut self, id: Id) -> Option<&mut V> {
        let (chunk, index) = self.place(id);
        if self.chunks.get(chunk)?.get(index)?.0 != id {
            return None;
        }
        Some(&mut Arc::make_mut(&mut self.chunks[chunk])[index].1)
    }

    /// The value of the largest id, to be changed.
    pub fn last_mut(&mut self) -> Option<(Id, &mut V)> {
        let (id, value) = Arc::make_mut(self.chunks.back_mut()?).last_mut()?;
        Some((*id, value))
    }

    /// Sets the value of an id and returns the one that it had.
    pub fn insert(&mut self, id: Id, value: V) -> Option<V> {
        let (mut chunk, mut index) = self.place(id);
        if chunk == self.chunks.len() {
            match self.chunks.back() {
                Some(last) if last.len() < CHUNK => (chunk, index) = (chunk - 1, last.len()),
                _ => self.chunks.push_back(Arc::new(Vec::with_capacity(1))),
            }
        }
        let entries = Arc::make_mut(&mut self.chunks[chunk]);
        if let Some((found, old)) = entries.get_mut(index)
            && *found == id
        {
            return Some(std::mem::replace(old, value));
        }
        entries.insert(index, (id, value));
        self.len += 1;
        if entries.len() > CHUNK {
            let upper = entries.split_off(CHUNK / 2);
            self.chunks.insert(chunk + 1, Arc::new(upper));
        }
        None
    }

    /// Takes an id out and returns its value.
    pub fn remove(&mut self, id: Id) -> Option<V> {
        let (chunk, index) = self.place(id);
        if self.chunks.get(chunk)?.get(index)?.0 != id {
            return None;
        }
        let entries = Arc::make_mut(&mut self.chunks[chunk]);
        let (_, value) = entries.remove(index);
        self.len -= 1;
        if entries.is_empty() {
            self.chunks.remove(chunk);
        } else {
            self.merge(chunk);
        }
        Some(value)
    }

    /// Moves the next chunk's entries into this one, or this one's into the one before, where both
    /// have become small.
    fn merge(&mut self, chunk: usize) {
        let lens = |at: usize| self.chunks.get(at).map_or(CHUNK, |chunk| chunk.len());
        let into = match chunk.checked_sub(1) {
            _ if lens(chunk) + lens(chunk + 1) <= MERGE => chunk,
            Some(before) if lens(before) + lens(chunk) <= MERGE => before,
            _ => return,
        };
        if let Some(from) = self.chunks.remove(into + 1) {
            Arc::make_mut(&mut self.chunks[into]).extend(Arc::unwrap_or_clone(from));
        }
    }
}

impl<V: PartialEq> PartialEq for IdMap<V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<V: std::fmt::Debug> std::fmt::Debug for IdMap<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use std::collections::BTreeMap;

    fn check(map: &IdMap<u64>, model: &BTreeMap<Id, u64>) {
        assert_eq!(map.len(), model.len());
        assert!(map.iter().eq(model.iter().map(|(id, value)| (*id, value))));
        assert!(map.chunks.iter().all(|chunk| (1..=CHUNK).contains(&chunk.len())));
    }

    #[test]
    fn agrees_with_a_tree() {
        let mut rng = Rng::seeded(7);
        let (mut map, mut model) = (IdMap::default(), BTreeMap::new());
        let mut kept = (map.clone(), model.clone());
        for step in 0..30_000u64 {
            let id = Id::new(rng.next_u64() % 40, rng.next_u64() % 60);
            // Growing and shrinking in turns.
            let shrinks = step / 5_000 % 2 == 1;
            match rng.next_u64() % 10 {
                0 => assert_eq!(map.get(id), model.get(&id)),
                1 => assert!(map.iter_from(id).take(3).eq(model.range(id..).take(3).map(flat))),
                2 => {
                    let back = model.range(..=id).rev().take(3).map(flat);
                    assert!(map.iter_back(id).take(3).eq(back));
                    let floor = model.range(..=id).next_back().map_or(Id::MIN, |(id, _)| *id);
                    assert!(map.iter_from_floor(id).eq(model.range(floor..).map(flat)));
                }
                3 => {
                    if let Some(value) = map.get_mut(id) {
                        *value += 1;
                        *model.get_mut(&id).unwrap() += 1;
                    }
                }
                4..=8 if shrinks => assert_eq!(map.remove(id), model.remove(&id)),
                _ if shrinks => {}
                _ => assert_eq!(map.insert(id, step), model.insert(id, step)),
            }
            if step % 1_000 == 0 {
                check(&map, &model);
                check(&kept.0, &kept.1);
                kept = (map.clone(), model.clone());
            }
        }
    }

    fn flat<'a>((id, value): (&Id, &'a u64)) -> (Id, &'a u64) {
        (*id, value)
    }

    #[test]
    fn ids_in_order_fill_their_chunks() {
        let mut map = IdMap::default();
        for seq in 0..1_000 {
            map.insert(Id::new(1, seq), ());
        }
        assert_eq!(map.chunks.len(), 1_000usize.div_ceil(CHUNK));
        let copy = map.clone();
        map.remove(Id::new(1, 500));
        let shared = map.chunks.iter().zip(&copy.chunks).filter(|(a, b)| Arc::ptr_eq(a, b));
        assert_eq!(shared.count(), map.chunks.len() - 1);
        for seq in (0..1_000).filter(|seq| seq % 50 != 0) {
            map.remove(Id::new(1, seq));
        }
        assert_eq!((map.len(), map.chunks.len()), (19, 1));
        assert_eq!((copy.len(), copy.last().map(|last| last.0)), (1_000, Some(Id::new(1, 999))));
    }
}
