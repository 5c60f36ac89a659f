//! The rows of requests per second: all servers run at once, idle but for the one whose turn it is.

use crate::Bench;
use crate::client::Client;
use crate::load::{self, Load};
use crate::report::{self, Outcome, Verdict};
use crate::servers::Server;
use crate::stats::{Better, against_best, median, medians, percentile};

/// What one server did in all rounds.
#[derive(Default)]
struct Sums {
    cpu_seconds: f64,
    requests: f64,
    /// Medians, 99 and 99.9 percentiles in nanoseconds.
    percentiles: [Vec<f64>; 3],
}

pub fn measure(bench: &mut Bench, load: &Load, target: f64) -> Result<Outcome, String> {
    let (threads, rounds) = (bench.options.threads, bench.options.rounds);
    let mut servers = Vec::new();
    for program in &bench.programs {
        servers.push(bench.home.start(program, &load.settings)?);
    }
    let requests = requests_per_run(&servers, load, bench.options.seconds, threads)?;
    let mut sums: Vec<Sums> = servers.iter().map(|_| Sums::default()).collect();
    let (mut rates, mut benchmark_rates) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        rates.push(in_turn(round, &servers, |i, server| {
            run_one(server, load, requests, threads, &mut sums[i]).map(Some)
        })?);
        if bench.options.redis_benchmark {
            benchmark_rates.push(in_turn(round, &servers, |_, server| {
                load::prepare(server.port, load)?;
                load::redis_benchmark(server.port, load, requests).transpose()
            })?);
        }
    }
    // Where redis-benchmark cannot take part, its rounds are empty.
    let benchmark = against_best(&benchmark_rates, Better::More);
    let mut benchmark_figures = medians(&benchmark_rates).into_iter();
    let mut details = Vec::new();
    for (server, sums) in servers.iter().zip(&sums) {
        let mut columns = detail(bench, server, load, requests, sums)?;
        columns.push(benchmark_figures.next().map_or("-".to_owned(), report::rate));
        details.push(columns);
    }
    let ratio = against_best(&rates, Better::More);
    let met = ratio.is_some_and(|ratio| ratio.median >= target);
    Ok(Outcome {
        target: format!("≥ {target:.2}"),
        figures: medians(&rates).into_iter().map(report::rate).collect(),
        ratio,
        benchmark,
        benchmark_below: benchmark.is_some_and(|ratio| ratio.median < target),
        verdict: Verdict::of(met),
        details,
        ..Outcome::default()
    })
}

/// The fastest server determines how many requests take the time of a run.
fn requests_per_run(
    servers: &[Server],
    load: &Load,
    seconds: f64,
    threads: usize,
) -> Result<u64, String> {
    let mut most: f64 = 0.0;
    for server in servers {
        load::prepare(server.port, load)?;
        most = most.max(load::calibrate(server.port, load, seconds, threads)?);
    }
    Ok(most as u64)
}

/// Lets every server have its turn, each round beginning with another one. Gives the figures in
/// the servers' order, or none if there are none.
fn in_turn(
    round: usize,
    servers: &[Server],
    mut measure: impl FnMut(usize, &Server) -> Result<Option<f64>, String>,
) -> Result<Vec<f64>, String> {
    let mut figures = vec![None; servers.len()];
    for turn in 0..servers.len() {
        let i = (round + turn) % servers.len();
        figures[i] = measure(i, &servers[i])?;
    }
    Ok(figures.into_iter().flatten().collect())
}

fn run_one(
    server: &Server,
    load: &Load,
    requests: u64,
    threads: usize,
    sums: &mut Sums,
) -> Result<f64, String> {
    load::prepare(server.port, load)?;
    let before = server.cpu_seconds()?;
    let run = load::run(server.port, load, requests, threads)?;
    sums.cpu_seconds += server.cpu_seconds()? - before;
    sums.requests += run.requests as f64;
    for (figures, part) in sums.percentiles.iter_mut().zip([0.5, 0.99, 0.999]) {
        figures.push(percentile(&run.latencies, part) as f64);
    }
    Ok(run.rate())
}

/// p50, p99, p99.9, processor seconds per million requests, instructions per request, memory.
fn detail(
    bench: &Bench,
    server: &Server,
    load: &Load,
    requests: u64,
    sums: &Sums,
) -> Result<Vec<String>, String> {
    let resident = server.resident()?;
    let mut instructions = "-".to_owned();
    if bench.counts_instructions {
        load::prepare(server.port, load)?;
        let mut done = 0;
        let counted = server.instructions(|| {
            done = load::run(server.port, load, requests, bench.options.threads)?.requests;
            Ok(())
        })?;
        instructions = report::whole(counted / done as f64);
    }
    let mut columns: Vec<String> =
        sums.percentiles.iter().map(|figures| report::micros(median(figures))).collect();
    columns.push(format!("{:.2}", sums.cpu_seconds / sums.requests * 1e6));
    columns.push(instructions);
    columns.push(report::mib(resident));
    // A server that has died shows here at the latest.
    Client::connect(server.port)?.call(&["PING"])?;
    Ok(columns)
}
