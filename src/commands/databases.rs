//! Whole databases: FLUSHDB, FLUSHALL, SWAPDB.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::engine::lazyfree::free_in_background;
use crate::engine::spec::flag::{DANGEROUS, KEYSPACE};
use crate::engine::{Args, Command, Ctx, Group, Reply};
use crate::resp::error::Error;
use crate::state::Server;
use crate::state::persistence::{self, Until};
use crate::store::keyspace::SHARDS;

/// Tips of commands that a proxy sends to every server.
const EVERYWHERE: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::new("flushdb", flushdb)
        .group(Group::Server)
        .write()
        .flags(KEYSPACE | DANGEROUS)
        .locks_all()
        .arity(-1)
        .syntax("[flush-type: ASYNC@4.0.0 | SYNC@6.2.0]")
        .complexity("O(N) where N is the number of keys in the database")
        .history(&[("4.0.0", "The option `ASYNC`."), ("6.2.0", "The option `SYNC`.")])
        .summary("Removes all keys of the database.")
        .tips(EVERYWHERE),
    Command::new("flushall", flushall)
        .group(Group::Server)
        .write()
        .flags(KEYSPACE | DANGEROUS)
        .locks_all()
        .arity(-1)
        .syntax("[flush-type: ASYNC@4.0.0 | SYNC@6.2.0]")
        .complexity("O(N) where N is the number of keys in all databases")
        .history(&[("4.0.0", "The option `ASYNC`."), ("6.2.0", "The option `SYNC`.")])
        .summary("Removes all keys of all databases.")
        .tips(EVERYWHERE),
    Command::new("swapdb", swapdb)
        .group(Group::Server)
        .since("4.0.0")
        .write()
        .fast()
        .flags(KEYSPACE | DANGEROUS)
        .locks_all()
        .arity(3)
        .syntax("index1 index2")
        .complexity("O(1)")
        .summary("Exchanges two databases."),
];

/// FLUSHDB [ASYNC | SYNC]
fn flushdb(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let in_background = wants_background(ctx, args)?;
    let index = ctx.db.index();
    flush(ctx, args, index..index + 1, in_background);
    ctx.reply.ok()
}

/// FLUSHALL [ASYNC | SYNC]
fn flushall(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let in_background = wants_background(ctx, args)?;
    // A save of what has just been removed is of no use to anybody, nor is a snapshot for replicas:
    // they ask again.
    ctx.server.persistence.abort_save.store(true, Ordering::SeqCst);
    ctx.server.replication.abort_sync.store(true, Ordering::SeqCst);
    let databases = ctx.server.keyspace.databases();
    flush(ctx, args, 0..databases, in_background);
    if !ctx.settings.save.is_empty() {
        ctx.afterwards(save_now);
    }
    ctx.reply.ok()
}

/// Whether memory is to be freed in the background.
fn wants_background(ctx: &Ctx, args: &mut Args) -> Result<bool, Error> {
    if args.is_empty() {
        return Ok(ctx.settings.lazyfree_lazy_user_flush);
    }
    let wanted = args.word("async");
    if !wanted && !args.word("sync") {
        return Err(Error::SYNTAX);
    }
    args.end()?;
    Ok(wanted)
}

/// Empties databases. What they held is freed once the shards are let go.
fn flush(ctx: &mut Ctx, args: &Args, databases: std::ops::Range<usize>, in_background: bool) {
    let (mut removed, now_ms) = (0, ctx.now_ms);
    for db in databases {
        let held = ctx.db.held();
        let keys: usize = (0..SHARDS).map(|i| held.shard(i).parts[db].dict.len()).sum();
        if keys > 0 {
            held.flush(db, now_ms);
            ctx.db.all_changed(db);
            removed += keys as u64;
        }
    }
    if in_background {
        free_in_background(ctx, removed);
    }
    ctx.db.mark_dirty(removed);
    // Replicas hear of it even where there was nothing to remove.
    ctx.effects.replace(args.argv());
}

/// How often FLUSHALL looks whether the save that it has ended is over.
const SAVE_END_POLL: Duration = Duration::from_millis(1);

/// Replaces the RDB file, so that the removed keys do not come back with the next start.
fn save_now(server: &Arc<Server>) {
    let persistence = &server.persistence;
    while !persistence.begin_background() {
        persistence.abort_save.store(true, Ordering::SeqCst);
        std::thread::sleep(SAVE_END_POLL);
    }
    let result = persistence::save(server, Until::Done);
    if persistence.end_background(&result) {
        persistence::start_background_save(server);
    }
}

/// SWAPDB index1 index2
fn swapdb(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let first = index(args, Error::INVALID_FIRST_DB)?;
    let second = index(args, Error::INVALID_SECOND_DB)?;
    let databases = ctx.server.keyspace.databases();
    let known = |n: i32| usize::try_from(n).ok().filter(|&n| n < databases);
    let (Some(first), Some(second)) = (known(first), known(second)) else {
        return Err(Error::DB_INDEX);
    };
    let now_ms = ctx.now_ms;
    ctx.db.held().swap_databases(first, second, now_ms);
    ctx.db.all_changed(first);
    ctx.db.all_changed(second);
    ctx.db.mark_dirty(1);
    ctx.reply.ok()
}

fn index(args: &mut Args, error: Error) -> Result<i32, Error> {
    let number = args.int_or(error.clone())?;
    i32::try_from(number).map_err(|_| error)
}
