//! DUMP and RESTORE: one value as bytes, in the form of an RDB file.

use std::sync::atomic::Ordering;

use crate::engine::apart::work_of_bytes;
use crate::engine::spec::access::{ACCESS, OW, RO, UPDATE};
use crate::engine::spec::flag::{DANGEROUS, KEYSPACE};
use crate::engine::{Args, Command, Ctx, Group, KeySpec, Reply};
use crate::rdb::{self, RestoreError};
use crate::resp::error::Error;
use crate::store::EventClasses;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::new("dump", dump)
        .group(Group::Generic)
        .since("2.6.0")
        .readonly()
        .flags(KEYSPACE)
        .arity(2)
        .keys(&[KeySpec::at(1, RO | ACCESS)])
        .syntax("key")
        .complexity("O(N) where N is the length of the value")
        .summary("Returns a key's value in a form that RESTORE takes.")
        .tips(&["nondeterministic_output"]),
    Command::new("restore", restore)
        .group(Group::Generic)
        .since("2.6.0")
        .write()
        .deny_oom()
        .flags(KEYSPACE | DANGEROUS)
        .arity(-4)
        .keys(&[KeySpec::at(1, OW | UPDATE)])
        .syntax(
            "key ttl serialized-value [REPLACE@3.0.0] [ABSTTL@5.0.0] [IDLETIME seconds@5.0.0] \
             [FREQ frequency@5.0.0]",
        )
        .complexity("O(N) where N is the length of the value")
        .history(&[
            ("3.0.0", "The option `REPLACE`."),
            ("5.0.0", "The option `ABSTTL`."),
            ("5.0.0", "The options `IDLETIME`, `FREQ`."),
        ])
        .summary("Makes a key of what DUMP returned."),
];

/// DUMP key
fn dump(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let value = ctx.db.read(args.key()).map(|entry| entry.value().into_owned());
    let Some(value) = value else { return ctx.reply.null() };
    ctx.let_go(work_of_bytes(value.heap_size()))?;
    let packer = ctx.settings.rdbcompression.then_some(&ctx.server.spare_packer);
    let payload = rdb::dump(&value, packer);
    ctx.reply.bulk(&payload)
}

/// What RESTORE may be told.
#[derive(Default)]
struct Options {
    replace: bool,
    /// The time to live is a Unix time.
    absolute: bool,
    idle_seconds: Option<u64>,
    frequency: Option<u8>,
}

impl Options {
    fn parse(args: &mut Args) -> Result<Self, Error> {
        let mut options = Options::default();
        while !args.is_empty() {
            if args.word("replace") {
                options.replace = true;
            } else if args.word("absttl") {
                options.absolute = true;
            } else if options.frequency.is_none() && args.word("idletime") {
                let idle = u64::try_from(args.int()?).ok();
                options.idle_seconds = Some(idle.ok_or(Error::RESTORE_IDLETIME)?);
            } else if options.idle_seconds.is_none() && args.word("freq") {
                let frequency = u8::try_from(args.int()?).ok();
                options.frequency = Some(frequency.ok_or(Error::RESTORE_FREQ)?);
            } else {
                return Err(Error::SYNTAX);
            }
        }
        Ok(options)
    }
}

/// RESTORE key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]
fn restore(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, ttl, payload) = (args.key(), args.bytes()?, args.bytes()?);
    let options = Options::parse(args)?;
    // Redis looks at the key first, then at the time and last at the payload.
    if !options.replace && ctx.db.look_for_write(key).is_some() {
        return Err(Error::BUSY_KEY);
    }
    let ttl = crate::base::num::parse_i64(ttl).ok_or(Error::NOT_INTEGER)?;
    let ttl = u64::try_from(ttl).map_err(|_| Error::RESTORE_TTL)?.cast_signed();
    let unverified = ctx.server.skip_checksums.load(Ordering::Relaxed);
    let restore = if unverified { rdb::restore_unverified } else { rdb::restore };
    let (limits, amount) = (ctx.settings.limits, work_of_bytes(payload.len()));
    let restored = ctx.work_out(&[key], amount, |_| restore(payload, limits))?;
    let value = restored.map_err(|e| match e {
        RestoreError::Footer => Error::DUMP_PAYLOAD,
        RestoreError::Body(why) => {
            let message = format!("RESTORE refused a payload: {why}");
            ctx.afterwards(move |server| server.logger.warning(&message));
            Error::BAD_DATA
        }
    })?;
    let deadline = match ttl {
        0 => None,
        ttl if options.absolute => Some(ttl),
        // Where this is too large, Redis gets a time long past, and so does who relies on it.
        ttl => Some(ttl.wrapping_add(ctx.now_ms)),
    };
    let removed = options.replace && ctx.db.remove(key);
    if deadline.is_some_and(|at| ctx.is_past(at)) {
        if removed {
            let lazy = ctx.settings.lazyfree_lazy_server_del;
            ctx.effects.replace(&[if lazy { b"UNLINK" } else { b"DEL" }, key]);
            ctx.db.mark_dirty(1);
            ctx.db.event(EventClasses::GENERIC, "del", key);
        }
        return ctx.reply.ok();
    }
    ctx.db.set(key, value, deadline);
    ctx.db.set_accesses(key, options.idle_seconds, options.frequency);
    if let Some(at) = deadline.filter(|_| !options.absolute) {
        log_absolute(ctx, args, at);
    }
    ctx.db.mark_dirty(1);
    ctx.db.event(EventClasses::GENERIC, "restore", key);
    ctx.reply.ok()
}

/// What goes to the log has the deadline in place of the time to live.
fn log_absolute(ctx: &mut Ctx, args: &Args, deadline: i64) {
    let deadline = deadline.to_string();
    let mut effect = args.argv().to_vec();
    effect[2] = deadline.as_bytes();
    effect.push(b"ABSTTL");
    ctx.effects.replace(&effect);
}
