//! A user: whether and how one can become it, and what it may do.
//!
//! A user never changes: a new one takes its place, so that whoever holds one sees rights of one
//! moment.

use std::hint::black_box;

use crate::base::quote;
use crate::base::sha256::sha256;

use super::selector::{Catalog, Denied, Selector, Wanted};
use super::{Refused, RuleError};

/// Digits of a password's hash.
const HASH_LEN: usize = 64;

/// A password's SHA-256 in lower-case hexadecimal digits.
type Hash = [u8; HASH_LEN];

/// What rules are applied with.
#[derive(Clone, Copy)]
pub struct Basis<'c> {
    /// The commands.
    pub catalog: &'c dyn Catalog,
    /// Whether a new selector allows all channels (`acl-pubsub-default`).
    pub all_channels: bool,
}

impl Basis<'_> {
    fn selector(&self) -> Selector {
        Selector::new(self.catalog.count(), self.all_channels)
    }
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Stays the same while the user is changed; a user that is deleted and made again has another.
    pub id: u64,
    /// Any bytes but blanks and NUL.
    pub name: Vec<u8>,
    is_on: bool,
    no_password: bool,
    skips_sanitizing: bool,
    hashes: Vec<Hash>,
    root: Selector,
    selectors: Vec<Selector>,
}

impl User {
    /// A user as it is when it is new: off, and without any right.
    pub fn new(id: u64, name: &[u8], basis: &Basis) -> Self {
        User {
            id,
            name: name.to_vec(),
            is_on: false,
            no_password: false,
            skips_sanitizing: false,
            hashes: Vec::new(),
            root: basis.selector(),
            selectors: Vec::new(),
        }
    }

    /// The user whose rights a new connection has: all.
    pub fn default_user(id: u64, basis: &Basis) -> Self {
        let mut user = User::new(id, super::DEFAULT, basis);
        for rule in ["+@all", "~*", "&*", "on", "nopass"] {
            user.apply(rule.as_bytes(), basis).expect("these rules are right");
        }
        user
    }

    /// Whether one can become this user.
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Whether any password is right.
    pub fn needs_no_password(&self) -> bool {
        self.no_password
    }

    /// Whether it may do everything.
    pub fn is_unrestricted(&self) -> bool {
        self.all_selectors().any(Selector::is_unrestricted)
    }

    /// The hashes of its passwords.
    pub fn hashes(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.hashes.iter().map(<[u8; HASH_LEN]>::as_slice)
    }

    /// The rights that it has by itself.
    pub fn root(&self) -> &Selector {
        &self.root
    }

    /// The further sets of rights.
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// All sets of rights, the user's own first.
    pub fn all_selectors(&self) -> impl Iterator<Item = &Selector> {
        std::iter::once(&self.root).chain(&self.selectors)
    }

    /// Whether one becomes this user by that password. Takes the same time for every wrong one of
    /// the same length.
    pub fn accepts(&self, password: &[u8]) -> bool {
        if !self.is_on || self.no_password {
            return self.is_on;
        }
        let hash = hash_of(password);
        self.hashes.iter().any(|known| {
            let pairs = known.iter().zip(&hash);
            pairs.fold(0, |bits, (a, b)| black_box(bits | (a ^ b))) == 0
        })
    }

    /// Why it may not run a command, if so. One selector has to allow all of it.
    pub fn refuses(&self, wanted: &Wanted) -> Option<Denied> {
        let mut told = Denied::Command;
        for selector in self.all_selectors() {
            told = told.max(selector.refuses(wanted)?);
        }
        Some(told)
    }

    /// Whether it may run a command and use every key for this (bits of [`super::need`]).
    pub fn may_touch_all(&self, wanted: &Wanted, needs: u8) -> bool {
        let mut selectors = self.all_selectors();
        selectors
            .any(|selector| selector.may_touch_all(needs) && selector.refuses(wanted).is_none())
    }

    /// The patterns of channels that it is left with, if it may not use all channels any more that
    /// it could as `old`.
    pub fn lost_channels(&self, old: &User) -> Option<Vec<Vec<u8>>> {
        if self.all_selectors().any(Selector::has_all_channels) {
            return None;
        }
        let left: Vec<Vec<u8>> =
            self.all_selectors().flat_map(|s| s.channels().iter().cloned()).collect();
        let is_left = |pattern: &Vec<u8>| left.contains(pattern);
        let lost =
            old.all_selectors().any(|s| s.has_all_channels() || !s.channels().iter().all(is_left));
        lost.then_some(left)
    }

    /// Applies rules, in each of which a selector stands whole.
    ///
    /// # Errors
    /// The first wrong rule and what is wrong with it. The user may be half changed then.
    pub fn apply_all(&mut self, rules: &[Vec<u8>], basis: &Basis) -> Result<(), Refused> {
        rules.iter().try_for_each(|rule| {
            self.apply(rule, basis).map_err(|why| Refused::Rule(rule.clone(), why))
        })
    }

    /// Applies a rule.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn apply(&mut self, rule: &[u8], basis: &Basis) -> Result<(), RuleError> {
        let is = |word: &str| rule.eq_ignore_ascii_case(word.as_bytes());
        if rule.is_empty() {
            return Ok(());
        } else if is("on") || is("off") {
            self.is_on = is("on");
        } else if is("skip-sanitize-payload") || is("sanitize-payload") {
            self.skips_sanitizing = is("skip-sanitize-payload");
        } else if is("nopass") || is("resetpass") {
            self.no_password = is("nopass");
            self.hashes.clear();
        } else if is("clearselectors") {
            self.selectors.clear();
        } else if is("reset") {
            *self = User::new(self.id, &self.name, basis);
        } else {
            return match rule {
                [b'>', password @ ..] => self.add_hash(hash_of(password)),
                [b'#', hash @ ..] => self.add_hash(parse_hash(hash)?),
                [b'<', password @ ..] => self.remove_hash(hash_of(password)),
                [b'!', hash @ ..] => self.remove_hash(parse_hash(hash)?),
                [b'(', inside @ .., b')'] => self.add_selector(inside, basis),
                _ => self.root.apply(rule, basis.catalog),
            };
        }
        Ok(())
    }

    fn add_hash(&mut self, hash: Hash) -> Result<(), RuleError> {
        if !self.hashes.contains(&hash) {
            self.hashes.push(hash);
        }
        self.no_password = false;
        Ok(())
    }

    fn remove_hash(&mut self, hash: Hash) -> Result<(), RuleError> {
        let at = self.hashes.iter().position(|known| *known == hash);
        self.hashes.remove(at.ok_or(RuleError::NoSuchPassword)?);
        Ok(())
    }

    fn add_selector(&mut self, inside: &[u8], basis: &Basis) -> Result<(), RuleError> {
        let mut selector = basis.selector();
        // Unbalanced quotes give no rules, as in Redis.
        for rule in quote::split_args(inside).unwrap_or_default() {
            selector.apply(&rule, basis.catalog)?;
        }
        self.selectors.push(selector);
        Ok(())
    }

    /// The words of ACL GETUSER's `flags`.
    pub fn flags(&self) -> Vec<&'static str> {
        let sanitizing =
            if self.skips_sanitizing { "skip-sanitize-payload" } else { "sanitize-payload" };
        let mut words = vec![if self.is_on { "on" } else { "off" }];
        words.extend(self.no_password.then_some("nopass"));
        words.push(sanitizing);
        words
    }

    /// `user`, its name and all rules that make it, in one line.
    pub fn describe(&self) -> Vec<u8> {
        let mut parts = vec![b"user".to_vec(), self.name.clone()];
        parts.extend(self.flags().into_iter().map(|word| word.as_bytes().to_vec()));
        parts.extend(self.hashes().map(|hash| [b"#", hash].concat()));
        parts.push(self.root.describe());
        let inside = self.selectors.iter().map(Selector::describe);
        parts.extend(inside.map(|rules| [b"(", rules.as_slice(), b")"].concat()));
        parts.join(&b' ')
    }
}

fn hash_of(password: &[u8]) -> Hash {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hash = [0; HASH_LEN];
    for (digits, byte) in hash.as_chunks_mut::<2>().0.iter_mut().zip(sha256(password)) {
        *digits = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    }
    hash
}

fn parse_hash(text: &[u8]) -> Result<Hash, RuleError> {
    let hash = Hash::try_from(text).map_err(|_| RuleError::BadHash)?;
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if hash.iter().all(is_digit) { Ok(hash) } else { Err(RuleError::BadHash) }
}

/// Puts a selector whose rules are spread over several arguments into one.
///
/// # Errors
/// The index of the argument whose parenthesis is not closed.
pub fn merge_selectors(args: &[&[u8]]) -> Result<Vec<Vec<u8>>, usize> {
    let mut merged: Vec<Vec<u8>> = Vec::with_capacity(args.len());
    let mut open: Option<usize> = None;
    for (at, arg) in args.iter().enumerate() {
        let closes = arg.last() == Some(&b')');
        match (open, merged.last_mut()) {
            (Some(_), Some(selector)) => {
                selector.push(b' ');
                selector.extend_from_slice(arg);
                open = open.filter(|_| !closes);
            }
            _ => {
                merged.push(arg.to_vec());
                open = (arg.first() == Some(&b'(') && !closes).then_some(at);
            }
        }
    }
    open.map_or(Ok(merged), Err)
}

#[cfg(test)]
mod tests {
    use super::super::need;
    use super::super::selector::Touched;
    use super::super::testing::Sample;
    use super::*;

    const BASIS: Basis = Basis { catalog: &Sample, all_channels: false };

    fn user(rules: &[&str]) -> User {
        let rules: Vec<&[u8]> = rules.iter().map(|rule| rule.as_bytes()).collect();
        let mut user = User::new(1, b"u", &BASIS);
        user.apply_all(&merge_selectors(&rules).unwrap(), &BASIS).unwrap();
        user
    }

    fn describe(rules: &[&str]) -> String {
        String::from_utf8(user(rules).describe()).unwrap()
    }

    const FOO: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

    #[test]
    fn descriptions() {
        assert_eq!(describe(&[]), "user u off sanitize-payload resetchannels -@all");
        assert_eq!(
            describe(&["ON", "nopass", "skip-sanitize-payload", "allkeys", "allchannels", "+@all"]),
            "user u on nopass skip-sanitize-payload ~* &* +@all"
        );
        assert_eq!(
            describe(&["nopass", ">foo", ">foo", "(+get ~a)", "(", "%R~b", "&c", "+@hash", ")"]),
            format!(
                "user u off sanitize-payload #{FOO} resetchannels -@all \
                 (~a resetchannels -@all +get) (%R~b resetchannels &c -@all +@hash)"
            )
        );
        assert_eq!(describe(&["on", ">a", "~a", "+get", "()", "reset"]), describe(&[]));
        assert_eq!(describe(&["", "(+get)", "clearselectors"]), describe(&[]));
        let open = Basis { all_channels: true, ..BASIS };
        let mut user = User::new(1, b"u", &open);
        assert_eq!(user.describe(), b"user u off sanitize-payload &* -@all");
        user.apply(b"reset", &open).unwrap();
        assert_eq!(user.describe(), b"user u off sanitize-payload &* -@all");
    }

    #[test]
    fn passwords() {
        let hash = format!("#{FOO}");
        for (rules, password, right) in [
            (&["on", ">foo"][..], "foo", true),
            (&["on", ">foo"], "bar", false),
            (&["on", ">foo", ">bar"], "bar", true),
            (&["on", hash.as_str()], "foo", true),
            (&[">foo"], "foo", false),
            (&["nopass"], "foo", false),
            (&["on"], "", false),
            (&["on", "nopass"], "anything", true),
            (&["on", "nopass", ">foo"], "bar", false),
            (&["on", ">foo", "resetpass"], "foo", false),
            (&["on", ">foo", ">bar", "<foo"], "foo", false),
            (
                &[
                    "on",
                    ">foo",
                    "!2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
                ],
                "foo",
                false,
            ),
            (&["on", ">"], "", true),
        ] {
            assert_eq!(user(rules).accepts(password.as_bytes()), right, "{rules:?} {password}");
        }
    }

    #[test]
    fn wrong_rules() {
        let upper = format!("#{}", FOO.to_ascii_uppercase());
        for (rule, why) in [
            ("<foo", RuleError::NoSuchPassword),
            ("#abc", RuleError::BadHash),
            (upper.as_str(), RuleError::BadHash),
            ("!abc", RuleError::BadHash),
            (")", RuleError::Syntax),
            (" () ", RuleError::Syntax),
            ("(on)", RuleError::Syntax),
            ("(\"\")", RuleError::Syntax),
            ("(&* &a)", RuleError::ChannelsAfterAll),
            ("(+nonesuch)", RuleError::Unknown),
        ] {
            assert_eq!(user(&[]).apply(rule.as_bytes(), &BASIS), Err(why), "{rule}");
        }
        assert_eq!(merge_selectors(&[b"on", b"(a", b"b"]), Err(1));
        assert_eq!(merge_selectors(&[b"("]), Err(0));
        assert_eq!(merge_selectors(&[b"(a", b"(b", b"c)", b""]).unwrap(), [&b"(a (b c)"[..], b""]);
    }

    #[test]
    fn one_selector_has_to_allow_all_and_the_greatest_refusal_is_told() {
        let user = user(&["+mget", "~key", "(+mget ~key ~other)"]);
        let refused = |name: &str, names: &[&'static str]| {
            let touched = |(at, name): (usize, &&'static str)| Touched {
                index: at + 1,
                name: name.as_bytes(),
                needs: need::READ,
            };
            let keys: Vec<Touched> = names.iter().enumerate().map(touched).collect();
            let command = Sample.find(name.as_bytes()).unwrap().id;
            user.refuses(&Wanted {
                command,
                is_free: false,
                first_arg: None,
                keys: &keys,
                channels: &[],
            })
        };
        assert_eq!(refused("mget", &["key", "other"]), None);
        assert_eq!(refused("get", &["key"]), Some(Denied::Command));
        assert_eq!(refused("mget", &["other", "some"]), Some(Denied::Key(2)));
        assert_eq!(refused("mget", &["key", "other", "some"]), Some(Denied::Key(3)));
        let apart = super::tests::user(&["+mget", "(~*)"]);
        assert!(!apart.is_unrestricted());
        assert!(User::default_user(1, &BASIS).is_unrestricted());
    }
}
