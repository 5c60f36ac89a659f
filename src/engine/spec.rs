//! The definition of a command: one constant, from which everything about it derives. Lookup, arity
//! errors, COMMAND's answers, the shards to lock, refusals, propagation and statistics all read it.
//!
//! A plain struct with a `const` builder: no macro, no registration, easy to find.

use std::ops::Range;

use crate::base::num;
use crate::engine::args::Args;
use crate::engine::ctx::{Ctx, Reply};

/// What executes a command.
pub type Handler = fn(&mut Ctx, &mut Args) -> Reply;

/// The groups of Redis's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// About any key.
    Generic,
    /// About strings.
    String,
    /// About the connection.
    Connection,
    /// About the server.
    Server,
    /// MULTI and its like.
    Transactions,
    /// About lists.
    List,
    /// About hashes.
    Hash,
    /// About sets.
    Set,
    /// About sorted sets.
    SortedSet,
    /// About places on the earth.
    Geo,
    /// About streams.
    Stream,
    /// About the bits of strings.
    Bitmap,
    /// About approximate counts.
    Hyperloglog,
    /// About channels.
    Pubsub,
}

impl Group {
    /// Its name in COMMAND DOCS.
    pub fn name(self) -> &'static str {
        match self {
            Group::Generic => "generic",
            Group::String => "string",
            Group::Connection => "connection",
            Group::Server => "server",
            Group::Transactions => "transactions",
            Group::List => "list",
            Group::Hash => "hash",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Geo => "geo",
            Group::Stream => "stream",
            Group::Bitmap => "bitmap",
            Group::Hyperloglog => "hyperloglog",
            Group::Pubsub => "pubsub",
        }
    }
}

/// Properties of a command, one bit each, by Redis's names.
pub mod flag {
    /// May change the keyspace.
    pub const WRITE: u32 = 1;
    /// Only reads keys.
    pub const READONLY: u32 = 1 << 1;
    /// Refused when memory is used up.
    pub const DENYOOM: u32 = 1 << 2;
    /// For administrators.
    pub const ADMIN: u32 = 1 << 3;
    /// About channels.
    pub const PUBSUB: u32 = 1 << 4;
    /// Not from scripts.
    pub const NOSCRIPT: u32 = 1 << 5;
    /// May wait.
    pub const BLOCKING: u32 = 1 << 6;
    /// Allowed while the data set is loaded.
    pub const LOADING: u32 = 1 << 7;
    /// Allowed on a replica without its primary.
    pub const STALE: u32 = 1 << 8;
    /// Not shown to MONITOR.
    pub const SKIP_MONITOR: u32 = 1 << 9;
    /// Not in the slow log.
    pub const SKIP_SLOWLOG: u32 = 1 << 10;
    /// Takes constant or logarithmic time.
    pub const FAST: u32 = 1 << 11;
    /// Allowed before authentication.
    pub const NO_AUTH: u32 = 1 << 12;
    /// May produce effects although it does not write itself.
    pub const MAY_REPLICATE: u32 = 1 << 13;
    /// Not while a data set is loaded beside the old one.
    pub const NO_ASYNC_LOADING: u32 = 1 << 14;
    /// Allowed while a script hangs.
    pub const ALLOW_BUSY: u32 = 1 << 15;
    /// Not inside MULTI.
    pub const NO_MULTI: u32 = 1 << 16;
    /// Its keys may be none.
    pub const NO_MANDATORY_KEYS: u32 = 1 << 17;
    /// Its keys cannot be told by first, last and step.
    pub const MOVABLEKEYS: u32 = 1 << 18;
    /// Runs at once inside MULTI instead of being queued.
    pub const NOT_QUEUED: u32 = 1 << 19;
    /// Never held up by CLIENT PAUSE.
    pub const UNPAUSABLE: u32 = 1 << 20;
    /// Also dangerous, for the categories of ACL.
    pub const DANGEROUS: u32 = 1 << 21;
    /// In the category of keyspace commands.
    pub const KEYSPACE: u32 = 1 << 22;
    /// Health checks use it, so it fails together with writes when the disk does (PING).
    pub const HEALTH: u32 = 1 << 24;
    /// Allowed to subscribers that speak RESP2.
    pub const SUBSCRIBED: u32 = 1 << 25;
    /// Used by servers among themselves or for tests, as COMMAND DOCS says.
    pub const SYSTEM: u32 = 1 << 26;

    /// Those that COMMAND INFO names, in its order.
    pub const SHOWN: [(u32, &str); 18] = [
        (WRITE, "write"),
        (READONLY, "readonly"),
        (DENYOOM, "denyoom"),
        (ADMIN, "admin"),
        (PUBSUB, "pubsub"),
        (NOSCRIPT, "noscript"),
        (BLOCKING, "blocking"),
        (LOADING, "loading"),
        (STALE, "stale"),
        (SKIP_MONITOR, "skip_monitor"),
        (SKIP_SLOWLOG, "skip_slowlog"),
        (FAST, "fast"),
        (NO_AUTH, "no_auth"),
        (NO_MANDATORY_KEYS, "no_mandatory_keys"),
        (NO_ASYNC_LOADING, "no_async_loading"),
        (NO_MULTI, "no_multi"),
        (MOVABLEKEYS, "movablekeys"),
        (ALLOW_BUSY, "allow_busy"),
    ];
}

/// What is done with a key, one bit each, by the names of COMMAND INFO's key specifications.
pub mod access {
    /// Reads.
    pub const RO: u32 = 1;
    /// Reads and writes.
    pub const RW: u32 = 1 << 1;
    /// Overwrites without reading.
    pub const OW: u32 = 1 << 2;
    /// Removes.
    pub const RM: u32 = 1 << 3;
    /// The value reaches the client.
    pub const ACCESS: u32 = 1 << 4;
    /// The value is changed.
    pub const UPDATE: u32 = 1 << 5;
    /// Something is added.
    pub const INSERT: u32 = 1 << 6;
    /// Something is deleted.
    pub const DELETE: u32 = 1 << 7;
    /// Depends on the arguments.
    pub const VARIABLE_FLAGS: u32 = 1 << 8;
    /// It is no key, but belongs to the same node of a cluster as a key of that name.
    pub const NOT_KEY: u32 = 1 << 9;
    /// The specification may miss keys.
    pub const INCOMPLETE: u32 = 1 << 10;
    /// Names looked up, in COMMAND INFO's order.
    pub const SHOWN: [(u32, &str); 11] = [
        (RO, "RO"),
        (RW, "RW"),
        (OW, "OW"),
        (RM, "RM"),
        (ACCESS, "access"),
        (UPDATE, "update"),
        (INSERT, "insert"),
        (DELETE, "delete"),
        (NOT_KEY, "not_key"),
        (INCOMPLETE, "incomplete"),
        (VARIABLE_FLAGS, "variable_flags"),
    ];
}

/// Where the search for keys begins.
#[derive(Clone, Copy, Debug)]
pub enum Begin {
    /// At this argument; the command's name is 0.
    Index(usize),
    /// Behind this word, looked for from an argument on: forwards, or backwards if it is negative
    /// and thus counted from the end.
    Keyword(&'static str, i32),
    /// Behind the last such word among the options, of which COMMAND INFO says that it cannot be
    /// told.
    Option(&'static str),
    /// It cannot be told.
    Unknown,
}

/// Which arguments are keys from there on.
#[derive(Clone, Copy, Debug)]
pub enum Find {
    /// Up to a last one: relative to the first when not negative, else counted from the end. With a
    /// `limit` above 1 only the first part of what is left, divided by it.
    Range {
        /// The last key.
        last: i32,
        /// Distance from one key to the next.
        step: usize,
        /// The divisor; 0 for none.
        limit: usize,
    },
    /// As many as the argument at `count` says, from `first` on; both are relative to the
    /// beginning.
    Counted {
        /// Where their number is.
        count: usize,
        /// Where the first one is.
        first: usize,
        /// Distance from one key to the next.
        step: usize,
    },
    /// It cannot be told.
    Unknown,
}

/// Tells from the arguments of a command what is done with its keys, in bits of [`access`].
pub type Vary = fn(&[&[u8]]) -> u32;

/// Where a run of keys is among the arguments, and what is done with them.
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    /// Where it begins.
    pub begin: Begin,
    /// How far it goes.
    pub find: Find,
    /// Options from an argument on, before the keyword, that take so many arguments each; among
    /// these the keyword is not looked for, though COMMAND INFO has no way to say so.
    pub options: (usize, &'static [(&'static str, usize)]),
    /// Another run of keys, beside which these are none.
    pub unless: Option<&'static KeySpec>,
    /// Bits of [`access`].
    pub access: u32,
    /// What tells the bits from the arguments where they depend on them.
    pub vary: Option<Vary>,
    /// What COMMAND INFO says about it.
    pub note: &'static str,
}

impl KeySpec {
    /// One key.
    pub const fn at(first: usize, access: u32) -> Self {
        KeySpec::range(Begin::Index(first), 0, 1, 0, access)
    }

    /// All arguments from `first` on.
    pub const fn from(first: usize, access: u32) -> Self {
        KeySpec::range(Begin::Index(first), -1, 1, 0, access)
    }

    /// All arguments from `first` on but the last `spared` ones.
    pub const fn from_to(first: usize, spared: i32, access: u32) -> Self {
        KeySpec::range(Begin::Index(first), -1 - spared, 1, 0, access)
    }

    /// The arguments from `first` to `last`.
    pub const fn between(first: usize, last: usize, access: u32) -> Self {
        KeySpec::range(Begin::Index(first), (last - first) as i32, 1, 0, access)
    }

    /// Every `step`th argument from `first` on.
    pub const fn every(first: usize, step: usize, access: u32) -> Self {
        KeySpec::range(Begin::Index(first), -1, step, 0, access)
    }

    /// As many as the argument at `count` says, right behind it.
    pub const fn counted(count: usize, access: u32) -> Self {
        let find = Find::Counted { count: 0, first: 1, step: 1 };
        KeySpec::new(Begin::Index(count), find, access)
    }

    /// One key behind a word that is looked for from argument `from` on.
    pub const fn behind(word: &'static str, from: i32, access: u32) -> Self {
        KeySpec::range(Begin::Keyword(word, from), 0, 1, 0, access)
    }

    /// All that is behind a word that is looked for from argument `from` on.
    pub const fn all_behind(word: &'static str, from: i32, access: u32) -> Self {
        KeySpec::range(Begin::Keyword(word, from), -1, 1, 0, access)
    }

    /// The first half of what is behind a word that is looked for from argument `from` on.
    pub const fn half_behind(word: &'static str, from: i32, access: u32) -> Self {
        KeySpec::range(Begin::Keyword(word, from), -1, 1, 2, access)
    }

    /// One key behind the last such word among the options.
    pub const fn option(word: &'static str, access: u32) -> Self {
        KeySpec::range(Begin::Option(word), 0, 1, 0, access)
    }

    /// Keys that cannot be told from the arguments alone.
    pub const fn unknown(access: u32) -> Self {
        KeySpec::new(Begin::Unknown, Find::Unknown, access)
    }

    const fn range(begin: Begin, last: i32, step: usize, limit: usize, access: u32) -> Self {
        KeySpec::new(begin, Find::Range { last, step, limit }, access)
    }

    const fn new(begin: Begin, find: Find, access: u32) -> Self {
        KeySpec { begin, find, options: (0, &[]), unless: None, access, vary: None, note: "" }
    }

    /// Has the keyword looked for behind these options only, from an argument on, which take so
    /// many arguments each.
    pub const fn past(mut self, from: usize, options: &'static [(&'static str, usize)]) -> Self {
        self.options = (from, options);
        self
    }

    /// These are keys only where that other specification finds none.
    pub const fn unless(mut self, other: &'static KeySpec) -> Self {
        self.unless = Some(other);
        self
    }

    /// What is done with the keys depends on the arguments: `access` shows what may be, this tells
    /// what is.
    pub const fn varying(mut self, vary: Vary) -> Self {
        self.access |= access::VARIABLE_FLAGS;
        self.vary = Some(vary);
        self
    }

    /// What these arguments do with the keys, in bits of [`access`].
    pub fn access_in(&self, argv: &[&[u8]]) -> u32 {
        self.vary.map_or(self.access, |vary| vary(argv))
    }

    /// Says something about it in COMMAND INFO.
    pub const fn noting(mut self, note: &'static str) -> Self {
        self.note = note;
        self
    }

    /// Indexes of the keys among these arguments; none where they do not fit.
    pub fn indexes(&self, argv: &[&[u8]]) -> impl Iterator<Item = usize> + use<> {
        let (range, step) = self.locate(argv).unwrap_or((0..0, 1));
        range.step_by(step)
    }

    /// The range that the keys are in, and the distance from one to the next.
    fn locate(&self, argv: &[&[u8]]) -> Option<(Range<usize>, usize)> {
        let argc = argv.len();
        if self.unless.is_some_and(|other| other.indexes(argv).next().is_some()) {
            return None;
        }
        let begin = match self.begin {
            Begin::Index(index) => index,
            Begin::Keyword(word, _) if !self.options.1.is_empty() => {
                find_past(argv, word, self.options)? + 1
            }
            Begin::Keyword(word, from) => find_word(argv, word, from)? + 1,
            Begin::Option(word) => find_word(argv, word, -2).filter(|&at| at > 1)? + 1,
            Begin::Unknown => return None,
        };
        match self.find {
            Find::Range { last, step, limit } => {
                let spared = last.unsigned_abs() as usize;
                let end = match limit {
                    _ if last >= 0 => begin + spared + 1,
                    0 | 1 => (argc + 1).saturating_sub(spared),
                    _ => (begin + argc.saturating_sub(begin) / limit + 1).saturating_sub(spared),
                };
                Some((begin..end.min(argc), step))
            }
            Find::Counted { count, first, step } => {
                let number = num::parse_i64(argv.get(begin + count)?)?;
                let number = usize::try_from(number).ok().filter(|&n| n > 0)?;
                let start = begin + first;
                let end = (number - 1).checked_mul(step)?.checked_add(start + 1)?;
                (end <= argc).then_some((start..end, step))
            }
            Find::Unknown => None,
        }
    }
}

/// The place of a word in any case, forwards from an argument on, or backwards if that is negative.
fn find_word(argv: &[&[u8]], word: &str, from: i32) -> Option<usize> {
    let is = |arg: &&[u8]| arg.eq_ignore_ascii_case(word.as_bytes());
    let distance = from.unsigned_abs() as usize;
    if from >= 0 {
        argv.iter().skip(distance).position(is).map(|at| at + distance)
    } else {
        argv.get(..=argv.len().checked_sub(distance)?)?.iter().rposition(is).filter(|&at| at > 0)
    }
}

/// The place of a word that comes behind any of these options, which begin at an argument.
fn find_past(
    argv: &[&[u8]],
    word: &str,
    (mut at, options): (usize, &[(&str, usize)]),
) -> Option<usize> {
    loop {
        let arg = *argv.get(at)?;
        if arg.eq_ignore_ascii_case(word.as_bytes()) {
            return Some(at);
        }
        let is = |(name, _): &&(&str, usize)| arg.eq_ignore_ascii_case(name.as_bytes());
        match options.iter().find(is) {
            Some((_, arguments)) => at += 1 + arguments,
            // The command will be refused; its keys are those that the word alone shows.
            None => return find_word(argv, word, i32::try_from(at).ok()?),
        }
    }
}

/// Which arguments of a command are channels that it sends to or listens to. One that only stops
/// listening has none: everybody may.
#[derive(Clone, Copy, Debug)]
pub struct ChannelSpec {
    /// The first one.
    pub first: usize,
    /// Whether all arguments behind it are channels too.
    pub and_rest: bool,
    /// Whether they are patterns of channels.
    pub are_patterns: bool,
}

impl ChannelSpec {
    /// One channel.
    pub const fn at(first: usize) -> Self {
        ChannelSpec { first, and_rest: false, are_patterns: false }
    }

    /// All arguments from `first` on.
    pub const fn from(first: usize) -> Self {
        ChannelSpec { first, and_rest: true, are_patterns: false }
    }

    /// All arguments from `first` on are patterns.
    pub const fn patterns_from(first: usize) -> Self {
        ChannelSpec { first, and_rest: true, are_patterns: true }
    }

    /// Indexes of the channels among so many arguments.
    pub fn indexes(&self, argc: usize) -> std::ops::Range<usize> {
        let end = if self.and_rest { argc } else { self.first + 1 };
        self.first.min(argc)..end.min(argc)
    }
}

/// Which shards a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locking {
    /// Those of its keys.
    Keys,
    /// All.
    All,
    /// All, but each only while it is looked at (`Ctx::with_shard`, `Ctx::each_shard`); inside EXEC
    /// all.
    OneByOne,
    /// Those of the commands that MULTI has queued.
    Queued,
}

/// A command, or a subcommand of one.
#[derive(Debug)]
pub struct Command {
    /// Lower case.
    pub name: &'static str,
    /// `None` for a container whose subcommands do the work.
    pub handler: Option<Handler>,
    /// Its group in the documentation.
    pub group: Group,
    /// The version of Redis that has it first.
    pub since: &'static str,
    /// Number of arguments with the name; negative: at least that many.
    pub arity: i32,
    /// Bits of [`flag`].
    pub flags: u32,
    /// Its keys.
    pub keys: &'static [KeySpec],
    /// Its channels.
    pub channels: Option<ChannelSpec>,
    /// What is locked for it.
    pub locking: Locking,
    /// Its arguments, in the notation of [`crate::engine::syntax`].
    pub syntax: &'static str,
    /// Its cost.
    pub complexity: &'static str,
    /// What it does.
    pub summary: &'static str,
    /// Versions that changed it, and what they brought.
    pub history: &'static [(&'static str, &'static str)],
    /// Hints for clients and proxies.
    pub tips: &'static [&'static str],
    /// Its subcommands.
    pub subcommands: &'static [Command],
    /// Categories of ACL besides those that follow from the flags; empty: the one of its group.
    pub categories: &'static [&'static str],
    /// Name of the command that replaces it, and since when it is deprecated.
    pub deprecated: Option<(&'static str, &'static str)>,
}

impl Command {
    /// A command without properties.
    pub const fn new(name: &'static str, handler: Handler) -> Self {
        let mut command = Command::container(name);
        command.handler = Some(handler);
        command
    }

    /// A command that only has subcommands.
    pub const fn container(name: &'static str) -> Self {
        Command {
            name,
            handler: None,
            group: Group::Server,
            since: "1.0.0",
            arity: -2,
            flags: 0,
            keys: &[],
            channels: None,
            locking: Locking::Keys,
            syntax: "",
            complexity: "Depends on subcommand.",
            summary: "",
            history: &[],
            tips: &[],
            subcommands: &[],
            categories: &[],
            deprecated: None,
        }
    }

    /// Its group.
    pub const fn group(mut self, group: Group) -> Self {
        self.group = group;
        self
    }

    /// The version of Redis that has it first.
    pub const fn since(mut self, version: &'static str) -> Self {
        self.since = version;
        self
    }

    /// Number of arguments with the name; negative: at least that many.
    pub const fn arity(mut self, arity: i32) -> Self {
        self.arity = arity;
        self
    }

    /// Adds bits of [`flag`].
    pub const fn flags(mut self, flags: u32) -> Self {
        self.flags |= flags;
        self
    }

    /// Whether it is about its own keys alone and waits for nobody.
    pub fn is_brisk(&self) -> bool {
        self.locking == Locking::Keys
            && self.has(flag::FAST | flag::READONLY | flag::WRITE)
            && !self.has(flag::BLOCKING)
    }

    /// It may change the keyspace.
    pub const fn write(self) -> Self {
        self.flags(flag::WRITE)
    }

    /// It only reads keys.
    pub const fn readonly(self) -> Self {
        self.flags(flag::READONLY)
    }

    /// It takes constant or logarithmic time.
    pub const fn fast(self) -> Self {
        self.flags(flag::FAST)
    }

    /// It is refused when memory is used up.
    pub const fn deny_oom(self) -> Self {
        self.flags(flag::DENYOOM)
    }

    /// Its keys.
    pub const fn keys(mut self, keys: &'static [KeySpec]) -> Self {
        self.keys = keys;
        self
    }

    /// Its channels.
    pub const fn channels(mut self, channels: ChannelSpec) -> Self {
        self.channels = Some(channels);
        self
    }

    /// It needs all shards.
    pub const fn locks_all(mut self) -> Self {
        self.locking = Locking::All;
        self
    }

    /// It looks at one shard after the other.
    pub const fn locks_one_by_one(mut self) -> Self {
        self.locking = Locking::OneByOne;
        self
    }

    /// It needs the shards of the queued commands.
    pub const fn locks_queued(mut self) -> Self {
        self.locking = Locking::Queued;
        self
    }

    /// Its arguments.
    pub const fn syntax(mut self, syntax: &'static str) -> Self {
        self.syntax = syntax;
        self
    }

    /// Its cost.
    pub const fn complexity(mut self, complexity: &'static str) -> Self {
        self.complexity = complexity;
        self
    }

    /// What it does.
    pub const fn summary(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    /// Versions that changed it, and what they brought.
    pub const fn history(mut self, history: &'static [(&'static str, &'static str)]) -> Self {
        self.history = history;
        self
    }

    /// Hints for clients and proxies.
    pub const fn tips(mut self, tips: &'static [&'static str]) -> Self {
        self.tips = tips;
        self
    }

    /// Its subcommands.
    pub const fn subcommands(mut self, subcommands: &'static [Command]) -> Self {
        self.subcommands = subcommands;
        self
    }

    /// Its categories of ACL, where they are not that of its group.
    pub const fn categories(mut self, categories: &'static [&'static str]) -> Self {
        self.categories = categories;
        self
    }

    /// It is deprecated since a version, in favour of something else.
    pub const fn deprecated(mut self, since: &'static str, instead: &'static str) -> Self {
        self.deprecated = Some((since, instead));
        self
    }

    /// Whether a flag is set.
    pub const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Whether that many arguments, with the name, may be right.
    pub fn accepts(&self, argc: usize) -> bool {
        let needed = self.arity.unsigned_abs() as usize;
        if self.arity >= 0 { argc == needed } else { argc >= needed }
    }

    /// The index of the key of a command that has one only, at a fixed place.
    pub fn only_key(&self) -> Option<usize> {
        match self.keys {
            [spec] if spec.access & access::NOT_KEY == 0 && spec.unless.is_none() => {
                match (spec.begin, spec.find) {
                    (Begin::Index(index), Find::Range { last: 0, .. }) => Some(index),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Indexes of its keys among these arguments, in order.
    pub fn key_indexes(&self, argv: &[&[u8]]) -> impl Iterator<Item = usize> {
        let keys = self.keys.iter().filter(|spec| spec.access & access::NOT_KEY == 0);
        keys.flat_map(move |spec| spec.indexes(argv))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(spec: KeySpec, line: &str) -> Vec<usize> {
        let argv: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        spec.indexes(&argv).collect()
    }

    #[test]
    fn keys_are_found_where_the_definition_says() {
        assert_eq!(keys(KeySpec::at(1, 0), "get k"), [1]);
        assert_eq!(keys(KeySpec::at(2, 0), "object encoding"), [0; 0]);
        assert_eq!(keys(KeySpec::from_to(1, 1, 0), "blpop a b 0"), [1, 2]);
        assert_eq!(keys(KeySpec::every(1, 2, 0), "mset a 1 b 2"), [1, 3]);
        assert_eq!(keys(KeySpec::counted(2, 0), "zunionstore d 2 a b weights 1 2"), [3, 4]);
        assert_eq!(keys(KeySpec::option("STORE", 0), "sort k store a get x store b"), [7]);
        assert_eq!(keys(KeySpec::option("STORE", 0), "sort store store"), [0; 0]);
        for bad in
            ["zunionstore d 3 a b", "zunionstore d 0 a", "zunionstore d -1 a", "zunionstore d"]
        {
            assert_eq!(keys(KeySpec::counted(2, 0), bad), [0; 0], "{bad}");
        }
        assert_eq!(keys(KeySpec::counted(1, 0), "zunion 9223372036854775807 a"), [0; 0]);
        let streams = KeySpec::half_behind("STREAMS", 1, 0);
        assert_eq!(keys(streams, "xread count 1 streams a b 0 0"), [4, 5]);
        assert_eq!(keys(streams, "xread streams"), [0; 0]);
        let past = streams.past(1, &[("GROUP", 2), ("COUNT", 1)]);
        assert_eq!(keys(past, "xread group g streams count 1 streams k 0"), [7]);
        assert_eq!(keys(past, "xread streams count 1 1 1"), [2, 3]);
        assert_eq!(keys(past, "xread other 1 streams k 0"), [4]);
        assert_eq!(keys(past, "xread count"), [0; 0]);
        assert_eq!(keys(KeySpec::behind("STORE", 6, 0), "georadius k 0 0 1 m STORE d"), [7]);
        assert_eq!(keys(KeySpec::behind("KEYS", -2, 0), "migrate h p KEYS KEYS a"), [5]);
        const BEHIND: KeySpec =
            KeySpec::all_behind("KEYS", -2, 0).past(6, &[("COPY", 0), ("AUTH", 1)]);
        let line = "migrate h p k 0 1 COPY AUTH KEYS";
        let one = KeySpec::at(3, 0).unless(&BEHIND);
        assert_eq!((keys(one, line), keys(BEHIND, line)), (vec![3], vec![]));
        let line = format!("{line} KEYS KEYS a");
        assert_eq!((keys(one, &line), keys(BEHIND, &line)), (vec![], vec![10, 11]));
    }
}
