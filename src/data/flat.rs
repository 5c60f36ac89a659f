//! Small values as plain bytes: how most of them lie in the keyspace.
//!
//! A string, or a collection that is one block anyway, is flat: a form and the bytes of that form.
//! Whether they are few enough is for the keyspace to say, and so is where they are.
//!
//! Invariant: a value that was made flat and is made a value again is the same in content and
//! encoding.

use crate::data::intset::Intset;
use crate::data::listpack::Listpack;
use crate::data::set::Form as SetForm;
use crate::data::string::Text;
use crate::data::{Hash, Kind, List, Set, Str, Value, Zset};

/// How the bytes are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A string that is an integer: eight bytes, little endian.
    Int,
    /// Any other string.
    Text,
    /// A string in the encoding of one that was changed in place.
    Raw,
    /// A list in a listpack.
    List,
    /// A hash in a listpack, without deadlines.
    Hash,
    /// A set in a listpack.
    Set,
    /// A set of integers.
    Ints,
    /// A sorted set in a listpack.
    Zset,
}

/// All forms, in the order of their codes.
const FORMS: [Form; 8] =
    [Form::Int, Form::Text, Form::Raw, Form::List, Form::Hash, Form::Set, Form::Ints, Form::Zset];

/// A small value as plain bytes.
#[derive(Clone, Copy, Debug)]
pub struct Flat<'a> {
    form: Form,
    bytes: &'a [u8],
}

impl<'a> Flat<'a> {
    /// A value as bytes, if it is of a form that can be; `int` takes an integer's.
    pub fn of(value: &'a Value, int: &'a mut [u8; 8]) -> Option<Flat<'a>> {
        let (form, bytes) = match value {
            Value::String(it) => return Some(Flat::of_text(it.view(), it.is_raw(), int)),
            Value::List(it) => (Form::List, it.as_small()?.as_bytes()),
            Value::Hash(it) => (Form::Hash, it.as_small()?.as_bytes()),
            Value::Set(it) => match it.form() {
                SetForm::Listpack(block) => (Form::Set, block.as_bytes()),
                SetForm::Ints(ints) => (Form::Ints, ints.as_bytes()),
                SetForm::Table(_) => return None,
            },
            Value::Zset(it) => (Form::Zset, it.as_listpack()?.as_bytes()),
            Value::Stream(_) => return None,
        };
        Some(Flat { form, bytes })
    }

    /// A string as bytes.
    pub fn of_text(text: Text<'a>, raw: bool, int: &'a mut [u8; 8]) -> Flat<'a> {
        let (form, bytes) = match text {
            Text::Int(number) => {
                *int = number.to_le_bytes();
                (Form::Int, &int[..])
            }
            Text::Bytes(bytes) => (if raw { Form::Raw } else { Form::Text }, bytes),
            Text::Shared(bytes) => (if raw { Form::Raw } else { Form::Text }, &bytes[..]),
        };
        Flat { form, bytes }
    }

    /// What [`Flat::code`] and [`Flat::bytes`] gave.
    pub fn restored(code: u8, bytes: &'a [u8]) -> Flat<'a> {
        Flat { form: FORMS[usize::from(code)], bytes }
    }

    /// The number of the form.
    pub fn code(&self) -> u8 {
        self.form as u8
    }

    /// The bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The content, if it is a string.
    pub fn text(&self) -> Option<Text<'a>> {
        match self.form {
            Form::Int => {
                Some(Text::Int(self.bytes.first_chunk().map_or(0, |&le| i64::from_le_bytes(le))))
            }
            Form::Text | Form::Raw => Some(Text::Bytes(self.bytes)),
            _ => None,
        }
    }

    /// The value.
    pub fn to_value(self) -> Value {
        let block = || Listpack::restored(self.bytes);
        match self.form {
            Form::Int | Form::Text | Form::Raw => {
                let text = self.text().unwrap_or(Text::Bytes(b""));
                Str::restored(text, self.form == Form::Raw).into_value()
            }
            Form::List => List::small(block()).into_value(),
            Form::Hash => Hash::small(block()).into_value(),
            Form::Set => Set::from(block()).into_value(),
            Form::Ints => Set::from(Intset::restored(self.bytes)).into_value(),
            Form::Zset => Zset::small(block()).into_value(),
        }
    }

    /// The name that TYPE answers.
    pub fn type_name(&self) -> &'static str {
        match self.form {
            Form::Int | Form::Text | Form::Raw => Str::NAME,
            Form::List => List::NAME,
            Form::Hash => Hash::NAME,
            Form::Set | Form::Ints => Set::NAME,
            Form::Zset => Zset::NAME,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Limits;
    use crate::data::hash::Deadline;
    use crate::data::list::End;
    use crate::data::quicklist::Fill;

    fn check(value: &Value, encoding: &str) {
        let mut int = [0; 8];
        let flat = Flat::of(value, &mut int).expect("a value of a small form");
        let again = Flat::restored(flat.code(), flat.bytes());
        assert_eq!((again.type_name(), value.encoding()), (value.type_name(), encoding));
        assert_eq!((&again.to_value(), again.to_value().encoding()), (value, encoding));
    }

    #[test]
    fn small_values_come_back_the_same() {
        let limits = Limits::default();
        for (text, encoding) in
            [(&b"-17"[..], "int"), (b"017", "embstr"), (b"", "embstr"), (&[7; 45], "raw")]
        {
            check(&Str::from_bytes(text).into_value(), encoding);
        }
        check(&Str::from_i64(i64::MIN).into_value(), "int");
        check(&Str::raw(b"1".to_vec()).into_value(), "raw");
        check(&Str::raw(vec![b'x'; 30]).into_value(), "raw");
        let mut list = List::new();
        list.push(End::Left, b"a", Fill::new(limits.list_max_listpack_size));
        check(&list.into_value(), "listpack");
        let mut hash = Hash::default();
        hash.set(b"f", b"5", Deadline::Clear, &limits);
        check(&hash.clone().into_value(), "listpack");
        hash.set_deadline(b"f", Some(9));
        assert!(Flat::of(&hash.into_value(), &mut [0; 8]).is_none());
        let mut set = Set::of_ints();
        set.insert(b"70000", &limits);
        check(&set.clone().into_value(), "intset");
        set.insert(b"x", &limits);
        check(&set.into_value(), "listpack");
        let mut zset = Zset::default();
        zset.set(b"m", 1.5, &limits);
        check(&zset.into_value(), "listpack");
        assert!(Flat::of(&Value::Stream(Default::default()), &mut [0; 8]).is_none());
    }
}
