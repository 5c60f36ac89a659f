//! Resident memory per item and per idle connection, each in a fresh server, measured once.

use crate::Bench;
use crate::client::Client;
use crate::load::{self, Fill};
use crate::report::{self, Outcome, Verdict};
use crate::servers::Server;
use crate::stats::{Better, against_best};
use std::fs;
use std::thread;
use std::time::Duration;

/// How long a server has for returning what it needs no more.
const SETTLE: Duration = Duration::from_secs(3);

/// Connections of the row about idle ones, if the limit of open files allows it.
const CONNECTIONS: usize = 2000;

pub fn items(bench: &mut Bench, fill: &Fill, target: f64) -> Result<Outcome, String> {
    let items = (fill.keys * fill.steps) as usize;
    each(bench, target, items, |server| {
        load::fill(server.port, std::slice::from_ref(fill))?;
        server.resident()
    })
}

pub fn connections(bench: &mut Bench, target: f64) -> Result<Outcome, String> {
    let count = CONNECTIONS.min(open_files().saturating_sub(100));
    let mut outcome = each(bench, target, count, |server| {
        let mut clients = Vec::with_capacity(count);
        for _ in 0..count {
            let mut client = Client::connect(server.port)?;
            client.call(&["PING"])?;
            clients.push(client);
        }
        thread::sleep(SETTLE);
        server.resident()
    })?;
    outcome.note = format!("{count} connections");
    Ok(outcome)
}

/// Bytes by which memory grows for each of `count` things, of every server.
fn each(
    bench: &mut Bench,
    target: f64,
    count: usize,
    resident_after: impl Fn(&Server) -> Result<u64, String>,
) -> Result<Outcome, String> {
    let mut bytes = Vec::new();
    for program in &bench.programs {
        let server = bench.home.start(program, &["--maxclients", "4000"])?;
        let before = server.resident()?;
        let after = resident_after(&server)?;
        bytes.push(after.saturating_sub(before) as f64 / count as f64);
    }
    Ok(Outcome {
        target: format!("≤ {target}"),
        verdict: Verdict::of(bytes[0] <= target),
        figures: bytes.iter().map(|&bytes| report::bytes(bytes)).collect(),
        ratio: against_best(&[bytes], Better::Less),
        ..Outcome::default()
    })
}

/// How many files this process may have open.
fn open_files() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    line.and_then(|line| line.split_whitespace().nth(3)?.parse().ok()).unwrap_or(1024)
}
