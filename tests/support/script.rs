//! Runs command scripts: what is sent, what must come back, and what a replica must see of it.
//!
//! A script is a text file `tests/scripts/<group>/<command>.txt`:
//!
//! | line | meaning |
//! | --- | --- |
//! | `# text` | a comment |
//! | `# ours: why` | redis-server 7.0 differs here: the oracle runs the next command unchecked |
//! | `> SET k "a\x00b"` | a command, quoted as in redis-cli; sent on the connection `a` |
//! | `b> GET k` | the same on the connection `b` (any letter), opened when first used |
//! | `<`, `b<` | reads one more reply or push from a connection |
//! | `+500` | sleeps so many milliseconds |
//! | `! reconnect` | closes all connections of the script |
//! | `! resp3`, `! b resp3` | sends `HELLO 3` on a connection and skips the reply |
//! | `! db 9` | sends `SELECT 9` on the connection `a` and skips the reply |
//! | `! sort`, `! sort pairs` | the next reply is an unordered list (of pairs) |
//! | `~ DEL k` | an effect of the last command that a replica must receive |
//! | other | the lines of the expected reply, as [`Value`] prints them |
//!
//! Effects are exact: those listed and no others, in order. A lone `~`, or none, says nothing
//! may arrive. The first effect of a script may have a SELECT before it that is not listed.
//! `(no reply)` says that nothing comes for a while, `(closed)` that the connection ends.
//!
//! In expected lines `*` outside double quotes stands for any text, and a line `*` for any
//! lines. Everywhere `<any>` stands for any text, `<ms>` for a unix time in milliseconds of 13
//! digits, `<int>` for an integer, and `<5..9>` for an integer in that range, ends included.

use super::client::{Client, PATIENCE, RecvError, Value, encode, quoted};
use super::fake::{Args, FakeReplica};
use super::server::Server;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How long `(no reply)` listens, which is also the time that the command has to be executed.
const SILENCE: Duration = Duration::from_millis(150);

/// The connection that lines without a letter mean.
const DEFAULT: char = 'a';

/// A script file, taken apart.
pub struct Script {
    path: PathBuf,
    text: String,
    steps: Vec<Step>,
}

struct Step {
    /// Counted from 1.
    line: usize,
    action: Action,
    reply: Vec<String>,
    effects: Vec<String>,
    unordered: Option<Unordered>,
    /// The oracle is known to differ.
    ours: bool,
}

enum Action {
    Command(char, Args),
    Read(char),
    Sleep(Duration),
    Reconnect,
    /// Sent for its side effect, the reply is not looked at.
    Quiet(char, Args),
}

#[derive(Clone, Copy)]
enum Unordered {
    Single,
    Pairs,
}

/// How the commands travel.
#[derive(Clone, Copy, PartialEq)]
pub enum Mode {
    Whole,
    /// One byte per write.
    Fragments,
}

impl Script {
    /// Reads and parses a file; the error names the line.
    pub fn load(path: &Path) -> Result<Script, String> {
        let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let mut steps: Vec<Step> = Vec::new();
        let mut ours = false;
        let mut unordered = None;
        for (i, line) in text.lines().enumerate() {
            let fail = |what: &str| format!("{}:{}: {what}: {line}", path.display(), i + 1);
            if line.is_empty() || (line.starts_with('#') && !line.starts_with("# ours:")) {
                continue;
            }
            if line.starts_with("# ours:") {
                ours = true;
            } else if let Some(rest) = line.strip_prefix("! sort") {
                unordered = Some(match rest {
                    "" => Unordered::Single,
                    " pairs" => Unordered::Pairs,
                    _ => return Err(fail("unknown order")),
                });
            } else if let Some(action) = parse_action(line).map_err(|e| fail(&e))? {
                let checked = matches!(action, Action::Command(..) | Action::Read(_));
                steps.push(Step {
                    line: i + 1,
                    action,
                    reply: Vec::new(),
                    effects: Vec::new(),
                    unordered: unordered.take(),
                    ours: checked && std::mem::take(&mut ours),
                });
            } else {
                let step = steps.last_mut().ok_or_else(|| fail("no command before"))?;
                match line.strip_prefix('~') {
                    Some("") => {}
                    Some(effect) => step.effects.push(effect.trim_start().to_owned()),
                    None => step.reply.push(line.to_owned()),
                }
            }
        }
        let path = path.to_owned();
        Ok(Script { path, text, steps })
    }

    /// The file's text with the outcomes filled in where a command has no expected reply yet.
    fn filled(&self, outcomes: &[Outcome]) -> String {
        let mut additions = BTreeMap::new();
        for (step, outcome) in self.steps.iter().zip(outcomes) {
            if step.reply.is_empty() {
                additions.insert(step.line, outcome.as_script());
            }
        }
        let mut out = String::new();
        for (i, line) in self.text.lines().enumerate() {
            out.push_str(line);
            out.push('\n');
            if let Some(addition) = additions.get(&(i + 1)) {
                out.push_str(addition);
            }
        }
        out
    }
}

/// The action of a line; `None` when the line is an expectation.
fn parse_action(line: &str) -> Result<Option<Action>, String> {
    let (name, rest) = match line.as_bytes() {
        [name @ b'a'..=b'z', b'>' | b'<', ..] => (char::from(*name), &line[1..]),
        _ => (DEFAULT, line),
    };
    if rest == "<" {
        return Ok(Some(Action::Read(name)));
    }
    if let Some(command) = rest.strip_prefix("> ") {
        return Ok(Some(Action::Command(name, split_args(command)?)));
    }
    if let Some(ms) = line.strip_prefix('+') {
        let ms = ms.trim().parse().map_err(|_| "bad duration")?;
        return Ok(Some(Action::Sleep(Duration::from_millis(ms))));
    }
    let Some(words) = line.strip_prefix('!') else {
        return Ok(None);
    };
    let quiet = |name: char, args: &[&str]| {
        let args = args.iter().map(|a| a.as_bytes().to_vec()).collect();
        Ok(Some(Action::Quiet(name, args)))
    };
    match words.split_whitespace().collect::<Vec<_>>()[..] {
        ["reconnect"] => Ok(Some(Action::Reconnect)),
        ["resp3"] => quiet(DEFAULT, &["HELLO", "3"]),
        [name, "resp3"] if name.len() == 1 => {
            quiet(char::from(name.as_bytes()[0]), &["HELLO", "3"])
        }
        ["db", number] => quiet(DEFAULT, &["SELECT", number]),
        _ => Err("unknown directive".to_owned()),
    }
}

/// Splits a line into arguments by redis-cli's rules.
fn split_args(line: &str) -> Result<Args, String> {
    let mut args = Vec::new();
    let mut rest = line.as_bytes().trim_ascii();
    while !rest.is_empty() {
        let mut arg = Vec::new();
        rest = match rest[0] {
            b'"' => take_double_quoted(&rest[1..], &mut arg)?,
            b'\'' => take_single_quoted(&rest[1..], &mut arg)?,
            _ => {
                let end = rest.iter().position(u8::is_ascii_whitespace);
                let (word, tail) = rest.split_at(end.unwrap_or(rest.len()));
                arg.extend_from_slice(word);
                tail
            }
        };
        if !rest.is_empty() && !rest[0].is_ascii_whitespace() {
            return Err("text behind a closing quote".to_owned());
        }
        rest = rest.trim_ascii_start();
        args.push(arg);
    }
    match args.is_empty() {
        true => Err("no command".to_owned()),
        false => Ok(args),
    }
}

fn take_double_quoted<'a>(mut rest: &'a [u8], arg: &mut Vec<u8>) -> Result<&'a [u8], String> {
    loop {
        rest = match rest {
            [b'"', tail @ ..] => return Ok(tail),
            [b'\\', b'x', high, low, tail @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                let digit = |b: u8| char::from(b).to_digit(16).unwrap_or(0) as u8;
                arg.push(digit(*high) << 4 | digit(*low));
                tail
            }
            [b'\\', escaped, tail @ ..] => {
                arg.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                tail
            }
            [byte, tail @ ..] => {
                arg.push(*byte);
                tail
            }
            [] => return Err("unbalanced quotes".to_owned()),
        };
    }
}

fn take_single_quoted<'a>(mut rest: &'a [u8], arg: &mut Vec<u8>) -> Result<&'a [u8], String> {
    loop {
        rest = match rest {
            [b'\'', tail @ ..] => return Ok(tail),
            [b'\\', b'\'', tail @ ..] => {
                arg.push(b'\'');
                tail
            }
            [byte, tail @ ..] => {
                arg.push(*byte);
                tail
            }
            [] => return Err("unbalanced quotes".to_owned()),
        };
    }
}

/// A piece of an expected line.
#[derive(Debug)]
enum Piece {
    Byte(u8),
    Any,
    /// An integer within inclusive bounds.
    Within(i64, i64),
}

/// Takes an expected text apart; `star` says whether `*` outside quotes is a wildcard.
fn pieces(pattern: &[u8], star: bool) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut in_quotes = false;
    let mut at = 0;
    while at < pattern.len() {
        let rest = &pattern[at..];
        let token = rest.iter().position(|&b| b == b'>').filter(|_| rest[0] == b'<');
        if let Some((end, piece)) = token.and_then(|end| Some((end, token_piece(&rest[1..end])?))) {
            pieces.push(piece);
            at += end + 1;
            continue;
        }
        // An escape inside quotes stands for itself, its quote does not close.
        if in_quotes && rest[0] == b'\\' && rest.len() > 1 {
            pieces.extend([Piece::Byte(rest[0]), Piece::Byte(rest[1])]);
            at += 2;
            continue;
        }
        in_quotes ^= rest[0] == b'"';
        pieces.push(match rest[0] {
            b'*' if star && !in_quotes => Piece::Any,
            byte => Piece::Byte(byte),
        });
        at += 1;
    }
    pieces
}

fn token_piece(inside: &[u8]) -> Option<Piece> {
    match std::str::from_utf8(inside).ok()? {
        "any" => Some(Piece::Any),
        "ms" => Some(Piece::Within(1_000_000_000_000, 9_999_999_999_999)),
        "int" => Some(Piece::Within(i64::MIN, i64::MAX)),
        range => {
            let (low, high) = range.split_once("..")?;
            Some(Piece::Within(low.parse().ok()?, high.parse().ok()?))
        }
    }
}

fn matches(pieces: &[Piece], text: &[u8]) -> bool {
    match pieces {
        [] => text.is_empty(),
        [Piece::Byte(byte), rest @ ..] => text.first() == Some(byte) && matches(rest, &text[1..]),
        [Piece::Any, rest @ ..] => (0..=text.len()).any(|skip| matches(rest, &text[skip..])),
        [Piece::Within(low, high), rest @ ..] => {
            let sign = usize::from(text.first() == Some(&b'-'));
            let digits = text[sign..].iter().take_while(|b| b.is_ascii_digit());
            let (number, tail) = text.split_at(sign + digits.count());
            let number = std::str::from_utf8(number).ok().and_then(|n| n.parse().ok());
            number.is_some_and(|n: i64| (*low..=*high).contains(&n)) && matches(rest, tail)
        }
    }
}

/// Whether the lines of a reply are as expected; a line `*` stands for one or more lines.
fn lines_match(expected: &[String], got: &[&str]) -> bool {
    match expected {
        [] => got.is_empty(),
        [star, rest @ ..] if star == "*" => {
            (1..=got.len()).any(|count| lines_match(rest, &got[count..]))
        }
        [line, rest @ ..] => {
            !got.is_empty()
                && matches(&pieces(line.as_bytes(), true), got[0].as_bytes())
                && lines_match(rest, &got[1..])
        }
    }
}

fn effect_matches(expected: &str, got: &Args) -> bool {
    split_args(expected).is_ok_and(|args| {
        let same = |(want, have): (&Vec<u8>, &Vec<u8>)| matches(&pieces(want, false), have);
        args.len() == got.len() && args.iter().zip(got).all(same)
    })
}

fn effects_match(expected: &[String], got: &[Args]) -> bool {
    expected.len() == got.len() && expected.iter().zip(got).all(|(e, g)| effect_matches(e, g))
}

/// What one step gave.
#[derive(Default)]
struct Outcome {
    reply: String,
    effects: Vec<Args>,
}

impl Outcome {
    fn as_script(&self) -> String {
        let mut out = String::new();
        if !self.reply.is_empty() {
            let _ = writeln!(out, "{}", self.reply);
        }
        for effect in &self.effects {
            let words: Vec<String> = effect.iter().map(|arg| written(arg)).collect();
            let _ = writeln!(out, "~ {}", words.join(" "));
        }
        out
    }
}

/// An argument as it is written in a script; a moment of this age becomes `<ms>`.
fn written(arg: &[u8]) -> String {
    let plain = |b: &u8| b.is_ascii_graphic() && !b"\"'\\".contains(b);
    if arg.len() == 13 && arg.iter().all(u8::is_ascii_digit) && arg.starts_with(b"1") {
        "<ms>".to_owned()
    } else if !arg.is_empty() && arg.iter().all(plain) {
        String::from_utf8_lossy(arg).into_owned()
    } else {
        quoted(arg)
    }
}

/// A server with a replica attached, on which scripts run one after another.
pub struct Stage {
    server: Server,
    control: Client,
    replica: FakeReplica,
    connections: BTreeMap<char, Client>,
    mode: Mode,
    /// The server is a redis-server 7.0: steps marked `# ours:` are not checked.
    oracle: bool,
    /// Whether this script has had an effect already.
    effects_seen: bool,
}

impl Stage {
    pub fn new(server: Server, mode: Mode, oracle: bool) -> Stage {
        let replica = FakeReplica::attach(server.addr());
        Stage {
            control: server.client(),
            replica,
            server,
            connections: BTreeMap::new(),
            mode,
            oracle,
            effects_seen: false,
        }
    }

    /// Runs a script on an emptied server: all mismatches, each with its place.
    pub fn run(&mut self, script: &Script) -> Vec<String> {
        self.reset();
        let mut mismatches = Vec::new();
        for step in &script.steps {
            let outcome = self.step(step);
            if let Some(what) = self.mismatch(step, &outcome) {
                mismatches.push(format!("{}:{}: {what}", script.path.display(), step.line));
            }
        }
        mismatches
    }

    /// Runs a script and writes what came into the file, behind the commands that have no
    /// expected reply yet.
    pub fn record(&mut self, script: &Script) {
        self.reset();
        let outcomes: Vec<Outcome> = script.steps.iter().map(|step| self.step(step)).collect();
        fs::write(&script.path, script.filled(&outcomes)).expect("the script can be written");
    }

    fn reset(&mut self) {
        self.disconnect();
        self.control.cmd(&["FLUSHALL"]);
        self.new_effects();
        // Without an acknowledgement now and then a master drops its replica.
        self.replica.ack_all();
        self.effects_seen = false;
    }

    /// Closes the script's connections, and waits until the server has let go of them and what
    /// they were subscribed to.
    fn disconnect(&mut self) {
        self.connections.clear();
        let deadline = Instant::now() + PATIENCE;
        while self.control.cmd(&["CLIENT", "LIST", "TYPE", "NORMAL"]).text().lines().count() > 1
            || self.control.cmd(&["CLIENT", "LIST", "TYPE", "PUBSUB"]).text() != ""
        {
            assert!(Instant::now() < deadline, "connections that are closed are still listed");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn connection(&mut self, name: char) -> &mut Client {
        let fragment = self.mode == Mode::Fragments;
        self.connections.entry(name).or_insert_with(|| {
            let mut client = self.server.client();
            client.fragment(fragment);
            client
        })
    }

    fn step(&mut self, step: &Step) -> Outcome {
        let patience = match step.reply.first().map(String::as_str) {
            Some("(no reply)") => SILENCE,
            _ => PATIENCE,
        };
        let reply = match &step.action {
            Action::Sleep(duration) => {
                thread::sleep(*duration);
                return Outcome::default();
            }
            Action::Reconnect => {
                self.disconnect();
                return Outcome::default();
            }
            Action::Quiet(name, args) => {
                self.exchange(*name, args, PATIENCE).ok();
                return Outcome::default();
            }
            Action::Command(name, args) => self.exchange(*name, args, patience),
            Action::Read(name) => self.connection(*name).recv_timeout(patience),
        };
        let reply = match reply {
            Ok(value) => ordered(value, step.unordered).to_string(),
            Err(RecvError::Timeout) => "(no reply)".to_owned(),
            Err(RecvError::Closed) => "(closed)".to_owned(),
            Err(RecvError::Protocol(what)) => format!("(not RESP) {what}"),
        };
        if let Action::Command(name, args) = &step.action
            && patience == SILENCE
            && waits(&args[0])
        {
            self.expect_blocked(*name);
        }
        let effects = self.new_effects();
        Outcome { reply, effects }
    }

    /// Waits until a connection waits for a key: on a busy machine it may not have come so far, and
    /// the next connection would be served before it.
    fn expect_blocked(&mut self, name: char) {
        let port = self.connection(name).local_port();
        let deadline = Instant::now() + PATIENCE;
        let is_blocked =
            |line: &str| line.contains(&format!(":{port} laddr=")) && line.contains(" flags=b ");
        while !self.control.cmd(&["CLIENT", "LIST"]).text().lines().any(is_blocked) {
            assert!(Instant::now() < deadline, "connection {name} does not wait");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn exchange(&mut self, name: char, args: &Args, wait: Duration) -> Result<Value, RecvError> {
        let client = self.connection(name);
        let sent = client.try_send_raw(&encode(args));
        sent.map_err(|_| RecvError::Closed)?;
        client.recv_timeout(wait)
    }

    /// What reached the replica since the last look: all that the master has written by now.
    fn new_effects(&mut self) -> Vec<Args> {
        let info = self.control.cmd(&["INFO", "replication"]).text();
        let offset = info.lines().find_map(|line| line.strip_prefix("master_repl_offset:"));
        let offset = offset.expect("INFO names the offset").trim();
        let mut effects = self.replica.read_to(offset.parse().expect("an offset"));
        if !self.effects_seen && effects.first().is_some_and(|e| e[0] == b"SELECT") {
            effects.remove(0);
        }
        self.effects_seen |= !effects.is_empty();
        effects
    }

    fn mismatch(&self, step: &Step, outcome: &Outcome) -> Option<String> {
        let checked = matches!(step.action, Action::Command(..) | Action::Read(_));
        if !checked || (step.ours && self.oracle) {
            return None;
        }
        let lines: Vec<&str> = outcome.reply.split('\n').collect();
        let same =
            lines_match(&step.reply, &lines) && effects_match(&step.effects, &outcome.effects);
        if same {
            return None;
        }
        let mut expected = step.reply.join("\n");
        for effect in &step.effects {
            let _ = write!(expected, "\n~ {effect}");
        }
        let got = outcome.as_script();
        let indent = |text: &str| text.trim_end().replace('\n', "\n    ");
        Some(format!("expected\n    {}\n  got\n    {}", indent(&expected), indent(&got)))
    }
}

/// Whether a command without a reply is one that waits for a key or for replicas.
fn waits(command: &[u8]) -> bool {
    let waiting: [&[u8]; 4] = [b"XREAD", b"XREADGROUP", b"WAIT", b"WAITAOF"];
    command.starts_with(b"B") || waiting.contains(&command)
}

/// Sorts an unordered reply by what its elements print as. Of a SCAN reply (a cursor and a list)
/// the list is sorted.
fn ordered(value: Value, unordered: Option<Unordered>) -> Value {
    let Some(kind) = unordered else {
        return value;
    };
    match value {
        Value::Array(mut items) => match &items[..] {
            [Value::Bulk(_), Value::Array(_)] => {
                let list = items.pop().expect("two items");
                items.push(ordered(list, unordered));
                Value::Array(items)
            }
            _ => Value::Array(sorted(items, kind)),
        },
        Value::Set(items) => Value::Set(sorted(items, kind)),
        Value::Map(mut pairs) => {
            pairs.sort_by_key(|(key, _)| key.to_string());
            Value::Map(pairs)
        }
        other => other,
    }
}

fn sorted(items: Vec<Value>, kind: Unordered) -> Vec<Value> {
    let width = match kind {
        Unordered::Single => 1,
        Unordered::Pairs => 2,
    };
    let mut groups: Vec<&[Value]> = items.chunks(width).collect();
    groups.sort_by_key(|group| group[0].to_string());
    groups.concat()
}
