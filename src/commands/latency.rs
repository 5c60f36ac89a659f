//! LATENCY.

use crate::engine::spec::flag::{ADMIN, LOADING, NOSCRIPT, STALE};
use crate::engine::table::Known;
use crate::engine::{Args, Command, Ctx, Group, Reply};
use crate::resp::error::Error;
use crate::resp::out::Out;
use crate::state::histogram::Histogram;
use crate::state::latency::Series;

const COMMON: u32 = ADMIN | NOSCRIPT | LOADING | STALE;

const TIPS: &[&str] =
    &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"];

/// A subcommand that reads.
const fn look(name: &'static str, handler: crate::engine::spec::Handler) -> Command {
    Command::new(name, handler)
        .group(Group::Server)
        .since("2.8.13")
        .arity(2)
        .flags(COMMON)
        .complexity("O(1)")
        .tips(TIPS)
}

/// The commands of this file.
pub const COMMANDS: &[Command] = &[Command::container("latency")
    .group(Group::Server)
    .since("2.8.13")
    .summary("A container for commands about latency.")
    .subcommands(&[
        look("doctor", doctor).summary("Reports on slow events."),
        look("graph", graph).arity(3).syntax("event").summary("Draws the slow events of a kind."),
        look("histogram", histogram)
            .since("7.0.0")
            .arity(-2)
            .syntax("[command [command ...]]")
            .complexity(
                "O(N) where N is the number of commands with latency information being retrieved.",
            )
            .summary("Tells how long commands took, cumulatively by doubling durations."),
        look("history", history)
            .arity(3)
            .syntax("event")
            .summary("Lists the slow events of a kind."),
        look("latest", latest).summary("Lists the latest slow event of each kind."),
        look("reset", reset)
            .arity(-2)
            .syntax("[event [event ...]]")
            .summary("Forgets slow events.")
            .tips(&["request_policy:all_nodes", "response_policy:agg_sum"]),
        Command::new("help", help)
            .group(Group::Server)
            .since("2.8.13")
            .arity(2)
            .flags(LOADING | STALE)
            .complexity("O(1)")
            .summary("Lists the subcommands."),
    ])];

fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// LATENCY LATEST
fn latest(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    let events = ctx.server.latency.all();
    let out = ctx.reply.parts();
    out.array(events.len());
    for (event, series) in &events {
        let (time, millis) = series.samples.back().copied().unwrap_or_default();
        out.array(4);
        out.bulk(event.as_bytes());
        out.int(time);
        out.int(int(millis));
        out.int(int(series.max));
    }
    ctx.reply.done()
}

fn series(ctx: &Ctx, event: &[u8]) -> Option<Series> {
    ctx.server.latency.get(str::from_utf8(event).ok()?)
}

/// LATENCY HISTORY event
fn history(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let samples = series(ctx, args.key()).unwrap_or_default().samples;
    let out = ctx.reply.parts();
    out.array(samples.len());
    for (time, millis) in samples {
        out.array(2);
        out.int(time);
        out.int(int(millis));
    }
    ctx.reply.done()
}

/// LATENCY RESET [event [event ...]]
fn reset(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let asked = args.take_rest();
    let events: Vec<&str> = asked.iter().filter_map(|arg| str::from_utf8(arg).ok()).collect();
    if !asked.is_empty() && events.is_empty() {
        return ctx.reply.int(0);
    }
    ctx.reply.count(ctx.server.latency.reset(&events))
}

/// LATENCY GRAPH event
fn graph(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let event = args.key();
    match series(ctx, event) {
        Some(series) => {
            let name = String::from_utf8_lossy(event);
            let text = draw(&name, &series, ctx.now_ms / 1000);
            ctx.reply.verbatim(text.as_bytes())
        }
        None => Err(Error::quoting("ERR No samples available for event '", event, "'")),
    }
}

/// Columns of a graph; more events continue below.
const COLUMNS: usize = 80;
/// Lines of a graph.
const ROWS: u64 = 4;
/// The heights that one line tells apart.
const LEVELS: &[u8; 3] = b"_o#";

/// A graph of the events, oldest first, each with its age written downwards.
fn draw(event: &str, series: &Series, now: i64) -> String {
    let millis = || series.samples.iter().map(|&(_, millis)| millis);
    let (low, high) = (millis().min().unwrap_or(0), millis().max().unwrap_or(0));
    let worst = series.max;
    let mut text = format!("{event} - high {high} ms, low {low} ms (all time high {worst} ms)\n");
    text.push_str(&"-".repeat(COLUMNS));
    text.push('\n');
    let steps = ROWS * LEVELS.len() as u64;
    let height = |millis: u64| {
        let scaled = u128::from(millis - low) * u128::from(steps) / u128::from((high - low).max(1));
        (scaled as u64).min(steps - 1)
    };
    let columns: Vec<(u64, String)> =
        series.samples.iter().map(|&(time, millis)| (height(millis), age(now - time))).collect();
    for (i, part) in columns.chunks(COLUMNS).enumerate() {
        if i > 0 {
            text.push('\n');
        }
        draw_part(&mut text, part);
    }
    text
}

fn draw_part(text: &mut String, columns: &[(u64, String)]) {
    for row in (0..ROWS).rev() {
        let floor = row * LEVELS.len() as u64;
        text.extend(columns.iter().map(|&(height, _)| match height.checked_sub(floor) {
            None => ' ',
            Some(level) => LEVELS.get(level as usize).map_or('|', |&c| char::from(c)),
        }));
        text.push('\n');
    }
    let longest = columns.iter().map(|(_, age)| age.len()).max().unwrap_or(0);
    text.push_str(&" ".repeat(columns.len()));
    text.push('\n');
    for row in 0..longest {
        text.extend(columns.iter().map(|(_, age)| age.chars().nth(row).unwrap_or(' ')));
        text.push('\n');
    }
}

/// Seconds in the largest unit that fits.
fn age(seconds: i64) -> String {
    match seconds.max(0) {
        s @ ..60 => format!("{s}s"),
        s @ ..3600 => format!("{}m", s / 60),
        s @ ..86_400 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86_400),
    }
}

/// LATENCY DOCTOR
fn doctor(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    let events = ctx.server.latency.all();
    let threshold = ctx.settings.latency_monitor_threshold;
    let text = match (events.is_empty(), threshold) {
        (true, 0) => "Latency monitoring is off. CONFIG SET latency-monitor-threshold \
                      <milliseconds> turns it on.\n"
            .to_owned(),
        (true, _) => format!("No event has taken {threshold} ms or longer.\n"),
        (false, _) => report(&events, ctx.settings.slowlog_log_slower_than, threshold),
    };
    ctx.reply.verbatim(text.as_bytes())
}

fn report(events: &[(&str, Series)], slowlog_micros: i64, threshold_millis: u64) -> String {
    let mut text = "Slow events were recorded:\n\n".to_owned();
    for (i, (event, series)) in events.iter().enumerate() {
        let count = series.samples.len().max(1) as u64;
        let sum: u64 = series.samples.iter().map(|&(_, millis)| millis).sum();
        let mean = sum / count;
        let off: u64 = series.samples.iter().map(|&(_, millis)| millis.abs_diff(mean)).sum();
        let first = series.samples.front().map_or(0, |&(time, _)| time);
        let last = series.samples.back().map_or(0, |&(time, _)| time);
        let period = (last - first) as f64 / count as f64;
        text.push_str(&format!(
            "{}. {event}: {count} latency spikes (average {mean}ms, mean deviation {}ms, period \
             {period:.2} sec). Worst all time event {}ms.\n",
            i + 1,
            off / count,
            series.max
        ));
    }
    text.push_str("\nWhat may help:\n\n");
    let threshold_micros = threshold_millis.saturating_mul(1000);
    let logged = u64::try_from(slowlog_micros).is_ok_and(|us| us <= threshold_micros);
    if !logged {
        text.push_str(&format!(
            "- Some of them may be missing in SLOWLOG: CONFIG SET slowlog-log-slower-than {} \
             brings them in.\n",
            threshold_micros
        ));
    }
    text.push_str("- SLOWLOG GET shows the commands that took long.\n");
    text
}

/// LATENCY HISTOGRAM [command [command ...]]
fn histogram(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (table, stats) = (&ctx.engine.table, &ctx.server.stats);
    let asked = args.take_rest();
    let with_subcommands = |known: &Known| {
        let subcommands = known.subcommands.iter().map(|&(_, id)| id);
        std::iter::once(known.id).chain(subcommands).collect::<Vec<usize>>()
    };
    let ids: Vec<usize> = if asked.is_empty() {
        (0..table.all().len()).collect()
    } else {
        asked.iter().filter_map(|name| table.find_full(name)).flat_map(with_subcommands).collect()
    };
    let out = ctx.reply.parts();
    let commands = out.defer();
    let mut count = 0;
    for id in ids {
        let histogram = stats.command(id).histogram;
        if histogram.count() > 0 {
            out.bulk(table.get(id).full_name.as_bytes());
            push_histogram(out, &histogram);
            count += 1;
        }
    }
    out.finish_map(commands, count);
    ctx.reply.done()
}

/// The first bound is 2 to the power of this many nanoseconds: a microsecond.
const FIRST_BOUND: u32 = 10;

fn push_histogram(out: &mut Out, histogram: &Histogram) {
    out.map(2);
    out.bulk(b"calls");
    out.int(int(histogram.count()));
    out.bulk(b"histogram_usec");
    let doublings = histogram.doublings(FIRST_BOUND);
    out.map(doublings.len());
    for (bound, count) in doublings {
        // Redis shows the longest duration that its histogram of two digits takes for the same: 33
        // for 2^15.
        out.int(int((bound + bound / 128 - 1) / 1000));
        out.int(int(count));
    }
}

/// LATENCY HELP
fn help(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    ctx.reply.lines(&[
        "LATENCY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "DOCTOR",
        "    Report on slow events in plain words.",
        "GRAPH <event>",
        "    Draw the slow events of the kind <event>.",
        "HISTORY <event>",
        "    Return time and duration of the slow events of the kind <event>.",
        "LATEST",
        "    Return the latest slow event of each kind.",
        "RESET [<event> ...]",
        "    Forget the slow events of these kinds, or of all.",
        "HISTOGRAM [COMMAND ...]",
        "    Return how long these commands took, or all: calls by doubling durations in",
        "    microseconds, each with those below it.",
        "HELP",
        "    Show these lines.",
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graphs_have_columns_for_events() {
        let samples = [(100, 50), (102, 200), (103, 10), (4104, 100)].into();
        let series = Series { samples, max: 300 };
        let text = draw("command", &series, 4105);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "command - high 200 ms, low 10 ms (all time high 300 ms)");
        assert_eq!(lines[2..], [" #  ", " |  ", " | #", "#|_|", "    ", "1111", "hhhs"]);
        let many = (0..81).map(|i| (i, 7)).collect();
        let text = draw("command", &Series { samples: many, max: 7 }, 81);
        assert!(text.lines().nth(5) == Some(&"_".repeat(80)), "{text}");
        assert!(text.ends_with("\n\n \n \n \n_\n \n1\ns\n"), "{text}");
    }
}
