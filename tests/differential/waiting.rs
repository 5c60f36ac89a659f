//! Clients that wait in blocking commands while others go on, one command at a time: who is served
//! when, and with what, is then each server's decision and no accident of time.

use super::support::client::{Client, PATIENCE, RecvError, Value, encode};
use super::support::fake::{Args, printed};
use super::support::server::Server;
use super::{Connection, Mismatch, difference, receive, streams};
use std::iter;
use std::thread;
use std::time::{Duration, Instant};

/// How many wait at most. The last is in another database, the first speaks RESP3.
const WAITERS: usize = 6;

/// How long one look for a reply takes.
const LOOK: Duration = Duration::from_micros(200);

/// A client of each server that waits or may wait.
struct Waiter {
    connection: Connection,
    /// What each server calls it.
    ids: [String; 2],
    /// What it waits in.
    command: Option<Args>,
}

/// All of them, and a client of each server that counts those that wait.
pub struct Waiters {
    all: Vec<Waiter>,
    ours: Client,
    theirs: Client,
}

impl Waiters {
    /// New ones, once those that were closed before wait no longer.
    pub fn open(ours: &Server, theirs: &Server) -> Waiters {
        let open = |at| {
            let mut connection = Connection::open(ours, theirs);
            let both = [&mut connection.ours, &mut connection.theirs];
            let ids = both.map(|client| {
                if at == 0 {
                    client.cmd(&["HELLO", "3"]);
                }
                if at == WAITERS - 1 {
                    client.cmd(&["SELECT", "1"]);
                }
                client.cmd(&["CLIENT", "ID"]).int().to_string()
            });
            Waiter { connection, ids, command: None }
        };
        let all = (0..WAITERS).map(open).collect();
        let mut waiters = Waiters { all, ours: ours.client(), theirs: theirs.client() };
        for client in [&mut waiters.ours, &mut waiters.theirs] {
            let deadline = Instant::now() + PATIENCE;
            while blocked(client) > 0 {
                assert!(Instant::now() < deadline, "a client that is gone still waits");
                thread::sleep(LOOK);
            }
        }
        waiters
    }

    pub fn close(&mut self) {
        self.all.clear();
    }

    /// One that does not wait.
    pub fn free(&self) -> Option<usize> {
        self.all.iter().position(|waiter| waiter.command.is_none())
    }

    fn waiting(&self) -> usize {
        self.all.iter().filter(|waiter| waiter.command.is_some()).count()
    }

    /// Sends a command, and finds out whether it waits.
    pub fn start(&mut self, waiter: usize, args: &Args) -> Option<Mismatch> {
        let before = self.waiting();
        let waiter = &mut self.all[waiter];
        let prepared = waiter.connection.exchange(&streams::before(args));
        if let Some((_, mismatch)) = prepared {
            return Some(mismatch);
        }
        let Connection { ours, theirs, .. } = &mut waiter.connection;
        let ours = answer(ours, args, &mut self.ours, before);
        let theirs = answer(theirs, args, &mut self.theirs, before);
        match (&ours, &theirs) {
            (Ok(Some(ours)), Ok(Some(theirs))) => {
                let mismatch = difference(args, &[], ours, theirs);
                // What moves an element may serve others.
                mismatch.or_else(|| self.serve())
            }
            (Ok(None), Ok(None)) => {
                waiter.command = Some(args.clone());
                None
            }
            _ => Some((args.clone(), format!("{ours:?}"), format!("{theirs:?}"))),
        }
    }

    /// Compares what those get that wait no longer, after a command of another client. The real
    /// server has sent their replies before it looks at anything else.
    pub fn serve(&mut self) -> Option<Mismatch> {
        let waiting = self.waiting();
        if waiting == 0 {
            return None;
        }
        let left = blocked(&mut self.theirs);
        let mut served = 0;
        for waiter in &mut self.all {
            let Some(args) = waiter.command.clone() else {
                continue;
            };
            if served == waiting - left {
                break;
            }
            if let Ok(theirs) = waiter.connection.theirs.recv_timeout(LOOK) {
                waiter.command = None;
                served += 1;
                if is_of_nothing(&args, &theirs) {
                    self.ours.cmd(&["CLIENT", "UNBLOCK", &waiter.ids[0]]);
                    let _ = receive(&mut waiter.connection.ours);
                    continue;
                }
                match receive(&mut waiter.connection.ours) {
                    Ok(ours) => {
                        if let Some(mismatch) = difference(&args, &[], &ours, &theirs) {
                            return Some(mismatch);
                        }
                    }
                    Err(error) => return Some((args, error, theirs.to_string())),
                }
            }
        }
        assert_eq!(served, waiting - left, "the real server owes a reply");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ours = blocked(&mut self.ours);
            if ours == left {
                return None;
            }
            if Instant::now() > deadline {
                return Some((self.still_waiting(), ours.to_string(), left.to_string()));
            }
        }
    }

    /// What stands for a command in a report on the number of those that wait: a name, and all that
    /// they wait in.
    fn still_waiting(&self) -> Args {
        let commands = self.all.iter().filter_map(|waiter| waiter.command.as_ref());
        let shown = commands.map(|args| printed(args).into_bytes());
        iter::once(b"(clients that wait)".to_vec()).chain(shown).collect()
    }

    /// Ends all waiting, as when it has lasted too long or with an error.
    pub fn release(&mut self) -> Option<Mismatch> {
        for at in 0..WAITERS {
            let waiter = &self.all[at];
            if waiter.command.is_none() {
                continue;
            }
            let how = ["TIMEOUT", "ERROR"][at % 2];
            let [ours, theirs] = &waiter.ids;
            let ours = self.ours.cmd(&["CLIENT", "UNBLOCK", ours, how]);
            let theirs = self.theirs.cmd(&["CLIENT", "UNBLOCK", theirs, how]);
            let args = ["CLIENT", "UNBLOCK", how].map(|word| word.as_bytes().to_vec());
            let found = difference(&args.to_vec(), &[], &ours, &theirs);
            if let Some(mismatch) = found.or_else(|| self.serve()) {
                return Some(mismatch);
            }
        }
        None
    }
}

/// Whether 7.0 has ended a wait for entries because of one that was trimmed away at once; 7.2 goes
/// on waiting.
fn is_of_nothing(args: &Args, theirs: &Value) -> bool {
    super::name(args, 0).starts_with(b"XREAD") && theirs.to_string().contains("(empty array)")
}

/// How many clients of a server wait.
fn blocked(client: &mut Client) -> usize {
    let info = client.cmd(&["INFO", "clients"]).text();
    let line = info.lines().find_map(|line| line.strip_prefix("blocked_clients:"));
    line.and_then(|count| count.parse().ok()).expect("a count of clients that wait")
}

/// Sends a command; its reply, or nothing if one more than before waits.
fn answer(
    client: &mut Client,
    args: &Args,
    control: &mut Client,
    before: usize,
) -> Result<Option<Value>, String> {
    client.send_raw(&encode(args));
    let deadline = Instant::now() + PATIENCE;
    while blocked(control) != before + 1 {
        match client.recv_timeout(LOOK) {
            Ok(reply) => return Ok(Some(reply)),
            Err(RecvError::Timeout) if Instant::now() < deadline => {}
            Err(error) => return Err(format!("{error:?}")),
        }
    }
    Ok(None)
}
