//! When two replies are the same: most byte for byte, some by a rule of their command.

use super::intended::INTENDED;
use super::support::client::Value;
use super::support::fake::{Args, printed};
use super::{FAMILIES, streams, zsets};

/// So much of a reply is shown, and of what is alike in front of the first difference.
const SHOWN_CHARS: usize = 1000;
const SHOWN_ALIKE: usize = 200;

/// By how much an answer about time may differ: in seconds, and in milliseconds.
const TOLERANCE_S: i64 = 5;
const TOLERANCE_MS: i64 = 5_000;

/// And about idleness: the real server has one object for all keys that hold the same small
/// number, idle since its last use anywhere.
const TOLERANCE_IDLE_S: i64 = 500;

/// How a reply is compared.
pub enum Rule {
    Exact,
    /// Integers may differ by so much, if both are positive.
    Near(i64),
    /// The order of the elements is each server's own.
    Unordered,
    /// Chance decides; the form alone is compared.
    Chance,
    /// The order of pairs of elements, or of the entries of a map, is each server's own.
    Pairs,
    /// A whole iteration in one step is unordered; a part of one is each server's own.
    Scan,
    /// The same with pairs of elements.
    PairScan,
    /// The end of the payload is the version of the format and the checksum.
    Dump,
    /// The version and the connection's id are each server's own.
    Hello,
    /// The times in it differ by the moment at which each server read its clock.
    Timeless,
}

pub fn name(args: &Args, at: usize) -> Vec<u8> {
    args.get(at).map(|arg| arg.to_ascii_uppercase()).unwrap_or_default()
}

fn rule(args: &Args) -> Rule {
    if let Some(rule) = FAMILIES.iter().find_map(|family| (family.rule)(args)) {
        return rule;
    }
    match name(args, 0).as_slice() {
        b"TTL" | b"EXPIRETIME" => Rule::Near(TOLERANCE_S),
        b"PTTL" | b"PEXPIRETIME" => Rule::Near(TOLERANCE_MS),
        b"OBJECT" if name(args, 1) == b"IDLETIME" => Rule::Near(TOLERANCE_IDLE_S),
        b"KEYS" | b"SMEMBERS" | b"SRANDMEMBER" | b"SPOP" | b"SINTER" | b"SUNION" | b"SDIFF" => {
            Rule::Unordered
        }
        b"CONFIG" if name(args, 1) == b"GET" => Rule::Unordered,
        b"SCAN" | b"SSCAN" => Rule::Scan,
        b"DUMP" => Rule::Dump,
        b"HELLO" => Rule::Hello,
        _ => Rule::Exact,
    }
}

/// A command, which may be one of those that an EXEC ran, and what each server says to it.
pub type Mismatch = (Args, String, String);

/// Where two replies to a command differ.
pub fn difference(args: &Args, queued: &[Args], ours: &Value, theirs: &Value) -> Option<Mismatch> {
    if ours == theirs || same_by_rule(args, ours, theirs) || intended(args, ours, theirs) {
        return None;
    }
    let [ours_text, theirs_text] = [ours, theirs].map(Value::to_string);
    let pairs = ours_text.chars().zip(theirs_text.chars());
    let alike = pairs.take_while(|(ours, theirs)| ours == theirs).count();
    let skip = if alike < SHOWN_CHARS / 2 { 0 } else { alike - SHOWN_ALIKE };
    let shown = |text: &str| text.chars().skip(skip).take(SHOWN_CHARS).collect();
    match (ours, theirs) {
        (Value::Array(a), Value::Array(b))
            if name(args, 0) == b"EXEC" && a.len() == b.len() && a.len() == queued.len() =>
        {
            let mut each = queued.iter().zip(a).zip(b);
            each.find_map(|((args, ours), theirs)| difference(args, &[], ours, theirs))
        }
        _ => Some((args.clone(), shown(&ours_text), shown(&theirs_text))),
    }
}

fn same_by_rule(args: &Args, ours: &Value, theirs: &Value) -> bool {
    let (a, b);
    let (ours, theirs) = match zsets::prints_scores(args) {
        true => {
            (a, b) = (zsets::scores(ours), zsets::scores(theirs));
            (&a, &b)
        }
        false => (ours, theirs),
    };
    match (rule(args), ours, theirs) {
        (Rule::Exact, ours, theirs) => ours == theirs,
        (Rule::Near(by), Value::Int(a), Value::Int(b)) => {
            *a >= 0 && *b >= 0 && a.abs_diff(*b) <= by as u64
        }
        (Rule::Unordered, Value::Array(a), Value::Array(b))
        | (Rule::Unordered, Value::Set(a), Value::Set(b)) => sorted(a) == sorted(b),
        (Rule::Chance, Value::Array(a), Value::Array(b)) => a.len() == b.len(),
        (Rule::Chance, Value::Bulk(_), Value::Bulk(_)) => true,
        (Rule::Pairs, Value::Array(a), Value::Array(b)) => sorted_pairs(a) == sorted_pairs(b),
        (Rule::Unordered | Rule::Pairs, Value::Map(a), Value::Map(b)) => {
            let text = |pairs: &[(Value, Value)]| {
                let mut text: Vec<String> = pairs.iter().map(|(k, v)| format!("{k} {v}")).collect();
                text.sort();
                text
            };
            text(a) == text(b)
        }
        (rule @ (Rule::Scan | Rule::PairScan), Value::Array(a), Value::Array(b)) => {
            let sorted = if matches!(rule, Rule::Scan) { sorted } else { sorted_pairs };
            let whole = |reply: &[Value]| reply.len() == 2 && reply[0] == Value::bulk("0");
            let cursor = usize::from(name(args, 0) != b"SCAN") + 1;
            let complete = args[cursor] == b"0" && whole(a) && whole(b);
            a.len() == b.len() && (!complete || sorted(a[1].items()) == sorted(b[1].items()))
        }
        (Rule::Timeless, ours, theirs) => streams::timeless(ours) == streams::timeless(theirs),
        (Rule::Dump, Value::Bulk(a), Value::Bulk(b)) => {
            // The order of a table is each server's own.
            let table = a.first() == Some(&4) && b.first() == Some(&4);
            let body = |payload: &[u8]| {
                payload.len().checked_sub(10).map(|len| sorted_if_set(&payload[..len]))
            };
            // That of a stream with consumers tells the times at which these came.
            let times = a.first() == Some(&19) && b.first() == Some(&19);
            let scores = a.first() == Some(&17) && zsets::has_long_score(b);
            table || times || scores || body(a) == body(b)
        }
        (Rule::Hello, Value::Map(_) | Value::Array(_), Value::Map(_) | Value::Array(_)) => {
            let shape = |reply: &Value| {
                let lines = reply.to_string();
                let own = ["version", "id"].map(|name| format!("\"{name}\""));
                let mut shown = String::new();
                let mut skip = false;
                for line in lines.lines() {
                    let named = own.iter().any(|name| line.contains(name.as_str()));
                    if !skip && !named {
                        shown.push_str(line);
                    }
                    skip = named && !line.contains("=>");
                }
                shown
            };
            shape(ours) == shape(theirs)
        }
        _ => false,
    }
}

/// The order of a set's members in its hash table is each server's own.
fn sorted_if_set(body: &[u8]) -> Vec<u8> {
    let mut bytes = body.to_vec();
    if bytes[0] == 2 {
        bytes.sort_unstable();
    }
    bytes
}

fn sorted(items: &[Value]) -> Vec<String> {
    let mut text: Vec<String> = items.iter().map(Value::to_string).collect();
    text.sort();
    text
}

fn sorted_pairs(items: &[Value]) -> Vec<String> {
    // RESP3 has some pairs in an array of their own.
    let size = if matches!(items.first(), Some(Value::Array(_))) { 1 } else { 2 };
    let mut text: Vec<String> = items.chunks(size).map(|pair| format!("{pair:?}")).collect();
    text.sort();
    text
}

fn intended(args: &Args, ours: &Value, theirs: &Value) -> bool {
    let command = printed(args).to_ascii_uppercase();
    let (ours, theirs) = (ours.to_string(), theirs.to_string());
    INTENDED.iter().any(|i| {
        command.starts_with(i.command) && ours.contains(i.ours) && theirs.contains(i.theirs)
    })
}
