//! Who may run what: a command's definition and arguments as `state::acl` wants to see them, and
//! what follows from a refusal and from a change of users.
//!
//! Invariant: whether a command may run depends on its definition alone, never on its name, and is
//! asked for each command before it runs: behind the gate's other questions, once more for each of
//! EXEC's, and once more for one that had to wait.

use std::io;
use std::sync::Arc;

use crate::base::clock;
use crate::engine::session::Session;
use crate::engine::spec::{Command, access, flag};
use crate::engine::table::Known;
use crate::engine::{Ctx, Engine, KeySpec, client_line, dispatch};
use crate::resp::error::Error;
use crate::state::Server;
use crate::state::acl::{
    Basis, Context, Declaration, Denied, Event, Reason, Touched, User, Wanted, allows_channel, need,
};
use crate::state::clients::{ClientHandle, flag as client_flag};
use crate::state::config::Settings;
use crate::state::pubsub::Topic;

/// What rules are applied with.
pub fn basis<'e>(engine: &'e Engine, settings: &Settings) -> Basis<'e> {
    Basis { catalog: &engine.table, all_channels: settings.acl_pubsub_default }
}

/// A command that a connection asks for.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The server with its commands.
    pub engine: &'a Engine,
    /// The parameters.
    pub settings: &'a Settings,
    /// The connection.
    pub session: &'a Session,
    /// The command.
    pub known: &'a Known,
    /// Its arguments.
    pub argv: &'a [&'a [u8]],
}

impl Request<'_> {
    /// Why it may not run, if so; that is written down.
    #[inline]
    pub fn refuse(&self) -> Option<Error> {
        if self.session.is_unrestricted() { None } else { self.refuse_restricted() }
    }

    fn refuse_restricted(&self) -> Option<Error> {
        let (user, denied) = self.refusal()?;
        self.note(user, denied, context_of(self.session));
        let text = describe(user, self.known, self.argv, denied, false);
        Some(Error::owned([b"NOPERM ", text.as_slice()].concat()))
    }

    /// Why it may not run inside EXEC, if so; that is written down.
    pub fn refuse_in_exec(&self) -> Option<Error> {
        let (user, denied) = self.refusal()?;
        self.note(user, denied, Context::Multi);
        let reason = match denied {
            Denied::Command => "no permission to execute the command or subcommand",
            Denied::Key(_) => "no permission to touch the specified keys",
            Denied::Channel(_) => "no permission to access one of the channels used as arguments",
        };
        Some(Error::from(format!(
            "NOPERM ACLs rules changed between the moment the transaction was accumulated and the \
             EXEC call. This command is no longer allowed for the following reason: {reason}"
        )))
    }

    fn refusal(&self) -> Option<(&User, Denied)> {
        if self.session.is_unrestricted() {
            return None;
        }
        let user = self.session.user()?;
        refusal_of(user, self.known, self.argv).map(|denied| (user.as_ref(), denied))
    }

    fn note(&self, user: &User, denied: Denied, context: Context) {
        let (reason, object) = match denied {
            Denied::Command => (Reason::Command, self.known.full_name.as_bytes()),
            Denied::Key(index) => (Reason::Key, self.argv[index]),
            Denied::Channel(index) => (Reason::Channel, self.argv[index]),
        };
        let (object, username) = (object.to_vec(), user.name.clone());
        let client = client_line(self.engine, self.session);
        let event = Event { reason, context, object, username, client };
        write_down(self.engine, self.settings, event);
    }
}

fn context_of(session: &Session) -> Context {
    if session.multi.is_some() { Context::Multi } else { Context::Toplevel }
}

fn client_line(engine: &Engine, session: &Session) -> String {
    let mut line = String::new();
    client_line::push(&mut line, &engine.table, &session.handle, clock::unix_ms());
    line
}

fn write_down(engine: &Engine, settings: &Settings, event: Event) {
    engine.server.acl.log.add(event, clock::unix_ms(), settings.acllog_max_len);
}

/// Writes down that somebody tried to become a user and could not; `object` is the command as it
/// was sent.
pub fn note_failed_auth(ctx: &Ctx, object: &[u8], username: &[u8]) {
    let context = if ctx.in_exec { Context::Multi } else { context_of(ctx.session) };
    let client = client_line(ctx.engine, ctx.session);
    let (object, username) = (object.to_vec(), username.to_vec());
    let event = Event { reason: Reason::Auth, context, object, username, client };
    write_down(ctx.engine, ctx.settings, event);
}

/// Why a user may not run a command, if so.
pub fn refusal_of(user: &User, known: &Known, argv: &[&[u8]]) -> Option<Denied> {
    ask(known, argv, |wanted| user.refuses(wanted))
}

/// Whether the connection may read every key that there is with the command that it runs: for keys
/// that are found out only while it runs (SORT's patterns).
pub fn may_read_any_key(ctx: &Ctx, argv: &[&[u8]]) -> bool {
    let session = &*ctx.session;
    if session.is_unrestricted() {
        return true;
    }
    let (Some(user), Ok(known)) = (session.user(), dispatch::resolve(ctx.engine, argv)) else {
        return true;
    };
    ask(known, argv, |wanted| user.may_touch_all(wanted, need::READ))
}

fn ask<R>(known: &Known, argv: &[&[u8]], answer: impl FnOnce(&Wanted) -> R) -> R {
    let command = known.command;
    let first_arg = argv.get(if known.parent.is_some() { 2 } else { 1 }).copied();
    answer(&Wanted {
        command: known.id,
        is_free: command.has(flag::NO_AUTH),
        first_arg,
        keys: &keys_of(command, argv),
        channels: &channels_of(command, argv),
    })
}

fn keys_of<'a>(command: &Command, argv: &[&'a [u8]]) -> Vec<Touched<'a>> {
    let of_spec = |spec: &'static KeySpec| {
        let needs = needs_of(spec.access_in(argv));
        spec.indexes(argv).map(move |index| (index, needs))
    };
    let touched = |(index, needs)| Touched { index, name: argv[index], needs };
    let are_keys = |spec: &&'static KeySpec| spec.access & access::NOT_KEY == 0;
    command.keys.iter().filter(are_keys).flat_map(of_spec).map(touched).collect()
}

/// The rights that doing this with a key needs. None: either is enough, because nothing of the
/// value shows (TYPE, EXISTS).
fn needs_of(bits: u32) -> u8 {
    let reads = if bits & access::ACCESS != 0 { need::READ } else { 0 };
    let writes = bits & (access::UPDATE | access::INSERT | access::DELETE) != 0;
    reads | if writes { need::WRITE } else { 0 }
}

fn channels_of<'a>(command: &Command, argv: &[&'a [u8]]) -> Vec<Touched<'a>> {
    let Some(spec) = &command.channels else { return Vec::new() };
    let needs = if spec.are_patterns { need::PATTERN } else { 0 };
    spec.indexes(argv.len()).map(|index| Touched { index, name: argv[index], needs }).collect()
}

/// What a refusal says, with the name of the key or channel or without it.
pub fn describe(
    user: &User,
    known: &Known,
    argv: &[&[u8]],
    denied: Denied,
    with_name: bool,
) -> Vec<u8> {
    let (kind, index) = match denied {
        Denied::Command => {
            let middle = b" has no permissions to run the '";
            let name = known.full_name.as_bytes();
            return [b"User ", user.name.as_slice(), middle, name, b"' command"].concat();
        }
        Denied::Key(index) => ("key", index),
        Denied::Channel(index) => ("channel", index),
    };
    if !with_name {
        return format!("No permissions to access a {kind}").into_bytes();
    }
    let middle = b" has no permissions to access the '";
    let after = format!("' {kind}");
    [b"User ", user.name.as_slice(), middle, argv[index], after.as_bytes()].concat()
}

/// Ends all connections of users that are no more; our own gets its reply first and is the default
/// user until then.
pub fn cut(ctx: &mut Ctx, gone: &[Arc<User>]) {
    let own = ctx.session.handle.id;
    let is_gone = |user: &User| gone.iter().any(|gone| gone.id == user.id);
    ctx.server.clients.kill_all(|client| {
        client.id != own && client.meta.lock().user.as_deref().is_some_and(is_gone)
    });
    if ctx.session.user().is_some_and(|user| is_gone(user)) {
        ctx.session.forget_user(&ctx.server.acl);
        ctx.session.authenticated = false;
        ctx.session.close = true;
    }
}

/// Ends the connections of a changed user that are subscribed to what it may not use any more; our
/// own gets its reply first.
pub fn cut_subscribers(ctx: &mut Ctx, old: &User, new: &User) {
    let server = ctx.server;
    let Some(left) = new.lost_channels(old) else { return };
    let own = ctx.session.handle.id;
    let has_lost = |client: &ClientHandle| {
        client.has(client_flag::PUBSUB)
            && client.meta.lock().user.as_deref().is_some_and(|user| user.id == new.id)
            && Topic::ALL.into_iter().any(|topic| {
                let names = server.pubsub.names_of(client, topic);
                let needs = if topic == Topic::Pattern { need::PATTERN } else { 0 };
                let is_lost = |name| !allows_channel(&left, &Touched { index: 0, name, needs });
                names.iter().any(|name| is_lost(name))
            })
    };
    server.clients.kill_all(|client| client.id != own && has_lost(client));
    let ours = has_lost(&ctx.session.handle);
    ctx.session.close |= ours;
}

/// Makes the users of the configuration, or those of the file that it names.
///
/// # Errors
/// What is wrong with them, for the log.
pub fn load_at_start(engine: &Engine, declared: &[Declaration]) -> io::Result<()> {
    let server = &engine.server;
    let settings = server.config.get();
    let basis = basis(engine, &settings);
    let failed = |text: String| Err(io::Error::other(text));
    if !settings.aclfile.is_empty() && !declared.is_empty() {
        return failed(BOTH_WAYS.to_owned());
    }
    match server.acl.declare(declared, &basis) {
        Ok(off) => off.iter().for_each(|user| warn_of_user_that_is_off(server, user)),
        Err(text) => {
            let text = String::from_utf8_lossy(&text);
            return failed(format!("{text}\nCritical error while loading ACLs. Exiting."));
        }
    }
    if settings.aclfile.is_empty() {
        return Ok(());
    }
    let path = settings.dir.join(&settings.aclfile);
    match server.acl.load(&path, &settings.aclfile, &basis) {
        Ok(_) => Ok(()),
        Err(text) => {
            let text = String::from_utf8_lossy(&text);
            failed(format!("Aborting Redis startup because of ACL errors: {text}"))
        }
    }
}

const BOTH_WAYS: &str = "Configuring Redis with users defined in redis.conf and at the same \
     setting an ACL file path is invalid. This setup is very likely to lead to configuration \
     errors and security holes, please define either an ACL file or declare users directly in \
     your redis.conf, but not both.";

fn warn_of_user_that_is_off(server: &Server, user: &User) {
    server.logger.notice(&format!(
        "The user '{}' is disabled (there is no 'on' modifier in the user description). Make sure \
         this is not a configuration error.",
        String::from_utf8_lossy(&user.name)
    ));
}
