//! CLIENT: what connections are, and what is done to them.

use std::sync::atomic::Ordering;

use crate::base::{clock, num};
use crate::engine::session::{ReplyMode, Session};
use crate::engine::spec::flag::{ADMIN, LOADING, NOSCRIPT, STALE};
use crate::engine::{Args, Command, Ctx, Group, Reply, client_line, dispatch};
use crate::resp::error::{self, Error};
use crate::state::acl::Acl;
use crate::state::clients::{ClientHandle, Kind, Meta, Unblock, flag};
use crate::state::pause::Mode;

const COMMON: u32 = NOSCRIPT | LOADING | STALE;

/// A policy of clusters that every command about one connection's own facts has.
const ALL_NODES: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];
const VARIES: &[&str] = &["nondeterministic_output"];
const PER_CLIENT: &str = "O(N) where N is the number of client connections";

/// The commands of this file.
pub const COMMANDS: &[Command] = &[Command::container("client")
    .group(Group::Connection)
    .since("2.4.0")
    .summary("What connections are, and what is done to them.")
    .subcommands(SUBCOMMANDS)];

const SUBCOMMANDS: &[Command] = &[
    constant("getname", getname, 2)
        .flags(COMMON)
        .since("2.6.9")
        .summary("Returns the name of the connection."),
    constant("help", help, 2).since("5.0.0").summary("Lists the subcommands."),
    constant("id", id, 2)
        .flags(COMMON)
        .since("5.0.0")
        .summary("Returns the number of the connection."),
    constant("info", info, 2)
        .flags(COMMON)
        .since("6.2.0")
        .summary("Shows the connection as a line of CLIENT LIST.")
        .tips(VARIES),
    constant("kill", kill, -3)
        .flags(COMMON | ADMIN)
        .since("2.4.0")
        .syntax(
            "<filter: ip:port=old-format!2.8.12 | <new-format: [ID client-id@2.8.12] | [TYPE \
             <client-type@2.8.12: NORMAL | MASTER@3.2.0 | SLAVE | REPLICA@5.0.0 | PUBSUB>] | \
             [USER username] | [ADDR ip:port=addr] | [LADDR ip:port=laddr@6.2.0] | [SKIPME \
             <skipme: YES | NO>] ...>>",
        )
        .complexity(PER_CLIENT)
        .history(&[
            ("2.8.12", "Filters, each with its name."),
            ("2.8.12", "The filter `ID`."),
            ("3.2.0", "The type `master`."),
            ("5.0.0", "The type `replica`, of which `slave` is the older name."),
            ("6.2.0", "The filter `LADDR`."),
        ])
        .summary("Ends connections."),
    constant("list", list, -2)
        .flags(COMMON | ADMIN)
        .since("2.4.0")
        .syntax(
            "[TYPE <client-type@5.0.0: NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id@6.2.0 \
             [client-id ...]]",
        )
        .complexity(PER_CLIENT)
        .history(&[
            ("2.8.12", "The field `id`."),
            ("5.0.0", "The filter `TYPE`."),
            ("6.0.0", "The field `user`."),
            ("6.2.0", "The fields `argv-mem`, `tot-mem`, `laddr`, `redir`, and the filter `ID`."),
            ("7.0.0", "The fields `resp`, `multi-mem`, `rbs`, `rbp`."),
            ("7.0.3", "The field `ssub`."),
        ])
        .summary("Shows connections, one in a line.")
        .tips(VARIES),
    constant("no-evict", no_evict, 3)
        .flags(COMMON | ADMIN)
        .since("7.0.0")
        .syntax("<enabled: ON | OFF>")
        .summary("Protects the connection from being cut for lack of memory."),
    constant("no-touch", no_touch, 3)
        .flags(COMMON)
        .since("7.2.0")
        .syntax("<enabled: ON | OFF>")
        .summary("Chooses whether reading a key counts as using it."),
    constant("pause", pause, -3)
        .flags(COMMON | ADMIN)
        .since("3.0.0")
        .syntax("timeout [mode@6.2.0: WRITE | ALL]")
        .history(&[("6.2.0", "The mode, and with it `WRITE`.")])
        .summary("Holds up the commands of all clients for a time."),
    constant("reply", reply, 3)
        .flags(COMMON)
        .since("3.2.0")
        .syntax("<action: ON | OFF | SKIP>")
        .summary("Chooses whether commands are answered."),
    constant("setinfo", setinfo, 4)
        .flags(COMMON)
        .since("7.2.0")
        .syntax("<attr: LIB-NAME libname | LIB-VER libver>")
        .summary("Says which library the client uses.")
        .tips(ALL_NODES),
    constant("setname", setname, 3)
        .flags(COMMON)
        .since("2.6.9")
        .syntax("connection-name")
        .summary("Names the connection.")
        .tips(ALL_NODES),
    constant("unblock", unblock, -3)
        .flags(COMMON | ADMIN)
        .since("5.0.0")
        .syntax("client-id [unblock-type: TIMEOUT | ERROR]")
        .complexity("O(log N) where N is the number of client connections")
        .summary("Ends the wait of a client in a blocking command."),
    constant("unpause", unpause, 2)
        .flags(COMMON | ADMIN)
        .since("6.2.0")
        .complexity("O(N) Where N is the number of paused clients")
        .summary("Ends a pause."),
];

/// A subcommand that takes the same time always, unless it says otherwise.
const fn constant(
    name: &'static str,
    handler: crate::engine::spec::Handler,
    arity: i32,
) -> Command {
    Command::new(name, handler)
        .group(Group::Connection)
        .arity(arity)
        .flags(LOADING | STALE)
        .complexity("O(1)")
}

/// CLIENT GETNAME
fn getname(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    if ctx.session.name.is_empty() {
        return ctx.reply.null();
    }
    ctx.reply.bulk(ctx.session.name.as_bytes())
}

/// CLIENT ID
fn id(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    ctx.reply.int(i64::try_from(ctx.session.handle.id).unwrap_or(i64::MAX))
}

/// CLIENT INFO
fn info(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    let mut text = String::new();
    client_line::push(&mut text, &ctx.engine.table, &ctx.session.handle, clock::unix_ms());
    ctx.reply.verbatim(text.as_bytes())
}

/// CLIENT LIST [TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]
fn list(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let clients = &ctx.server.clients;
    let chosen = if args.is_empty() {
        clients.all()
    } else if args.left() == 2 && args.word("type") {
        let kind = kind_named(args.bytes()?)?;
        clients.all().into_iter().filter(|client| client.kind() == kind).collect()
    } else if args.left() > 1 && args.word("id") {
        let ids = args.take_rest().iter().map(|id| num::parse_i64(id).ok_or(Error::CLIENT_ID));
        let ids = ids.collect::<Result<Vec<i64>, Error>>()?;
        let known = |id: i64| u64::try_from(id).ok().and_then(|id| clients.get(id));
        ids.into_iter().filter_map(known).collect()
    } else {
        return Err(Error::SYNTAX);
    };
    let (mut text, now_ms) = (String::new(), clock::unix_ms());
    for client in chosen {
        client_line::push(&mut text, &ctx.engine.table, &client, now_ms);
    }
    ctx.reply.verbatim(text.as_bytes())
}

fn kind_named(name: &[u8]) -> Result<Kind, Error> {
    let kinds = [
        ("normal", Kind::Normal),
        ("slave", Kind::Replica),
        ("replica", Kind::Replica),
        ("pubsub", Kind::Pubsub),
        ("master", Kind::Master),
    ];
    let found = kinds.iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes()));
    found
        .map(|(_, kind)| *kind)
        .ok_or_else(|| Error::quoting("ERR Unknown client type '", name, "'"))
}

/// Which connections CLIENT KILL means.
#[derive(Default)]
struct Victims<'a> {
    id: Option<u64>,
    kind: Option<Kind>,
    user: Option<u64>,
    addr: Option<&'a [u8]>,
    laddr: Option<&'a [u8]>,
    spare_self: bool,
}

impl<'a> Victims<'a> {
    fn parse(acl: &Acl, args: &mut Args<'a>) -> Result<Self, Error> {
        let mut victims = Victims { spare_self: true, ..Victims::default() };
        while !args.is_empty() {
            if args.left() == 1 {
                return Err(Error::SYNTAX);
            }
            if args.word("id") {
                let id = u64::try_from(args.int_or(Error::CLIENT_ID_NOT_POSITIVE)?).ok();
                victims.id = Some(id.filter(|&id| id > 0).ok_or(Error::CLIENT_ID_NOT_POSITIVE)?);
            } else if args.word("type") {
                victims.kind = Some(kind_named(args.bytes()?)?);
            } else if args.word("user") {
                let name = args.bytes()?;
                let user = acl.get(name);
                let none = || Error::quoting("ERR No such user '", name, "'");
                victims.user = Some(user.ok_or_else(none)?.id);
            } else if args.word("addr") {
                victims.addr = Some(args.bytes()?);
            } else if args.word("laddr") {
                victims.laddr = Some(args.bytes()?);
            } else if args.word("skipme") {
                victims.spare_self = yes_or_no(args, "yes", "no")?;
            } else {
                return Err(Error::SYNTAX);
            }
        }
        Ok(victims)
    }

    fn include(&self, client: &ClientHandle) -> bool {
        self.id.is_none_or(|id| client.id == id)
            && self.kind.is_none_or(|kind| client.kind() == kind)
            && self.addr.is_none_or(|addr| client.addr.as_bytes() == addr)
            && self.laddr.is_none_or(|laddr| client.laddr.as_bytes() == laddr)
            && self
                .user
                .is_none_or(|id| client.meta.lock().user.as_ref().is_some_and(|user| user.id == id))
    }

    /// Ends the connections; our own gets its reply first. How many there were.
    fn end(&self, ctx: &mut Ctx) -> usize {
        let own = ctx.session.handle.id;
        let others = ctx.server.clients.kill_all(|c| c.id != own && self.include(c));
        // Nobody shall hear of them any more, nor anything be kept for them, though their threads
        // may not be done.
        for client in &others {
            ctx.server.pubsub.leave(client);
            if let Some(replica) = ctx.server.replication.find(client.id) {
                ctx.server.log.detach(replica.reader.load(Ordering::SeqCst));
            }
        }
        let ourselves = !self.spare_self && self.include(&ctx.session.handle);
        ctx.session.close |= ourselves;
        others.len() + usize::from(ourselves)
    }
}

/// Takes one of two words; whether it is the first.
fn yes_or_no(args: &mut Args, yes: &str, no: &str) -> Result<bool, Error> {
    let is_yes = args.word(yes);
    if is_yes || args.word(no) { Ok(is_yes) } else { Err(Error::SYNTAX) }
}

/// CLIENT KILL ip:port
///
/// CLIENT KILL [ID client-id] [TYPE <NORMAL | MASTER | SLAVE | REPLICA | PUBSUB>] [USER username]
/// [ADDR ip:port] [LADDR ip:port] [SKIPME <YES | NO>]
fn kill(ctx: &mut Ctx, args: &mut Args) -> Reply {
    if args.left() > 1 {
        let victims = Victims::parse(&ctx.server.acl, args)?;
        let count = victims.end(ctx);
        return ctx.reply.count(count);
    }
    let victims = Victims { addr: Some(args.bytes()?), ..Victims::default() };
    if victims.end(ctx) == 0 {
        return Err(Error::NO_CLIENT);
    }
    ctx.reply.ok()
}

/// CLIENT NO-EVICT <ON | OFF>
fn no_evict(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let on = yes_or_no(args, "on", "off")?;
    ctx.session.handle.set(flag::NO_EVICT, on);
    ctx.reply.ok()
}

/// CLIENT NO-TOUCH <ON | OFF>
fn no_touch(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let on = yes_or_no(args, "on", "off")?;
    ctx.session.no_touch = on;
    ctx.session.handle.set(flag::NO_TOUCH, on);
    ctx.reply.ok()
}

/// CLIENT PAUSE timeout [WRITE | ALL]
fn pause(ctx: &mut Ctx, args: &mut Args) -> Reply {
    if args.left() > 2 {
        return Err(error::subcommand_syntax(args.argv()[1], "client"));
    }
    let timeout = args.bytes()?;
    let mode = match args.peek() {
        Some(word) if word.eq_ignore_ascii_case(b"write") => Mode::Write,
        Some(word) if !word.eq_ignore_ascii_case(b"all") => return Err(Error::CLIENT_PAUSE_MODE),
        _ => Mode::All,
    };
    let timeout_ms = num::parse_i64(timeout).ok_or(Error::TIMEOUT_NOT_INTEGER)?;
    if timeout_ms < 0 {
        return Err(Error::TIMEOUT_NEGATIVE);
    }
    let until_ms = match timeout_ms {
        0 => 0,
        ms => ms.checked_add(ctx.now_ms).ok_or(Error::TIMEOUT_RANGE)?,
    };
    if ctx.in_exec {
        // Our own transaction holds shards, so it cannot wait for those of others.
        ctx.server.pause.begin(mode, until_ms);
    } else {
        dispatch::pause(ctx.server, mode, until_ms);
    }
    ctx.reply.ok()
}

/// CLIENT UNPAUSE
fn unpause(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    ctx.server.pause.end();
    ctx.reply.ok()
}

/// CLIENT REPLY <ON | OFF | SKIP>
fn reply(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let session = &mut *ctx.session;
    if args.word("on") {
        session.reply_mode = ReplyMode::On;
        return ctx.reply.ok();
    }
    if args.word("off") {
        session.reply_mode = ReplyMode::Off;
    } else if args.word("skip") {
        if session.reply_mode != ReplyMode::Off {
            session.reply_mode = ReplyMode::SkipNext;
        }
    } else {
        return Err(Error::SYNTAX);
    }
    ctx.reply.none()
}

/// CLIENT SETINFO <LIB-NAME libname | LIB-VER libver>
fn setinfo(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (option, value) = (args.bytes()?, args.bytes()?);
    let is_name = option.eq_ignore_ascii_case(b"lib-name");
    if !is_name && !option.eq_ignore_ascii_case(b"lib-ver") {
        return Err(Error::quoting("ERR Unrecognized option '", option, "'"));
    }
    if !Meta::is_valid(value) {
        let what = " cannot contain spaces, newlines or special characters.";
        return Err(Error::quoting("ERR ", option, what));
    }
    let value = String::from_utf8_lossy(value).into_owned();
    let mut meta = ctx.session.handle.meta.lock();
    let field = if is_name { &mut meta.lib_name } else { &mut meta.lib_ver };
    *field = value;
    drop(meta);
    ctx.reply.ok()
}

/// CLIENT SETNAME connection-name
fn setname(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let name = args.bytes()?;
    Session::check_name(name)?;
    ctx.session.rename(name);
    ctx.reply.ok()
}

/// CLIENT UNBLOCK client-id [TIMEOUT | ERROR]
fn unblock(ctx: &mut Ctx, args: &mut Args) -> Reply {
    if args.left() > 2 {
        return Err(error::subcommand_syntax(args.argv()[1], "client"));
    }
    let id = args.bytes()?;
    let how = if args.is_empty() || args.word("timeout") {
        Unblock::Timeout
    } else if args.word("error") {
        Unblock::Error
    } else {
        return Err(Error::CLIENT_UNBLOCK_REASON);
    };
    let id = num::parse_i64(id).ok_or(Error::NOT_INTEGER)?;
    let client = u64::try_from(id).ok().and_then(|id| ctx.server.clients.get(id));
    ctx.reply.flag(client.is_some_and(|client| client.unblock(how)))
}

/// CLIENT HELP
fn help(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    ctx.reply.lines(&[
        "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "GETNAME",
        "    Shows this connection's name.",
        "HELP",
        "    Shows this text.",
        "ID",
        "    Shows this connection's number.",
        "INFO",
        "    Shows this connection as LIST does.",
        "KILL <ip:port>",
        "    Ends the connection from that address.",
        "KILL <option> <value> [<option> <value> [...]]",
        "    Ends all connections that every option fits:",
        "    * ADDR (<ip:port>|<unixsocket>:0)",
        "      From that address.",
        "    * ID <client-id>",
        "      With that number.",
        "    * LADDR (<ip:port>|<unixsocket>:0)",
        "      To that address of the server.",
        "    * SKIPME (YES|NO)",
        "      Whether this connection is left alone (YES by default).",
        "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
        "      Of that kind.",
        "    * USER <username>",
        "      Authenticated as that user.",
        "LIST [options ...]",
        "    Shows connections, one per line. Options are:",
        "    * ID <client-id> [<client-id> [...]]",
        "      Only those with these numbers.",
        "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
        "      Only those of that kind.",
        "NO-EVICT (ON|OFF)",
        "    Whether this connection is never cut for lack of memory.",
        "NO-TOUCH (ON|OFF)",
        "    Whether this connection's reads leave no trace in a key's idle time.",
        "PAUSE <timeout> [WRITE|ALL]",
        "    Holds up all commands, or those that write, for so many milliseconds.",
        "REPLY (ON|OFF|SKIP)",
        "    Whether this connection gets replies; SKIP leaves out the next one.",
        "SETINFO <option> <value>",
        "    Says what the client is. Options are:",
        "    * LIB-NAME <name>",
        "      The library's name.",
        "    * LIB-VER <version>",
        "      The library's version.",
        "SETNAME <name>",
        "    Gives this connection a name.",
        "UNBLOCK <clientid> [TIMEOUT|ERROR]",
        "    Ends the wait of a client, as its time-out or an error would.",
        "UNPAUSE",
        "    Ends a pause at once.",
    ])
}
