//! The load generators: our own and redis-benchmark, both closed loops.
//!
//! Ours drives its connections in turn: it waits for the replies of one, sends its next batch, and
//! goes on to the next connection, so all but one always have a batch under way. It costs one read
//! and one write per batch. The latency of a batch runs from its write to the moment the generator
//! has read the last reply, so it includes the time in which replies wait for their turn, as it
//! does in any generator with one thread.

use crate::client::{Client, Random, Template, text};
use std::process::Command;
use std::thread;
use std::time::Instant;

/// What the clients do, and on what data.
#[derive(Clone)]
pub struct Load {
    pub clients: usize,
    pub pipeline: usize,
    /// The request; `__rand_int__` stands for a random number below `range`.
    pub args: Vec<String>,
    pub range: u64,
    /// Values in each reply: 1, or an array's elements and itself.
    pub values: u64,
    /// What is put into the empty server before each run.
    pub fills: Vec<Fill>,
    /// Settings with which the servers start.
    pub settings: Vec<&'static str>,
}

/// A request sent once for each `__key__` below `keys` and each `__step__` below `steps`.
#[derive(Clone)]
pub struct Fill {
    pub keys: u64,
    pub steps: u64,
    pub args: Vec<String>,
}

/// One run's measurements.
pub struct Run {
    pub seconds: f64,
    pub requests: u64,
    /// Nanoseconds per batch, sorted.
    pub latencies: Vec<u64>,
}

impl Run {
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.seconds
    }
}

/// Sends all requests of the fills over one connection, some hundred at a time.
pub fn fill(port: u16, fills: &[Fill]) -> Result<(), String> {
    const BATCH: u64 = 500;
    let mut client = Client::connect(port)?;
    let mut random = Random::new(0);
    for fill in fills {
        let total = fill.keys * fill.steps;
        let mut batch = Template::new(&fill.args, BATCH.min(total) as usize);
        for start in (0..total).step_by(BATCH as usize) {
            let size = BATCH.min(total - start);
            if size < BATCH.min(total) {
                batch = Template::new(&fill.args, size as usize);
            }
            for i in 0..size {
                let (key, step) = ((start + i) / fill.steps, (start + i) % fill.steps);
                batch.fill_request(i as usize, key, step, &mut random);
            }
            client.send(batch.bytes())?;
            client.receive(size)?;
        }
    }
    Ok(())
}

/// Empties the server and fills it anew, so that every run finds the same data.
pub fn prepare(port: u16, load: &Load) -> Result<(), String> {
    Client::connect(port)?.call(&["FLUSHALL"])?;
    fill(port, &load.fills)
}

/// Runs about so many requests with so many threads of ours.
pub fn run(port: u16, load: &Load, requests: u64, threads: usize) -> Result<Run, String> {
    let threads = threads.min(load.clients);
    let batches = requests.div_ceil(load.pipeline as u64).max(load.clients as u64);
    let mut shares = Vec::new();
    for thread in 0..threads {
        let clients = load.clients / threads + usize::from(thread < load.clients % threads);
        let connect = |_| Client::connect(port);
        let clients = (0..clients).map(connect).collect::<Result<Vec<Client>, String>>()?;
        let batches = batches * clients.len() as u64 / load.clients as u64;
        shares.push((thread as u64, clients, batches));
    }
    let start = Instant::now();
    let done: Vec<Result<Vec<u64>, String>> = thread::scope(|scope| {
        let drivers: Vec<_> = shares
            .iter_mut()
            .map(|(seed, clients, batches)| {
                scope.spawn(|| drive(clients, load, *batches, Random::new(*seed)))
            })
            .collect();
        drivers.into_iter().map(|driver| driver.join().expect("a driver that ends")).collect()
    });
    let seconds = start.elapsed().as_secs_f64();
    let mut latencies = done.into_iter().collect::<Result<Vec<_>, String>>()?.concat();
    latencies.sort_unstable();
    Ok(Run { seconds, requests: latencies.len() as u64 * load.pipeline as u64, latencies })
}

/// Drives some connections and gives the latencies of their batches.
fn drive(
    clients: &mut [Client],
    load: &Load,
    batches: u64,
    mut random: Random,
) -> Result<Vec<u64>, String> {
    let mut batch = Template::new(&load.args, load.pipeline);
    let mut latencies = Vec::with_capacity(batches as usize);
    let mut sent_at = vec![Instant::now(); clients.len()];
    let (replies, count) = (load.pipeline as u64, clients.len());
    let mut send = |client: &mut Client, sent_at: &mut Instant| {
        batch.fill_random(&mut random, load.range);
        *sent_at = Instant::now();
        client.send(batch.bytes())
    };
    for (client, sent_at) in clients.iter_mut().zip(&mut sent_at).take(batches as usize) {
        send(client, sent_at)?;
    }
    for done in 0..batches {
        let turn = (done % count as u64) as usize;
        let values = clients[turn].receive(replies)?;
        latencies.push(sent_at[turn].elapsed().as_nanos() as u64);
        if values != replies * load.values {
            return Err(format!("{values} values in {replies} replies, not {} each", load.values));
        }
        if done + (count as u64) < batches {
            send(&mut clients[turn], &mut sent_at[turn])?;
        }
    }
    Ok(latencies)
}

/// The number of requests that take about so many seconds; warms the server up on the way.
pub fn calibrate(port: u16, load: &Load, seconds: f64, threads: usize) -> Result<f64, String> {
    let mut requests = (load.clients * load.pipeline) as u64;
    loop {
        let run = run(port, load, requests, threads)?;
        if run.seconds >= seconds / 4.0 {
            return Ok(run.rate() * seconds);
        }
        requests = requests.max(run.requests) * 2;
    }
}

/// The longest argument that a program can be given.
const LONGEST_ARGUMENT: usize = 128 * 1024 - 1;

/// The same with redis-benchmark; gives its requests per second. None: it is not installed, or
/// cannot be given such arguments.
pub fn redis_benchmark(port: u16, load: &Load, requests: u64) -> Option<Result<f64, String>> {
    if load.args.iter().any(|arg| arg.len() > LONGEST_ARGUMENT) {
        return None;
    }
    let numbers = [
        ("-p", u64::from(port)),
        ("-c", load.clients as u64),
        ("-P", load.pipeline as u64),
        ("-n", requests.max(1)),
        ("-r", load.range),
    ];
    let mut command = Command::new("redis-benchmark");
    command.args(numbers.iter().flat_map(|(name, n)| [(*name).to_owned(), n.to_string()]));
    command.arg("--csv").args(&load.args);
    let output = match command.output() {
        Ok(output) => output,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return None,
        Err(e) => return Some(Err(text("redis-benchmark")(e))),
    };
    let printed = String::from_utf8_lossy(&output.stdout);
    // "name","requests per second","average",...
    let last = printed.lines().last().unwrap_or_default();
    let rate = last.split("\",\"").nth(1).and_then(|field| field.trim_matches('"').parse().ok());
    Some(rate.filter(|_| output.status.success()).ok_or_else(|| {
        format!("redis-benchmark: {last} {}", String::from_utf8_lossy(&output.stderr).trim())
    }))
}
