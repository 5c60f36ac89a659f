//! One database as one command sees it: only the keys of held shards, expired keys gone, every
//! change noted.
//!
//! Must not know what a command is. Invariant: all changes of the keyspace by commands go through
//! here.

use std::convert::identity;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::base::table::Spot;
use crate::data::{Flat, Hash, Kind, Str, Text, Value};
use crate::store::access::{Access, Aging};
use crate::store::dict::Old;
use crate::store::entry::{Content, Entry, New, Source, View, has_passed};
use crate::store::events::{Event, EventClasses};
use crate::store::keyspace::{Hashed, Held, Keyspace, SHARDS};
use crate::store::shard::{Edited, Part, Shard};
use crate::store::spares;
use crate::store::waiting::Touched;

/// What happens to a key whose deadline has passed when a command meets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// It is removed, and its removal is noted for replicas: a primary.
    Delete,
    /// As `Delete`, and keys that get a deadline are noted: what a writable replica's clients
    /// write, whose removal no primary will ever order.
    DeleteOwn,
    /// It reads as absent but stays until the primary says so: a replica.
    Hide,
    /// It is there: the stream from the primary, and loading.
    Ignore,
}

/// Expired fields that a command removes at most. Active expiry removes the others soon.
const FIELDS_PER_COMMAND: usize = 1000;

/// What a command has done to the keyspace.
#[derive(Default, Debug)]
pub struct Changes {
    /// Changes, as Redis counts them for save points.
    pub dirty: u64,
    /// Apart, because most commands have none of it. Read and written as if it were always here.
    noted: Option<Box<Noted>>,
}

/// What has to be passed on of the changes of a command.
#[derive(Default, Debug)]
pub struct Noted {
    /// (database, key) that were found expired and removed.
    pub expired: Vec<(usize, Vec<u8>)>,
    /// (database, key, field) of fields of hashes that were found expired and removed.
    pub expired_fields: Vec<(usize, Vec<u8>, Vec<u8>)>,
    /// (database, key) that got a deadline, under [`Expiry::DeleteOwn`].
    pub own_deadlines: Vec<(usize, Vec<u8>)>,
    /// What happened to keys, as far as anybody wants to know.
    pub events: Vec<Event>,
    /// (database, key) that changed while somebody was waiting for that.
    pub ready: Vec<(usize, Vec<u8>)>,
}

static NOTHING: Noted = Noted {
    expired: Vec::new(),
    expired_fields: Vec::new(),
    own_deadlines: Vec::new(),
    events: Vec::new(),
    ready: Vec::new(),
};

impl Deref for Changes {
    type Target = Noted;

    fn deref(&self) -> &Noted {
        self.noted.as_deref().unwrap_or(&NOTHING)
    }
}

impl DerefMut for Changes {
    fn deref_mut(&mut self) -> &mut Noted {
        self.noted.get_or_insert_default()
    }
}

/// What the change of one value amounts to. A closure that changes something says so here.
pub struct Note<'n> {
    key: &'n [u8],
    db: usize,
    wanted: EventClasses,
    changes: &'n mut Changes,
    changed: bool,
}

impl Note<'_> {
    /// Counts `n` changes, as Redis counts them.
    pub fn dirty(&mut self, n: u64) {
        self.changes.dirty += n;
        self.changed |= n > 0;
    }

    /// Something happened to the key; the name is Redis's.
    pub fn event(&mut self, class: EventClasses, name: &'static str) {
        self.changed = true;
        if self.wanted.has(class) {
            let (db, key) = (self.db, self.key.to_vec());
            self.changes.events.push(Event { class, name, db, key });
        }
    }

    /// The value is another one now, which counts for WATCH alone.
    pub fn touched(&mut self) {
        self.changed = true;
    }
}

/// The key holds a value of another type than the command works on.
#[derive(Debug, PartialEq, Eq)]
pub struct WrongType;

/// Where a key is.
#[derive(Clone, Copy)]
struct Located {
    hash: u64,
    spot: Spot,
}

/// A database, seen through the shards that a command holds.
pub struct Db<'h, 'k> {
    held: &'h mut Held<'k>,
    index: usize,
    now_ms: i64,
    expiry: Expiry,
    touch: bool,
    wanted: EventClasses,
    aging: Aging,
    changes: &'h mut Changes,
    /// A key whose hash is known.
    hashed: Option<Hashed<'h>>,
    /// The value that was last asked for, where it lies flat.
    made: Option<Value>,
}

impl<'h, 'k> Db<'h, 'k> {
    /// A view of database `index` at the time `now_ms` (Unix ms).
    pub fn new(
        held: &'h mut Held<'k>,
        index: usize,
        now_ms: i64,
        expiry: Expiry,
        changes: &'h mut Changes,
    ) -> Self {
        Db {
            held,
            index,
            now_ms,
            expiry,
            touch: true,
            wanted: EventClasses::NONE,
            aging: Aging::Lru,
            changes,
            hashed: None,
            made: None,
        }
    }

    /// Whether accesses are noted for OBJECT IDLETIME (CLIENT NO-TOUCH turns it off).
    pub fn set_touch(&mut self, touch: bool) {
        self.touch = touch;
    }

    /// What is kept about accesses; their time unless said.
    pub fn set_aging(&mut self, aging: Aging) {
        self.aging = aging;
    }

    /// A key whose hash need not be computed again.
    pub fn set_hashed(&mut self, hashed: Option<Hashed<'h>>) {
        self.hashed = hashed;
    }

    /// The hash of a key. The one that is known is told by where it is, as its bytes stay the same.
    #[inline]
    fn hash(&self, key: &[u8]) -> u64 {
        match self.hashed {
            Some(known) if std::ptr::eq(known.key, key) => known.hash,
            _ => self.held.keyspace().hash(key),
        }
    }

    /// Which classes of events are noted; none unless said.
    pub fn set_wanted(&mut self, wanted: EventClasses) {
        self.wanted = wanted;
    }

    /// The number of the database.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Goes over to another database.
    pub fn select(&mut self, index: usize) {
        self.index = index;
    }

    /// How expired keys are treated.
    pub fn expiry(&self) -> Expiry {
        self.expiry
    }

    /// The shards behind this view.
    pub fn held(&mut self) -> &mut Held<'k> {
        self.held
    }

    /// Whether the log or somebody who waits has to hear of anything before the shards are let go.
    pub fn has_to_publish(&self) -> bool {
        let changes = &self.changes;
        let removed = !changes.expired.is_empty() || !changes.expired_fields.is_empty();
        removed || !changes.ready.is_empty() || changes.dirty > 0
    }

    /// Counts `n` changes.
    pub fn mark_dirty(&mut self, n: u64) {
        self.changes.dirty += n;
    }

    /// Something happened to a key; the name is Redis's.
    #[inline]
    pub fn event(&mut self, class: EventClasses, name: &'static str, key: &[u8]) {
        if self.wanted.has(class) {
            let (db, key) = (self.index, key.to_vec());
            self.changes.events.push(Event { class, name, db, key });
        }
    }

    /// Has it noted in `touched` when the key changes.
    pub fn watch(&mut self, key: &[u8], touched: &Touched) {
        let (hash, db) = (self.hash(key), self.index);
        self.shard(hash).waiting.watch(db, key, touched);
    }

    /// Ends a watch.
    pub fn unwatch(&mut self, key: &[u8], touched: &Touched) {
        let (hash, db) = (self.hash(key), self.index);
        self.shard(hash).waiting.unwatch(db, key, touched);
    }

    /// Tells those who watch or await a key that it has changed.
    fn changed(&mut self, hash: u64, key: &[u8]) {
        let db = self.index;
        let waiting = &self.shard(hash).waiting;
        waiting.touch(db, key);
        if waiting.is_awaited(db, key) {
            self.changes.ready.push((db, key.to_vec()));
        }
    }

    /// Every key of a database that somebody waits for may be another one now. All shards must be
    /// held.
    pub fn all_changed(&mut self, db: usize) {
        for shard in 0..SHARDS {
            let keys = self.held.shard(shard).waiting.awaited(db);
            self.changes.ready.extend(keys.into_iter().map(|key| (db, key)));
        }
    }

    #[inline]
    fn shard(&mut self, hash: u64) -> &mut Shard {
        self.held.shard(Keyspace::shard_of_hash(hash))
    }

    #[inline]
    fn part(&mut self, hash: u64) -> &mut Part {
        let index = self.index;
        &mut self.shard(hash).parts[index]
    }

    /// Where a key is, expired or not.
    fn find(&mut self, key: &[u8]) -> Option<Located> {
        let hash = self.hash(key);
        let spot = self.part(hash).dict.find(hash, key)?;
        Some(Located { hash, spot })
    }

    /// Where a key is, if it is there; an expired one is treated as the view's `expiry` says.
    fn locate(&mut self, key: &[u8]) -> Option<Located> {
        let (hash, now_ms) = (self.hash(key), self.now_ms);
        let dict = &self.part(hash).dict;
        let spot = dict.find(hash, key)?;
        let expired = has_passed(dict.expire_at(spot), now_ms);
        let at = Located { hash, spot };
        match self.expiry {
            Expiry::Delete | Expiry::DeleteOwn if expired => {
                self.expire(at, key);
                None
            }
            Expiry::Hide if expired => None,
            _ => Some(at),
        }
    }

    #[inline]
    fn view(&mut self, at: Located) -> View<'_> {
        self.part(at.hash).dict.view(at.spot)
    }

    fn note_expired(&mut self, hash: u64, key: &[u8]) {
        self.shard(hash).stats.expired += 1;
        let index = self.index;
        self.changes.expired.push((index, key.to_vec()));
        self.event(EventClasses::EXPIRED, "expired", key);
    }

    fn expire(&mut self, at: Located, key: &[u8]) {
        self.note_expired(at.hash, key);
        let old = self.part(at.hash).remove(at.hash, at.spot);
        self.changed(at.hash, key);
        self.throw_away(old);
    }

    /// Whether what has expired is to be removed.
    fn deletes(&self) -> bool {
        matches!(self.expiry, Expiry::Delete | Expiry::DeleteOwn)
    }

    /// The time before which a deadline hides a field from this view.
    pub fn horizon(&self) -> i64 {
        if self.expiry == Expiry::Ignore { i64::MIN } else { self.now_ms }
    }

    /// Removes expired fields of a hash, at most `limit`; how many there were.
    fn expire_fields(&mut self, at: Located, key: &[u8], limit: usize) -> usize {
        let now_ms = self.now_ms;
        self.take_fields(at, key, |value| {
            std::iter::from_fn(|| value.pop_due(now_ms)).take(limit).collect()
        })
    }

    /// Where a key with expired fields is, if they are to be removed at all.
    fn with_expired_fields(&mut self, key: &[u8]) -> Option<Located> {
        let at = self.locate(key).filter(|_| self.deletes())?;
        let deadline = self.view(at).next_deadline()?;
        (deadline < self.now_ms).then_some(at)
    }

    /// Removes expired fields of a hash, not all if they are many, for a command that may meet any.
    pub fn expire_some(&mut self, key: &[u8]) {
        if let Some(at) = self.with_expired_fields(key) {
            self.expire_fields(at, key, FIELDS_PER_COMMAND);
        }
    }

    /// Removes those of the named fields of a hash that have expired.
    pub fn expire_named(&mut self, key: &[u8], names: &[&[u8]]) {
        let Some(at) = self.with_expired_fields(key) else { return };
        let now_ms = self.now_ms;
        self.take_fields(at, key, |value| {
            let is_due = |name: &[u8]| value.get(name).is_some_and(|field| field.is_due(now_ms));
            let due: Vec<_> = names.iter().filter(|name| is_due(name)).collect();
            due.into_iter().filter(|name| value.remove(name)).map(|name| name.to_vec()).collect()
        });
    }

    /// Removes fields of a hash that have expired, as `take` does; how many there were.
    fn take_fields(
        &mut self,
        at: Located,
        key: &[u8],
        take: impl FnOnce(&mut Hash) -> Vec<Vec<u8>>,
    ) -> usize {
        let edit = |value: &mut Value| Hash::of_mut(value).map(take).unwrap_or_default();
        let Edited { result: names, void, .. } =
            self.part(at.hash).edit(at.hash, at.spot, identity, edit);
        if names.is_empty() {
            return 0;
        }
        let (db, count) = (self.index, names.len());
        self.shard(at.hash).stats.expired_fields += count as u64;
        let fields = names.into_iter().map(|name| (db, key.to_vec(), name));
        self.changes.expired_fields.extend(fields);
        self.event(EventClasses::HASH, "hexpired", key);
        if void {
            self.remove_void(at.hash, key);
        }
        self.changed(at.hash, key);
        count
    }

    /// Removes a key whose collection is empty now.
    fn remove_void(&mut self, hash: u64, key: &[u8]) {
        let part = self.part(hash);
        let Some(spot) = part.dict.find(hash, key) else { return };
        let old = part.remove(hash, spot);
        self.event(EventClasses::GENERIC, "del", key);
        self.throw_away(old);
    }

    /// Throws away what was overwritten; the buffer of a long string may be for the next one.
    fn recycle(&mut self, old: Old) {
        match old.into_value() {
            Some(Value::String(text)) if text.len() >= spares::LEAST => {
                let spares = &self.held.keyspace().spares;
                if let Some(Err(bytes)) = text.into_buffer().map(|bytes| spares.give(bytes)) {
                    self.held.discard(bytes);
                }
            }
            value => self.free(value),
        }
    }

    fn throw_away(&mut self, old: Old) {
        self.free(old.into_value());
    }

    /// Frees a value: behind the guards, if that takes long.
    fn free(&mut self, value: Option<Value>) {
        if let Some(value) = value.filter(Value::is_big) {
            self.held.discard(value);
        }
    }

    /// Looks a key up for a read command: counts a hit or a miss and notes the access.
    #[inline]
    pub fn read(&mut self, key: &[u8]) -> Option<View<'_>> {
        let at = self.look_up(key, self.touching(), true)?;
        Some(self.view(at))
    }

    /// Like [`Db::read`], but without noting the access (EXISTS, TTL, TYPE).
    pub fn read_untouched(&mut self, key: &[u8]) -> Option<View<'_>> {
        let at = self.look_up(key, None, true)?;
        Some(self.view(at))
    }

    /// Like [`Db::read_untouched`], but a miss is no event (OBJECT).
    pub fn inspect(&mut self, key: &[u8]) -> Option<View<'_>> {
        let at = self.look_up(key, None, false)?;
        Some(self.view(at))
    }

    /// When and how an access is noted, if it is.
    fn touching(&self) -> Option<(i64, Aging)> {
        self.touch.then_some((self.now_ms, self.aging))
    }

    fn look_up(
        &mut self,
        key: &[u8],
        touch: Option<(i64, Aging)>,
        announce_miss: bool,
    ) -> Option<Located> {
        let Some(at) = self.locate(key) else {
            let hash = self.hash(key);
            self.shard(hash).stats.misses += 1;
            if announce_miss {
                self.event(EventClasses::KEY_MISS, "keymiss", key);
            }
            return None;
        };
        let db = self.index;
        let shard = self.shard(at.hash);
        shard.stats.hits += 1;
        shard.touch(db, at.spot, touch);
        Some(at)
    }

    fn locate_for_write(&mut self, key: &[u8]) -> Option<Located> {
        let at = self.locate(key)?;
        let (db, touch) = (self.index, self.touching());
        self.shard(at.hash).touch(db, at.spot, touch);
        Some(at)
    }

    /// Looks a key up for a write command that does not replace it, and notes the access.
    pub fn look_for_write(&mut self, key: &[u8]) -> Option<View<'_>> {
        let at = self.locate_for_write(key)?;
        Some(self.view(at))
    }

    /// Looks a key up for a write command, or without side effects on statistics.
    pub fn peek(&mut self, key: &[u8]) -> Option<View<'_>> {
        let at = self.locate(key)?;
        Some(self.view(at))
    }

    /// Whether a key is there, for a write command.
    pub fn exists(&mut self, key: &[u8]) -> bool {
        self.locate(key).is_some()
    }

    /// The value of a key, for a read command.
    pub fn get<T: Kind>(&mut self, key: &[u8]) -> Result<Option<&T>, WrongType> {
        let at = self.look_up(key, self.touching(), true);
        self.value_at(at)
    }

    /// The content of a key's string, for a read command that needs nothing else.
    pub fn text(&mut self, key: &[u8]) -> Result<Option<Text<'_>>, WrongType> {
        let Some(at) = self.look_up(key, self.touching(), true) else { return Ok(None) };
        let text = match self.view(at).content() {
            Content::Flat { flat, .. } => flat.text(),
            Content::Whole(value) => Str::of(value).map(Str::view),
        };
        text.map(Some).ok_or(WrongType)
    }

    /// The value of a key, for a write command that looks before it changes anything.
    pub fn peek_as<T: Kind>(&mut self, key: &[u8]) -> Result<Option<&T>, WrongType> {
        let at = self.locate_for_write(key);
        self.value_at(at)
    }

    fn value_at<T: Kind>(&mut self, at: Option<Located>) -> Result<Option<&T>, WrongType> {
        let Some(at) = at else { return Ok(None) };
        let shard = self.held.shard(Keyspace::shard_of_hash(at.hash));
        let value = match shard.parts[self.index].dict.view(at.spot).content() {
            Content::Flat { flat, .. } => self.made.insert(flat.to_value()),
            Content::Whole(value) => value,
        };
        T::of(value).map(Some).ok_or(WrongType)
    }

    /// Changes the value of a key that is there. The closure says what it did in its [`Note`]; a
    /// collection without elements is removed behind it.
    pub fn edit<T: Kind, R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut T, &mut Note) -> R,
    ) -> Result<Option<R>, WrongType> {
        let Some(at) = self.locate(key) else { return Ok(None) };
        self.edit_at(at, key, change).map(Some)
    }

    fn edit_at<T: Kind, R>(
        &mut self,
        at: Located,
        key: &[u8],
        change: impl FnOnce(&mut T, &mut Note) -> R,
    ) -> Result<R, WrongType> {
        let (db, wanted, touching) = (self.index, self.wanted, self.touching());
        let Shard { parts, rng, .. } = self.held.shard(Keyspace::shard_of_hash(at.hash));
        let touch = |access: Access| match touching {
            Some((now_ms, aging)) => access.touched(now_ms, aging, || rng.next_u64()),
            None => access,
        };
        let changes = &mut *self.changes;
        let edited = parts[db].edit(at.hash, at.spot, touch, |value| {
            let value = T::of_mut(value).ok_or(WrongType)?;
            let mut note = Note { key, db, wanted, changes, changed: false };
            let result = change(value, &mut note);
            Ok((result, note.changed))
        });
        let (result, changed) = edited.result?;
        let [before, after] = edited.deadlines;
        if after != before {
            self.announce_deadline(at.hash, key, after);
        }
        if edited.void {
            self.remove_void(at.hash, key);
        }
        if changed || edited.void {
            self.changed(at.hash, key);
        }
        Ok(result)
    }

    /// As [`Db::edit`], with an empty value of the type where the key is not there.
    pub fn edit_or_create<T: Kind, R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut T, &mut Note) -> R,
    ) -> Result<R, WrongType> {
        if let Some(at) = self.locate(key) {
            return self.edit_at(at, key, change);
        }
        let mut value = T::default();
        let events_before = self.changes.events.len();
        let (db, wanted) = (self.index, self.wanted);
        let changes = &mut *self.changes;
        let mut note = Note { key, db, wanted, changes, changed: false };
        let result = change(&mut value, &mut note);
        if !value.is_void() {
            // That the key is new comes before what was done with it.
            let has_events = self.changes.events.len() > events_before;
            let later = has_events.then(|| self.changes.events.split_off(events_before));
            self.set(key, value.into_value(), None);
            if let Some(later) = later {
                self.changes.events.extend(later);
            }
        }
        Ok(result)
    }

    /// Stores a value with its deadline (Unix ms), whatever was there before.
    pub fn set(&mut self, key: &[u8], value: Value, expire_at: Option<i64>) {
        self.insert(key, Source::Whole(value), expire_at);
    }

    /// Stores a string with its deadline (Unix ms), whatever was there before; as an integer where
    /// it is one in canonical form.
    pub fn set_text(&mut self, key: &[u8], content: &[u8], expire_at: Option<i64>) {
        let mut int = [0; 8];
        let source = match self.held.keyspace().spares.take(content.len()) {
            Some(mut buffer) => {
                buffer.clear();
                buffer.extend_from_slice(content);
                Source::Whole(Str::shared(Arc::new(buffer)).into_value())
            }
            None => Source::Flat(Flat::of_text(Text::of(content), false, &mut int)),
        };
        self.insert(key, source, expire_at);
    }

    /// Sets what is known of a key's accesses: its idle time in seconds under an LRU policy, its
    /// frequency under an LFU one.
    pub fn set_accesses(&mut self, key: &[u8], idle_seconds: Option<u64>, frequency: Option<u8>) {
        let access = match (self.aging, idle_seconds, frequency) {
            (Aging::Lru, Some(idle), _) => Access::of_idle_seconds(idle, self.now_ms),
            (Aging::Lfu { .. }, _, Some(frequency)) => Access::of_frequency(frequency, self.now_ms),
            _ => return,
        };
        let hash = self.hash(key);
        let dict = &mut self.part(hash).dict;
        if let Some(spot) = dict.find(hash, key) {
            dict.set_access(spot, |_| access);
        }
    }

    /// Stores a value; whether there was one.
    pub(super) fn insert(&mut self, key: &[u8], source: Source, expire_at: Option<i64>) -> bool {
        let access = Access::new(self.now_ms, self.aging);
        let new = New { key, source, expire_at, access };
        let hash = self.hash(key);
        self.announce_deadline(hash, key, expire_at);
        self.announce_deadline(hash, key, new.next_deadline());
        let old = self.part(hash).insert(hash, new);
        self.changed(hash, key);
        let was_there = old.is_some();
        let expired = self.deletes() && old.as_ref().is_some_and(|old| old.is_expired(self.now_ms));
        if expired {
            self.note_expired(hash, key);
        }
        if !was_there || expired {
            self.event(EventClasses::NEW, "new", key);
        }
        if let Some(old) = old {
            self.recycle(old);
        }
        was_there
    }

    /// Removes a key; whether it was there.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        let Some(at) = self.locate(key) else { return false };
        let old = self.part(at.hash).remove(at.hash, at.spot);
        self.changed(at.hash, key);
        self.throw_away(old);
        true
    }

    /// Removes a key and returns what it was.
    pub fn take(&mut self, key: &[u8]) -> Option<Entry> {
        let at = self.locate(key)?;
        let flat = match self.view(at).content() {
            Content::Flat { .. } => Some(self.view(at).to_entry()),
            Content::Whole(_) => None,
        };
        let old = self.part(at.hash).remove(at.hash, at.spot);
        self.changed(at.hash, key);
        flat.or(old.long)
    }

    /// Tells active expiry of a deadline.
    fn announce_deadline(&mut self, hash: u64, key: &[u8], at: Option<i64>) {
        let Some(at) = at else { return };
        self.held.keyspace().note_deadline(Keyspace::shard_of_hash(hash), at);
        if self.expiry == Expiry::DeleteOwn {
            self.changes.own_deadlines.push((self.index, key.to_vec()));
        }
    }

    /// Sets the deadline of a key (Unix ms), or removes it; whether the key is there.
    pub fn set_expire(&mut self, key: &[u8], at: Option<i64>) -> bool {
        let Some(Located { hash, spot }) = self.locate(key) else { return false };
        self.announce_deadline(hash, key, at);
        self.part(hash).set_expire(hash, spot, at);
        self.changed(hash, key);
        true
    }

    /// Removes keys of one held shard whose deadline has passed, and such fields of hashes, at most
    /// `limit` together; how many there were.
    pub fn expire_due(&mut self, shard: usize, limit: usize) -> usize {
        let (index, now_ms) = (self.index, self.now_ms);
        let mut done = 0;
        while done < limit
            && let Some(key) = self.held.shard(shard).parts[index].first_expired(now_ms)
            && let Some(at) = self.find(&key)
        {
            self.expire(at, &key);
            done += 1;
        }
        while done < limit
            && let Some(key) = self.held.shard(shard).parts[index].first_with_expired(now_ms)
            && let Some(at) = self.find(&key)
        {
            done += self.expire_fields(at, &key, limit - done);
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::hash::Deadline;
    use crate::data::{Limits, Str};
    use crate::store::Plan;
    use crate::store::totals::Totals;

    fn with_db<R>(
        keyspace: &Keyspace,
        now_ms: i64,
        run: impl FnOnce(&mut Db) -> R,
    ) -> (R, Changes) {
        let mut held = keyspace.hold(&Plan::All);
        let mut changes = Changes::default();
        let result = run(&mut Db::new(&mut held, 0, now_ms, Expiry::Delete, &mut changes));
        (result, changes)
    }

    fn totals(keyspace: &Keyspace) -> Totals {
        let mut totals = Totals::default();
        keyspace.each_shard(|shard| totals.add(shard));
        totals
    }

    /// (keys, keys with a deadline) of the only database.
    fn count(totals: &Totals) -> (u64, u64) {
        (totals.databases[0].keys, totals.databases[0].volatile)
    }

    #[test]
    fn expired_keys_are_removed_and_reported() {
        let keyspace = Keyspace::new(1);
        with_db(&keyspace, 0, |db| db.set(b"k", Value::String(Str::from_i64(1)), Some(10)));
        assert!(with_db(&keyspace, 10, |db| db.read(b"k").is_some()).0);
        let (found, changes) = with_db(&keyspace, 11, |db| db.read(b"k").is_some());
        assert!(!found);
        assert_eq!(changes.expired, [(0, b"k".to_vec())]);
        let totals = totals(&keyspace);
        assert_eq!(count(&totals), (0, 0));
        let stats = totals.stats;
        assert_eq!((stats.hits, stats.misses, stats.expired), (1, 1, 1));
    }

    #[test]
    fn overwriting_an_expired_key_reports_it_too() {
        let keyspace = Keyspace::new(1);
        let one = || Value::String(Str::from_i64(1));
        with_db(&keyspace, 0, |db| db.set(b"k", one(), Some(10)));
        let ((), changes) = with_db(&keyspace, 10, |db| db.set(b"k", one(), Some(20)));
        assert!(changes.expired.is_empty());
        let ((), changes) = with_db(&keyspace, 21, |db| db.set(b"k", one(), None));
        assert_eq!(changes.expired, [(0, b"k".to_vec())]);
        let totals = totals(&keyspace);
        assert_eq!((count(&totals), totals.stats.expired), ((1, 0), 1));
    }

    /// Fields `f1` to `f9`, each due at the time of its number.
    fn timed_hash() -> Hash {
        let mut hash = Hash::default();
        for at in 1..=9 {
            let name = format!("f{at}");
            hash.set(name.as_bytes(), b"v", Deadline::Clear, &Limits::default());
            hash.set_deadline(name.as_bytes(), Some(at));
        }
        hash
    }

    fn len(db: &mut Db) -> usize {
        db.get::<Hash>(b"h").unwrap().map_or(0, Hash::len)
    }

    #[test]
    fn expired_fields_are_removed_and_reported() {
        let keyspace = Keyspace::new(1);
        let shard = keyspace.shard_of(b"h");
        with_db(&keyspace, 0, |db| db.set(b"h", timed_hash().into_value(), None));
        assert_eq!(keyspace.noted_deadline(shard), 1);
        let due = |now_ms, limit| with_db(&keyspace, now_ms, |db| db.expire_due(shard, limit));
        let (removed, changes) = due(4, 2);
        let fields = [1, 2].map(|n| (0, b"h".to_vec(), format!("f{n}").into_bytes()));
        assert_eq!((removed, &changes.expired_fields[..]), (2, &fields[..]));
        assert_eq!(due(4, 100).0, 1);
        // Those that a command names.
        let ((), changes) =
            with_db(&keyspace, 7, |db| db.expire_named(b"h", &[b"f5", b"f8", b"x"]));
        assert_eq!(changes.expired_fields, [(0, b"h".to_vec(), b"f5".to_vec())]);
        assert_eq!(with_db(&keyspace, 7, len).0, 5);
        with_db(&keyspace, 8, |db| db.expire_some(b"h"));
        assert_eq!(with_db(&keyspace, 8, len).0, 2);
        let (removed, _) = due(100, 100);
        assert_eq!((removed, with_db(&keyspace, 100, |db| db.exists(b"h")).0), (2, false));
        assert_eq!(totals(&keyspace).stats.expired_fields, 9);
        keyspace.renew_deadline(shard, &keyspace.lock_shard(shard));
        assert_eq!(keyspace.noted_deadline(shard), i64::MAX);
    }

    #[test]
    fn the_index_follows_the_hash() {
        let keyspace = Keyspace::new(1);
        let shard = keyspace.shard_of(b"h");
        let next = || keyspace.lock_shard(shard).next_deadline();
        let edit = |change: fn(&mut Hash)| {
            with_db(&keyspace, 0, |db| db.edit(b"h", |hash: &mut Hash, _| change(hash)).unwrap()).0
        };
        with_db(&keyspace, 0, |db| db.set(b"h", timed_hash().into_value(), None));
        assert_eq!(next(), Some(1));
        edit(|hash| assert!(hash.remove(b"f1")));
        assert_eq!(next(), Some(2));
        edit(|hash| assert!(hash.set_deadline(b"f2", Some(50))));
        assert_eq!(next(), Some(3));
        with_db(&keyspace, 0, |db| db.set(b"h", Str::from_i64(1).into_value(), None));
        assert_eq!(next(), None);
        with_db(&keyspace, 0, |db| db.set(b"h", timed_hash().into_value(), Some(7)));
        with_db(&keyspace, 0, |db| db.remove(b"h"));
        assert_eq!(next(), None);
    }

    #[test]
    fn due_keys_are_found_by_deadline() {
        let keyspace = Keyspace::new(1);
        for at in 1..=100 {
            let key = format!("k{at}");
            with_db(&keyspace, 0, |db| {
                db.set(key.as_bytes(), Value::String(Str::from_i64(at)), Some(at));
            });
        }
        let mut removed = 0;
        for shard in 0..crate::store::keyspace::SHARDS {
            removed += with_db(&keyspace, 51, |db| db.expire_due(shard, 1000)).0;
        }
        assert_eq!((removed, count(&totals(&keyspace))), (50, (50, 50)));
    }
}
