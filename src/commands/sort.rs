//! SORT: the elements of a list, a set or a sorted set in an order of their own.
//!
//! Which keys are looked at besides the first follows from the elements (`BY weight_*`), so that
//! the commands take all shards.
//!
//! Redis handles the texts here as C strings: a pattern, a number and what ALPHA compares end at
//! their first NUL.

use std::cmp::Ordering;
use std::ops::Range;

use crate::base::num;
use crate::data::list::End;
use crate::data::quicklist::Fill;
use crate::data::{Hash, List, Str, Value};
use crate::engine::spec::access::{ACCESS, OW, RO, UPDATE};
use crate::engine::spec::flag::{DANGEROUS, MOVABLEKEYS};
use crate::engine::{Args, Command, Ctx, Group, KeySpec, Reply, permissions};
use crate::resp::error::Error;
use crate::store::EventClasses;

const BY_GET_NOTE: &str = "For the optional BY/GET keyword. It is marked 'unknown' because the \
    key names derive from the content of the key we sort";
const STORE_NOTE: &str = "For the optional STORE keyword. It is marked 'unknown' because the \
    keyword can appear anywhere in the argument array";

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::new("sort", sort)
        .group(Group::Generic)
        .write()
        .deny_oom()
        .flags(DANGEROUS | MOVABLEKEYS)
        .categories(&["set", "sortedset", "list"])
        .arity(-2)
        .keys(&[
            KeySpec::at(1, RO | ACCESS),
            KeySpec::unknown(RO | ACCESS).noting(BY_GET_NOTE),
            KeySpec::option("STORE", OW | UPDATE).noting(STORE_NOTE),
        ])
        .locks_all()
        .syntax(
            "key [BY pattern=by-pattern#1] [limit: LIMIT offset count] [GET pattern=get-pattern#1 \
             [GET pattern ...]] [order: ASC | DESC] [ALPHA=sorting] [STORE destination#2]",
        )
        .complexity("O(N+M*log(M)) where N is the number of elements and M of those returned")
        .summary("Sorts the elements of a list, a set or a sorted set, and perhaps stores them."),
    Command::new("sort_ro", sort_ro)
        .group(Group::Generic)
        .since("7.0.0")
        .readonly()
        .flags(DANGEROUS | MOVABLEKEYS)
        .categories(&["set", "sortedset", "list"])
        .arity(-2)
        .keys(&[KeySpec::at(1, RO | ACCESS), KeySpec::unknown(RO | ACCESS).noting(BY_GET_NOTE)])
        .locks_all()
        .syntax(
            "key [BY pattern=by-pattern#1] [limit: LIMIT offset count] [GET pattern=get-pattern#1 \
             [GET pattern ...]] [order: ASC | DESC] [ALPHA=sorting]",
        )
        .complexity("O(N+M*log(M)) where N is the number of elements and M of those returned")
        .summary("Returns the elements of a list, a set or a sorted set in order."),
];

/// SORT key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC|DESC] [ALPHA]
/// [STORE destination]
fn sort(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let key = args.key();
    let options = Options::parse(args, true, permissions::may_read_any_key(ctx, args.argv()))?;
    run(ctx, key, options)
}

/// SORT_RO key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC|DESC] [ALPHA]
fn sort_ro(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let key = args.key();
    let options = Options::parse(args, false, permissions::may_read_any_key(ctx, args.argv()))?;
    run(ctx, key, options)
}

/// How elements are put in order.
#[derive(Clone, Copy)]
enum By<'a> {
    /// By themselves.
    Element,
    /// By what the keys hold that this pattern stands for.
    Pattern(&'a [u8]),
    /// Not at all.
    Nothing,
}

struct Options<'a> {
    descending: bool,
    alpha: bool,
    offset: i64,
    /// Negative: all.
    count: i64,
    by: By<'a>,
    gets: Vec<&'a [u8]>,
    store: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    /// `may_look` says whether the keys may be looked at that patterns stand for.
    fn parse(args: &mut Args<'a>, may_store: bool, may_look: bool) -> Result<Self, Error> {
        let mut options = Options {
            descending: false,
            alpha: false,
            offset: 0,
            count: -1,
            by: By::Element,
            gets: Vec::new(),
            store: None,
        };
        while !args.is_empty() {
            let behind = args.left() - 1;
            if args.word("ASC") {
                options.descending = false;
            } else if args.word("DESC") {
                options.descending = true;
            } else if args.word("ALPHA") {
                options.alpha = true;
            } else if behind >= 2 && args.word("LIMIT") {
                (options.offset, options.count) = (args.int()?, args.int()?);
            } else if behind >= 1 && may_store && args.word("STORE") {
                options.store = Some(args.bytes()?);
            } else if behind >= 1 && args.word("BY") {
                let pattern = args.bytes()?;
                let varies = until_nul(pattern).contains(&b'*');
                if varies && !may_look {
                    return Err(Error::SORT_BY_DENIED);
                }
                options.by = if varies { By::Pattern(pattern) } else { By::Nothing };
            } else if behind >= 1 && args.word("GET") {
                if !may_look {
                    return Err(Error::SORT_GET_DENIED);
                }
                options.gets.push(args.bytes()?);
            } else {
                return Err(Error::SYNTAX);
            }
        }
        Ok(options)
    }

    /// Whether patterns stand for keys.
    fn looks_at_keys(&self) -> bool {
        let is_key = |pattern: &&[u8]| until_nul(pattern) != b"#";
        matches!(self.by, By::Pattern(_)) || self.gets.iter().any(is_key)
    }

    /// The part of so many elements that LIMIT names.
    fn range(&self, len: usize) -> Range<usize> {
        let start = usize::try_from(self.offset.max(0)).map_or(len, |offset| offset.min(len));
        let count = usize::try_from(self.count).unwrap_or(len);
        start..start.saturating_add(count).min(len)
    }
}

/// An element with what it is compared by.
struct Element {
    text: Vec<u8>,
    weight: Weight,
}

enum Weight {
    /// Its text.
    None,
    Number(f64),
    /// Absent ones come first.
    Text(Option<Vec<u8>>),
}

fn run(ctx: &mut Ctx, key: &[u8], mut options: Options) -> Reply {
    let value = ctx.db.read(key).map(|entry| entry.value().into_owned());
    if let (By::Nothing, Some(Value::Set(_)), Some(_)) = (options.by, &value, options.store) {
        // What is stored may not depend on the order in which a set happens to be kept.
        (options.by, options.alpha) = (By::Element, true);
    }
    // Other keys that are looked at must be of the same moment.
    let amount = if options.looks_at_keys() { 0 } else { work_of(value.as_ref()) };
    let Some(destination) = options.store else {
        ctx.let_go(amount)?;
        let texts = chosen(ctx, value.as_ref(), &options)?;
        return answer(ctx, &texts, &options.gets);
    };
    let list = ctx.work_out(&[key], amount, |ctx| {
        let texts = chosen(ctx, value.as_ref(), &options)?;
        Ok::<_, Error>(list_of(ctx, &texts, &options.gets))
    })??;
    store(ctx, destination, list)
}

/// How many elements there are.
fn work_of(value: Option<&Value>) -> usize {
    match value {
        Some(Value::List(list)) => list.len(),
        Some(Value::Set(set)) => set.len(),
        Some(Value::Zset(zset)) => zset.len(),
        _ => 0,
    }
}

/// The elements that are asked for, in order.
fn chosen(ctx: &mut Ctx, value: Option<&Value>, options: &Options) -> Result<Vec<Vec<u8>>, Error> {
    let mut texts = elements(value, options)?;
    if !matches!(options.by, By::Nothing) {
        texts = sorted(ctx, texts, options)?;
        let range = options.range(texts.len());
        texts.truncate(range.end);
        texts.drain(..range.start);
    }
    Ok(texts)
}

/// The elements of a collection: all, or what LIMIT names if they keep their order.
fn elements(value: Option<&Value>, options: &Options) -> Result<Vec<Vec<u8>>, Error> {
    let ordered = matches!(options.by, By::Nothing);
    let range = |len: usize| if ordered { options.range(len) } else { 0..len };
    let backwards = ordered && options.descending;
    let mut texts = Vec::new();
    match value {
        None => {}
        Some(Value::List(list)) => {
            let Range { start, end } = range(list.len());
            if backwards {
                let items = list.iter_at(End::Right).take(end).skip(start);
                texts.extend(items.map(|item| item.to_vec()));
            } else {
                let items = list.iter_from(start).take(end - start);
                texts.extend(items.map(|item| item.to_vec()));
            }
        }
        Some(Value::Set(set)) => {
            let Range { start, end } = range(set.len());
            texts.extend(set.iter().take(end).skip(start).map(|item| item.to_vec()));
        }
        Some(Value::Zset(zset)) => {
            let (len, Range { start, end }) = (zset.len(), range(zset.len()));
            let visit = |member: &[u8], _| texts.push(member.to_vec());
            if backwards {
                zset.each_back(len - end..len - start, visit);
            } else {
                zset.each(start..end, visit);
            }
        }
        Some(_) => return Err(Error::WRONG_TYPE),
    }
    Ok(texts)
}

/// Puts the elements in order.
fn sorted(ctx: &mut Ctx, texts: Vec<Vec<u8>>, options: &Options) -> Result<Vec<Vec<u8>>, Error> {
    // All are weighed even if one has no number, since every look at a key counts.
    let weights: Vec<_> = texts.iter().map(|text| weight(ctx, text, options)).collect();
    let elements = texts.into_iter().zip(weights);
    let mut elements = elements
        .map(|(text, weight)| weight.map(|weight| Element { text, weight }))
        .collect::<Result<Vec<_>, _>>()?;
    // Only what is stored is the same whatever the collation, which sees no further than a NUL.
    let stored = options.store.is_some();
    elements.sort_by(|a, b| {
        let order = compare(a, b, stored);
        if options.descending { order.reverse() } else { order }
    });
    Ok(elements.into_iter().map(|element| element.text).collect())
}

fn weight(ctx: &mut Ctx, text: &[u8], options: &Options) -> Result<Weight, Error> {
    let found = match options.by {
        By::Pattern(pattern) => Some(look_up(ctx, pattern, text)),
        _ => None,
    };
    if options.alpha {
        return Ok(found.map_or(Weight::None, Weight::Text));
    }
    let number = match &found {
        None => parse(text),
        Some(Some(value)) => parse(value),
        Some(None) => Some(0.0),
    };
    number.map(Weight::Number).ok_or(Error::SORT_NOT_FLOAT)
}

fn compare(a: &Element, b: &Element, stored: bool) -> Ordering {
    let by_text = |a: &[u8], b: &[u8]| match stored {
        true => a.cmp(b),
        false => until_nul(a).cmp(until_nul(b)),
    };
    match (&a.weight, &b.weight) {
        (Weight::Number(x), Weight::Number(y)) => {
            // Equal numbers leave the order to the elements, so that the result is always the same.
            x.partial_cmp(y).unwrap_or(Ordering::Equal).then_with(|| a.text.cmp(&b.text))
        }
        (Weight::Text(Some(x)), Weight::Text(Some(y))) => by_text(x, y),
        (Weight::Text(x), Weight::Text(y)) => x.is_some().cmp(&y.is_some()),
        _ => by_text(&a.text, &b.text),
    }
}

/// A number as `strtod` reads it, which takes blanks before it and makes 0 of nothing at all.
fn parse(text: &[u8]) -> Option<f64> {
    let text = until_nul(text);
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let number = text.iter().position(|byte| !is_blank(byte)).map(|start| &text[start..]);
    match number {
        Some(number) => num::parse_f64(number),
        None => text.is_empty().then_some(0.0),
    }
}

/// What a pattern stands for with an element in the place of its first `*`: the element itself
/// (`#`), the string at a key, or a field of the hash at a key (`key->field`).
fn look_up(ctx: &mut Ctx, pattern: &[u8], element: &[u8]) -> Option<Vec<u8>> {
    if until_nul(pattern) == b"#" {
        return Some(element.to_vec());
    }
    let star = until_nul(pattern).iter().position(|byte| *byte == b'*')?;
    let (before, behind) = (&pattern[..star], &pattern[star + 1..]);
    let (behind, field) = split_field(behind);
    let key = [before, element, behind].concat();
    match field {
        Some(field) => {
            let horizon = ctx.db.horizon();
            let hash = ctx.db.get::<Hash>(&key).ok()??;
            let field = hash.get(field).filter(|field| !field.is_due(horizon))?;
            Some(field.value.to_vec())
        }
        None => {
            let text = ctx.db.get::<Str>(&key).ok()??;
            Some(text.bytes(&mut [0; 20]).to_vec())
        }
    }
}

/// Takes the field's name off a pattern's end.
fn split_field(end: &[u8]) -> (&[u8], Option<&[u8]>) {
    match until_nul(end).windows(2).position(|pair| pair == b"->") {
        Some(arrow) if !until_nul(&end[arrow + 2..]).is_empty() => {
            (&end[..arrow], Some(&end[arrow + 2..]))
        }
        _ => (end, None),
    }
}

/// Shows what is asked for of each element: itself, or what the GET patterns stand for.
fn each_result(
    ctx: &mut Ctx,
    texts: &[Vec<u8>],
    gets: &[&[u8]],
    mut show: impl FnMut(&mut Ctx, Option<&[u8]>),
) {
    for text in texts {
        if gets.is_empty() {
            show(ctx, Some(text));
        }
        for pattern in gets {
            let found = look_up(ctx, pattern, text);
            show(ctx, found.as_deref());
        }
    }
}

fn answer(ctx: &mut Ctx, texts: &[Vec<u8>], gets: &[&[u8]]) -> Reply {
    ctx.reply.parts().array(texts.len() * gets.len().max(1));
    each_result(ctx, texts, gets, |ctx, found| match found {
        Some(text) => ctx.reply.parts().bulk(text),
        None => ctx.reply.parts().null(),
    });
    ctx.reply.done()
}

fn list_of(ctx: &mut Ctx, texts: &[Vec<u8>], gets: &[&[u8]]) -> List {
    let fill = Fill::new(ctx.settings.limits.list_max_listpack_size);
    let mut list = List::new();
    each_result(ctx, texts, gets, |_, found| list.push(End::Right, found.unwrap_or(b""), fill));
    list
}

fn store(ctx: &mut Ctx, destination: &[u8], list: List) -> Reply {
    let len = list.len();
    if len > 0 {
        ctx.db.set(destination, Value::List(list), None);
        ctx.db.event(EventClasses::LIST, "sortstore", destination);
        ctx.db.mark_dirty(len as u64);
    } else if ctx.db.remove(destination) {
        ctx.db.event(EventClasses::GENERIC, "del", destination);
        ctx.db.mark_dirty(1);
    }
    ctx.reply.count(len)
}

fn until_nul(text: &[u8]) -> &[u8] {
    text.iter().position(|byte| *byte == 0).map_or(text, |end| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_like_strtod_does() {
        for (text, number) in [
            (&b""[..], Some(0.0)),
            (b" \t12", Some(12.0)),
            (b"1e3\0x", Some(1000.0)),
            (b"-inf", Some(f64::NEG_INFINITY)),
            (b"0x10", Some(16.0)),
            (b" ", None),
            (b"12 ", None),
            (b"nan", None),
            (b"a", None),
        ] {
            assert_eq!(parse(text), number, "{text:?}");
        }
    }

    #[test]
    fn a_field_follows_an_arrow() {
        assert_eq!(split_field(b"_x->f"), (&b"_x"[..], Some(&b"f"[..])));
        assert_eq!(split_field(b"->f->g"), (&b""[..], Some(&b"f->g"[..])));
        assert_eq!(split_field(b"x->"), (&b"x->"[..], None));
        assert_eq!(split_field(b"x"), (&b"x"[..], None));
    }

    #[test]
    fn limits_stay_within_the_elements() {
        let range = |offset, count| {
            let mut options = Options::parse(&mut Args::new(&[], 0), true, true).unwrap();
            (options.offset, options.count) = (offset, count);
            options.range(10)
        };
        assert_eq!(range(0, -1), 0..10);
        assert_eq!(range(3, 4), 3..7);
        assert_eq!(range(-3, 4), 0..4);
        assert_eq!(range(8, i64::MAX), 8..10);
        assert_eq!(range(i64::MAX, i64::MAX), 10..10);
        assert_eq!(range(i64::MIN, i64::MIN), 0..10);
        assert_eq!(range(4, 0), 4..4);
    }
}
