//! COMMAND: what the server says of its own commands.

use crate::base::glob;
use crate::engine::spec::flag::{self, LOADING, STALE};
use crate::engine::spec::{Begin, Find, Handler, KeySpec, access};
use crate::engine::syntax::{self, Arg, Type};
use crate::engine::table::Known;
use crate::engine::{Args, Command, Ctx, Reply, categories, dispatch};
use crate::resp::error::Error;
use crate::resp::out::Out;

const ORDER: &[&str] = &["nondeterministic_output_order"];

const fn sub(name: &'static str, handler: Handler) -> Command {
    Command::new(name, handler).flags(LOADING | STALE).categories(&["connection"])
}

/// The commands of this file.
pub const COMMANDS: &[Command] = &[Command::new("command", all)
    .flags(LOADING | STALE)
    .categories(&["connection"])
    .since("2.8.13")
    .arity(-1)
    .tips(ORDER)
    .complexity("O(N) where N is the total number of Redis commands")
    .summary("Describes all commands.")
    .subcommands(&[
        sub("count", count)
            .since("2.8.13")
            .arity(2)
            .complexity("O(1)")
            .summary("Returns the number of commands."),
        sub("docs", docs)
            .since("7.0.0")
            .arity(-2)
            .tips(ORDER)
            .syntax("[command-name [command-name ...]]")
            .complexity("O(N) where N is the number of commands to look up")
            .summary("Returns the documentation of commands, or of all."),
        sub("getkeys", getkeys)
            .since("2.8.13")
            .arity(-3)
            .syntax("command [arg [arg ...]]")
            .complexity("O(N) where N is the number of arguments to the command")
            .summary("Finds the keys in a command line."),
        sub("getkeysandflags", getkeysandflags)
            .since("7.0.0")
            .arity(-3)
            .syntax("command [arg [arg ...]]")
            .complexity("O(N) where N is the number of arguments to the command")
            .summary("Finds the keys in a command line and what is done with them."),
        sub("help", help)
            .since("5.0.0")
            .arity(2)
            .complexity("O(1)")
            .summary("Describes the subcommands."),
        sub("info", info)
            .since("2.8.13")
            .arity(-2)
            .tips(ORDER)
            .syntax("[command-name [command-name ...]]")
            .complexity("O(N) where N is the number of commands to look up")
            .history(&[("7.0.0", "All commands where none is named.")])
            .summary("Describes commands, or all."),
        sub("list", list)
            .since("7.0.0")
            .arity(-2)
            .tips(ORDER)
            .syntax("[filterby: FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]")
            .complexity("O(N) where N is the total number of Redis commands")
            .summary("Returns the names of commands."),
    ])];

const HELP: &[&str] = &[
    "COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "(no subcommand)",
    "    Describes all commands.",
    "COUNT",
    "    The number of commands.",
    "DOCS [<command-name> ...]",
    "    The documentation of these commands, or of all.",
    "GETKEYS <full-command>",
    "    The keys in a command line.",
    "GETKEYSANDFLAGS <full-command>",
    "    The keys in a command line and what is done with them.",
    "INFO [<command-name> ...]",
    "    Describes these commands, or all.",
    "LIST [FILTERBY (MODULE <module-name>|ACLCAT <category>|PATTERN <pattern>)]",
    "    The names of all commands, or of some.",
    "HELP",
    "    Prints this help.",
];

/// COMMAND
fn all(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    let engine = ctx.engine;
    let out = ctx.reply.parts();
    out.array(engine.table.commands().count());
    for known in engine.table.commands() {
        describe(out, ctx.engine.table.all(), known);
    }
    ctx.reply.done()
}

/// COMMAND COUNT
fn count(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    ctx.reply.count(ctx.engine.table.commands().count())
}

/// COMMAND INFO [command-name [command-name ...]]
fn info(ctx: &mut Ctx, args: &mut Args) -> Reply {
    if args.is_empty() {
        return all(ctx, args);
    }
    let table = &ctx.engine.table;
    let names = args.take_rest();
    let out = ctx.reply.parts();
    out.array(names.len());
    for name in names {
        match table.find_full(name) {
            Some(known) => describe(out, table.all(), known),
            None => out.null(),
        }
    }
    ctx.reply.done()
}

/// COMMAND DOCS [command-name [command-name ...]]
fn docs(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let table = &ctx.engine.table;
    let names = args.take_rest();
    let found: Vec<&Known> = if names.is_empty() {
        table.commands().collect()
    } else {
        names.iter().filter_map(|name| table.find_full(name)).collect()
    };
    let out = ctx.reply.parts();
    out.map(found.len());
    for known in found {
        document(out, table.all(), known);
    }
    ctx.reply.done()
}

/// COMMAND LIST [FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]
fn list(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let filter: Box<dyn Fn(&Known) -> bool> = if args.is_empty() {
        Box::new(|_| true)
    } else if args.left() != 3 || !args.word("FILTERBY") {
        return Err(Error::SYNTAX);
    } else if args.word("MODULE") {
        Box::new(|_| false)
    } else if args.word("ACLCAT") {
        let category = categories::named(args.bytes()?);
        Box::new(move |known| category.is_some_and(|c| categories::is_in(known.command, c)))
    } else if args.word("PATTERN") {
        let pattern = args.bytes()?;
        Box::new(|known| glob::matches(pattern, known.full_name.as_bytes(), true))
    } else {
        return Err(Error::SYNTAX);
    };
    let out = ctx.reply.parts();
    let start = out.defer();
    let mut count = 0;
    for known in ctx.engine.table.callable().filter(|known| filter(known)) {
        out.bulk(known.full_name.as_bytes());
        count += 1;
    }
    out.finish_array(start, count);
    ctx.reply.done()
}

/// COMMAND GETKEYS command [arg [arg ...]]
fn getkeys(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let argv = args.take_rest();
    let keys = keys_of(ctx, argv)?;
    let out = ctx.reply.parts();
    out.array(keys.len());
    for (index, _) in keys {
        out.bulk(argv[index]);
    }
    ctx.reply.done()
}

/// COMMAND GETKEYSANDFLAGS command [arg [arg ...]]
fn getkeysandflags(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let argv = args.take_rest();
    let keys = keys_of(ctx, argv)?;
    let out = ctx.reply.parts();
    out.array(keys.len());
    for (index, spec) in keys {
        out.array(2);
        out.bulk(argv[index]);
        show_bits(out, spec.access_in(argv), &access::SHOWN);
    }
    ctx.reply.done()
}

/// COMMAND HELP
fn help(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    ctx.reply.lines(HELP)
}

/// Indexes of the keys of a command line, each with what says so.
fn keys_of(ctx: &Ctx, argv: &[&[u8]]) -> Result<Vec<(usize, &'static KeySpec)>, Error> {
    let table = &ctx.engine.table;
    let mut known = table.find(argv[0]).ok_or(Error::COMMAND_INVALID)?;
    if let Some(sub) = argv.get(1).and_then(|name| table.find_sub(known, name)) {
        known = sub;
    } else if argv.len() > 1 && !known.command.subcommands.is_empty()
        || known.command.handler.is_none()
    {
        return Err(Error::COMMAND_INVALID);
    }
    if known.command.keys.iter().all(|spec| spec.access & access::NOT_KEY != 0) {
        return Err(Error::COMMAND_NO_KEYS);
    }
    if dispatch::resolve(ctx.engine, argv).is_err() {
        return Err(Error::COMMAND_ARITY);
    }
    let specs = known.command.keys.iter();
    let found: Vec<_> =
        specs.clone().flat_map(|spec| spec.indexes(argv).map(move |index| (index, spec))).collect();
    // One place without keys spoils the others (PFMERGE without a source); a word may be missing.
    let lacks_keys = |spec: &KeySpec| {
        matches!(spec.begin, Begin::Index(_))
            && spec.unless.is_none()
            && spec.indexes(argv).next().is_none()
    };
    if (found.is_empty() || specs.clone().any(lacks_keys))
        && !known.command.has(flag::NO_MANDATORY_KEYS)
    {
        return Err(Error::COMMAND_ARGUMENTS);
    }
    Ok(found)
}

/// Writes what COMMAND INFO says of a command: a list of ten.
fn describe(out: &mut Out, all: &[Known], known: &Known) {
    let command = known.command;
    let (first, last, step) = key_range(command.keys);
    out.array(10);
    out.bulk(known.full_name.as_bytes());
    out.int(command.arity.into());
    show_bits(out, command.flags, &flag::SHOWN);
    out.int(first);
    out.int(last);
    out.int(step);
    let names: Vec<String> = categories::of(command).map(|name| format!("@{name}")).collect();
    out.set(names.len());
    names.iter().for_each(|name| out.simple(name));
    out.set(command.tips.len());
    command.tips.iter().for_each(|tip| out.bulk(tip.as_bytes()));
    out.set(command.keys.len());
    command.keys.iter().for_each(|spec| describe_keys(out, spec));
    match known.subcommands.len() {
        0 => out.set(0),
        count => out.array(count),
    }
    for &(_, id) in &known.subcommands {
        describe(out, all, &all[id]);
    }
}

/// (first, last, step) of the keys, as clients of older versions want it: of the specifications
/// that follow upon each other without a gap.
fn key_range(specs: &[KeySpec]) -> (i64, i64, i64) {
    let fixed = |spec: &KeySpec| match (spec.begin, spec.find) {
        (Begin::Index(first), Find::Range { last, step, .. }) => {
            let end = i64::from(last) + if last >= 0 { first as i64 } else { 0 };
            Some((first as i64, end, step as i64))
        }
        _ => None,
    };
    if let [only] = specs {
        return fixed(only).unwrap_or((0, 0, 0));
    }
    let mut range: Option<(i64, i64)> = None;
    for (start, end, step) in specs.iter().filter_map(fixed) {
        range = match range {
            None if step == 1 => Some((start, end)),
            Some((first, last)) if step == 1 && last == start - 1 => Some((first, end)),
            other => other,
        };
    }
    range.map_or((0, 0, 0), |(first, last)| (first, last, 1))
}

fn describe_keys(out: &mut Out, spec: &KeySpec) {
    out.map(3 + usize::from(!spec.note.is_empty()));
    if !spec.note.is_empty() {
        out.bulk(b"notes");
        out.bulk(spec.note.as_bytes());
    }
    out.bulk(b"flags");
    show_bits(out, spec.access, &access::SHOWN);
    out.bulk(b"begin_search");
    match spec.begin {
        Begin::Index(first) => describe_search(out, "index", &[("index", first as i64)]),
        Begin::Keyword(word, from) => {
            describe_search(out, "keyword", &[]);
            out.map(2);
            pair(out, "keyword", word);
            out.bulk(b"startfrom");
            out.int(from.into());
        }
        Begin::Option(_) | Begin::Unknown => {
            describe_search(out, "unknown", &[]);
            out.map(0);
        }
    }
    out.bulk(b"find_keys");
    match spec.find {
        Find::Range { last, step, limit } if !matches!(spec.begin, Begin::Option(_)) => {
            let fields =
                [("lastkey", last.into()), ("keystep", step as i64), ("limit", limit as i64)];
            describe_search(out, "range", &fields);
        }
        Find::Counted { count, first, step } => {
            let fields =
                [("keynumidx", count as i64), ("firstkey", first as i64), ("keystep", step as i64)];
            describe_search(out, "keynum", &fields);
        }
        Find::Range { .. } | Find::Unknown => {
            describe_search(out, "unknown", &[]);
            out.map(0);
        }
    }
}

/// Writes one half of a key specification: its kind and its numbers, which the caller writes if
/// there are none here.
fn describe_search(out: &mut Out, kind: &str, numbers: &[(&str, i64)]) {
    out.map(2);
    pair(out, "type", kind);
    out.bulk(b"spec");
    if numbers.is_empty() {
        return;
    }
    out.map(numbers.len());
    for (name, value) in numbers {
        out.bulk(name.as_bytes());
        out.int(*value);
    }
}

fn pair(out: &mut Out, name: &str, value: &str) {
    out.bulk(name.as_bytes());
    out.bulk(value.as_bytes());
}

/// Writes the names of the bits that are set.
fn show_bits(out: &mut Out, bits: u32, names: &[(u32, &str)]) {
    let set = || names.iter().filter(|(bit, _)| bits & bit != 0);
    out.set(set().count());
    set().for_each(|(_, name)| out.simple(name));
}

/// Writes a command's name and its documentation.
fn document(out: &mut Out, all: &[Known], known: &Known) {
    let command = known.command;
    out.bulk(known.full_name.as_bytes());
    let start = out.defer();
    let mut fields = 0;
    for (name, value) in [
        ("summary", command.summary),
        ("since", command.since),
        ("group", command.group.name()),
        ("complexity", command.complexity),
    ] {
        if !value.is_empty() {
            pair(out, name, value);
            fields += 1;
        }
    }
    let marks =
        [(command.deprecated.is_some(), "deprecated"), (command.has(flag::SYSTEM), "syscmd")];
    fields += push_marks(out, "doc_flags", &marks);
    if let Some((since, instead)) = command.deprecated {
        pair(out, "deprecated_since", since);
        pair(out, "replaced_by", instead);
        fields += 2;
    }
    if !command.history.is_empty() {
        out.bulk(b"history");
        out.set(command.history.len());
        for (since, change) in command.history {
            out.array(2);
            out.bulk(since.as_bytes());
            out.bulk(change.as_bytes());
        }
        fields += 1;
    }
    let args = syntax::parse(command.syntax);
    if !args.is_empty() {
        out.bulk(b"arguments");
        document_args(out, &args, command.keys, &mut 0);
        fields += 1;
    }
    if !known.subcommands.is_empty() {
        out.bulk(b"subcommands");
        out.map(known.subcommands.len());
        for &(_, id) in &known.subcommands {
            document(out, all, &all[id]);
        }
        fields += 1;
    }
    out.finish_map(start, fields);
}

/// Writes arguments. `keys_seen` counts those that are keys, to tell which specification each
/// belongs to.
fn document_args(out: &mut Out, args: &[Arg], specs: &[KeySpec], keys_seen: &mut usize) {
    out.array(args.len());
    for arg in args {
        document_arg(out, arg, specs, keys_seen);
    }
}

fn document_arg(out: &mut Out, arg: &Arg, specs: &[KeySpec], keys_seen: &mut usize) {
    let is_key = arg.kind == Type::Key && !specs.is_empty();
    let next = (is_key && arg.key_spec.is_none()).then(|| {
        *keys_seen += 1;
        (*keys_seen - 1).min(specs.len() - 1)
    });
    let kind = if arg.kind == Type::Key && !is_key { Type::String } else { arg.kind };
    let start = out.defer();
    let mut fields = 2;
    pair(out, "name", &arg.name);
    pair(out, "type", kind.name());
    if arg.parts.is_empty() {
        pair(out, "display_text", &arg.shown);
        fields += 1;
    }
    if let Some(index) = arg.key_spec.or(next) {
        out.bulk(b"key_spec_index");
        out.int(index as i64);
        fields += 1;
    }
    if let Some(token) = &arg.token {
        pair(out, "token", token);
        fields += 1;
    }
    for (name, version) in [("since", &arg.since), ("deprecated_since", &arg.deprecated)] {
        if !version.is_empty() {
            pair(out, name, version);
            fields += 1;
        }
    }
    let marks = [
        (arg.optional, "optional"),
        (arg.multiple, "multiple"),
        (arg.multiple_token, "multiple_token"),
    ];
    fields += push_marks(out, "flags", &marks);
    if !arg.parts.is_empty() {
        out.bulk(b"arguments");
        document_args(out, &arg.parts, specs, keys_seen);
        fields += 1;
    }
    out.finish_map(start, fields);
}

/// Writes a field with the names of what is so, if there is any; how many fields.
fn push_marks(out: &mut Out, field: &str, marks: &[(bool, &str)]) -> usize {
    let set = || marks.iter().filter(|(is_set, _)| *is_set);
    if set().count() == 0 {
        return 0;
    }
    out.bulk(field.as_bytes());
    out.set(set().count());
    set().for_each(|(_, name)| out.simple(name));
    1
}
