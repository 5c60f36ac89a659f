//! What subscribers of both servers hear of a run: keyspace events of all classes, and messages.

use super::support::client::{Client, Value, quoted};
use super::support::fake::Args;
use super::support::server::Server;
use std::fmt::Write;

/// All classes but those of modules, on both channels.
const CLASSES: &str = "KEAnm";

/// The shapes of the commands about channels (see `SHAPES`). Those that subscribe and unsubscribe
/// are left out: a run expects one reply to each command and no message.
pub const SHAPES: &[(usize, &str)] = &[
    (4, "PUBLISH value value"),
    (2, "SPUBLISH value value"),
    (1, "PUBSUB CHANNELS [pattern]"),
    (1, "PUBSUB SHARDCHANNELS [pattern]"),
    (1, "PUBSUB NUMSUB [value]*"),
    (1, "PUBSUB SHARDNUMSUB [value]*"),
    (1, "PUBSUB NUMPAT"),
    (1, "PUBSUB word [value]"),
];

/// A channel that no command of a run names.
const END: &str = "the end of what is compared";

/// Messages that are shown before one that differs.
const SHOWN_BEFORE: usize = 6;

/// One server's subscriber, and a client that ends what is compared.
struct Watcher {
    subscriber: Client,
    publisher: Client,
}

impl Watcher {
    fn start(server: &Server) -> Watcher {
        let (mut subscriber, mut publisher) = (server.client(), server.client());
        publisher.cmd(&["CONFIG", "SET", "notify-keyspace-events", CLASSES]);
        subscriber.cmd(&["PSUBSCRIBE", "*"]);
        Watcher { subscriber, publisher }
    }

    /// All that was heard since the last time, as it is printed. Left out is when a key that is
    /// over is removed, because that depends on who looks first.
    fn heard(&mut self) -> Vec<String> {
        self.publisher.cmd(&["PUBLISH", END, ""]);
        let mut heard = Vec::new();
        loop {
            let message = self.subscriber.recv();
            let [_, _, channel, text] = message.items() else {
                panic!("no message from a pattern: {message}");
            };
            if *channel == Value::bulk(END) {
                return heard;
            }
            let is_expiry = channel.text().contains("__:expired")
                || (channel.text().starts_with("__keyspace@") && text.text() == "expired");
            if !is_expiry {
                heard.push(format!("{channel}: {text}"));
            }
        }
    }
}

/// The subscribers of both servers.
pub struct Watchers {
    ours: Watcher,
    theirs: Watcher,
}

impl Watchers {
    pub fn start(ours: &Server, theirs: &Server) -> Watchers {
        Watchers { ours: Watcher::start(ours), theirs: Watcher::start(theirs) }
    }

    /// Forgets what was heard so far.
    pub fn forget(&mut self) {
        self.ours.heard();
        self.theirs.heard();
    }

    /// Where what both have heard of these commands differs, if it does.
    pub fn difference(&mut self, commands: &[Args]) -> Option<String> {
        let (mut ours, mut theirs) = (self.ours.heard(), self.theirs.heard());
        let asks_for_type = commands.iter().any(asks_for_type);
        let read_again: Vec<String> = commands.iter().flat_map(read_again).collect();
        for heard in [&mut ours, &mut theirs] {
            heard.retain(|message| {
                let is_miss = message.contains("keymiss");
                !is_miss || !asks_for_type && !read_again.iter().any(|key| is_about(message, key))
            });
        }
        if commands.iter().any(wakes_in_any_order) {
            ours.sort();
            theirs.sort();
        }
        if ours == theirs {
            return None;
        }
        let pairs = ours.iter().zip(&theirs);
        let at = pairs.take_while(|(ours, theirs)| ours == theirs).count();
        let mut report = String::new();
        for message in &ours[at.saturating_sub(SHOWN_BEFORE)..at] {
            let _ = writeln!(report, "    both   {message}");
        }
        let nothing = "nothing more".to_owned();
        let _ = writeln!(report, "    ours   {}", ours.get(at).unwrap_or(&nothing));
        let _ = writeln!(report, "    theirs {}", theirs.get(at).unwrap_or(&nothing));
        Some(report)
    }
}

/// Whether a command looks for keys of a type, and so misses those that are over, if they are still
/// there.
fn asks_for_type(args: &Args) -> bool {
    let mut words = args.iter().map(|arg| arg.to_ascii_uppercase());
    words.next().is_some_and(|name| name == b"SCAN") && words.any(|word| word == b"TYPE")
}

/// Whether a message names a key, which is quoted: in the channel or as the text.
fn is_about(message: &str, key: &str) -> bool {
    message.ends_with(&format!(": {key}")) || message.contains(&format!("__:{}: ", &key[1..]))
}

/// The keys, quoted, of a command that waits for entries of a group: when one is gone 7.2 executes
/// the command again, which then misses it.
fn read_again(args: &Args) -> Vec<String> {
    let mut words = args.iter().map(|arg| arg.to_ascii_uppercase());
    if words.next().is_none_or(|name| name != b"XREADGROUP") || !words.any(|word| word == b"BLOCK")
    {
        return Vec::new();
    }
    let keys = args.iter().skip_while(|arg| !arg.eq_ignore_ascii_case(b"STREAMS")).skip(1);
    keys.map(|key| quoted(key)).collect()
}

/// Whether a command makes several keys ready at once: who waits for them is then served in the
/// order of each server's own table of keys that are waited for.
fn wakes_in_any_order(args: &Args) -> bool {
    [&b"SWAPDB"[..], b"FLUSHDB", b"FLUSHALL"].iter().any(|name| args[0].eq_ignore_ascii_case(name))
}
