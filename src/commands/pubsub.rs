//! Channels: SUBSCRIBE and its like, PUBLISH, PUBSUB.

use crate::base::glob;
use crate::engine::spec::access::NOT_KEY;
use crate::engine::spec::flag::{
    FAST, LOADING, MAY_REPLICATE, NOSCRIPT, PUBSUB, STALE, SUBSCRIBED,
};
use crate::engine::spec::{ChannelSpec, Handler, KeySpec};
use crate::engine::{Args, Command, Ctx, Group, Reply, pubsub};
use crate::resp::error::{self, Error};
use crate::state::pubsub::{Message, Topic};

const NO_SSUBSCRIBE_IN_EXEC: Error =
    Error::new("ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client");

const SHARD_CHANNELS: &[KeySpec] = &[KeySpec::from(1, NOT_KEY)];
const SHARD_CHANNEL: &[KeySpec] = &[KeySpec::at(1, NOT_KEY)];

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    subscription("subscribe", subscribe, -2)
        .channels(ChannelSpec::from(1))
        .syntax("channel [channel ...]")
        .complexity("O(N) where N is the number of channels to subscribe to.")
        .summary("Subscribes the connection to channels."),
    subscription("unsubscribe", unsubscribe, -1)
        .syntax("[channel [channel ...]]")
        .complexity("O(N) where N is the number of channels to unsubscribe.")
        .summary("Ends the connection's subscriptions to these channels, or to all."),
    subscription("psubscribe", psubscribe, -2)
        .channels(ChannelSpec::patterns_from(1))
        .syntax("pattern [pattern ...]")
        .complexity("O(N) where N is the number of patterns to subscribe to.")
        .summary("Subscribes the connection to all channels whose names match."),
    subscription("punsubscribe", punsubscribe, -1)
        .syntax("[pattern [pattern ...]]")
        .complexity("O(N) where N is the number of patterns to unsubscribe.")
        .summary("Ends the connection's subscriptions to these patterns, or to all."),
    subscription("ssubscribe", ssubscribe, -2)
        .channels(ChannelSpec::from(1))
        .since("7.0.0")
        .keys(SHARD_CHANNELS)
        .syntax("shardchannel [shardchannel ...]")
        .complexity("O(N) where N is the number of shard channels to subscribe to.")
        .summary("Subscribes the connection to shard channels."),
    subscription("sunsubscribe", sunsubscribe, -1)
        .since("7.0.0")
        .keys(SHARD_CHANNELS)
        .syntax("[shardchannel [shardchannel ...]]")
        .complexity("O(N) where N is the number of shard channels to unsubscribe.")
        .summary("Ends the connection's subscriptions to these shard channels, or to all."),
    publication("publish", publish)
        .since("2.0.0")
        .syntax("channel message")
        .complexity(
            "O(N+M) where N is the number of clients subscribed to the receiving channel and M is \
             the total number of subscribed patterns (by any client).",
        )
        .summary("Sends a message to all subscribers of a channel."),
    publication("spublish", spublish)
        .since("7.0.0")
        .keys(SHARD_CHANNEL)
        .syntax("shardchannel message")
        .complexity(
            "O(N) where N is the number of clients subscribed to the receiving shard channel.",
        )
        .summary("Sends a message to all subscribers of a shard channel."),
    Command::container("pubsub")
        .group(Group::Pubsub)
        .since("2.8.0")
        .summary("Shows channels and their subscribers.")
        .subcommands(SUBCOMMANDS),
];

const SUBCOMMANDS: &[Command] = &[
    view("channels", channels)
        .arity(-2)
        .syntax("[pattern]")
        .complexity("O(N) where N is the number of active channels, and assuming short names")
        .summary("Lists the channels that have subscribers."),
    Command::new("help", help)
        .group(Group::Pubsub)
        .since("6.2.0")
        .arity(2)
        .flags(LOADING | STALE)
        .complexity("O(1)")
        .summary("Lists the subcommands."),
    view("numpat", numpat)
        .arity(2)
        .complexity("O(1)")
        .summary("Counts the patterns that have subscribers."),
    view("numsub", numsub)
        .arity(-2)
        .syntax("[channel [channel ...]]")
        .complexity("O(N) where N is the number of requested channels")
        .summary("Counts the subscribers of channels."),
    view("shardchannels", shardchannels)
        .since("7.0.0")
        .arity(-2)
        .syntax("[pattern]")
        .complexity("O(N) where N is the number of active shard channels, and assuming short names")
        .summary("Lists the shard channels that have subscribers."),
    view("shardnumsub", shardnumsub)
        .since("7.0.0")
        .arity(-2)
        .syntax("[shardchannel [shardchannel ...]]")
        .complexity("O(N) where N is the number of requested shard channels")
        .summary("Counts the subscribers of shard channels."),
];

/// A command that subscribes or unsubscribes.
const fn subscription(name: &'static str, handler: Handler, arity: i32) -> Command {
    Command::new(name, handler)
        .group(Group::Pubsub)
        .since("2.0.0")
        .arity(arity)
        .flags(PUBSUB | NOSCRIPT | LOADING | STALE | SUBSCRIBED)
}

/// A command that publishes.
const fn publication(name: &'static str, handler: Handler) -> Command {
    Command::new(name, handler)
        .group(Group::Pubsub)
        .arity(3)
        .channels(ChannelSpec::at(1))
        .flags(PUBSUB | LOADING | STALE | FAST | MAY_REPLICATE)
}

/// A subcommand that shows something.
const fn view(name: &'static str, handler: Handler) -> Command {
    Command::new(name, handler).group(Group::Pubsub).since("2.8.0").flags(PUBSUB | LOADING | STALE)
}

/// SUBSCRIBE channel [channel ...]
fn subscribe(ctx: &mut Ctx, args: &mut Args) -> Reply {
    join(ctx, args, Topic::Channel, "subscribe")
}

/// UNSUBSCRIBE [channel [channel ...]]
fn unsubscribe(ctx: &mut Ctx, args: &mut Args) -> Reply {
    leave(ctx, args, Topic::Channel, "unsubscribe")
}

/// PSUBSCRIBE pattern [pattern ...]
fn psubscribe(ctx: &mut Ctx, args: &mut Args) -> Reply {
    join(ctx, args, Topic::Pattern, "psubscribe")
}

/// PUNSUBSCRIBE [pattern [pattern ...]]
fn punsubscribe(ctx: &mut Ctx, args: &mut Args) -> Reply {
    leave(ctx, args, Topic::Pattern, "punsubscribe")
}

/// SSUBSCRIBE shardchannel [shardchannel ...]
fn ssubscribe(ctx: &mut Ctx, args: &mut Args) -> Reply {
    // The others may, because they always could.
    if ctx.in_exec {
        return Err(NO_SSUBSCRIBE_IN_EXEC);
    }
    join(ctx, args, Topic::Shard, "ssubscribe")
}

/// SUNSUBSCRIBE [shardchannel [shardchannel ...]]
fn sunsubscribe(ctx: &mut Ctx, args: &mut Args) -> Reply {
    leave(ctx, args, Topic::Shard, "sunsubscribe")
}

/// Subscribes to each name; each is answered.
fn join(ctx: &mut Ctx, args: &mut Args, topic: Topic, word: &str) -> Reply {
    ctx.session.pushed = !ctx.in_exec;
    for name in args.take_rest() {
        let count = ctx.server.pubsub.subscribe(&ctx.session.handle, topic, name);
        confirm(ctx, word, Some(name), count);
    }
    ctx.reply.done()
}

/// Unsubscribes from each name, or from all; each is answered, and that there was none.
fn leave(ctx: &mut Ctx, args: &mut Args, topic: Topic, word: &str) -> Reply {
    ctx.session.pushed = !ctx.in_exec;
    let (pubsub, client) = (&ctx.server.pubsub, ctx.session.handle.clone());
    if !args.is_empty() {
        for name in args.take_rest() {
            let count = pubsub.unsubscribe(&client, topic, name);
            confirm(ctx, word, Some(name), count);
        }
        return ctx.reply.done();
    }
    let names = pubsub.names_of(&client, topic);
    for name in &names {
        let count = pubsub.unsubscribe(&client, topic, name);
        confirm(ctx, word, Some(name), count);
    }
    if names.is_empty() {
        let count = pubsub.subscriptions(&client, topic);
        confirm(ctx, word, None, count);
    }
    ctx.reply.done()
}

/// Answers one name, with the number of subscriptions that there are now.
fn confirm(ctx: &mut Ctx, word: &str, name: Option<&[u8]>, count: usize) {
    let out = ctx.reply.parts();
    out.push(3);
    out.bulk(word.as_bytes());
    match name {
        Some(name) => out.bulk(name),
        None => out.null(),
    }
    out.int(i64::try_from(count).unwrap_or(i64::MAX));
}

/// PUBLISH channel message
fn publish(ctx: &mut Ctx, args: &mut Args) -> Reply {
    send(ctx, args, Topic::Channel)
}

/// SPUBLISH shardchannel message
fn spublish(ctx: &mut Ctx, args: &mut Args) -> Reply {
    send(ctx, args, Topic::Shard)
}

/// Publishes here and, by the log, at the replicas.
fn send(ctx: &mut Ctx, args: &mut Args, topic: Topic) -> Reply {
    let (channel, text) = (args.key().to_vec(), args.key().to_vec());
    ctx.effects.replace(args.argv());
    let count = pubsub::publish(ctx, Message { topic, channel, text });
    ctx.reply.count(count)
}

/// PUBSUB CHANNELS [pattern]
fn channels(ctx: &mut Ctx, args: &mut Args) -> Reply {
    list(ctx, args, Topic::Channel)
}

/// PUBSUB SHARDCHANNELS [pattern]
fn shardchannels(ctx: &mut Ctx, args: &mut Args) -> Reply {
    list(ctx, args, Topic::Shard)
}

/// Lists the names with subscribers that match the pattern, if there is one.
fn list(ctx: &mut Ctx, args: &mut Args, topic: Topic) -> Reply {
    if args.left() > 1 {
        return Err(error::subcommand_syntax(args.argv()[1], "pubsub"));
    }
    let mut names = ctx.server.pubsub.names(topic);
    if let Ok(pattern) = args.bytes() {
        names.retain(|name| glob::matches(pattern, name, false));
    }
    let out = ctx.reply.parts();
    out.array(names.len());
    names.iter().for_each(|name| out.bulk(name));
    ctx.reply.done()
}

/// PUBSUB NUMPAT
fn numpat(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    let count = ctx.server.pubsub.count(Topic::Pattern);
    ctx.reply.count(count)
}

/// PUBSUB NUMSUB [channel [channel ...]]
fn numsub(ctx: &mut Ctx, args: &mut Args) -> Reply {
    count_subscribers(ctx, args, Topic::Channel)
}

/// PUBSUB SHARDNUMSUB [shardchannel [shardchannel ...]]
fn shardnumsub(ctx: &mut Ctx, args: &mut Args) -> Reply {
    count_subscribers(ctx, args, Topic::Shard)
}

/// Answers each name and how many are subscribed to it.
fn count_subscribers(ctx: &mut Ctx, args: &mut Args, topic: Topic) -> Reply {
    let out = ctx.reply.parts();
    out.array(2 * args.left());
    for name in args.take_rest() {
        out.bulk(name);
        let count = ctx.server.pubsub.subscribers(topic, name);
        out.int(i64::try_from(count).unwrap_or(i64::MAX));
    }
    ctx.reply.done()
}

/// PUBSUB HELP
fn help(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    ctx.reply.lines(&[
        "PUBSUB <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "CHANNELS [<pattern>]",
        "    The channels with subscribers, or those of them that match (default: '*').",
        "NUMPAT",
        "    How many patterns have subscribers.",
        "NUMSUB [<channel> ...]",
        "    How many are subscribed to each channel, patterns not counted.",
        "SHARDCHANNELS [<pattern>]",
        "    The shard channels with subscribers, or those of them that match.",
        "SHARDNUMSUB [<shardchannel> ...]",
        "    How many are subscribed to each shard channel.",
        "HELP",
        "    Prints this help.",
    ])
}
