//! The connection's own commands: who it is, which protocol and database it uses, and its end.

use std::sync::atomic::Ordering;

use crate::engine::session::{ReplyMode, Session};
use crate::engine::spec::flag::{
    ALLOW_BUSY, FAST, HEALTH, LOADING, NO_AUTH, NOSCRIPT, NOT_QUEUED, STALE, SUBSCRIBED,
};
use crate::engine::{Args, Command, Ctx, Group, Reply, delivery, permissions, transaction};
use crate::resp::error::{self, Error};
use crate::state::acl;
use crate::state::clients::flag;
use crate::state::config::REDIS_VERSION;

/// What works before authentication and while nothing else does.
const ALWAYS: u32 = NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::new("ping", ping)
        .group(Group::Connection)
        .arity(-1)
        .flags(FAST | HEALTH | SUBSCRIBED)
        .syntax("[message]")
        .complexity("O(1)")
        .summary("Answers PONG, or the message.")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    Command::new("echo", echo)
        .group(Group::Connection)
        .arity(2)
        .flags(FAST | LOADING | STALE)
        .syntax("message")
        .complexity("O(1)")
        .summary("Answers the message."),
    Command::new("hello", hello)
        .group(Group::Connection)
        .since("6.0.0")
        .arity(-1)
        .flags(ALWAYS)
        .syntax("[arguments: protover [auth: AUTH username password] [SETNAME clientname]]")
        .complexity("O(1)")
        .history(&[("6.2.0", "Without a version it only describes the connection.")])
        .summary("Agrees on a protocol, authenticates and names the connection in one step."),
    Command::new("auth", auth)
        .group(Group::Connection)
        .arity(-2)
        .flags(ALWAYS)
        .syntax("[username@6.0.0] password")
        .complexity("O(N) where N is the number of passwords defined for the user")
        .history(&[("6.0.0", "A name of a user besides the password.")])
        .summary("Authenticates the connection."),
    Command::new("select", select)
        .group(Group::Connection)
        .arity(2)
        .flags(FAST | LOADING | STALE)
        .syntax("index")
        .complexity("O(1)")
        .summary("Goes over to another database."),
    Command::new("quit", quit)
        .group(Group::Connection)
        .arity(-1)
        .flags(ALWAYS | NOT_QUEUED | SUBSCRIBED)
        .complexity("O(1)")
        .summary("Closes the connection once all replies are sent.")
        .deprecated("7.2.0", "just closing the connection"),
    Command::new("reset", reset)
        .group(Group::Connection)
        .since("6.2.0")
        .arity(1)
        .flags(ALWAYS | NOT_QUEUED | SUBSCRIBED)
        .complexity("O(1)")
        .summary("Makes the connection as it was when it was new."),
];

/// PING [message]
fn ping(ctx: &mut Ctx, args: &mut Args) -> Reply {
    if args.left() > 1 {
        return Err(error::wrong_args("ping"));
    }
    let subscribed = ctx.session.handle.has(flag::PUBSUB);
    match args.bytes().ok() {
        message if subscribed && ctx.reply.parts().proto() == 2 => {
            // It has to look like a message.
            let out = ctx.reply.parts();
            out.array(2);
            out.bulk(b"pong");
            out.bulk(message.unwrap_or_default());
            ctx.reply.done()
        }
        None => ctx.reply.simple("PONG"),
        Some(message) => ctx.reply.bulk(message),
    }
}

/// ECHO message
fn echo(ctx: &mut Ctx, args: &mut Args) -> Reply {
    ctx.reply.bulk(args.key())
}

/// What HELLO asks for.
#[derive(Default)]
struct Hello<'a> {
    proto: Option<u8>,
    user_and_password: Option<(&'a [u8], &'a [u8])>,
    name: Option<&'a [u8]>,
}

impl<'a> Hello<'a> {
    fn parse(ctx: &mut Ctx, args: &mut Args<'a>) -> Result<Self, Error> {
        let mut hello = Hello::default();
        if args.is_empty() {
            return Ok(hello);
        }
        let proto = args.int_or(Error::PROTOCOL_NOT_INTEGER)?;
        hello.proto =
            Some(u8::try_from(proto).ok().filter(|v| (2..=3).contains(v)).ok_or(Error::NOPROTO)?);
        while let Some(option) = args.peek() {
            if args.left() > 2 && args.word("auth") {
                let index = args.argv().len() - args.left();
                ctx.redact(index);
                ctx.redact(index + 1);
                hello.user_and_password = Some((args.bytes()?, args.bytes()?));
            } else if args.left() > 1 && args.word("setname") {
                let name = args.bytes()?;
                Session::check_name(name)?;
                hello.name = Some(name);
            } else {
                return Err(Error::quoting("ERR Syntax error in HELLO option '", option, "'"));
            }
        }
        Ok(hello)
    }
}

/// HELLO [protover [AUTH username password] [SETNAME clientname]]
fn hello(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let hello = Hello::parse(ctx, args)?;
    if let Some((user, password)) = hello.user_and_password {
        authenticate(ctx, args.argv()[0], user, password)?;
    }
    if !ctx.session.authenticated {
        return Err(Error::HELLO_NOAUTH);
    }
    if let Some(name) = hello.name {
        ctx.session.rename(name);
    }
    if let Some(proto) = hello.proto {
        ctx.reply.parts().set_proto(proto);
    }
    let role = if ctx.server.replication.is_replica() { "replica" } else { "master" };
    let id = ctx.session.handle.id;
    let out = ctx.reply.parts();
    let proto = out.proto();
    out.map(7);
    for (key, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        out.bulk(key.as_bytes());
        out.bulk(value.as_bytes());
    }
    for (key, value) in [("proto", i64::from(proto)), ("id", i64::try_from(id).unwrap_or(i64::MAX))]
    {
        out.bulk(key.as_bytes());
        out.int(value);
    }
    for (key, value) in [("mode", "standalone"), ("role", role)] {
        out.bulk(key.as_bytes());
        out.bulk(value.as_bytes());
    }
    out.bulk(b"modules");
    out.array(0);
    speak(ctx, proto);
    ctx.reply.done()
}

/// Messages come in this protocol from now on, and behind the reply so far.
fn speak(ctx: &mut Ctx, proto: u8) {
    let waits = ctx.in_exec || ctx.session.reply_mode != ReplyMode::On;
    if waits || !ctx.session.handle.has(flag::PUBSUB) {
        return ctx.session.handle.proto.store(u64::from(proto), Ordering::SeqCst);
    }
    delivery::settle(ctx.engine, ctx.session, ctx.reply.parts());
    let (server, client) = (ctx.server, &ctx.session.handle);
    let limit = server.output_limit(ctx.settings, client.kind());
    server.pubsub.quietly(|| {
        client.proto.store(u64::from(proto), Ordering::SeqCst);
        server.clients.send(client, ctx.reply.parts(), limit);
    });
}

/// AUTH [username] password
fn auth(ctx: &mut Ctx, args: &mut Args) -> Reply {
    (1..args.argv().len()).for_each(|index| ctx.redact(index));
    let (user, password) = match *args.take_rest() {
        [_] if ctx.server.acl.default_user().needs_no_password() => {
            return Err(Error::AUTH_NO_PASSWORD);
        }
        [password] => (acl::DEFAULT, password),
        [user, password] => (user, password),
        _ => return Err(Error::SYNTAX),
    };
    authenticate(ctx, args.argv()[0], user, password)?;
    ctx.reply.ok()
}

/// Makes the connection a user, or leaves it as it is and writes that down. `sent` is the command's
/// name as it came.
fn authenticate(ctx: &mut Ctx, sent: &[u8], user: &[u8], password: &[u8]) -> Result<(), Error> {
    match ctx.server.acl.authenticate(user, password) {
        Some(user) => {
            ctx.session.become_user(user);
            Ok(())
        }
        None => {
            permissions::note_failed_auth(ctx, sent, user);
            Err(Error::WRONGPASS)
        }
    }
}

/// SELECT index
fn select(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (min, max) = (i64::from(i32::MIN), i64::from(i32::MAX));
    let index = args.int()?;
    if !(min..=max).contains(&index) {
        return Err(error::out_of_bounds(min, max));
    }
    let databases = ctx.server.keyspace.databases();
    let index = usize::try_from(index).ok().filter(|index| *index < databases);
    ctx.session.select(index.ok_or(Error::DB_INDEX)?);
    ctx.reply.ok()
}

/// QUIT
fn quit(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    ctx.session.close = true;
    ctx.reply.ok()
}

/// RESET
fn reset(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    let session = &mut *ctx.session;
    if session.handle.has(flag::REPLICA | flag::MASTER) {
        return Err(Error::RESET_NORMAL_ONLY);
    }
    ctx.server.pubsub.unwatch(&session.handle);
    ctx.server.pubsub.leave(&session.handle);
    session.handle.set(flag::NO_EVICT | flag::NO_TOUCH, false);
    transaction::forget(&ctx.server.keyspace, session);
    session.select(0);
    session.rename(b"");
    session.forget_user(&ctx.server.acl);
    session.reply_mode = ReplyMode::On;
    session.no_touch = false;
    ctx.reply.parts().set_proto(2);
    session.handle.proto.store(2, Ordering::Relaxed);
    ctx.reply.simple("RESET")
}
