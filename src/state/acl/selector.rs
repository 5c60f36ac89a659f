//! A selector: one set of rights to commands, keys and channels, and the rules that change it.
//!
//! Must not know commands: they are ids, and a [`Catalog`] knows their names and categories.
//!
//! Invariant: `commands_text` lists rules that, applied to a fresh selector, give these rights to
//! commands.

use std::ops::Range;

use crate::base::glob;

use super::RuleError;

/// What rules must know of commands. Ids count from 0; a subcommand has one of its own.
pub trait Catalog {
    /// How many commands and subcommands there are.
    fn count(&self) -> usize;
    /// The command of a name such as `get` or `config|get`, in any case.
    fn find(&self, full_name: &[u8]) -> Option<Named<'_>>;
    /// The ids of a category, named in any case without the `@`; a command's subcommands are there
    /// with it.
    fn category(&self, name: &[u8]) -> Option<Vec<usize>>;
}

/// A command as rules see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named<'c> {
    /// Its id.
    pub id: usize,
    /// Lower case; `config|get` for a subcommand.
    pub full_name: &'c str,
    /// Whether it is a subcommand.
    pub is_sub: bool,
    /// The ids of its subcommands.
    pub subs: Range<usize>,
}

/// For what a key or a channel is needed, one bit each; a key for which none is set may be used
/// with either right.
pub mod need {
    /// Its value is looked at.
    pub const READ: u8 = 1;
    /// It is changed.
    pub const WRITE: u8 = 1 << 1;
    /// It is no channel but a pattern of channels.
    pub const PATTERN: u8 = 1 << 2;
}

/// A key or a channel among the arguments of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touched<'a> {
    /// Its index among the arguments; the command's name is 0.
    pub index: usize,
    /// Its name.
    pub name: &'a [u8],
    /// Bits of [`need`].
    pub needs: u8,
}

/// A command that asks for permission.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Its id.
    pub command: usize,
    /// Whether everybody may run it.
    pub is_free: bool,
    /// The argument behind its name.
    pub first_arg: Option<&'a [u8]>,
    /// Its keys.
    pub keys: &'a [Touched<'a>],
    /// Its channels.
    pub channels: &'a [Touched<'a>],
}

/// Why a command may not run, and the index of the argument at fault. Of several refusals the
/// greatest is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denied {
    /// The command itself.
    Command,
    /// A key.
    Key(usize),
    /// A channel.
    Channel(usize),
}

/// Keys that may be used, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
struct KeyPattern {
    /// Bits of [`need`].
    rights: u8,
    pattern: Vec<u8>,
}

const BOTH: u8 = need::READ | need::WRITE;

/// One set of rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    all_keys: bool,
    all_channels: bool,
    /// Nothing has been taken away since all commands were allowed.
    all_commands: bool,
    /// The last of `+@all` and `-@all` was the former.
    from_all: bool,
    /// One bit per command.
    allowed: Vec<u64>,
    /// Commands that are allowed with this first argument only.
    first_args: Vec<(usize, Vec<u8>)>,
    /// The rules about commands since the last `+@all` or `-@all`, without those that later ones
    /// have made void.
    rules: Vec<Vec<u8>>,
    keys: Vec<KeyPattern>,
    channels: Vec<Vec<u8>>,
}

const WORD: usize = u64::BITS as usize;

impl Selector {
    /// No rights, except perhaps to all channels.
    pub fn new(commands: usize, all_channels: bool) -> Self {
        Selector {
            all_keys: false,
            all_channels,
            all_commands: false,
            from_all: false,
            allowed: vec![0; commands.div_ceil(WORD)],
            first_args: Vec::new(),
            rules: Vec::new(),
            keys: Vec::new(),
            channels: Vec::new(),
        }
    }

    /// Whether it allows everything.
    pub fn is_unrestricted(&self) -> bool {
        self.all_commands && self.all_keys && self.all_channels
    }

    /// Whether it allows all channels.
    pub fn has_all_channels(&self) -> bool {
        self.all_channels
    }

    /// The patterns of channels that it allows.
    pub fn channels(&self) -> &[Vec<u8>] {
        &self.channels
    }

    /// Applies a rule.
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed then.
    pub fn apply(&mut self, rule: &[u8], catalog: &dyn Catalog) -> Result<(), RuleError> {
        let is = |word: &str| rule.eq_ignore_ascii_case(word.as_bytes());
        if is("allkeys") || is("~*") {
            self.set_all_keys(true);
        } else if is("resetkeys") {
            self.set_all_keys(false);
        } else if is("allchannels") || is("&*") {
            self.set_all_channels(true);
        } else if is("resetchannels") {
            self.set_all_channels(false);
        } else if is("allcommands") || is("+@all") {
            self.set_all_commands(true);
        } else if is("nocommands") || is("-@all") {
            self.set_all_commands(false);
        } else {
            return match rule {
                [b'~' | b'%', ..] if self.all_keys => Err(RuleError::KeysAfterAll),
                [b'~', pattern @ ..] => self.add_keys(pattern, BOTH),
                [b'%', rest @ ..] => {
                    let (rights, pattern) = parse_rights(rest)?;
                    self.add_keys(pattern, rights)
                }
                [b'&', pattern @ ..] => self.add_channels(pattern),
                [b'+', b'@', name @ ..] => self.set_category(name, true, catalog),
                [b'-', b'@', name @ ..] => self.set_category(name, false, catalog),
                [b'+', name @ ..] => self.allow(name, catalog),
                [b'-', name @ ..] => {
                    let command = catalog.find(name).ok_or(RuleError::Unknown)?;
                    self.set_command(&command, false);
                    Ok(())
                }
                _ => Err(RuleError::Syntax),
            };
        }
        Ok(())
    }

    fn set_all_keys(&mut self, all: bool) {
        self.all_keys = all;
        self.keys.clear();
    }

    fn set_all_channels(&mut self, all: bool) {
        self.all_channels = all;
        self.channels.clear();
    }

    fn set_all_commands(&mut self, all: bool) {
        self.allowed.fill(if all { u64::MAX } else { 0 });
        self.all_commands = all;
        self.from_all = all;
        self.first_args.clear();
        self.rules.clear();
    }

    fn add_keys(&mut self, pattern: &[u8], rights: u8) -> Result<(), RuleError> {
        if has_spaces(pattern) {
            return Err(RuleError::Syntax);
        }
        match self.keys.iter_mut().find(|known| known.pattern == pattern) {
            Some(known) => known.rights |= rights,
            None => self.keys.push(KeyPattern { rights, pattern: pattern.to_vec() }),
        }
        Ok(())
    }

    fn add_channels(&mut self, pattern: &[u8]) -> Result<(), RuleError> {
        if self.all_channels {
            return Err(RuleError::ChannelsAfterAll);
        }
        if has_spaces(pattern) {
            return Err(RuleError::Syntax);
        }
        if !self.channels.iter().any(|known| known == pattern) {
            self.channels.push(pattern.to_vec());
        }
        Ok(())
    }

    fn set_category(
        &mut self,
        name: &[u8],
        allow: bool,
        catalog: &dyn Catalog,
    ) -> Result<(), RuleError> {
        for id in catalog.category(name).ok_or(RuleError::Unknown)? {
            self.set_bit(id, allow);
            self.first_args.retain(|(known, _)| *known != id);
        }
        self.note_rule(&[b"@", name].concat(), allow);
        Ok(())
    }

    /// `+name`, `+container|sub` or the deprecated `+name|first-argument`.
    fn allow(&mut self, name: &[u8], catalog: &dyn Catalog) -> Result<(), RuleError> {
        let Some(bar) = name.iter().rposition(|&c| c == b'|') else {
            let command = catalog.find(name).ok_or(RuleError::Unknown)?;
            self.set_command(&command, true);
            return Ok(());
        };
        let (container, word) = (&name[..bar], &name[bar + 1..]);
        let command = catalog.find(container).ok_or(RuleError::Unknown)?;
        if command.is_sub {
            return Err(RuleError::FirstArgOfSub);
        }
        if word.is_empty() {
            return Err(RuleError::Syntax);
        }
        if !command.subs.is_empty() {
            let sub = catalog.find(name).ok_or(RuleError::Unknown)?;
            self.set_command(&sub, true);
            return Ok(());
        }
        if has_spaces(word) {
            // It could not be written down in a line of a file.
            return Err(RuleError::Syntax);
        }
        let same =
            |known: &(usize, Vec<u8>)| known.0 == command.id && known.1.eq_ignore_ascii_case(word);
        if !self.first_args.iter().any(same) {
            self.first_args.push((command.id, word.to_vec()));
        }
        self.note_rule(name, true);
        Ok(())
    }

    /// Allows or refuses a command with all its subcommands.
    fn set_command(&mut self, command: &Named, allow: bool) {
        self.set_bit(command.id, allow);
        command.subs.clone().for_each(|id| self.set_bit(id, allow));
        self.first_args.retain(|(id, _)| *id != command.id);
        self.note_rule(command.full_name.as_bytes(), allow);
    }

    fn set_bit(&mut self, id: usize, allow: bool) {
        let (word, bit) = (id / WORD, 1 << (id % WORD));
        if allow {
            self.allowed[word] |= bit;
        } else {
            self.allowed[word] &= !bit;
            self.all_commands = false;
        }
    }

    /// Writes a rule down behind the others. It makes void those about the same, or about its
    /// subcommands.
    fn note_rule(&mut self, name: &[u8], allow: bool) {
        let name = name.to_ascii_lowercase();
        self.rules.retain(|rule| {
            let rest = rule[1..].strip_prefix(name.as_slice());
            !rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'|')
        });
        let sign: &[u8] = if allow { b"+" } else { b"-" };
        self.rules.push([sign, &name].concat());
    }

    /// Why a command may not run, if so.
    pub fn refuses(&self, wanted: &Wanted) -> Option<Denied> {
        if !self.may_run(wanted) {
            return Some(Denied::Command);
        }
        let key = wanted.keys.iter().find(|key| !self.may_touch(key));
        let key = key.map(|key| Denied::Key(key.index));
        key.or_else(|| {
            let channel = wanted.channels.iter().find(|channel| !self.may_use(channel));
            channel.map(|channel| Denied::Channel(channel.index))
        })
    }

    fn may_run(&self, wanted: &Wanted) -> bool {
        let id = wanted.command;
        self.all_commands
            || wanted.is_free
            || self.allowed[id / WORD] & 1 << (id % WORD) != 0
            || wanted.first_arg.is_some_and(|arg| {
                let mut known = self.first_args.iter().filter(|(known, _)| *known == id);
                known.any(|(_, word)| word.eq_ignore_ascii_case(arg))
            })
    }

    fn may_touch(&self, key: &Touched) -> bool {
        let needs = key.needs & BOTH;
        self.all_keys
            || self.keys.iter().any(|known| {
                known.rights & needs == needs && glob::matches(&known.pattern, key.name, false)
            })
    }

    /// Whether every key may be used for this.
    pub fn may_touch_all(&self, needs: u8) -> bool {
        let fits = |known: &KeyPattern| known.rights & needs == needs && known.pattern == b"*";
        self.all_keys || self.keys.iter().any(fits)
    }

    fn may_use(&self, channel: &Touched) -> bool {
        self.all_channels || allows_channel(&self.channels, channel)
    }

    /// The rules about commands.
    pub fn commands_text(&self) -> Vec<u8> {
        let start: &[u8] = if self.from_all { b"+@all" } else { b"-@all" };
        let rules = self.rules.iter().map(Vec::as_slice);
        std::iter::once(start).chain(rules).collect::<Vec<_>>().join(&b' ')
    }

    /// The rules about keys.
    pub fn keys_text(&self) -> Vec<u8> {
        if self.all_keys {
            return b"~*".to_vec();
        }
        let one = |known: &KeyPattern| {
            let sign: &[u8] = match known.rights {
                need::READ => b"%R~",
                need::WRITE => b"%W~",
                _ => b"~",
            };
            [sign, &known.pattern].concat()
        };
        self.keys.iter().map(one).collect::<Vec<_>>().join(&b' ')
    }

    /// The rules about channels.
    pub fn channels_text(&self) -> Vec<u8> {
        if self.all_channels {
            return b"&*".to_vec();
        }
        let one = |pattern: &Vec<u8>| [b"&", pattern.as_slice()].concat();
        self.channels.iter().map(one).collect::<Vec<_>>().join(&b' ')
    }

    /// All rules, in one line.
    pub fn describe(&self) -> Vec<u8> {
        let (keys, channels) = (self.keys_text(), self.channels_text());
        let reset: &[u8] = if self.all_channels { b"" } else { b"resetchannels" };
        let parts = [&keys, reset, &channels, &self.commands_text()];
        let parts: Vec<&[u8]> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join(&b' ')
    }
}

/// Whether one of the patterns allows a channel; a pattern is allowed by the same pattern only.
pub fn allows_channel(patterns: &[Vec<u8>], channel: &Touched) -> bool {
    if channel.needs & need::PATTERN != 0 {
        return patterns.iter().any(|pattern| pattern == channel.name);
    }
    patterns.iter().any(|pattern| glob::matches(pattern, channel.name, false))
}

/// `R~pattern` and its like: the rights, and the pattern. Without a `~` the pattern is empty, as in
/// Redis.
fn parse_rights(rest: &[u8]) -> Result<(u8, &[u8]), RuleError> {
    let mut rights = 0;
    for (at, letter) in rest.iter().enumerate() {
        let right = match letter.to_ascii_uppercase() {
            b'R' => need::READ,
            b'W' => need::WRITE,
            b'~' if rights != 0 => return Ok((rights, &rest[at + 1..])),
            _ => return Err(RuleError::Syntax),
        };
        if rights & right != 0 {
            return Err(RuleError::Syntax);
        }
        rights |= right;
    }
    if rights == 0 { Err(RuleError::Syntax) } else { Ok((rights, b"")) }
}

/// Whether a text could not stand in a line of rules: it has a blank (of C's) or a NUL.
pub fn has_spaces(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, b' ' | b'\t'..=b'\r' | 0))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Sample;
    use super::*;

    fn selector(rules: &str) -> Selector {
        let mut selector = Selector::new(Sample.count(), false);
        for rule in rules.split(' ').filter(|rule| !rule.is_empty()) {
            selector.apply(rule.as_bytes(), &Sample).unwrap();
        }
        selector
    }

    fn describe(rules: &str) -> String {
        String::from_utf8(selector(rules).describe()).unwrap()
    }

    #[test]
    fn descriptions_keep_the_order_of_rules_and_drop_what_is_void() {
        for (rules, description) in [
            ("", "resetchannels -@all"),
            ("+@all ~* &*", "~* &* +@all"),
            ("+@all -@hash -@slow +hget", "resetchannels +@all -@hash -@slow +hget"),
            ("+@all -@hash +hget -@hash", "resetchannels +@all +hget -@hash"),
            ("-@string -@slow +@all", "resetchannels +@all"),
            ("-@all +@HASH +@hash", "resetchannels -@all +@hash"),
            ("+HGET +hget +hGeT", "resetchannels -@all +hget"),
            ("+hget -hset +hset -hget", "resetchannels -@all +hset -hget"),
            ("+config|get +CONFIG|SET +config", "resetchannels -@all +config"),
            ("+config +config|get -config|set +config", "resetchannels -@all +config"),
            ("+select|0 +select|0 +select|1", "resetchannels -@all +select|0 +select|1"),
            ("+select|0 +select", "resetchannels -@all +select"),
            ("~a %R~b %W~c %rw~d %R~a", "~a %R~b %W~c ~d resetchannels -@all"),
            ("%R~a %W~a", "~a resetchannels -@all"),
            ("~a allkeys", "~* resetchannels -@all"),
            ("~a resetkeys ~b &x &y &x", "~b resetchannels &x &y -@all"),
            ("allchannels resetchannels &x", "resetchannels &x -@all"),
            ("%RW", "~ resetchannels -@all"),
            ("allcommands nocommands", "resetchannels -@all"),
        ] {
            assert_eq!(describe(rules), description, "{rules}");
        }
    }

    #[test]
    fn wrong_rules_say_why_and_change_nothing() {
        use RuleError::{ChannelsAfterAll, FirstArgOfSub, KeysAfterAll, Syntax, Unknown};
        for (before, rule, why) in [
            ("", "nonsense", Syntax),
            ("", "", Syntax),
            ("", "+", Unknown),
            ("", "-", Unknown),
            ("", "+@", Unknown),
            ("", "+nonesuch", Unknown),
            ("", "-@nonesuch", Unknown),
            ("", "+config|nonesuch", Unknown),
            ("", "-config|nonesuch", Unknown),
            ("", "-select|0", Unknown),
            ("", "+get|a|b", Unknown),
            ("", "+config|get|x", FirstArgOfSub),
            ("", "+select|", Syntax),
            ("", "+select|a\tb", Syntax),
            ("~*", "~a", KeysAfterAll),
            ("~*", "%R~a", KeysAfterAll),
            ("~*", "%X", KeysAfterAll),
            ("&*", "&a", ChannelsAfterAll),
            ("", "~a b", Syntax),
            ("", "&a\n", Syntax),
            ("", "%~a", Syntax),
            ("", "%", Syntax),
            ("", "%RR~a", Syntax),
            ("", "%RX~a", Syntax),
        ] {
            let mut changed = selector(before);
            assert_eq!(changed.apply(rule.as_bytes(), &Sample), Err(why), "{rule}");
            assert_eq!(changed, selector(before));
        }
    }

    fn wanted(name: &str) -> Wanted<'static> {
        let command = Sample.find(name.as_bytes()).unwrap().id;
        Wanted { command, is_free: false, first_arg: None, keys: &[], channels: &[] }
    }

    #[test]
    fn commands() {
        for (rules, allowed, refused) in [
            ("", "", "get config|get"),
            ("+get", "get", "hget"),
            ("+@all -get", "hget config", "get"),
            ("+config", "config config|get config|set", "get"),
            ("+config -config|set", "config config|get", "config|set"),
            ("+config|set", "config|set", "config config|get"),
            ("+@hash", "hget hset", "get"),
            ("+@slow", "config config|get config|set", "get"),
            ("+@all -@string", "hget", "get"),
        ] {
            let selector = selector(rules);
            for name in allowed.split_whitespace() {
                assert_eq!(selector.refuses(&wanted(name)), None, "{rules}: {name}");
            }
            for name in refused.split_whitespace() {
                let denied = Some(Denied::Command);
                assert_eq!(selector.refuses(&wanted(name)), denied, "{rules}: {name}");
                let free = Wanted { is_free: true, ..wanted(name) };
                assert_eq!(selector.refuses(&free), None);
            }
        }
    }

    #[test]
    fn first_arguments() {
        let with = |arg: &'static [u8]| Wanted { first_arg: Some(arg), ..wanted("select") };
        let one = selector("+select|0 +select|Abc");
        assert_eq!(one.refuses(&with(b"0")), None);
        assert_eq!(one.refuses(&with(b"aBC")), None);
        assert_eq!(one.refuses(&with(b"1")), Some(Denied::Command));
        assert_eq!(one.refuses(&wanted("select")), Some(Denied::Command));
        assert_eq!(selector("+select|0 -select").refuses(&with(b"0")), Some(Denied::Command));
        assert_eq!(selector("+select|0 -@fast").refuses(&with(b"0")), Some(Denied::Command));
    }

    #[test]
    fn keys_by_what_is_done_with_them() {
        let selector = selector("+@all %R~r* %W~w* ~b*");
        let refused = |name: &'static str, needs| {
            let keys = [Touched { index: 7, name: name.as_bytes(), needs }];
            selector.refuses(&Wanted { keys: &keys, ..wanted("get") })
        };
        let both = need::READ | need::WRITE;
        for (name, needs) in
            [("r1", need::READ), ("w1", need::WRITE), ("b1", both), ("r1", 0), ("w1", 0)]
        {
            assert_eq!(refused(name, needs), None, "{name} {needs}");
        }
        for (name, needs) in
            [("r1", need::WRITE), ("r1", both), ("w1", need::READ), ("x", 0), ("", need::READ)]
        {
            assert_eq!(refused(name, needs), Some(Denied::Key(7)), "{name} {needs}");
        }
        assert!(!selector.may_touch_all(0));
    }

    #[test]
    fn every_key() {
        for (rules, needs, all) in [
            ("~*", BOTH, true),
            ("%R~*", need::READ, true),
            ("%R~*", need::WRITE, false),
            ("%RW~*", BOTH, true),
            ("~a*", need::READ, false),
        ] {
            assert_eq!(selector(rules).may_touch_all(needs), all, "{rules}");
        }
    }

    #[test]
    fn channels_match_and_patterns_are_compared() {
        let selector = selector("+@all &news:* &x");
        let refused = |name: &'static str, needs| {
            let channels = [Touched { index: 1, name: name.as_bytes(), needs }];
            selector.refuses(&Wanted { channels: &channels, ..wanted("get") })
        };
        assert_eq!(refused("news:1", 0), None);
        assert_eq!(refused("news:*", need::PATTERN), None);
        assert_eq!(refused("news:1", need::PATTERN), Some(Denied::Channel(1)));
        assert_eq!(refused("y", 0), Some(Denied::Channel(1)));
    }
}
