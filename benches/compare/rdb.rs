//! Start, load of an RDB file, BGSAVE and full sync: one server at a time, in seconds.

use crate::Bench;
use crate::client::Client;
use crate::load::{self, Fill};
use crate::report::{self, Outcome, Verdict};
use crate::rows::RdbPhase;
use crate::servers::Server;
use crate::stats::{Better, against_best, medians};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How often a server is asked whether it is done.
const POLL: Duration = Duration::from_millis(5);

/// Seconds of load, BGSAVE and full sync of each server in each round, and the file's size.
pub struct Measured {
    rounds: Vec<Vec<[f64; 3]>>,
    file_bytes: u64,
}

pub fn start(bench: &mut Bench, target_ms: f64) -> Result<Outcome, String> {
    let mut rounds = Vec::new();
    for _ in 0..bench.options.rounds {
        let mut seconds = Vec::new();
        for program in &bench.programs {
            seconds.push(bench.home.start(program, &[])?.ready_after.as_secs_f64());
        }
        rounds.push(seconds);
    }
    let seconds = medians(&rounds);
    Ok(Outcome {
        target: format!("≤ {target_ms} ms"),
        verdict: Verdict::of(seconds[0] * 1000.0 <= target_ms),
        figures: seconds.into_iter().map(report::seconds).collect(),
        ratio: against_best(&rounds, Better::Less),
        ..Outcome::default()
    })
}

/// All three phases are measured when the first of them is asked for.
pub fn measure(bench: &mut Bench, phase: RdbPhase, target: f64) -> Result<Outcome, String> {
    if bench.rdb.is_none() {
        bench.rdb = Some(measure_all(bench)?);
    }
    let measured = bench.rdb.as_ref().ok_or("not measured")?;
    let pick = |seconds: &Vec<[f64; 3]>| seconds.iter().map(|s| s[phase as usize]).collect();
    let rounds: Vec<Vec<f64>> = measured.rounds.iter().map(pick).collect();
    let ratio = against_best(&rounds, Better::Less);
    Ok(Outcome {
        target: format!("≥ {target:.2}"),
        figures: medians(&rounds).into_iter().map(report::seconds).collect(),
        ratio,
        verdict: Verdict::of(ratio.is_some_and(|ratio| ratio.median >= target)),
        note: format!("file of {}", report::mib(measured.file_bytes)),
        ..Outcome::default()
    })
}

fn measure_all(bench: &mut Bench) -> Result<Measured, String> {
    let file = make_file(bench)?;
    let mut rounds = Vec::new();
    for round in 0..bench.options.rounds {
        let count = bench.programs.len();
        let mut seconds = vec![[0.0; 3]; count];
        for turn in 0..count {
            let server = (round + turn) % count;
            seconds[server] = cycle(bench, server, &file)?;
        }
        rounds.push(seconds);
    }
    let file_bytes = fs::metadata(&file).map_err(|e| e.to_string())?.len();
    Ok(Measured { rounds, file_bytes })
}

/// A mix of strings of 96 bytes, hashes, sorted sets and lists, saved by the first of the others,
/// so that all can read it. The numbers are random, so little can be compressed.
fn make_file(bench: &mut Bench) -> Result<PathBuf, String> {
    /// About what one of each takes in the file.
    const BYTES_PER_KEY: u64 = 700;
    let keys = (bench.options.rdb_mb << 20) / BYTES_PER_KEY;
    let request = |text: String| text.split(' ').map(str::to_owned).collect();
    let pairs = |count: usize, pair: &str| format!(" {pair}").repeat(count);
    let requests = [
        format!("SET string:__key__ {}", "__rand_int__".repeat(8)),
        format!("HSET hash:__key__{}", pairs(5, "field:__rand_int__ __rand_int__")),
        format!("ZADD zset:__key__{}", pairs(10, "__rand_int__ member:__rand_int__")),
        format!("RPUSH list:__key__{}", pairs(10, "element:__rand_int__")),
    ];
    let fills: Vec<Fill> =
        requests.map(|text| Fill { keys, steps: 1, args: request(text) }).into_iter().collect();
    let server = bench.home.start(&bench.programs[1], &[])?;
    load::fill(server.port, &fills)?;
    server.client()?.call(&["SAVE"])?;
    let file = bench.home.folder.join("seed.rdb");
    fs::rename(server.rdb(), &file).map_err(|e| format!("the saved file: {e}"))?;
    Ok(file)
}

/// Loads the file, saves it, and hands it to a replica of the same program.
fn cycle(bench: &mut Bench, program: usize, file: &Path) -> Result<[f64; 3], String> {
    let program = &bench.programs[program];
    let settings = ["--repl-diskless-sync-delay", "0"];
    let server = bench.home.start_with(program, &settings, Some(file))?;
    let saved = timed(|| background_save(&mut server.client()?))?;
    let replica = bench.home.start(program, &settings)?;
    let synced = timed(|| follow(&server, &replica))?;
    Ok([server.ready_after.as_secs_f64(), saved, synced])
}

fn timed(work: impl FnOnce() -> Result<(), String>) -> Result<f64, String> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64())
}

/// BGSAVE, until it has ended.
pub fn background_save(client: &mut Client) -> Result<(), String> {
    client.call(&["BGSAVE"])?;
    while client.info("rdb_bgsave_in_progress")? != "0" {
        thread::sleep(POLL);
    }
    match client.info("rdb_last_bgsave_status")?.as_str() {
        "ok" => Ok(()),
        status => Err(format!("BGSAVE ended with {status}")),
    }
}

/// REPLICAOF, until all is there.
fn follow(server: &Server, replica: &Server) -> Result<(), String> {
    let mut client = replica.client()?;
    client.call(&["REPLICAOF", "127.0.0.1", &server.port.to_string()])?;
    while client.info("master_link_status")? != "up" {
        thread::sleep(POLL);
    }
    let keys = [client.call(&["DBSIZE"])?, server.client()?.call(&["DBSIZE"])?];
    if keys[0] == keys[1] { Ok(()) } else { Err(format!("{keys:?} keys after a full sync")) }
}
