//! The table, on the terminal row by row and as BENCHMARKS.md.

use crate::Bench;
use crate::stats::Ratio;
use std::fmt::Write;
use std::fs;
use std::process::Command;

/// Whether a row reached its target.
#[derive(Default, PartialEq)]
pub enum Verdict {
    Met,
    #[default]
    Below,
    Failed(String),
}

impl Verdict {
    pub fn of(met: bool) -> Verdict {
        if met { Verdict::Met } else { Verdict::Below }
    }
}

/// What a row brought.
#[derive(Default)]
pub struct Outcome {
    pub name: String,
    pub target: String,
    /// One per server.
    pub figures: Vec<String>,
    pub ratio: Option<Ratio>,
    /// The same with redis-benchmark.
    pub benchmark: Option<Ratio>,
    pub benchmark_below: bool,
    pub verdict: Verdict,
    /// Further columns per server, for rows of requests per second.
    pub details: Vec<Vec<String>>,
    pub note: String,
}

impl Outcome {
    pub fn failed(message: String) -> Outcome {
        Outcome { verdict: Verdict::Failed(message), ..Outcome::default() }
    }
}

/// The head of the table.
pub fn head(bench: &Bench) -> String {
    let labels: Vec<&str> = bench.programs.iter().map(|p| p.label.as_str()).collect();
    let columns = ["row", "target", "result", "ratio to the best", "redis-benchmark"];
    let columns: Vec<&str> = columns.into_iter().chain(labels).collect();
    format!("| {} |\n|{}", columns.join(" | "), " --- |".repeat(columns.len()))
}

/// One line of the table.
pub fn line(bench: &Bench, outcome: &Outcome) -> String {
    let result = match &outcome.verdict {
        Verdict::Met => "met".to_owned(),
        Verdict::Below => "**below**".to_owned(),
        Verdict::Failed(message) => format!("**failed**: {message}"),
    };
    let show =
        |ratio: &Option<Ratio>| ratio.as_ref().map_or("-".to_owned(), |r| ratio_text(bench, r));
    let mut name = outcome.name.clone();
    if !outcome.note.is_empty() {
        name.push_str(&format!(" ({})", outcome.note));
    }
    let mut benchmark = show(&outcome.benchmark);
    if outcome.benchmark_below {
        benchmark.push_str(" below");
    }
    let mut columns = vec![name, outcome.target.clone(), result, show(&outcome.ratio), benchmark];
    let figures = outcome.figures.iter().cloned().chain(std::iter::repeat("-".to_owned()));
    columns.extend(figures.take(bench.programs.len()));
    format!("| {} |", columns.join(" | "))
}

/// "1.12 (1.05 to 1.20) Redis 7.0.15"; with one other server, its name is not repeated.
fn ratio_text(bench: &Bench, ratio: &Ratio) -> String {
    let mut text = format!("{:.2}", ratio.median);
    if ratio.min != ratio.max {
        _ = write!(text, " ({:.2} to {:.2})", ratio.min, ratio.max);
    }
    if bench.programs.len() > 2 {
        _ = write!(text, " {}", bench.programs[ratio.against].label);
    }
    text
}

/// How many rows reached their targets.
pub fn summary(outcomes: &[Outcome]) -> String {
    let count = |pick: fn(&Outcome) -> bool| outcomes.iter().filter(|o| pick(o)).count();
    format!(
        "{} rows: {} met, {} below target, {} failed. With redis-benchmark, {} below target.",
        outcomes.len(),
        count(|o| o.verdict == Verdict::Met),
        count(|o| o.verdict == Verdict::Below),
        count(|o| matches!(o.verdict, Verdict::Failed(_))),
        count(|o| o.benchmark_below),
    )
}

const HOW: &str = "\
Every figure comes from this one run. In each round every server has its turn, each round \
beginning with another one; a ratio is that of our run to the other's in the same round, the \
table shows the median of the rounds, their least and greatest, and the server that came closest \
to us or passed us (the best). A ratio above 1 is ours, also where less is better. Every run of \
a row begins with the same data, sends the same number of requests, and checks that no reply is \
an error, a null or of the wrong size.

The load generator is a closed loop over TCP on the same machine. It drives its connections in \
turn: it reads the replies of one, sends its next batch, and goes to the next, so latencies are \
those of whole batches and include the time in which replies wait to be read. SET, GET and INCR \
use random keys out of 100,000 that exist; the other commands of one key random ones out of \
1,000 collections, which are empty at first, and of 1,000 members; LRANGE, ZRANGE, HGETALL and \
SUNION read one of 100. GET and SET of 1 MB have 10 clients, 100 keys. The column of redis- \
benchmark is the ratio with that generator, the same arguments and number of requests, in the \
same rounds; the verdict is that of our generator.

Rows of the bully: four others send a GET or SET each millisecond on keys of their own; shown \
are their p99.9 (median of the rounds) and longest wait (of all rounds), in a third of the \
rounds for us, one for the others. A request that waits for a late reply before it counts from \
when it was due. The row of nobody shows what the machine itself does. The row of inserts shows \
the longest batch of 16. Memory is growth of resident memory divided by the number of items, \
measured once.";

/// Writes everything down.
pub fn write(bench: &Bench, outcomes: &[Outcome], began: &str) -> Result<(), String> {
    let Some(path) = &bench.options.out else { return Ok(()) };
    let mut text = String::from("# Ferrodis beside other servers\n\n");
    let args: Vec<String> =
        std::env::args().skip(1).filter(|arg| arg != "--bench").map(quoted).collect();
    _ = writeln!(text, "    cargo bench --bench compare -- {}\n", args.join(" "));
    text.push_str(&surroundings(bench, began));
    _ = writeln!(text, "\n{}\n\n{HOW}\n\n{}", summary(outcomes), head(bench));
    for outcome in outcomes {
        _ = writeln!(text, "{}", line(bench, outcome));
    }
    _ = write!(text, "\n{}", details(bench, outcomes));
    fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}

/// The second table: what else was measured in the rows of requests per second.
pub fn details(bench: &Bench, outcomes: &[Outcome]) -> String {
    if outcomes.iter().all(|outcome| outcome.details.is_empty()) {
        return String::new();
    }
    let mut text = String::from(
        "## Latency, processor time and memory\n\n\
         | row | server | p50 | p99 | p99.9 | CPU s per million | instructions per request | \
         resident | redis-benchmark |\n",
    );
    _ = writeln!(text, "|{}", " --- |".repeat(9));
    for outcome in outcomes {
        for (program, columns) in bench.programs.iter().zip(&outcome.details) {
            let columns = columns.join(" | ");
            _ = writeln!(text, "| {} | {} | {columns} |", outcome.name, program.label);
        }
    }
    text
}

fn quoted(arg: String) -> String {
    if arg.contains(' ') { format!("'{arg}'") } else { arg }
}

/// The machine, its load, the versions and sizes.
fn surroundings(bench: &Bench, began: &str) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map_or("?", |(_, value)| value.trim()).to_owned()
    };
    let mut text = String::new();
    let (model, memory) =
        (field(&read("/proc/cpuinfo"), "model name"), field(&read("/proc/meminfo"), "MemTotal"));
    let kernel = read("/proc/sys/kernel/osrelease");
    let (cores, kernel) = (bench.cores, kernel.trim());
    _ = writeln!(text, "- Machine: {model}, {cores} cores, {memory} of memory, Linux {kernel}");
    _ = writeln!(text, "- Began: {began}");
    _ = writeln!(text, "- Ended: {}", moment());
    for program in &bench.programs {
        _ = writeln!(text, "- {}: `{}`, {}", program.label, program.path, program.version);
    }
    let o = &bench.options;
    let threads = if o.threads == 1 { "1 thread" } else { &format!("{} threads", o.threads) };
    _ = writeln!(
        text,
        "- {} rounds of {} s, load generator of {threads}, values of {} bytes unless said \
         otherwise, {} items in memory rows, {} keys of the bully (the list a fifth of that)",
        o.rounds, o.seconds, o.value_bytes, o.items, o.bully_keys
    );
    if !bench.counts_instructions {
        text.push_str("- Instructions are not counted: `perf stat` cannot on this machine\n");
    }
    text
}

/// The date, and how busy the machine is.
pub fn moment() -> String {
    let date = Command::new("date").args(["-u", "+%F %R UTC"]).output();
    let date = date.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split(' ').take(3).collect();
    format!("{}, load average {}", date.unwrap_or_default(), load.join(" "))
}

/// "12,345,678".
pub fn whole(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub fn rate(per_second: f64) -> String {
    format!("{}/s", whole(per_second))
}

pub fn bytes(bytes: f64) -> String {
    if bytes < 1000.0 { format!("{bytes:.1} B") } else { format!("{} B", whole(bytes)) }
}

pub fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

pub fn micros(nanoseconds: f64) -> String {
    format!("{} µs", whole(nanoseconds / 1000.0))
}

pub fn millis(milliseconds: f64) -> String {
    format!("{milliseconds:.2} ms")
}

pub fn seconds(seconds: f64) -> String {
    if seconds < 1.0 { millis(seconds * 1000.0) } else { format!("{seconds:.2} s") }
}
