//! CONFIG: the parameters of the running server.

use crate::engine::spec::flag::{ADMIN, LOADING, NOSCRIPT, STALE};
use crate::engine::{Args, Command, Ctx, Reply};
use crate::resp::error::Error;
use crate::state::clients::reserve_sockets;
use crate::state::config::{ApplyError, Origin, Refusal, Settings, is_sensitive};
use crate::state::{Server, replica_limit};

const RIGHTS: u32 = ADMIN | NOSCRIPT | LOADING | STALE;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[Command::container("config")
    .since("2.0.0")
    .summary("A container for the commands about parameters.")
    .subcommands(&[
        Command::new("get", get)
            .since("2.0.0")
            .arity(-3)
            .flags(RIGHTS)
            .syntax("parameter [parameter ...]")
            .complexity("O(N) when N is the number of configuration parameters provided")
            .history(&[("7.0.0", "Several patterns.")])
            .summary("Returns the values of parameters."),
        Command::new("set", set)
            .since("2.0.0")
            .arity(-4)
            .flags(RIGHTS)
            .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
            .syntax("<data: parameter value ...>")
            .complexity("O(N) when N is the number of configuration parameters provided")
            .history(&[("7.0.0", "Several parameters.")])
            .summary("Changes parameters, all of them or none."),
        Command::new("resetstat", resetstat)
            .since("2.0.0")
            .arity(2)
            .flags(RIGHTS)
            .locks_one_by_one()
            .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
            .complexity("O(1)")
            .locks_one_by_one()
            .summary("Sets the counters of INFO to zero."),
        Command::new("rewrite", rewrite)
            .since("2.8.0")
            .arity(2)
            .flags(RIGHTS)
            .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
            .complexity("O(1)")
            .summary("Writes the parameters into the configuration file."),
        Command::new("help", help)
            .since("5.0.0")
            .arity(2)
            .flags(LOADING | STALE)
            .complexity("O(1)")
            .summary("Describes the subcommands."),
    ])];

const HELP: &[&str] = &[
    "CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GET <pattern> [<pattern> ...]",
    "    The parameters whose names match a pattern, with their values.",
    "SET <parameter> <value> [<parameter> <value> ...]",
    "    Changes parameters, all of them or none.",
    "RESETSTAT",
    "    Sets the counters of INFO to zero.",
    "REWRITE",
    "    Brings the configuration file up to date.",
    "HELP",
    "    Prints this help.",
];

/// CONFIG GET parameter [parameter ...]
fn get(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let found = ctx.server.config.get_params(args.take_rest());
    let out = ctx.reply.parts();
    out.map(found.len());
    for (name, value) in found {
        out.bulk(name.as_bytes());
        out.bulk(&value);
    }
    ctx.reply.done()
}

/// CONFIG SET parameter value [parameter value ...]
fn set(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let rest = args.take_rest();
    for (i, name) in rest.iter().enumerate().step_by(2) {
        if is_sensitive(name) {
            // Behind CONFIG, SET and the name itself.
            ctx.redact(i + 3);
        }
    }
    if !rest.len().is_multiple_of(2) {
        return Err(Error::SYNTAX);
    }
    for at in (0..rest.len()).step_by(2).filter(|&at| is_sensitive(rest[at])) {
        // Behind CONFIG, SET and the parameter's name.
        ctx.redact(at + 3);
    }
    let pairs: Vec<(&[u8], &[u8])> = rest.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
    let loading = ctx.server.persistence.loading.load(std::sync::atomic::Ordering::Relaxed);
    let origin = Origin { is_local: ctx.is_local(), is_loading: loading };
    let (server, in_exec) = (ctx.server, ctx.in_exec);
    let apply = |old: &Settings, new: &Settings, changed: &[&'static str]| {
        apply(server, old, new, changed)?;
        // A transaction holds shards, and the file must not be waited for meanwhile.
        if in_exec { Ok(()) } else { apply_to_file(server, new, changed, false) }
    };
    match server.config.set_params(&pairs, origin, apply) {
        Ok(changed) if in_exec => {
            ctx.afterwards(move |server| {
                // The reply is written already; a failure is in the log.
                let _ = apply_to_file(server, &server.config.get(), &changed, true);
            });
            ctx.reply.ok()
        }
        Ok(_) => ctx.reply.ok(),
        Err(Refusal::Loading) => Err(Error::LOADING),
        Err(Refusal::Error(text)) => Err(Error::owned(text)),
    }
}

/// Makes changes true that are not simply read where they are needed. What may fail comes first,
/// and the sockets last of that, so that little has to be undone.
fn apply(
    server: &Server,
    old: &Settings,
    new: &Settings,
    changed: &[&'static str],
) -> Result<(), ApplyError> {
    let is_changed = |name: &str| changed.contains(&name);
    if is_changed("maxclients")
        && let Err((_, fits)) = reserve_sockets(new.maxclients)
    {
        let text = format!(
            "The operating system is not able to handle the specified number of clients, \
             try with {fits}"
        );
        return Err(("maxclients", text));
    }
    let is_replica = server.replication.is_replica();
    let score = changed.iter().find(|name| name.starts_with("oom-score-adj"));
    if let Some(&name) = score
        && let Err(e) = server.oom_score.apply(new, is_replica)
    {
        server.logger.warning(&format!("Unable to write oom_score_adj: {e}"));
        let text = "Failed to set current oom_score_adj. Check server logs.";
        return Err((name, text.to_owned()));
    }
    let sockets = changed.iter().find(|name| matches!(**name, "port" | "bind"));
    if let Some(&name) = sockets
        && !server.rebind(new)
    {
        if score.is_some() {
            // What could be changed just now can be changed back.
            let _ = server.oom_score.apply(old, is_replica);
        }
        let text = match name {
            "port" => "Unable to listen on this port. Check server logs.",
            _ => "Failed to bind to specified addresses.",
        };
        return Err((name, text.to_owned()));
    }
    if is_changed("requirepass") {
        server.acl.set_default_password(&new.requirepass);
    }
    if is_changed("loglevel") {
        server.logger.set_threshold(new.loglevel);
    }
    if is_changed("repl-backlog-size") {
        server.log.set_backlog_size(new.repl_backlog_size);
    }
    if is_changed("repl-backlog-size") || is_changed("client-output-buffer-limit") {
        server.log.set_limit(replica_limit(new));
    }
    Ok(())
}

/// Makes changes to the append-only file true. No shard may be held.
fn apply_to_file(
    server: &Server,
    new: &Settings,
    changed: &[&'static str],
    in_exec: bool,
) -> Result<(), ApplyError> {
    if changed.contains(&"appendonly") {
        if !new.appendonly {
            server.aof.stop(server);
        } else if !server.aof.start(server, in_exec) {
            let text = "Unable to turn on AOF. Check server logs.";
            return Err(("appendonly", text.to_owned()));
        }
    }
    if changed.contains(&"aof-timestamp-enabled") {
        server.log.set_timestamps(new.aof_timestamp_enabled);
    }
    if changed.contains(&"aof-disable-auto-gc") && !new.aof_disable_auto_gc {
        server.aof.remove_history(server);
    }
    Ok(())
}

/// CONFIG RESETSTAT
fn resetstat(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    ctx.reset_stats();
    ctx.reply.ok()
}

/// CONFIG REWRITE
fn rewrite(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    ctx.server.rewrite_config(false)?;
    ctx.reply.ok()
}

/// CONFIG HELP
fn help(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    ctx.reply.lines(HELP)
}
