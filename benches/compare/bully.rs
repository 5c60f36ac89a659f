//! The bully: one client does something big, others do GET and SET on other keys and note how long
//! they wait.
//!
//! Each of the others sends a request a millisecond. One that comes back late delays those behind
//! it, and they count from when they were due, so a stall of a second counts a thousand times. What
//! counts is the server's doing: when the sender itself wakes up late, the schedule moves.

use crate::Bench;
use crate::client::{Client, Random, Template};
use crate::load::{self, Fill};
use crate::rdb;
use crate::report::{self, Outcome, Verdict};
use crate::servers::Server;
use crate::stats::{median, percentile};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub struct Bully {
    pub fills: Vec<Fill>,
    pub command: Vec<String>,
    pub reading: Reading,
}

/// What the bully does after it has sent its command.
#[derive(Clone, Copy)]
pub enum Reading {
    Everything,
    /// Nothing at all, for a while.
    Nothing,
    /// The command is BGSAVE: until that has ended.
    UntilSaved,
}

/// What the others may wait.
const P999_MS: f64 = 5.0;
const MAX_MS: f64 = 20.0;

const OTHERS: u64 = 4;
const OTHERS_KEYS: u64 = 1000;
const INTERVAL: Duration = Duration::from_millis(1);

/// The others are measured at least so long, from the bully's command on.
const WINDOW: Duration = Duration::from_secs(2);

/// Milliseconds: the 99.9 percentile and the longest.
struct Waits {
    p999: f64,
    max: f64,
}

pub fn measure(bench: &mut Bench, bully: &Bully) -> Result<Outcome, String> {
    let all = repeat(bench, |server| {
        load::fill(server.port, &bully.fills)?;
        waits_of_others(server, bully)
    })?;
    // The percentile is the median of the rounds, the longest wait that of all rounds.
    let worst = all.iter().map(|rounds| Waits {
        p999: median(&rounds.iter().map(|waits| waits.p999).collect::<Vec<_>>()),
        max: rounds.iter().map(|waits| waits.max).fold(0.0, f64::max),
    });
    let worst: Vec<Waits> = worst.collect();
    Ok(Outcome {
        target: format!("p99.9 ≤ {P999_MS} ms, max ≤ {MAX_MS} ms"),
        verdict: Verdict::of(worst[0].p999 <= P999_MS && worst[0].max <= MAX_MS),
        figures: worst
            .iter()
            .map(|waits| format!("{}, {}", report::millis(waits.p999), report::millis(waits.max)))
            .collect(),
        ..Outcome::default()
    })
}

/// The longest batch of 16 while many keys are inserted over one connection.
pub fn insert(bench: &mut Bench, keys: u64, target_ms: f64) -> Result<Outcome, String> {
    let all = repeat(bench, |server| longest_insert(server, keys))?;
    let longest: Vec<f64> =
        all.iter().map(|rounds| rounds.iter().copied().fold(0.0, f64::max)).collect();
    Ok(Outcome {
        target: format!("max ≤ {target_ms} ms"),
        verdict: Verdict::of(longest[0] <= target_ms),
        figures: longest.into_iter().map(report::millis).collect(),
        note: format!("{keys} keys"),
        ..Outcome::default()
    })
}

/// Measures a third of the rounds with our server and one with each of the others, which have no
/// target to miss. Every round has a fresh server.
fn repeat<T>(
    bench: &mut Bench,
    measure: impl Fn(&Server) -> Result<T, String>,
) -> Result<Vec<Vec<T>>, String> {
    let mut all = Vec::new();
    for (i, program) in bench.programs.iter().enumerate() {
        let rounds = if i == 0 { bench.options.rounds.div_ceil(3) } else { 1 };
        let mut figures = Vec::new();
        for _ in 0..rounds {
            figures.push(measure(&bench.home.start(program, &[])?)?);
        }
        all.push(figures);
    }
    Ok(all)
}

fn waits_of_others(server: &Server, bully: &Bully) -> Result<Waits, String> {
    let (port, end) = (server.port, &AtomicBool::new(false));
    let waits: Result<Vec<Vec<u64>>, String> = thread::scope(|scope| {
        let others: Vec<_> =
            (0..OTHERS).map(|seed| scope.spawn(move || other(port, seed, end))).collect();
        let start = Instant::now();
        let done = push_through(server, bully);
        thread::sleep(WINDOW.saturating_sub(start.elapsed()));
        end.store(true, Ordering::Relaxed);
        done?;
        others.into_iter().map(|other| other.join().expect("a client that ends")).collect()
    });
    let mut waits = waits?.concat();
    waits.sort_unstable();
    let ms = |part| percentile(&waits, part) as f64 / 1e6;
    Ok(Waits { p999: ms(0.999), max: ms(1.0) })
}

fn push_through(server: &Server, bully: &Bully) -> Result<(), String> {
    let mut client = server.client()?;
    if let Reading::UntilSaved = bully.reading {
        return rdb::background_save(&mut client);
    }
    client.send(Template::new(&bully.command, 1).bytes())?;
    match bully.reading {
        Reading::Nothing => thread::sleep(WINDOW),
        _ => _ = client.receive(1)?,
    }
    Ok(())
}

/// One of those who only want their own: how long each request took, in nanoseconds.
fn other(port: u16, seed: u64, end: &AtomicBool) -> Result<Vec<u64>, String> {
    let mut client = Client::connect(port)?;
    // Their keys may be gone: FLUSHALL is one of the bully's commands.
    client.let_nulls_pass();
    let mut requests = [
        Template::new(&["SET", "other:__rand_int__", "xxx"], 1),
        Template::new(&["GET", "other:__rand_int__"], 1),
    ];
    let mut random = Random::new(seed);
    let mut waits = Vec::new();
    let mut due = Instant::now();
    while !end.load(Ordering::Relaxed) {
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            thread::sleep(early);
            due = Instant::now();
        }
        let request = &mut requests[waits.len() % 2];
        request.fill_random(&mut random, OTHERS_KEYS);
        client.send(request.bytes())?;
        client.receive(1)?;
        waits.push(due.elapsed().as_nanos() as u64);
        due += INTERVAL;
    }
    Ok(waits)
}

fn longest_insert(server: &Server, keys: u64) -> Result<f64, String> {
    const BATCH: u64 = 16;
    let mut client = server.client()?;
    let mut random = Random::new(0);
    let mut batch = Template::new(&["SET", "key:__key__", "xxx"], BATCH as usize);
    let mut longest = Duration::ZERO;
    for start in (0..keys).step_by(BATCH as usize) {
        for i in 0..BATCH {
            batch.fill_request(i as usize, start + i, 0, &mut random);
        }
        let sent = Instant::now();
        client.send(batch.bytes())?;
        client.receive(BATCH)?;
        longest = longest.max(sent.elapsed());
    }
    Ok(longest.as_secs_f64() * 1000.0)
}
