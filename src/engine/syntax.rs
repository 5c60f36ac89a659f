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
    /// Its name; that of a group is made of its parts'.
    pub name: String,
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
    /// The arguments that a group is made of.
    pub parts: Vec<Arg>,
}

/// The names of arguments that are integers.
const INTEGERS: &[&str] = &[
    "bit",
    "client-id",
    "count",
    "cursor",
    "db",
    "decrement",
    "destination-db",
    "end",
    "frequency",
    "increment",
    "index",
    "index1",
    "index2",
    "len",
    "limit",
    "milliseconds",
    "min-match-len",
    "numkeys",
    "numlocal",
    "numreplicas",
    "offset",
    "port",
    "protover",
    "replication-offset",
    "replicationoffset",
    "seconds",
    "start",
    "timeout",
    "ttl",
    "value-as-integer",
    "weight",
];

/// The names of arguments that are keys.
const KEYS: &[&str] =
    &["key", "key1", "key2", "newkey", "source", "destination", "destkey", "src", "dst"];

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
    token: Option<String>,
    /// The token that everything in here stands behind.
    lead: Option<String>,
    /// It ends with dots: it says that what stands before it is repeated.
    repeats: bool,
}

impl Sequence {
    fn push(&mut self, mut arg: Arg) {
        if let Some(token) = self.token.take() {
            if arg.token.is_none() && !arg.optional {
                arg.token = Some(token);
            } else {
                self.args.push(pure_token(token));
            }
        }
        self.args.push(arg);
    }

    fn push_token(&mut self, token: &str) {
        if let Some(earlier) = self.token.replace(token.to_owned()) {
            self.args.push(pure_token(earlier));
        }
    }

    fn end(&mut self) {
        if let Some(token) = self.token.take() {
            self.args.push(pure_token(token));
        }
    }

    /// Marks the last arguments as repeated if they are those of `again` (nothing stands for the
    /// last one); else `again` itself may be there any number of times.
    fn repeat(&mut self, mut again: Sequence) {
        let count = again.args.len().max(1);
        let start = self.args.len().saturating_sub(count);
        let same = |pair: (&Arg, &Arg)| pair.0.name == pair.1.name;
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
            arg.token = Some(lead);
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
            "[" | "<" => group(now, alternatives(rest, false), word == "["),
            word if is_token(word) => {
                let leads = !top && now.args.is_empty() && now.lead.is_none();
                let more =
                    rest.first().is_some_and(|next| !matches!(next.as_str(), "]" | ">" | "|"));
                if leads && more && now.token.is_none() {
                    now.lead = Some(word.to_owned());
                } else {
                    now.push_token(word);
                }
            }
            word => now.push(argument(word)),
        }
    }
    for sequence in &mut all {
        sequence.end();
        lone_lead(sequence);
    }
    all
}

/// A leading token before what may be left out stands for itself.
fn lone_lead(sequence: &mut Sequence) {
    if sequence.args.iter().all(|arg| arg.optional)
        && let Some(lead) = sequence.lead.take_if(|_| !sequence.repeats)
    {
        sequence.args.insert(0, pure_token(lead));
    }
}

/// Adds what stood in brackets.
fn group(to: &mut Sequence, mut alternatives: Vec<Sequence>, optional: bool) {
    let arg = if alternatives.len() == 1 {
        let only = alternatives.remove(0);
        if only.repeats {
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
        to.push(arg);
    }
}

fn leaf(name: String, kind: Type) -> Arg {
    Arg {
        name,
        kind,
        token: None,
        optional: false,
        multiple: false,
        multiple_token: false,
        parts: Vec::new(),
    }
}

fn pure_token(token: String) -> Arg {
    let name = token.to_ascii_lowercase();
    Arg { token: Some(token), ..leaf(name, Type::PureToken) }
}

fn block(parts: Vec<Arg>) -> Arg {
    let name = joined(&parts);
    Arg { parts, ..leaf(name, Type::Block) }
}

fn joined(parts: &[Arg]) -> String {
    let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
    names.join("-")
}

fn argument(word: &str) -> Arg {
    leaf(word.to_owned(), type_of(word))
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
    word.starts_with(['"', '*', '$']) || (!word.contains(small) && word != "...")
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
        let pieces = ["[", "]", "<", ">", "|", "...", "a", "KEY", "\"\"", "a|b", "[x ...]"];
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
