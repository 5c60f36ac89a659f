//! The state of one connection that only its own thread needs.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::clock::Moment;
use crate::engine::blocking::Block;
use crate::engine::ctx::{Ctx, Reply};
use crate::engine::delivery::Unwritten;
use crate::resp::error::Error;
use crate::state::Server;
use crate::state::acl::{Acl, User};
use crate::state::clients::{ClientHandle, Meta};
use crate::state::config::{Config, Settings};
use crate::store::waiting::Touched;

/// On whose behalf commands are executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A client, or a replica of ours.
    Client,
    /// Our primary, whose stream we apply.
    Primary,
    /// The append-only file, which is loaded.
    Replay,
}

/// Which thread executes the commands of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thread {
    /// Its own, which may wait.
    Own,
    /// One that others wait for.
    Attendant,
    /// That has come to a command that only the connection's own may execute.
    OwnIsNeeded,
}

/// CLIENT REPLY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyMode {
    /// Replies are sent.
    On,
    /// None is sent.
    Off,
    /// None for the command being executed and the one behind it.
    SkipNext,
    /// None for the command being executed.
    Skip,
}

/// What a replica has told of itself before PSYNC.
#[derive(Clone, Debug, Default)]
pub struct ReplicaHello {
    /// REPLCONF listening-port.
    pub port: u16,
    /// REPLCONF ip-address.
    pub ip: Option<String>,
    /// REPLCONF capa psync2.
    pub psync2: bool,
    /// REPLCONF capa eof.
    pub eof: bool,
    /// REPLCONF rdb-only.
    pub rdb_only: bool,
    /// It wants a snapshot without keys.
    pub keyless: bool,
}

/// What the connection's thread does once the replies so far are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Takeover {
    /// It becomes a replica that gets the stream, by this reader of the log.
    Stream(u64),
    /// It becomes a replica that gets a snapshot first.
    Snapshot,
}

/// A queued command: its arguments.
pub type Queued = Vec<Vec<u8>>;

/// MULTI.
#[derive(Debug, Default)]
pub struct Multi {
    /// The commands so far.
    pub queue: Vec<Queued>,
    /// Bytes of their arguments.
    pub bytes: usize,
    /// A command was refused, so EXEC will be.
    pub aborted: bool,
}

/// WATCH: EXEC runs only if none of these keys has changed.
#[derive(Debug, Default)]
pub struct Watch {
    /// Set when one of them has.
    pub touched: Touched,
    /// (database, key, whether it was there).
    pub keys: Vec<(usize, Vec<u8>, bool)>,
}

/// A large argument, which can be stored without copying it.
#[derive(Clone, Debug)]
pub struct Large {
    /// Its place among the arguments.
    pub index: usize,
    /// The argument.
    pub bytes: Arc<Vec<u8>>,
}

/// What a command has done while no shard is held, before it is executed again. It must come back
/// in time: its connection does nothing else meanwhile.
pub type Errand = Box<dyn FnOnce(&Arc<Server>) -> Box<dyn Rest> + Send>;

/// What is left of a command whose errand is done.
pub trait Rest: Send {
    /// Does the rest, when the command is executed again.
    fn go_on(self: Box<Self>, ctx: &mut Ctx) -> Reply;

    /// The command may not be executed any more. No shard is held.
    fn give_up(self: Box<Self>, server: &Server);
}

/// One connection's state.
pub struct Session {
    /// What other threads see of it.
    pub handle: Arc<ClientHandle>,
    /// On whose behalf it acts.
    pub role: Role,
    /// Selected database.
    pub db: usize,
    /// Whether it may execute commands that need authentication.
    pub authenticated: bool,
    /// CLIENT REPLY.
    pub reply_mode: ReplyMode,
    /// What the present command answers are messages, which CLIENT REPLY does not hold back.
    pub pushed: bool,
    /// MULTI, when inside.
    pub multi: Option<Multi>,
    /// WATCH.
    pub watch: Watch,
    /// An argument of the command being executed.
    pub large: Option<Large>,
    /// What the command being executed has to wait for.
    pub block: Option<Block>,
    /// The command being executed is to be executed again, because what it worked on has changed.
    pub again: bool,
    /// How often that has happened to it.
    pub tries: u32,
    /// What it has done before it is executed again.
    pub errand: Option<Errand>,
    /// What is left of it then.
    pub rest: Option<Box<dyn Rest>>,
    /// Offset of the log behind the last write, for WAIT.
    pub last_write: u64,
    /// Offset of the append-only file behind the last write.
    pub last_file: u64,
    /// The same of the last reply that was noted in `unwritten`.
    pub(super) noted_file: u64,
    /// Replies that must not leave before the file is written.
    pub unwritten: Vec<Unwritten>,
    /// CLIENT NO-TOUCH.
    pub no_touch: bool,
    /// Close the connection once the replies are sent.
    pub close: bool,
    /// The reply is for the primary, which gets no others.
    pub reply_to_primary: bool,
    /// What a replica told of itself.
    pub replica: ReplicaHello,
    /// What follows once the replies are sent.
    pub takeover: Option<Takeover>,
    /// Who executes its commands.
    pub thread: Thread,
    /// Which primary this is the stream of, in the role of one: `Replication::generation` then.
    pub generation: u64,
    /// Bytes of the primary's stream that belong to the transaction being queued.
    pub unapplied: Vec<u8>,
    /// Nanoseconds that the command spent waiting, which do not count as execution.
    pub waited_nanos: u64,
    /// Indexes of arguments of the command being executed that MONITOR and the slow log do not
    /// show.
    pub redacted: Vec<usize>,
    /// CLIENT SETNAME; a copy of the shared one.
    pub name: String,
    /// Who it is, as of `acl_version`; nobody has all rights.
    user: Option<Arc<User>>,
    /// Whether it may do everything.
    is_unrestricted: bool,
    acl_version: u64,
    /// The parameters as of `settings_version`.
    settings: Option<Arc<Settings>>,
    settings_version: u64,
}

impl Session {
    /// A fresh connection.
    pub fn new(handle: Arc<ClientHandle>, role: Role) -> Self {
        Session {
            handle,
            role,
            db: 0,
            authenticated: role != Role::Client,
            reply_mode: ReplyMode::On,
            pushed: false,
            multi: None,
            watch: Watch::default(),
            large: None,
            block: None,
            again: false,
            tries: 0,
            errand: None,
            rest: None,
            last_write: 0,
            last_file: 0,
            noted_file: 0,
            unwritten: Vec::new(),
            no_touch: false,
            close: false,
            reply_to_primary: false,
            replica: ReplicaHello::default(),
            takeover: None,
            thread: Thread::Own,
            generation: 0,
            unapplied: Vec::new(),
            waited_nanos: 0,
            redacted: Vec::new(),
            name: String::new(),
            user: None,
            is_unrestricted: role != Role::Client,
            acl_version: 0,
            settings: None,
            settings_version: 0,
        }
    }

    /// The same client for another thread, which executes the command again that this one waits in.
    pub fn stand_in(&self) -> Session {
        let mut session = Session::new(Arc::clone(&self.handle), self.role);
        session.db = self.db;
        session.authenticated = self.authenticated;
        session.last_write = self.last_write;
        session.last_file = self.last_file;
        session.no_touch = self.no_touch;
        session.name.clone_from(&self.name);
        session.user.clone_from(&self.user);
        session.is_unrestricted = self.is_unrestricted;
        session.acl_version = self.acl_version;
        session
    }

    /// The parameters as they are now; a copy is kept while they do not change.
    pub fn settings(&mut self, config: &Config) -> &Arc<Settings> {
        let settings = self.take_settings(config);
        self.settings.insert(settings)
    }

    /// As [`Session::settings`], but taken out for a command, so that no count that all connections
    /// share is touched for each. To be put back.
    pub(super) fn take_settings(&mut self, config: &Config) -> Arc<Settings> {
        let version = config.version();
        match self.settings.take() {
            Some(settings) if self.settings_version == version => settings,
            _ => {
                self.settings_version = version;
                config.get()
            }
        }
    }

    /// Puts back what was taken out.
    pub(super) fn put_settings(&mut self, settings: Arc<Settings>) {
        self.settings = Some(settings);
    }

    /// The parameters, if they have changed since the command began that this session runs.
    pub fn changed_settings(&self, config: &Config) -> Option<Arc<Settings>> {
        (self.settings_version != config.version()).then(|| config.get())
    }

    /// `proto-max-bulk-len`; a primary may send anything.
    #[inline]
    pub fn max_bulk(&self, config: &Config) -> u64 {
        if self.role == Role::Primary {
            return u64::MAX;
        }
        match &self.settings {
            Some(settings) if self.settings_version == config.version() => {
                settings.proto_max_bulk_len as u64
            }
            _ => config.get().proto_max_bulk_len as u64,
        }
    }

    /// Whether it has to authenticate first. Without a password nobody has to, but who had to once
    /// is only authenticated by saying so.
    pub fn needs_auth(&self, acl: &Acl) -> bool {
        !self.authenticated && !acl.is_open()
    }

    /// Who it is; nobody has all rights.
    pub fn user(&self) -> Option<&Arc<User>> {
        self.user.as_ref()
    }

    /// Whether it may do everything.
    pub fn is_unrestricted(&self) -> bool {
        self.is_unrestricted
    }

    /// Makes it the default user, as a new connection is.
    pub fn forget_user(&mut self, acl: &Acl) {
        self.become_user(acl.default_user());
        self.authenticated = acl.is_open();
    }

    /// Makes it a user that it has authenticated as.
    pub fn become_user(&mut self, user: Arc<User>) {
        self.handle.meta.lock().user = Some(Arc::clone(&user));
        self.is_unrestricted = user.is_unrestricted();
        self.user = Some(user);
        self.authenticated = true;
    }

    /// Gives it the rights that its user has now. Between two commands of one connection nothing
    /// else is asked than whether any user has changed.
    pub fn look_after_user(&mut self, acl: &Acl) {
        let version = acl.version();
        if self.acl_version == version {
            return;
        }
        self.acl_version = version;
        let Some(user) = &self.user else { return };
        match acl.current(user) {
            Some(now) => {
                self.is_unrestricted = now.is_unrestricted();
                self.user = Some(now);
            }
            None => {
                // It was deleted just when we became it.
                self.forget_user(acl);
                self.authenticated = false;
                self.close = true;
            }
        }
    }

    /// Refuses a name that would break the lines of CLIENT LIST.
    pub fn check_name(name: &[u8]) -> Result<(), Error> {
        if Meta::is_valid(name) { Ok(()) } else { Err(Error::CLIENT_NAME) }
    }

    /// Gives the connection a valid name, or takes it away if it is empty.
    pub fn rename(&mut self, name: &[u8]) {
        self.name = String::from_utf8_lossy(name).into_owned();
        self.handle.meta.lock().name.clone_from(&self.name);
    }

    /// The arguments of a command as MONITOR and the slow log may show them.
    pub fn without_secrets<'a>(&self, argv: &'a [&'a [u8]]) -> Cow<'a, [&'a [u8]]> {
        if self.redacted.is_empty() {
            return Cow::Borrowed(argv);
        }
        let mut shown = argv.to_vec();
        for &index in &self.redacted {
            if let Some(arg) = shown.get_mut(index) {
                *arg = b"(redacted)";
            }
        }
        Cow::Owned(shown)
    }

    /// Nanoseconds for which the present command, which began then, has been executed.
    pub fn spent(&self, began: Moment) -> u64 {
        began.nanos_since().saturating_sub(self.waited_nanos)
    }

    /// Goes over to another database.
    pub fn select(&mut self, db: usize) {
        self.db = db;
        self.handle.db.store(db as u64, Ordering::Relaxed);
    }
}
