//! Reads the notation in which Redis's documentation writes a command's arguments, for COMMAND DOCS
//! and the hints of redis-cli that derive from it.
//!
//! ```text
//! key            an argument, its type told by its name
//! NX             a token
//! EX seconds     an argument behind a token
//! a | b, a|b     one of them
//! [a]            optional
//! <a | b>        grouped
//! key [key ...]  one or more (`[...]` alone repeats what stands before it)
//! ```
//!
//! What that notation does not tell, and COMMAND DOCS does, follows upon a word or begins a group:
//!
//! ```text
//! min:double     an argument of this type
//! CH=change      a word of this name
//! GET@6.2.0      since this version
//! addr!2.8.12    deprecated since this version
//! pattern#1      found by this key specification
//! <where: a | b> a group of this name; dots at its end repeat it
//! ```
//!
//! Knows the notation only, not commands. It never fails: the notations are constants of this
//! program, and what is odd shows in the answer.

/// What an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Any bytes.
    String,
    /// An integer.
    Integer,
    /// A floating-point number.
    Double,
    /// A key.
    Key,
    /// A glob pattern.
    Pattern,
    /// A Unix time.
    UnixTime,
    /// A word that stands for itself.
    PureToken,
    /// One of the parts.
    OneOf,
    /// All of the parts.
    Block,
}

impl Type {
    /// The one of this name.
    fn named(name: &str) -> Option<Type> {
        [Type::String, Type::Integer, Type::Double].into_iter().find(|kind| kind.name() == name)
    }

    /// Its name in COMMAND DOCS.
    pub fn name(self) -> &'static str {
        match self {
            Type::String => "string",
            Type::Integer => "integer",
            Type::Double => "double",
            Type::Key => "key",
            Type::Pattern => "pattern",
            Type::UnixTime => "unix-time",
            Type::PureToken => "pure-token",
            Type::OneOf => "oneof",
            Type::Block => "block",
        }
    }
}

/// An argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arg {
    /// Its name; that of a group without one is made of its parts'.
    pub name: String,
    /// What the hints of redis-cli call it.
    pub shown: String,
    /// What it is.
    pub kind: Type,
    /// The word that stands before it, or that it is.
    pub token: Option<String>,
    /// It may be left out.
    pub optional: bool,
    /// It may be there several times.
    pub multiple: bool,
    /// Its token is repeated with it.
    pub multiple_token: bool,
    /// The version that has it first, if the command is older; may be empty.
    pub since: String,
    /// The version that made it deprecated; may be empty.
    pub deprecated: String,
    /// Which key specification finds it, where its type does not say so.
    pub key_spec: Option<usize>,
    /// The arguments that a group is made of.
    pub parts: Vec<Arg>,
}

/// A word of a notation.
#[derive(Clone, Debug, Default)]
struct Word {
    text: String,
    name: Option<String>,
    kind: Option<Type>,
    since: String,
    deprecated: String,
    key_spec: Option<usize>,
}

impl Word {
    fn read(word: &str) -> Word {
        let mut read = Word::default();
        let mut rest = word;
        let mut cut = |mark: char| {
            let (before, behind) =
                rest.rsplit_once(mark).filter(|(before, _)| !before.is_empty())?;
            rest = before;
            Some(behind.to_owned())
        };
        read.key_spec = cut('#').and_then(|number| number.parse().ok());
        read.deprecated = cut('!').unwrap_or_default();
        read.since = cut('@').unwrap_or_default();
        read.name = cut('=');
        if let Some((before, kind)) = rest.rsplit_once(':')
            && let Some(kind) = Type::named(kind)
        {
            (rest, read.kind) = (before, Some(kind));
        }
        read.text = rest.to_owned();
        read
    }

    /// The name and the version at the beginning of a group.
    fn label(word: &str) -> Option<Word> {
        word.strip_suffix(':').filter(|label| !label.is_empty()).map(Word::read)
    }

    /// As a word that stands for itself.
    fn into_token(self) -> Arg {
        let name = self.name.unwrap_or_else(|| self.text.to_ascii_lowercase());
        let token = if self.text == "\"\"" { String::new() } else { self.text };
        Arg { token: Some(token), since: self.since, ..leaf(name, Type::PureToken) }
    }

    /// As a word that stands for something.
    fn into_arg(self) -> Arg {
        let kind = self.kind.unwrap_or_else(|| type_of(&self.text));
        let (since, deprecated, key_spec) = (self.since, self.deprecated, self.key_spec);
        let name = self.name.unwrap_or_else(|| self.text.clone());
        Arg { shown: self.text, since, deprecated, key_spec, ..leaf(name, kind) }
    }

    /// As the token in front of an argument.
    fn lead(self, arg: &mut Arg) {
        arg.token = Some(self.text);
        if arg.since.is_empty() {
            arg.since = self.since;
        }
    }
}

/// The names of arguments that are integers.
const INTEGERS: &[&str] = &[
    "bit",
    "bits",
    "client-id",
    "count",
    "cursor",
    "db",
    "decrement",
    "destination-db",
    "end",
    "entries-added",
    "entries-read",
    "frequency",
    "increment",
    "index",
    "index1",
    "index2",
    "len",
    "limit",
    "milliseconds",
    "min-match-len",
    "ms",
    "num-matches",
    "numkeys",
    "numlocal",
    "numreplicas",
    "offset",
    "port",
    "protover",
    "rank",
    "replication-offset",
    "replicationoffset",
    "seconds",
    "start",
    "stop",
    "timeout",
    "ttl",
    "value-as-integer",
    "weight",
];

/// The names of arguments that are keys.
const KEYS: &[&str] = &[
    "key",
    "key1",
    "key2",
    "newkey",
    "source",
    "sourcekey",
    "destination",
    "destkey",
    "src",
    "dst",
];

/// The names of arguments that are floating-point numbers.
const DOUBLES: &[&str] = &["score", "longitude", "latitude", "radius", "width", "height"];

/// The arguments of a notation, in order.
pub fn parse(syntax: &str) -> Vec<Arg> {
    let words = split(syntax);
    let mut rest = words.as_slice();
    let mut all = Vec::new();
    for mut alternative in alternatives(&mut rest, true) {
        all.append(&mut alternative.args);
    }
    all
}

/// Words and brackets. A word with a bar inside is a group of its own.
fn split(syntax: &str) -> Vec<String> {
    let mut words = Vec::new();
    let spaced =
        syntax.replace('[', " [ ").replace(']', " ] ").replace('<', " < ").replace('>', " > ");
    for word in spaced.split_whitespace() {
        if word.len() > 1 && word.contains('|') {
            words.push("<".to_owned());
            for (i, part) in word.split('|').enumerate() {
                if i > 0 {
                    words.push("|".to_owned());
                }
                words.push(part.to_owned());
            }
            words.push(">".to_owned());
        } else {
            words.push(word.to_owned());
        }
    }
    words
}

/// One side of a bar.
#[derive(Default)]
struct Sequence {
    args: Vec<Arg>,
    /// A token that still waits for the argument behind it.
    token: Option<Word>,
    /// The token that everything in here stands behind.
    lead: Option<Word>,
    /// It ends with dots: it says that what stands before it is repeated.
    repeats: bool,
}

impl Sequence {
    fn push(&mut self, mut arg: Arg) {
        if let Some(token) = self.token.take() {
            if arg.token.is_none() && !arg.optional {
                token.lead(&mut arg);
            } else {
                self.args.push(token.into_token());
            }
        }
        self.args.push(arg);
    }

    fn push_token(&mut self, token: Word) {
        if let Some(earlier) = self.token.replace(token) {
            self.args.push(earlier.into_token());
        }
    }

    fn end(&mut self) {
        if let Some(token) = self.token.take() {
            self.args.push(token.into_token());
        }
    }

    /// Marks the last arguments as repeated if they are those of `again` (nothing stands for the
    /// last one); else `again` itself may be there any number of times.
    fn repeat(&mut self, mut again: Sequence) {
        let count = again.args.len().max(1);
        let start = self.args.len().saturating_sub(count);
        let same = |pair: (&Arg, &Arg)| pair.0.shown == pair.1.shown;
        let (mut last, optional) =
            if count <= self.args.len() && self.args[start..].iter().zip(&again.args).all(same) {
                (self.args.split_off(start), false)
            } else if again.args.is_empty() {
                return;
            } else {
                (std::mem::take(&mut again.args), true)
            };
        let mut arg = if last.len() == 1 { last.remove(0) } else { block(last) };
        arg.multiple = true;
        arg.optional |= optional;
        arg.multiple_token = again.lead.is_some() || again.args.iter().any(|a| a.token.is_some());
        self.args.push(arg);
    }

    /// The whole as one argument.
    fn into_arg(mut self) -> Option<Arg> {
        let mut arg = match self.args.len() {
            0 => return None,
            1 => self.args.remove(0),
            _ => block(self.args),
        };
        if let Some(lead) = self.lead
            && arg.token.is_none()
        {
            lead.lead(&mut arg);
        }
        Some(arg)
    }
}

/// Reads alternatives up to the bracket that closes them. Inside of brackets a token at the
/// beginning belongs to all that follows, at the top only to the argument behind it.
fn alternatives(rest: &mut &[String], top: bool) -> Vec<Sequence> {
    let mut all = vec![Sequence::default()];
    while let Some((word, tail)) = rest.split_first() {
        *rest = tail;
        let now = all.last_mut().expect("there is always one");
        match word.as_str() {
            "]" | ">" => break,
            "|" => {
                now.end();
                all.push(Sequence::default());
            }
            "..." if now.args.is_empty() && now.token.is_none() && now.lead.is_none() && !top => {
                now.repeats = true;
            }
            "..." if top => now.repeat(Sequence::default()),
            "..." => now.repeats = true,
            "[" | "<" => {
                let label = rest.first().and_then(|word| Word::label(word));
                *rest = if label.is_some() { &rest[1..] } else { rest };
                group(now, label, alternatives(rest, false), word == "[");
            }
            word if is_token(word) => {
                let word = Word::read(word);
                let leads = !top && now.args.is_empty() && now.lead.is_none();
                let more = rest
                    .first()
                    .is_some_and(|next| !matches!(next.as_str(), "]" | ">" | "|" | "..."));
                if leads && more && now.token.is_none() {
                    now.lead = Some(word);
                } else {
                    now.push_token(word);
                }
            }
            word => now.push(Word::read(word).into_arg()),
        }
    }
    for sequence in &mut all {
        sequence.end();
        lone_lead(sequence);
    }
    all
}

/// A leading token before what may be left out, or before another one, stands for itself.
fn lone_lead(sequence: &mut Sequence) {
    let is_word = |arg: &Arg| arg.optional || arg.kind == Type::PureToken;
    if sequence.args.iter().all(is_word)
        && let Some(lead) = sequence.lead.take_if(|_| !sequence.repeats)
    {
        sequence.args.insert(0, lead.into_token());
    }
}

/// Adds what stood in brackets.
fn group(to: &mut Sequence, label: Option<Word>, mut alternatives: Vec<Sequence>, optional: bool) {
    let repeats = label.is_some() && alternatives.last().is_some_and(|last| last.repeats);
    let arg = if alternatives.len() == 1 {
        let only = alternatives.remove(0);
        if only.repeats && !repeats {
            return to.repeat(only);
        }
        only.into_arg()
    } else {
        let parts: Vec<Arg> = alternatives.into_iter().filter_map(Sequence::into_arg).collect();
        let name = joined(&parts);
        Some(Arg { parts, ..leaf(name, Type::OneOf) })
    };
    if let Some(mut arg) = arg {
        arg.optional |= optional;
        arg.multiple |= repeats;
        arg.multiple_token |= repeats && arg.token.is_some();
        if let Some(label) = label {
            (arg.name, arg.since) = (label.text, label.since);
        }
        to.push(arg);
    }
}

fn leaf(name: String, kind: Type) -> Arg {
    Arg {
        shown: name.clone(),
        name,
        kind,
        token: None,
        optional: false,
        multiple: false,
        multiple_token: false,
        since: String::new(),
        deprecated: String::new(),
        key_spec: None,
        parts: Vec::new(),
    }
}

fn block(parts: Vec<Arg>) -> Arg {
    let name = joined(&parts);
    Arg { parts, ..leaf(name, Type::Block) }
}

fn joined(parts: &[Arg]) -> String {
    let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
    names.join("-")
}

fn type_of(name: &str) -> Type {
    if KEYS.contains(&name) {
        Type::Key
    } else if name == "pattern" {
        Type::Pattern
    } else if name.starts_with("unix-time") {
        Type::UnixTime
    } else if DOUBLES.contains(&name) || name.starts_with("float") || name.starts_with("double") {
        Type::Double
    } else if INTEGERS.contains(&name) {
        Type::Integer
    } else {
        Type::String
    }
}

fn is_token(word: &str) -> bool {
    let small = |c: char| c.is_ascii_lowercase();
    let text = Word::read(word).text;
    text.starts_with(['"', '*', '$']) || (!text.contains(small) && word != "...")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An argument in one line: `name:type(token)?+^{parts}`.
    fn show(args: &[Arg]) -> String {
        let one = |arg: &Arg| {
            let mut text = format!("{}:{}", arg.name, arg.kind.name());
            if let Some(token) = &arg.token {
                text += &format!("({token})");
            }
            for (mark, set) in [("?", arg.optional), ("+", arg.multiple), ("^", arg.multiple_token)]
            {
                text += if set { mark } else { "" };
            }
            if !arg.since.is_empty() {
                text += &format!("@{}", arg.since);
            }
            if !arg.parts.is_empty() {
                text += &format!("{{{}}}", show(&arg.parts));
            }
            text
        };
        args.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    fn check(syntax: &str, expected: &str) {
        assert_eq!(show(&parse(syntax)), expected, "{syntax}");
    }

    #[test]
    fn plain_arguments_and_repetition() {
        check("", "");
        check("key", "key:key");
        check("key seconds", "key:key seconds:integer");
        check("key [key ...]", "key:key+");
        check("key value [key value ...]", "key-value:block+{key:key value:string}");
        check("[section [section ...]]", "section:string?+");
        check("command [arg ...]", "command:string arg:string?+");
        check("key pattern [...]", "key:key pattern:pattern+");
        check("<data: key value ...>", "data:block+{key:key value:string}");
        check("[get: GET key value ...]", "get:block(GET)?+^{key:key value:string}");
        check("[x: A | B ...]", "x:oneof?+{a:pure-token(A) b:pure-token(B)}");
    }

    #[test]
    fn what_follows_upon_a_word() {
        check("start:string timeout:double ip:port", "start:string timeout:double ip:port:string");
        check(
            "[how@7.0.0: NX | <NO ONE>]",
            "how:oneof?@7.0.0{nx:pure-token(NX) \
             no-one:block{no:pure-token(NO) one:pure-token(ONE)}}",
        );
        check(
            "CH=change [==equal | ~=about]",
            "change:pure-token(CH) \
             equal-about:oneof?{equal:pure-token(=) about:pure-token(~)}",
        );
        check("\"\"=empty", "empty:pure-token()");
        check("[EX@2.6.12 seconds]", "seconds:integer(EX)?@2.6.12");
        let [by, addr] = &parse("[BY pattern=by#1] addr=old!2.8.12")[..] else { panic!() };
        assert_eq!((by.name.as_str(), by.shown.as_str(), by.key_spec), ("by", "pattern", Some(1)));
        assert_eq!((addr.name.as_str(), addr.deprecated.as_str()), ("old", "2.8.12"));
    }

    #[test]
    fn tokens() {
        check(
            "[NX | XX] [GET]",
            "nx-xx:oneof?{nx:pure-token(NX) xx:pure-token(XX)} get:pure-token(GET)?",
        );
        check(
            "[EX seconds | PXAT unix-time-milliseconds | KEEPTTL]",
            "seconds-unix-time-milliseconds-keepttl:oneof?{seconds:integer(EX) \
             unix-time-milliseconds:unix-time(PXAT) keepttl:pure-token(KEEPTTL)}",
        );
        check("[LIMIT offset count]", "offset-count:block(LIMIT)?{offset:integer count:integer}");
        check("[GET pattern [GET pattern ...]]", "pattern:pattern(GET)?+^");
        check("[ID client-id [client-id ...]]", "client-id:integer(ID)?+");
        check("<ON | OFF>", "on-off:oneof{on:pure-token(ON) off:pure-token(OFF)}");
        check("ON|OFF", "on-off:oneof{on:pure-token(ON) off:pure-token(OFF)}");
        check(
            "[FILTERBY <MODULE module-name | PATTERN pattern>]",
            "module-name-pattern:oneof(FILTERBY)?{module-name:string(MODULE) \
             pattern:pattern(PATTERN)}",
        );
        check(
            "[TO host port [FORCE]] [ABORT]",
            "host-port-force:block(TO)?{host:string port:integer force:pure-token(FORCE)?} \
             abort:pure-token(ABORT)?",
        );
    }

    #[test]
    fn nothing_makes_it_panic() {
        let pieces = [
            "[",
            "]",
            "<",
            ">",
            "|",
            "...",
            "a",
            "KEY",
            "\"\"",
            "a|b",
            "[x ...]",
            "x:",
            ":",
            "=a",
            "A=b@1#2!3",
            "@",
        ];
        let mut state = 1u64;
        for _ in 0..20_000 {
            let mut syntax = String::new();
            for _ in 0..8 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                syntax += pieces[(state >> 33) as usize % pieces.len()];
                syntax += " ";
            }
            parse(&syntax);
        }
    }
}
