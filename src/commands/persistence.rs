//! Saving the keyspace, and the end of the server.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::engine::spec::flag::{
    ADMIN, ALLOW_BUSY, FAST, LOADING, NO_ASYNC_LOADING, NO_MULTI, NOSCRIPT, STALE,
};
use crate::engine::{Args, Command, Ctx, Reply, shutdown};
use crate::resp::error::Error;
use crate::state::aof::Started;
use crate::state::clients::flag;
use crate::state::config::ShutdownOn;
use crate::state::persistence::{self, Until};

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::new("save", save)
        .arity(1)
        .flags(ADMIN | NOSCRIPT | NO_ASYNC_LOADING | NO_MULTI)
        .complexity("O(N) where N is the total number of keys in all databases")
        .summary("Writes the RDB file and answers when it is on disk."),
    Command::new("bgsave", bgsave)
        .arity(-1)
        .flags(ADMIN | NOSCRIPT | NO_ASYNC_LOADING)
        .syntax("[SCHEDULE@3.2.2]")
        .complexity("O(1)")
        .history(&[("3.2.2", "The option `SCHEDULE`.")])
        .summary("Begins to write the RDB file in the background."),
    Command::new("bgrewriteaof", bgrewriteaof)
        .arity(1)
        .flags(ADMIN | NOSCRIPT | NO_ASYNC_LOADING)
        .complexity("O(1)")
        .summary("Begins to rewrite the append-only file in the background."),
    Command::new("lastsave", lastsave)
        .arity(1)
        .flags(LOADING | STALE | FAST)
        .categories(&["admin", "dangerous"])
        .tips(&["nondeterministic_output"])
        .complexity("O(1)")
        .summary("Returns the Unix time of the last successful save."),
    Command::new("shutdown", shut_down)
        .arity(-1)
        .flags(ADMIN | NOSCRIPT | LOADING | STALE | NO_MULTI | ALLOW_BUSY)
        .syntax("[save-selector: NOSAVE | SAVE] [NOW@7.0.0] [FORCE@7.0.0] [ABORT@7.0.0]")
        .complexity(
            "O(N) when saving, where N is the total number of keys in all databases when saving \
             data, otherwise O(1)",
        )
        .history(&[("7.0.0", "The options `NOW`, `FORCE`, `ABORT`.")])
        .summary("Ends the server, after saving its keys where that is wanted."),
];

/// SAVE
fn save(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    if ctx.server.persistence.is_saving() {
        return Err(Error::SAVE_IN_PROGRESS);
    }
    // The reason is in the log; Redis gives none either.
    persistence::save(ctx.server, Until::Done).map_err(|_| Error::GENERIC)?;
    ctx.reply.ok()
}

/// BGSAVE [SCHEDULE]
fn bgsave(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let schedule = args.word("SCHEDULE");
    args.end()?;
    let server = ctx.server;
    if server.persistence.is_saving() {
        return Err(Error::SAVE_IN_PROGRESS);
    }
    let is_rewriting = server.aof.is_rewriting();
    if ctx.in_exec || (is_rewriting && schedule) {
        // The save must not begin in the middle of a transaction.
        server.persistence.state.lock().scheduled = true;
        return ctx.reply.simple("Background saving scheduled");
    }
    if is_rewriting {
        return Err(Error::CHILD_ACTIVE);
    }
    if persistence::start_background_save(server) {
        ctx.reply.simple("Background saving started")
    } else {
        Err(Error::SAVE_IN_PROGRESS)
    }
}

/// BGREWRITEAOF
fn bgrewriteaof(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    match ctx.server.aof.ask_for_rewrite(ctx.server, ctx.in_exec) {
        Started::Now => ctx.reply.simple("Background append only file rewriting started"),
        Started::Later => ctx.reply.simple("Background append only file rewriting scheduled"),
        Started::Already => Err(Error::REWRITE_IN_PROGRESS),
        Started::Failed => Err(Error::REWRITE_FAILED),
    }
}

/// LASTSAVE
fn lastsave(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    let last_save = ctx.server.persistence.state.lock().last_save;
    ctx.reply.int(last_save)
}

/// SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]
fn shut_down(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (mut options, mut abort) = (ShutdownOn::default(), false);
    while !args.is_empty() {
        if args.word("NOSAVE") {
            options.nosave = true;
        } else if args.word("SAVE") {
            options.save = true;
        } else if args.word("NOW") {
            options.now = true;
        } else if args.word("FORCE") {
            options.force = true;
        } else if args.word("ABORT") {
            abort = true;
        } else {
            return Err(Error::SYNTAX);
        }
    }
    if (abort && options != ShutdownOn::default()) || (options.save && options.nosave) {
        return Err(Error::SYNTAX);
    }
    if abort {
        return if shutdown::abort(ctx.server) { ctx.reply.ok() } else { Err(Error::NO_SHUTDOWN) };
    }
    let patience = Duration::from_secs(ctx.settings.shutdown_timeout);
    ctx.session.handle.set(flag::BLOCKED, true);
    ctx.server.blocked.fetch_add(1, Ordering::Relaxed);
    let result = shutdown::shutdown(ctx.engine, options, patience);
    ctx.server.blocked.fetch_sub(1, Ordering::Relaxed);
    ctx.session.handle.set(flag::BLOCKED, false);
    result?;
    // The connection ends without a word, as the whole server does.
    ctx.session.close = true;
    ctx.reply.none()
}
