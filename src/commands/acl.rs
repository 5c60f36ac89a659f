//! ACL: the users, what each may do, and what was refused.

use std::sync::Arc;

use crate::base::{num, rng};
use crate::engine::spec::Handler;
use crate::engine::spec::flag::{ADMIN, LOADING, NOSCRIPT, STALE};
use crate::engine::{Args, Command, Ctx, Reply, categories, dispatch, permissions};
use crate::resp::error::{self, Error};
use crate::resp::out::Out;
use crate::state::acl::{self, Entry, Refused, Selector, User};

const OPEN: u32 = NOSCRIPT | LOADING | STALE;
const CHANGES: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];
const PER_USER: &str = "O(N). Where N is the number of configured users.";

const fn sub(name: &'static str, handler: Handler, arity: i32) -> Command {
    Command::new(name, handler).since("6.0.0").arity(arity).flags(OPEN).complexity("O(1)")
}

/// The commands of this file.
pub const COMMANDS: &[Command] = &[Command::container("acl")
    .since("6.0.0")
    .summary("A container for the commands about users and their rights.")
    .subcommands(&[
        sub("cat", cat, -2)
            .syntax("[category]")
            .complexity("O(1) since the categories and commands are a fixed set.")
            .summary("Returns the categories of commands, or the commands of one."),
        sub("deluser", deluser, -3)
            .flags(ADMIN)
            .tips(CHANGES)
            .syntax("username [username ...]")
            .complexity("O(1) amortized time considering the typical user.")
            .summary("Deletes users and ends their connections."),
        sub("dryrun", dryrun, -4)
            .since("7.0.0")
            .flags(ADMIN)
            .syntax("username command [arg [arg ...]]")
            .complexity("O(1).")
            .summary("Says whether a user could run a command, without running it."),
        sub("genpass", genpass, -2)
            .syntax("[bits]")
            .summary("Makes up a password that nobody can guess."),
        sub("getuser", getuser, 3)
            .flags(ADMIN)
            .syntax("username")
            .complexity(
                "O(N). Where N is the number of password, command and pattern rules that the user \
                 has.",
            )
            .history(&[
                ("6.2.0", "Patterns of channels."),
                ("7.0.0", "Selectors; patterns of keys and channels as rules instead of a list."),
            ])
            .summary("Returns the rules of a user."),
        Command::new("help", help)
            .since("6.0.0")
            .arity(2)
            .flags(LOADING | STALE)
            .complexity("O(1)")
            .summary("Describes the subcommands."),
        sub("list", list, 2)
            .flags(ADMIN)
            .complexity(PER_USER)
            .summary("Returns all users with their rules, as lines of a file."),
        sub("load", load, 2)
            .flags(ADMIN)
            .complexity(PER_USER)
            .summary("Takes the users of the file in place of those that there are."),
        sub("log", log, -2)
            .flags(ADMIN)
            .syntax("[operation: count | RESET]")
            .complexity("O(N) with N being the number of entries shown.")
            .history(&[(
                "7.2.0",
                "An entry has an id and the times at which it was made and last changed.",
            )])
            .summary("Returns what was refused lately, or forgets it."),
        sub("save", save, 2)
            .flags(ADMIN)
            .tips(CHANGES)
            .complexity(PER_USER)
            .summary("Writes the users into the file."),
        sub("setuser", setuser, -3)
            .flags(ADMIN)
            .tips(CHANGES)
            .syntax("username [rule [rule ...]]")
            .complexity("O(N). Where N is the number of rules provided.")
            .history(&[
                ("6.2.0", "Patterns of channels."),
                ("7.0.0", "Selectors, and permissions for keys."),
            ])
            .summary("Makes a user or changes it, by all rules or none."),
        sub("users", users, 2)
            .flags(ADMIN)
            .complexity(PER_USER)
            .summary("Returns the names of all users."),
        sub("whoami", whoami, 2).summary("Returns the name of the connection's user."),
    ])];

const HELP: &[&str] = &[
    "ACL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CAT [<category>]",
    "    All categories of commands, or the commands of one.",
    "DELUSER <username> [<username> ...]",
    "    Deletes users and ends their connections.",
    "DRYRUN <username> <command> [<arg> ...]",
    "    Whether the user could run the command.",
    "GETUSER <username>",
    "    The rules of a user.",
    "GENPASS [<bits>]",
    "    A password of 256 random bits, or of as many as are asked for.",
    "LIST",
    "    All users with their rules, as in a file.",
    "LOAD",
    "    Takes the users of the file.",
    "LOG [<count> | RESET]",
    "    What was refused lately; RESET forgets it.",
    "SAVE",
    "    Writes the users into the file.",
    "SETUSER <username> <attribute> [<attribute> ...]",
    "    Makes or changes a user.",
    "USERS",
    "    The names of all users.",
    "WHOAMI",
    "    The name of this connection's user.",
    "HELP",
    "    Prints this help.",
];

/// The error of a subcommand with more arguments than it takes.
fn too_many(args: &Args) -> Error {
    error::subcommand_syntax(args.argv()[1], "acl")
}

/// ACL CAT [category]
fn cat(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let out = ctx.reply.parts();
    match args.rest() {
        [] => bulks(out, categories::ALL.iter().map(|name| name.as_bytes())),
        [name] => {
            let Some(category) = categories::named(name) else {
                let shown = &name[..name.len().min(128)];
                return Err(Error::quoting("ERR Unknown category '", shown, "'"));
            };
            let all = ctx.engine.table.all().iter();
            let members = all.filter(|known| categories::is_in(known.command, category));
            bulks(out, members.map(|known| known.full_name.as_bytes()).collect::<Vec<_>>());
        }
        _ => return Err(too_many(args)),
    }
    ctx.reply.done()
}

/// Writes an array of bulk strings.
fn bulks<'a>(
    out: &mut Out,
    items: impl IntoIterator<Item = &'a [u8], IntoIter: ExactSizeIterator>,
) {
    let items = items.into_iter();
    out.array(items.len());
    items.for_each(|item| out.bulk(item));
}

/// ACL DELUSER username [username ...]
fn deluser(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let names = args.take_rest();
    if names.contains(&acl::DEFAULT) {
        return Err(Error::new("ERR The 'default' user cannot be removed"));
    }
    let gone = ctx.server.acl.delete(names);
    permissions::cut(ctx, &gone);
    ctx.reply.count(gone.len())
}

/// ACL DRYRUN username command [arg [arg ...]]
fn dryrun(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let name = args.bytes()?;
    let argv = args.take_rest();
    let user = ctx.server.acl.get(name);
    let user = user.ok_or_else(|| Error::quoting("ERR User '", name, "' not found"))?;
    let known = match dispatch::resolve(ctx.engine, argv) {
        Ok(known) => known,
        Err((Some(_), error)) => return Err(error),
        Err((None, _)) => return Err(Error::quoting("ERR Command '", argv[0], "' not found")),
    };
    match permissions::refusal_of(&user, known, argv) {
        Some(denied) => ctx.reply.bulk(&permissions::describe(&user, known, argv, denied, true)),
        None => ctx.reply.ok(),
    }
}

/// Most bits of a password.
const GENPASS_MAX_BITS: usize = 4096;

/// ACL GENPASS [bits]
fn genpass(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let bits = match args.rest() {
        [] => 256,
        [bits] => num::parse_i64(bits).ok_or(Error::NOT_INTEGER)?,
        _ => return Err(too_many(args)),
    };
    let bits = usize::try_from(bits).ok().filter(|bits| (1..=GENPASS_MAX_BITS).contains(bits));
    let bits = bits.ok_or(Error::GENPASS_BITS)?;
    let mut bytes = [0; GENPASS_MAX_BITS / 8];
    rng::secret(&mut bytes).map_err(|e| Error::from(format!("ERR No random bits: {e}")))?;
    let mut digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.truncate(bits.div_ceil(4));
    ctx.reply.bulk(digits.as_bytes())
}

/// ACL GETUSER username
fn getuser(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let Some(user) = ctx.server.acl.get(args.bytes()?) else { return ctx.reply.null() };
    let out = ctx.reply.parts();
    out.map(6);
    out.bulk(b"flags");
    let flags = user.flags();
    out.set(flags.len());
    flags.iter().for_each(|flag| out.bulk(flag.as_bytes()));
    out.bulk(b"passwords");
    bulks(out, user.hashes());
    push_rights(out, user.root());
    out.bulk(b"selectors");
    out.array(user.selectors().len());
    for selector in user.selectors() {
        out.map(3);
        push_rights(out, selector);
    }
    ctx.reply.done()
}

/// Writes the three fields of a set of rights.
fn push_rights(out: &mut Out, selector: &Selector) {
    for (name, text) in [
        ("commands", selector.commands_text()),
        ("keys", selector.keys_text()),
        ("channels", selector.channels_text()),
    ] {
        out.bulk(name.as_bytes());
        out.bulk(&text);
    }
}

/// ACL LIST
fn list(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    let lines: Vec<Vec<u8>> = ctx.server.acl.all().iter().map(|user| user.describe()).collect();
    bulks(ctx.reply.parts(), lines.iter().map(Vec::as_slice));
    ctx.reply.done()
}

/// ACL USERS
fn users(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    let users = ctx.server.acl.all();
    bulks(ctx.reply.parts(), users.iter().map(|user| user.name.as_slice()));
    ctx.reply.done()
}

/// ACL WHOAMI
fn whoami(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    match ctx.session.user() {
        Some(user) => ctx.reply.bulk(&user.name),
        None => ctx.reply.null(),
    }
}

/// ACL SETUSER username [rule [rule ...]]
fn setuser(ctx: &mut Ctx, args: &mut Args) -> Reply {
    (2..args.argv().len()).for_each(|index| ctx.redact(index));
    let name = args.bytes()?;
    if acl::has_spaces(name) {
        return Err(Error::new("ERR Usernames can't contain spaces or null characters"));
    }
    let basis = permissions::basis(ctx.engine, ctx.settings);
    let (old, new) = ctx.server.acl.set_user(name, args.take_rest(), &basis).map_err(refused)?;
    if let Some(old) = old {
        permissions::cut_subscribers(ctx, &old, &new);
    }
    ctx.reply.ok()
}

fn refused(why: Refused) -> Error {
    match why {
        Refused::Unmatched(arg) => {
            let before = "ERR Unmatched parenthesis in acl selector starting at '";
            Error::quoting(before, &arg, "'.")
        }
        Refused::Rule(rule, why) => {
            let after = format!("': {}", why.text());
            Error::quoting("ERR Error in ACL SETUSER modifier '", &rule, &after)
        }
    }
}

/// ACL LOAD
fn load(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    let settings = ctx.settings;
    if settings.aclfile.is_empty() {
        return Err(Error::NO_ACL_FILE);
    }
    let path = settings.dir.join(&settings.aclfile);
    let basis = permissions::basis(ctx.engine, settings);
    let gone: Vec<Arc<User>> = ctx
        .server
        .acl
        .load(&path, &settings.aclfile, &basis)
        .map_err(|text| Error::owned([b"ERR ", text.as_slice()].concat()))?;
    permissions::cut(ctx, &gone);
    ctx.reply.ok()
}

/// ACL SAVE
fn save(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    if ctx.settings.aclfile.is_empty() {
        return Err(Error::NO_ACL_FILE);
    }
    if let Err(text) = ctx.server.acl.save(&ctx.settings.dir.join(&ctx.settings.aclfile)) {
        ctx.server.logger.warning(&text);
        return Err(Error::ACL_SAVE_FAILED);
    }
    ctx.reply.ok()
}

/// Entries that ACL LOG shows unasked.
const LOG_DEFAULT: i64 = 10;

/// ACL LOG [count | RESET]
fn log(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let count = match args.rest() {
        [] => LOG_DEFAULT,
        [word] if word.eq_ignore_ascii_case(b"reset") => {
            ctx.server.acl.log.reset();
            return ctx.reply.ok();
        }
        [count] => num::parse_i64(count).ok_or(Error::NOT_INTEGER)?,
        _ => return Err(too_many(args)),
    };
    let entries = ctx.server.acl.log.newest(usize::try_from(count).unwrap_or(0));
    let now_ms = ctx.now_ms;
    let out = ctx.reply.parts();
    out.array(entries.len());
    entries.iter().for_each(|entry| push_entry(out, entry, now_ms));
    ctx.reply.done()
}

fn push_entry(out: &mut Out, entry: &Entry, now_ms: i64) {
    let event = &entry.event;
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    out.map(10);
    out.bulk(b"count");
    out.int(number(entry.count));
    for (name, value) in [
        ("reason", event.reason.name().as_bytes()),
        ("context", event.context.name().as_bytes()),
        ("object", &event.object),
        ("username", &event.username),
    ] {
        out.bulk(name.as_bytes());
        out.bulk(value);
    }
    out.bulk(b"age-seconds");
    out.double((now_ms - entry.updated_ms) as f64 / 1000.0);
    out.bulk(b"client-info");
    out.bulk(event.client.trim_end_matches('\n').as_bytes());
    for (name, value) in [
        ("entry-id", number(entry.id)),
        ("timestamp-created", entry.created_ms),
        ("timestamp-last-updated", entry.updated_ms),
    ] {
        out.bulk(name.as_bytes());
        out.int(value);
    }
}

/// ACL HELP
fn help(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    ctx.reply.lines(HELP)
}
