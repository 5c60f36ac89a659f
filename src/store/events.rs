//! Keyspace events: what happened to a key, the classes that `notify-keyspace-events` selects, and
//! their letters.
//!
//! Knows which classes there are, not who publishes or receives events.

/// Something that happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The class that it belongs to.
    pub class: EventClasses,
    /// Redis's name for it.
    pub name: &'static str,
    /// The database.
    pub db: usize,
    /// The key.
    pub key: Vec<u8>,
}

/// A set of event classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventClasses(u16);

/// Letter and bit of each class, in the order in which Redis prints them. `A` stands for the first
/// [`IN_ALL`] of them.
const LETTERS: [(u8, u16); 14] = [
    (b'g', EventClasses::GENERIC.0),
    (b'$', EventClasses::STRING.0),
    (b'l', EventClasses::LIST.0),
    (b's', EventClasses::SET.0),
    (b'h', EventClasses::HASH.0),
    (b'z', EventClasses::ZSET.0),
    (b'x', EventClasses::EXPIRED.0),
    (b'e', EventClasses::EVICTED.0),
    (b't', EventClasses::STREAM.0),
    (b'd', EventClasses::MODULE.0),
    (b'n', EventClasses::NEW.0),
    (b'K', EventClasses::KEYSPACE.0),
    (b'E', EventClasses::KEYEVENT.0),
    (b'm', EventClasses::KEY_MISS.0),
];

/// How many of [`LETTERS`] the letter `A` stands for.
const IN_ALL: usize = 10;

impl EventClasses {
    /// No events at all.
    pub const NONE: EventClasses = EventClasses(0);
    /// `K`: publish to the key's channel.
    pub const KEYSPACE: EventClasses = EventClasses(1);
    /// `E`: publish to the event's channel.
    pub const KEYEVENT: EventClasses = EventClasses(1 << 1);
    /// `g`: commands that are not about one type.
    pub const GENERIC: EventClasses = EventClasses(1 << 2);
    /// `$`: strings.
    pub const STRING: EventClasses = EventClasses(1 << 3);
    /// `l`: lists.
    pub const LIST: EventClasses = EventClasses(1 << 4);
    /// `s`: sets.
    pub const SET: EventClasses = EventClasses(1 << 5);
    /// `h`: hashes.
    pub const HASH: EventClasses = EventClasses(1 << 6);
    /// `z`: sorted sets.
    pub const ZSET: EventClasses = EventClasses(1 << 7);
    /// `x`: a key expired.
    pub const EXPIRED: EventClasses = EventClasses(1 << 8);
    /// `e`: a key was evicted.
    pub const EVICTED: EventClasses = EventClasses(1 << 9);
    /// `t`: streams.
    pub const STREAM: EventClasses = EventClasses(1 << 10);
    /// `m`: a key that does not exist was read.
    pub const KEY_MISS: EventClasses = EventClasses(1 << 11);
    /// `d`: module types.
    pub const MODULE: EventClasses = EventClasses(1 << 12);
    /// `n`: a key was created.
    pub const NEW: EventClasses = EventClasses(1 << 13);

    /// Whether any class of the other set is in this one.
    pub fn has(self, other: EventClasses) -> bool {
        self.0 & other.0 != 0
    }

    /// The set that these letters name, or `None` at an unknown letter.
    pub fn parse(letters: &[u8]) -> Option<EventClasses> {
        let mut set = 0;
        for letter in letters {
            set |= match letter {
                b'A' => all(),
                _ => LETTERS.iter().find(|(known, _)| known == letter)?.1,
            };
        }
        Some(EventClasses(set))
    }

    /// The letters in Redis's order, shortened with `A` where it fits. As in Redis 7.2, `n` is not
    /// shown beside `A`, though it is in force.
    pub fn letters(self) -> String {
        let mut out = String::new();
        let complete = self.0 & all() == all();
        if complete {
            out.push('A');
        }
        for (letter, bit) in LETTERS {
            let shortened = complete && (bit & all() != 0 || bit == EventClasses::NEW.0);
            if self.0 & bit != 0 && !shortened {
                out.push(char::from(letter));
            }
        }
        out
    }
}

/// The bits behind `A`.
fn all() -> u16 {
    LETTERS[..IN_ALL].iter().fold(0, |set, (_, bit)| set | bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_come_back_in_redis_order() {
        for (given, shown) in [
            ("", ""),
            ("KEA", "AKE"),
            ("AnKE", "AKE"),
            ("Kmnxg", "gxnKm"),
            ("g$lshzxetdE", "AE"),
            ("dtexzhsl$", "$lshzxetd"),
        ] {
            assert_eq!(EventClasses::parse(given.as_bytes()).unwrap().letters(), shown);
        }
        assert_eq!(EventClasses::parse(b"zq"), None);
    }

    #[test]
    fn a_hidden_letter_is_still_in_the_set() {
        let set = EventClasses::parse(b"An").unwrap();
        assert_ne!(set.0 & EventClasses::NEW.0, 0);
        assert_eq!(set.0 & (EventClasses::KEYSPACE.0 | EventClasses::KEY_MISS.0), 0);
    }
}
