//! DEBUG: what tests need to look inside a server and to bring about what is rare. It has to be
//! allowed by `enable-debug-command`.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::base::{clock, num};
use crate::data::{Kind, Str, Value};
use crate::engine::load::{self, Existing};
use crate::engine::spec::flag::{ADMIN, LOADING, NOSCRIPT, STALE, SYSTEM};
use crate::engine::{Args, Command, Ctx, Reply, digest, replay};
use crate::rdb;
use crate::resp::error::{self, Error};
use crate::state::Server;
use crate::state::aof;
use crate::state::persistence::{self, Until};
use crate::store::{Plan, View};

/// The commands of this file.
pub const COMMANDS: &[Command] = &[Command::new("debug", debug)
    .flags(ADMIN | NOSCRIPT | LOADING | STALE | SYSTEM)
    .locks_one_by_one()
    .complexity("Depends on subcommand.")
    .summary("Looks inside the server, for tests.")];

const HELP: &[&str] = &[
    "DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "AOF-FLUSH-SLEEP <microsec>",
    "    Sleeps before each write to the append-only file.",
    "CHANGE-REPL-ID",
    "    Takes a new replication id, so that no replica can continue.",
    "CONFIG-REWRITE-FORCE-ALL",
    "    As CONFIG REWRITE, with the parameters that have their default too.",
    "DIGEST",
    "    A digest of all keys and values.",
    "DIGEST-VALUE <key> [<key> ...]",
    "    Digests of the values of these keys.",
    "ERROR <string>",
    "    Answers this error.",
    "HTSTATS <dbid> [full]",
    "    How the keys of a database are spread over its table; full: over each bucket.",
    "LOADAOF",
    "    Writes what waits to the append-only file, forgets the keys and loads the file.",
    "LOG <message>",
    "    Writes a line to the log.",
    "OBJECT <key>",
    "    How the value of a key is kept.",
    "PANIC",
    "    Makes the server crash.",
    "PAUSE-CRON <0|1>",
    "    Whether what happens by itself is put off: time-outs, save points, a signal's shutdown.",
    "POPULATE <count> [<prefix>] [<size>]",
    "    Creates keys <prefix>:0, <prefix>:1, ... which replicas do not get.",
    "PROTOCOL <type>",
    "    Answers a reply of this kind: string, integer, double, bignum, null, array, set, map,",
    "    attrib, push, verbatim, true, false.",
    "QUICKLIST-PACKED-THRESHOLD <size>",
    "    Changes nothing: from which length on elements of lists stand alone is fixed.",
    "RELOAD [MERGE] [NOFLUSH] [NOSAVE]",
    "    Saves the keys, forgets them and loads them again. NOSAVE loads the file that is",
    "    there; NOFLUSH forgets nothing; MERGE lets keys of the file replace those that are there.",
    "REPLYBUFFER RESIZING <0|1>",
    "    Whether connections that are silent give their reply buffers back.",
    "REPLICATE <command> [<arg> ...]",
    "    Sends this command to the replicas only, so that their data differ from ours.",
    "SET-ACTIVE-EXPIRE <0|1>",
    "    Whether keys are removed at their deadline even if nobody asks for them.",
    "SET-SKIP-CHECKSUM-VALIDATION <0|1>",
    "    Whether the checksums of RDB files and of RESTORE's payloads are left unverified.",
    "SLEEP <seconds>",
    "    Stops the server for a while.",
    "HELP",
    "    Prints this help.",
];

const DENIED: Error = Error::new(
    "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you \
     can run it from a local connection, otherwise you need to set this option in the \
     configuration file, and then restart the server.",
);
const RELOAD_OPTIONS: Error =
    Error::new("ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.");
const RELOAD_FAILED: Error = Error::new("ERR Error trying to load the RDB dump");
const PROTOCOL_TYPES: Error = Error::new(
    "ERR Wrong protocol type name. Please use one of the following: \
     string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
);
const OUT_OF_DATABASES: Error = Error::new("ERR Out of range database");
const NO_PUSH: Error = Error::new("ERR RESP2 is not supported by this command");

/// Never seen: the answer is that of a subcommand that does not exist.
const OTHER_FORM: Error = Error::new("ERR Not a form of the subcommand");

type Body = fn(&mut Ctx, &[&[u8]]) -> Reply;

/// The subcommands: name, smallest and largest number of arguments.
const SUBCOMMANDS: &[(&str, usize, usize, Body)] = &[
    ("aof-flush-sleep", 1, 1, aof_flush_sleep),
    ("change-repl-id", 0, 0, change_repl_id),
    ("config-rewrite-force-all", 0, 0, config_rewrite_force_all),
    ("digest", 0, 0, digest_all),
    ("digest-value", 0, usize::MAX, digest_values),
    ("error", 1, 1, answer_error),
    ("help", 0, 0, help),
    ("htstats", 1, 2, table_stats),
    ("loadaof", 0, 0, load_aof),
    ("log", 1, 1, log),
    ("object", 1, 1, object),
    ("panic", 0, 0, panic),
    ("pause-cron", 1, 1, pause_cron),
    ("populate", 1, 3, populate),
    ("protocol", 1, 1, protocol),
    ("quicklist-packed-threshold", 1, 1, packed_threshold),
    ("reload", 0, usize::MAX, reload),
    ("replybuffer", 2, 2, reply_buffer),
    ("replicate", 1, usize::MAX, replicate),
    ("set-active-expire", 1, 1, set_active_expire),
    ("set-skip-checksum-validation", 1, 1, set_skip_checksums),
    ("sleep", 1, 1, sleep),
];

/// DEBUG subcommand [arg [arg ...]]
fn debug(ctx: &mut Ctx, args: &mut Args) -> Reply {
    if !ctx.settings.enable_debug_command.allows(ctx.is_local()) {
        return Err(DENIED);
    }
    let name = args.key();
    let rest = args.take_rest();
    let fits = |&&(known, min, max, _): &&(&str, usize, usize, Body)| {
        name.eq_ignore_ascii_case(known.as_bytes()) && (min..=max).contains(&rest.len())
    };
    match SUBCOMMANDS.iter().find(fits) {
        Some((.., body)) => match body(ctx, rest) {
            Err(error) if error == OTHER_FORM => Err(error::subcommand_syntax(name, "debug")),
            reply => reply,
        },
        None => Err(error::subcommand_syntax(name, "debug")),
    }
}

/// DEBUG AOF-FLUSH-SLEEP microsec
fn aof_flush_sleep(ctx: &mut Ctx, args: &[&[u8]]) -> Reply {
    ctx.server.aof.flush_sleep_us.store(positive(args[0])?, Ordering::Relaxed);
    ctx.reply.ok()
}

/// DEBUG LOADAOF
fn load_aof(ctx: &mut Ctx, _: &[&[u8]]) -> Reply {
    apart(ctx, |ctx| {
        let server = ctx.server;
        let failed = || Error::new("ERR Error trying to load the AOF files, check server logs.");
        server.aof.flush(server).map_err(|e| Error::from(e.text()))?;
        let manifest = aof::load_manifest(server).map_err(|_| failed())?;
        forget_everything(ctx);
        replay::load_files(ctx.engine, manifest).map_err(|_| failed())?;
        server.persistence.dirty.store(0, Ordering::Relaxed);
        server.logger.warning("Append Only File loaded by DEBUG LOADAOF");
        Ok(())
    })?;
    ctx.reply.ok()
}

/// DEBUG CHANGE-REPL-ID
fn change_repl_id(ctx: &mut Ctx, _: &[&[u8]]) -> Reply {
    ctx.server.logger.warning("Changing replication IDs after receiving DEBUG change-repl-id");
    ctx.server.log.change_id();
    ctx.reply.ok()
}

/// DEBUG CONFIG-REWRITE-FORCE-ALL
fn config_rewrite_force_all(ctx: &mut Ctx, _: &[&[u8]]) -> Reply {
    ctx.server.rewrite_config(true)?;
    ctx.reply.ok()
}

/// DEBUG DIGEST
fn digest_all(ctx: &mut Ctx, _: &[&[u8]]) -> Reply {
    let digest = if ctx.in_exec {
        digest::of_held(ctx.db.held())
    } else {
        digest::of_held(&mut ctx.engine.server.keyspace.hold(&Plan::All))
    };
    ctx.reply.simple(&digest.to_string())
}

/// DEBUG DIGEST-VALUE [key [key ...]]
fn digest_values(ctx: &mut Ctx, keys: &[&[u8]]) -> Reply {
    let digests: Vec<_> =
        keys.iter().map(|key| look(ctx, key, digest::of_value).unwrap_or_default()).collect();
    let out = ctx.reply.parts();
    out.array(digests.len());
    digests.iter().for_each(|digest| out.simple(&digest.to_string()));
    ctx.reply.done()
}

/// Looks at a key without any side effect, even if its deadline has passed.
fn look<R>(ctx: &mut Ctx, key: &[u8], at: impl FnOnce(&View) -> R) -> Option<R> {
    let keyspace = &ctx.server.keyspace;
    let (hash, index) = (keyspace.hash(key), keyspace.shard_of(key));
    ctx.with_shard(index, |db| {
        let number = db.index();
        db.held().shard(index).parts[number].dict.get(hash, key).map(|view| at(&view))
    })
}

/// DEBUG ERROR string
fn answer_error(_: &mut Ctx, args: &[&[u8]]) -> Reply {
    Err(Error::quoting("", args[0], ""))
}

/// DEBUG HELP
fn help(ctx: &mut Ctx, _: &[&[u8]]) -> Reply {
    ctx.reply.lines(HELP)
}

/// DEBUG HTSTATS dbid [full]
fn table_stats(ctx: &mut Ctx, args: &[&[u8]]) -> Reply {
    let number = num::parse_i64(args[0]).and_then(|n| usize::try_from(n).ok());
    let number = number.filter(|&n| n < ctx.server.keyspace.databases());
    let number = number.ok_or(OUT_OF_DATABASES)?;
    let full = match args.get(1) {
        None => false,
        Some(word) if word.eq_ignore_ascii_case(b"full") => true,
        Some(_) => return Err(Error::SYNTAX),
    };
    let (mut buckets, mut keys, mut lengths) = (0, 0, BTreeMap::<usize, usize>::new());
    ctx.each_shard(|shard| {
        let dict = &shard.parts[number].dict;
        buckets += dict.bucket_count();
        keys += dict.len();
        for index in 0..if full { dict.bucket_count() } else { 0 } {
            *lengths.entry(dict.len_of(index)).or_default() += 1;
        }
    });
    let mut text =
        format!("[Dictionary HT]\n table size: {buckets}\n number of elements: {keys}\n");
    if full {
        let longest = lengths.keys().next_back().copied().unwrap_or_default();
        text += &format!(" max chain length: {longest}\n Chain length distribution:\n");
        for (length, count) in lengths {
            let share = 100.0 * count as f64 / buckets as f64;
            text += &format!("   {length}: {count} ({share:.2}%)\n");
        }
    }
    ctx.reply.verbatim(text.as_bytes())
}

/// DEBUG LOG message
fn log(ctx: &mut Ctx, args: &[&[u8]]) -> Reply {
    ctx.server.logger.warning(&format!("DEBUG LOG: {}", String::from_utf8_lossy(args[0])));
    ctx.reply.ok()
}

/// Integers below this are one object for all keys in Redis, which shows in their number of
/// references.
const SHARED_INTEGERS: i64 = 10_000;

/// DEBUG OBJECT key
fn object(ctx: &mut Ctx, args: &[&[u8]]) -> Reply {
    let (now_ms, compress) = (ctx.now_ms, ctx.settings.rdbcompression);
    let options = rdb::Options { compress, checksum: false };
    let describe = |entry: &View| {
        let address = entry.key().as_ptr() as usize;
        (address, entry.value().into_owned(), entry.idle_seconds(now_ms))
    };
    let (address, value, idle) = look(ctx, args[0], describe).ok_or(Error::NO_KEY)?;
    let mut encoded = Vec::new();
    rdb::encode_value(&mut encoded, &value, &options);
    let integer = Str::of(&value).and_then(Str::as_int);
    let shared = integer.is_some_and(|n| (0..SHARED_INTEGERS).contains(&n));
    let references = if shared { i32::MAX } else { 1 };
    let lru = (now_ms / 1000 - idle as i64) & 0xff_ffff;
    ctx.reply.simple(&format!(
        "Value at:{address:#x} refcount:{references} encoding:{} serializedlength:{} lru:{lru} \
         lru_seconds_idle:{idle}",
        value.encoding(),
        encoded.len() - 1,
    ))
}

/// DEBUG PANIC
fn panic(ctx: &mut Ctx, _: &[&[u8]]) -> Reply {
    ctx.server.logger.warning("Crashing because DEBUG PANIC asks for it");
    std::process::abort()
}

/// DEBUG PAUSE-CRON <0 | 1>
fn pause_cron(ctx: &mut Ctx, args: &[&[u8]]) -> Reply {
    ctx.server.cron_paused.store(is_on(args[0]), Ordering::Relaxed);
    ctx.reply.ok()
}

/// DEBUG POPULATE count [prefix] [size]
fn populate(ctx: &mut Ctx, args: &[&[u8]]) -> Reply {
    let count = positive(args[0])?;
    let prefix = args.get(1).copied().unwrap_or(b"key");
    let size = args.get(2).map_or(Ok(0), |size| positive(size))?;
    if size > ctx.settings.proto_max_bulk_len as u64 {
        return Err(Error::STRING_TOO_LONG);
    }
    for number in 0..count {
        if ctx.server.has_ended() {
            break;
        }
        let key = [prefix, b":", number.to_string().as_bytes()].concat();
        let mut value = format!("value:{number}").into_bytes();
        if size > 0 {
            value.resize(size as usize, 0);
        }
        add(ctx, &key, Value::String(Str::text(&value)));
    }
    ctx.reply.ok()
}

fn positive(number: &[u8]) -> Result<u64, Error> {
    num::parse_i64(number).and_then(|n| u64::try_from(n).ok()).ok_or(Error::NOT_POSITIVE)
}

/// Creates a key unless it is there; neither the log nor the save points hear of it.
fn add(ctx: &mut Ctx, key: &[u8], value: Value) {
    ctx.with_shard(ctx.server.keyspace.shard_of(key), |db| {
        if !db.exists(key) {
            db.set(key, value, None);
        }
    });
}

/// What `double` answers in Redis.
#[expect(clippy::approx_constant, reason = "it is a sample of a reply, not a circle's")]
const TEST_DOUBLE: f64 = 3.141;

/// DEBUG PROTOCOL type
fn protocol(ctx: &mut Ctx, args: &[&[u8]]) -> Reply {
    let name = args[0].to_ascii_lowercase();
    let out = ctx.reply.parts();
    let resp3 = out.proto() == 3;
    let numbers = |out: &mut crate::resp::out::Out| (0..3).for_each(|n| out.int(n));
    match name.as_slice() {
        b"string" => out.bulk(b"Hello World"),
        b"integer" => out.int(12345),
        b"double" => out.double(TEST_DOUBLE),
        b"null" => out.null(),
        b"array" => {
            out.array(3);
            numbers(out);
        }
        b"set" => {
            out.set(3);
            numbers(out);
        }
        b"map" => {
            out.map(3);
            for n in 0..3 {
                out.int(n);
                out.boolean(n == 1);
            }
        }
        b"attrib" => {
            if resp3 {
                out.raw(b"|1\r\n");
                out.bulk(b"key-popularity");
                out.array(2);
                out.bulk(b"key:123");
                out.int(90);
            }
            out.bulk(b"Some real reply following the attribute");
        }
        b"push" if !resp3 => return Err(NO_PUSH),
        b"push" => {
            out.push(2);
            out.bulk(b"server-cpu-usage");
            out.int(42);
            // The push comes out of turn; this is the command's own reply.
            out.bulk(b"Some real reply following the push reply");
        }
        b"verbatim" => out.verbatim("txt", b"This is a verbatim\nstring"),
        b"true" => out.boolean(true),
        b"false" => out.boolean(false),
        b"bignum" => out.big_number(b"1234567999999999999999999999999999999"),
        _ => return Err(PROTOCOL_TYPES),
    }
    ctx.reply.done()
}

/// DEBUG QUICKLIST-PACKED-THRESHOLD size
fn packed_threshold(ctx: &mut Ctx, _: &[&[u8]]) -> Reply {
    ctx.reply.ok()
}

/// DEBUG RELOAD [MERGE] [NOFLUSH] [NOSAVE]
fn reload(ctx: &mut Ctx, args: &[&[u8]]) -> Reply {
    let (mut existing, mut flush, mut save) = (Existing::Refuse, true, true);
    for arg in args {
        match arg.to_ascii_lowercase().as_slice() {
            b"merge" => existing = Existing::Replace,
            b"noflush" => flush = false,
            b"nosave" => save = false,
            _ => return Err(RELOAD_OPTIONS),
        }
    }
    apart(ctx, |ctx| reload_apart(ctx, existing, flush, save))?;
    ctx.server.logger.warning("DB reloaded by DEBUG RELOAD");
    ctx.reply.ok()
}

/// Does something while other clients are told that the data set is being loaded.
fn apart(ctx: &mut Ctx, action: impl FnOnce(&mut Ctx) -> Result<(), Error>) -> Result<(), Error> {
    if ctx.in_exec {
        // A transaction holds the shards that saving and loading have to visit.
        return Err(Error::NOT_IN_MULTI);
    }
    let server = ctx.server;
    if server.persistence.loading.swap(true, Ordering::SeqCst) {
        return Err(Error::LOADING);
    }
    let result = action(ctx);
    server.persistence.set_loading(false);
    result
}

fn forget_everything(ctx: &Ctx) {
    let mut held = ctx.server.keyspace.hold(&Plan::All);
    let now_ms = clock::unix_ms();
    (0..ctx.server.keyspace.databases()).for_each(|db| held.flush(db, now_ms));
}

fn reload_apart(ctx: &Ctx, existing: Existing, flush: bool, save: bool) -> Result<(), Error> {
    let server = ctx.server;
    if save {
        persistence::save(server, Until::Done).map_err(|_| Error::GENERIC)?;
    }
    if flush {
        forget_everything(ctx);
    }
    match load::load_file(ctx.engine, existing) {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(RELOAD_FAILED),
        Err(e) => {
            server.logger.warning(&format!("{e}"));
            Err(RELOAD_FAILED)
        }
    }
}

/// DEBUG REPLYBUFFER RESIZING <0 | 1>
///
/// Redis has PEAK-RESET-TIME besides, for the size to which a buffer shrinks; here it is given back
/// whole.
fn reply_buffer(ctx: &mut Ctx, args: &[&[u8]]) -> Reply {
    if !args[0].eq_ignore_ascii_case(b"resizing") {
        return Err(OTHER_FORM);
    }
    ctx.server.reply_buffers_shrink.store(is_on(args[1]), Ordering::Relaxed);
    ctx.reply.ok()
}

/// DEBUG REPLICATE command [arg [arg ...]]
fn replicate(ctx: &mut Ctx, args: &[&[u8]]) -> Reply {
    if ctx.server.log.is_streaming() {
        ctx.server.log.append_control(args);
    }
    ctx.reply.ok()
}

/// DEBUG SET-ACTIVE-EXPIRE <0 | 1>
fn set_active_expire(ctx: &mut Ctx, args: &[&[u8]]) -> Reply {
    ctx.server.active_expire.store(is_on(args[0]), Ordering::Relaxed);
    ctx.reply.ok()
}

/// DEBUG SET-SKIP-CHECKSUM-VALIDATION <0 | 1>
fn set_skip_checksums(ctx: &mut Ctx, args: &[&[u8]]) -> Reply {
    ctx.server.skip_checksums.store(is_on(args[0]), Ordering::Relaxed);
    ctx.reply.ok()
}

/// Whether a switch is on: any number but 0.
fn is_on(switch: &[u8]) -> bool {
    leading_float(switch) as i64 != 0
}

/// How often a sleeping server looks whether it is to end.
const SLEEP_SLICE: Duration = Duration::from_millis(20);

/// DEBUG SLEEP seconds
fn sleep(ctx: &mut Ctx, args: &[&[u8]]) -> Reply {
    let seconds = leading_float(args[0]);
    let Ok(time) = Duration::try_from_secs_f64(seconds.clamp(0.0, u32::MAX.into())) else {
        return ctx.reply.ok();
    };
    ctx.server.pause.begin_standstill();
    // Who has passed the gate before is waited for. A transaction holds all shards already.
    let everything = (!ctx.in_exec).then(|| ctx.server.keyspace.lock_all());
    doze(ctx.server, time);
    ctx.server.pause.end_standstill();
    drop(everything);
    ctx.reply.ok()
}

fn doze(server: &Server, time: Duration) {
    let deadline = Instant::now() + time;
    while !server.is_ending() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::sleep(left.min(SLEEP_SLICE));
    }
}

/// The number that a text begins with, as C's `strtod` reads it; 0 when there is none.
fn leading_float(text: &[u8]) -> f64 {
    (1..=text.len().min(32)).rev().find_map(|end| num::parse_f64(&text[..end])).unwrap_or(0.0)
}
