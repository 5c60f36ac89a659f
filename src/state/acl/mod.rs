//! Access control: the users of one server and what each may do, and what was refused.
//!
//! Must not know commands, which are ids here: `engine` says which command, keys and channels a
//! request wants, and this answers whether a user may.
//!
//! Invariants: there is always a user `default`; a user is immutable and replaced as a whole, and
//! [`Acl::version`] grows with every change, so that a connection that keeps its user need only
//! compare a number.

mod file;
mod log;
mod selector;
mod user;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::lock::{Lock, rank};

pub use log::{AclLog, Context, Entry, Event, Reason};
pub use selector::{
    Catalog, Denied, Named, Selector, Touched, Wanted, allows_channel, has_spaces, need,
};
pub use user::{Basis, User, merge_selectors};

/// The name of the user that a connection is before it says otherwise.
pub const DEFAULT: &[u8] = b"default";

/// What is wrong with a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleError {
    /// No such command or category.
    Unknown,
    /// It is no rule at all.
    Syntax,
    /// A pattern of keys where all keys are allowed already.
    KeysAfterAll,
    /// A pattern of channels where all channels are allowed already.
    ChannelsAfterAll,
    /// The password to be removed is none of the user's.
    NoSuchPassword,
    /// Not the hash of a password.
    BadHash,
    /// A first argument for a subcommand.
    FirstArgOfSub,
}

impl RuleError {
    /// Redis's text for it.
    pub fn text(self) -> &'static str {
        match self {
            RuleError::Unknown => "Unknown command or category name in ACL",
            RuleError::Syntax => "Syntax error",
            RuleError::KeysAfterAll => {
                "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and \
                 does not have any effect. Try 'resetkeys' to start with an empty list of patterns"
            }
            RuleError::ChannelsAfterAll => {
                "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid \
                 and does not have any effect. Try 'resetchannels' to start with an empty list of \
                 channels"
            }
            RuleError::NoSuchPassword => {
                "The password you are trying to remove from the user does not exist"
            }
            RuleError::BadHash => {
                "The password hash must be exactly 64 characters and contain only lowercase \
                 hexadecimal characters"
            }
            RuleError::FirstArgOfSub => "Allowing first-arg of a subcommand is not supported",
        }
    }
}

/// Why a user was not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// This argument opens a parenthesis that none closes.
    Unmatched(Vec<u8>),
    /// This rule is wrong.
    Rule(Vec<u8>, RuleError),
}

/// A user of a configuration file: the arguments behind `user`, the name first.
pub type Declaration = Vec<Vec<u8>>;

struct Users {
    by_name: BTreeMap<Vec<u8>, Arc<User>>,
    next_id: u64,
}

impl Users {
    fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn put(&mut self, user: User) -> Arc<User> {
        let user = Arc::new(user);
        self.by_name.insert(user.name.clone(), Arc::clone(&user));
        user
    }

    fn default_user(&self) -> &Arc<User> {
        &self.by_name[DEFAULT]
    }
}

/// The users of one server.
pub struct Acl {
    users: Lock<Users>,
    version: AtomicU64,
    /// Whether a new connection need not authenticate.
    is_open: AtomicBool,
    saving: Mutex<()>,
    /// What was refused lately.
    pub log: AclLog,
}

impl Acl {
    /// Only the default user, with all rights to that many commands, and this password (none if it
    /// is empty).
    pub fn new(commands: usize, password: &[u8]) -> Self {
        let basis = Basis { catalog: &Nameless(commands), all_channels: false };
        let mut users = Users { by_name: BTreeMap::new(), next_id: 0 };
        let id = users.take_id();
        users.put(User::default_user(id, &basis));
        let acl = Acl {
            users: Lock::new(rank::LEAF + 80, users),
            version: AtomicU64::new(0),
            is_open: AtomicBool::new(true),
            saving: Mutex::new(()),
            log: AclLog::default(),
        };
        acl.set_default_password(password);
        acl
    }

    /// Grows with every change of a user.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Whether a new connection need not authenticate.
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    /// The user of that name.
    pub fn get(&self, name: &[u8]) -> Option<Arc<User>> {
        self.users.lock().by_name.get(name).cloned()
    }

    /// What a new connection is.
    pub fn default_user(&self) -> Arc<User> {
        Arc::clone(self.users.lock().default_user())
    }

    /// What has become of a user; `None` when it was deleted.
    pub fn current(&self, user: &User) -> Option<Arc<User>> {
        self.get(&user.name).filter(|now| now.id == user.id)
    }

    /// All users, by name.
    pub fn all(&self) -> Vec<Arc<User>> {
        self.users.lock().by_name.values().cloned().collect()
    }

    /// The user of that name, if that is its password.
    pub fn authenticate(&self, name: &[u8], password: &[u8]) -> Option<Arc<User>> {
        self.get(name).filter(|user| user.accepts(password))
    }

    /// ACL SETUSER: makes or changes a user, by all rules or none. Returns it as it was, if it was,
    /// and as it is.
    ///
    /// # Errors
    /// The first thing that is wrong with the rules.
    pub fn set_user(
        &self,
        name: &[u8],
        rules: &[&[u8]],
        basis: &Basis,
    ) -> Result<(Option<Arc<User>>, Arc<User>), Refused> {
        let rules = merge_selectors(rules).map_err(|at| Refused::Unmatched(rules[at].to_vec()))?;
        loop {
            // Without the lock: a long password takes long to hash.
            let old = self.get(name);
            let fresh = || User::new(0, name, basis);
            let mut user = old.as_deref().map_or_else(fresh, User::clone);
            user.apply_all(&rules, basis)?;
            let mut users = self.users.lock();
            let now = users.by_name.get(name);
            if now.map(Arc::as_ptr) != old.as_ref().map(Arc::as_ptr) {
                // Somebody else has changed it meanwhile.
                continue;
            }
            if old.is_none() {
                user.id = users.take_id();
            }
            let new = users.put(user);
            self.note_change(&users);
            return Ok((old, new));
        }
    }

    /// ACL DELUSER: deletes users; those that there were. The default user stays.
    pub fn delete(&self, names: &[&[u8]]) -> Vec<Arc<User>> {
        let mut users = self.users.lock();
        let names = names.iter().filter(|name| **name != DEFAULT);
        let gone = names.filter_map(|name| users.by_name.remove(*name)).collect();
        self.note_change(&users);
        gone
    }

    /// CONFIG SET requirepass: the default user's only password; none is needed if it is empty.
    pub fn set_default_password(&self, password: &[u8]) {
        let basis = Basis { catalog: &Nameless(0), all_channels: false };
        let mut users = self.users.lock();
        let mut user = User::clone(users.default_user());
        let rule = if password.is_empty() { b"nopass".to_vec() } else { [b">", password].concat() };
        for rule in [b"resetpass", rule.as_slice()] {
            user.apply(rule, &basis).expect("these rules are right");
        }
        users.put(user);
        self.note_change(&users);
    }

    /// The users of a configuration file, at the start. Returns those that are off, which is
    /// perhaps not meant.
    ///
    /// # Errors
    /// The text for the log.
    pub fn declare(
        &self,
        declarations: &[Declaration],
        basis: &Basis,
    ) -> Result<Vec<Arc<User>>, Vec<u8>> {
        let mut users = self.users.lock();
        let mut off = Vec::new();
        for declaration in declarations {
            let Some((name, rules)) = declaration.split_first() else { continue };
            if has_spaces(name) {
                return Err(b"Spaces not allowed in ACL usernames".to_vec());
            }
            let known = users.by_name.get(name).map(|user| user.id);
            let id = known.unwrap_or_else(|| users.take_id());
            let mut user = User::new(id, name, basis);
            for rule in rules {
                user.apply(rule, basis).map_err(|why| {
                    [
                        b"Error loading ACL rule '",
                        rule.as_slice(),
                        b"' for the user named '",
                        name,
                        b"': ",
                        why.text().as_bytes(),
                    ]
                    .concat()
                })?;
            }
            let user = users.put(user);
            off.extend((!user.is_on()).then_some(user));
        }
        self.note_change(&users);
        Ok(off)
    }

    /// ACL LOAD: the users of a file instead of those that there are. Returns those that are gone,
    /// although others may have their names now; the default user is only changed.
    ///
    /// # Errors
    /// All that is wrong with the file (`shown` is its name in the text); nothing has changed then.
    pub fn load(&self, path: &Path, shown: &str, basis: &Basis) -> Result<Vec<Arc<User>>, Vec<u8>> {
        let mut loaded = file::load(path, shown, basis)?;
        let mut users = self.users.lock();
        let default = Arc::clone(users.default_user());
        if !loaded.iter().any(|user| user.name == DEFAULT) {
            loaded.push(User::default_user(0, basis));
        }
        let old = std::mem::take(&mut users.by_name);
        for mut user in loaded {
            user.id = if user.name == DEFAULT { default.id } else { users.take_id() };
            users.put(user);
        }
        self.note_change(&users);
        Ok(old.into_values().filter(|user| user.id != default.id).collect())
    }

    /// ACL SAVE: writes all users into a file, whose old content stays if that fails.
    ///
    /// # Errors
    /// The text for the log.
    pub fn save(&self, path: &Path) -> Result<(), String> {
        // One at a time, or an older state could take the place of a newer one.
        let _saving = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        file::save(path, &self.all())
    }

    /// Tells connections that keep a user to look again.
    fn note_change(&self, users: &Users) {
        let default = users.default_user();
        self.is_open.store(default.is_on() && default.needs_no_password(), Ordering::Release);
        // Last: who sees the new version must not find the old users.
        self.version.fetch_add(1, Ordering::Release);
    }
}

/// Commands without names, for rules that name none.
pub struct Nameless(pub usize);

impl Catalog for Nameless {
    fn count(&self) -> usize {
        self.0
    }

    fn find(&self, _: &[u8]) -> Option<Named<'_>> {
        None
    }

    fn category(&self, _: &[u8]) -> Option<Vec<usize>> {
        None
    }
}

#[cfg(test)]
mod testing {
    use super::{Catalog, Named};

    /// A few commands: name, how many subcommands follow, categories.
    const COMMANDS: &[(&str, usize, &str)] = &[
        ("get", 0, "string fast"),
        ("mget", 0, "string fast"),
        ("hget", 0, "hash fast"),
        ("hset", 0, "hash fast"),
        ("select", 0, "fast"),
        ("config", 2, "slow"),
        ("config|get", 0, "slow"),
        ("config|set", 0, "slow"),
    ];

    /// A catalog of them.
    pub struct Sample;

    impl Catalog for Sample {
        fn count(&self) -> usize {
            COMMANDS.len()
        }

        fn find(&self, full_name: &[u8]) -> Option<Named<'_>> {
            let is = |name: &str| full_name.eq_ignore_ascii_case(name.as_bytes());
            let id = COMMANDS.iter().position(|(name, ..)| is(name))?;
            let (name, subs, _) = COMMANDS[id];
            Some(Named {
                id,
                full_name: name,
                is_sub: name.contains('|'),
                subs: id + 1..id + 1 + subs,
            })
        }

        fn category(&self, name: &[u8]) -> Option<Vec<usize>> {
            let name = String::from_utf8(name.to_ascii_lowercase()).ok()?;
            let is_in = |list: &str| list.split(' ').any(|word| word == name);
            let ids = (0..COMMANDS.len()).filter(|&id| is_in(COMMANDS[id].2)).collect::<Vec<_>>();
            let known = ["slow", "dangerous"].contains(&name.as_str()) || !ids.is_empty();
            known.then_some(ids)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Sample;
    use super::*;

    const BASIS: Basis = Basis { catalog: &Sample, all_channels: false };

    fn names(users: &[Arc<User>]) -> Vec<String> {
        users.iter().map(|user| String::from_utf8_lossy(&user.name).into_owned()).collect()
    }

    fn acl() -> Acl {
        Acl::new(Sample.count(), b"")
    }

    #[test]
    fn users_come_change_and_go() {
        let acl = acl();
        let version = acl.version();
        let (old, bob) = acl.set_user(b"bob", &[b"on", b">x"], &BASIS).unwrap();
        assert!(old.is_none() && acl.version() > version);
        let (old, changed) = acl.set_user(b"bob", &[b"+get"], &BASIS).unwrap();
        assert_eq!(old.unwrap(), bob);
        assert_eq!(changed.id, bob.id);
        assert_eq!(acl.current(&bob).unwrap(), changed);
        assert_eq!(acl.authenticate(b"bob", b"x").unwrap(), changed);
        assert!(
            acl.authenticate(b"bob", b"y").is_none() && acl.authenticate(b"al", b"x").is_none()
        );
        assert_eq!(names(&acl.all()), ["bob", "default"]);
        assert_eq!(names(&acl.delete(&[b"bob", b"bob", b"default", b"no"])), ["bob"]);
        assert!(acl.current(&bob).is_none());
        let (_, again) = acl.set_user(b"bob", &[], &BASIS).unwrap();
        assert_ne!(again.id, bob.id);
        assert!(acl.current(&bob).is_none());
    }

    #[test]
    fn wrong_rules_leave_the_user_as_it_was() {
        let acl = acl();
        let refused = acl.set_user(b"bob", &[b"on", b"nonsense"], &BASIS).unwrap_err();
        assert_eq!(refused, Refused::Rule(b"nonsense".to_vec(), RuleError::Syntax));
        let refused = acl.set_user(b"bob", &[b"on", b"(+get", b"~a"], &BASIS).unwrap_err();
        assert_eq!(refused, Refused::Unmatched(b"(+get".to_vec()));
        assert!(acl.get(b"bob").is_none());
    }

    #[test]
    fn the_default_user_decides_whether_one_must_authenticate() {
        let acl = acl();
        assert!(acl.is_open());
        acl.set_default_password(b"x");
        assert!(!acl.is_open() && acl.authenticate(DEFAULT, b"x").is_some());
        acl.set_default_password(b"");
        assert!(acl.is_open());
        acl.set_user(DEFAULT, &[b"off"], &BASIS).unwrap();
        assert!(!acl.is_open());
        assert!(!Acl::new(8, b"secret").is_open());
    }

    #[test]
    fn declared_users() {
        let acl = acl();
        let words = |line: &str| line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        let declared = [words("bob on +get"), words("default on >x"), words("carl")];
        assert_eq!(names(&acl.declare(&declared, &BASIS).unwrap()), ["carl"]);
        assert!(!acl.default_user().is_unrestricted());
        let error = acl.declare(&[words("dora +nonesuch")], &BASIS).unwrap_err();
        let text = "Error loading ACL rule '+nonesuch' for the user named 'dora': \
                    Unknown command or category name in ACL";
        assert_eq!(String::from_utf8(error).unwrap(), text);
        let error = acl.declare(&[vec![b"a b".to_vec()]], &BASIS).unwrap_err();
        assert_eq!(error, b"Spaces not allowed in ACL usernames");
    }
}
