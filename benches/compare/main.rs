//! Ferrodis beside other servers, measured in alternation: `cargo bench --bench compare`.
//!
//! It knows the server only as a program. Every row has a target, and is printed as below it when
//! it is.

mod bully;
mod client;
mod load;
mod memory;
mod options;
mod rdb;
mod reply;
mod report;
mod rows;
mod servers;
mod stats;
mod throughput;

use options::Options;
use report::Outcome;
use rows::{Row, Work};
use servers::{Home, Program};
use std::process::ExitCode;

/// What all rows share.
pub struct Bench {
    pub options: Options,
    /// Ours first.
    pub programs: Vec<Program>,
    pub home: Home,
    pub cores: usize,
    pub counts_instructions: bool,
    pub rdb: Option<rdb::Measured>,
}

impl Bench {
    fn new(options: Options, cores: usize) -> Result<Bench, String> {
        let mut programs = vec![Program::find(&options.ours, Some("Ferrodis"))?];
        for path in &options.servers {
            programs.push(Program::find(path, None)?);
        }
        let folder = options.dir.join(format!("ferrodis-compare-{}", std::process::id()));
        let home = Home::new(folder, options.port)?;
        let counts_instructions = servers::counts_instructions();
        Ok(Bench { options, programs, home, cores, counts_instructions, rdb: None })
    }

    fn measure(&mut self, row: &Row) -> Outcome {
        let measured = match &row.work {
            Work::Load(load, target) => throughput::measure(self, load, *target),
            Work::Start(target) => rdb::start(self, *target),
            Work::Rdb(phase, target) => rdb::measure(self, *phase, *target),
            Work::Bytes(fill, target) => memory::items(self, fill, *target),
            Work::Idle(target) => memory::connections(self, *target),
            Work::Bully(bully) => bully::measure(self, bully),
            Work::Insert(keys, target) => bully::insert(self, *keys, *target),
        };
        Outcome { name: row.name.clone(), ..measured.unwrap_or_else(Outcome::failed) }
    }
}

fn run() -> Result<(), String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let Some(options) = Options::parse(std::env::args().skip(1), cores)? else {
        println!("{}", options::USAGE);
        return Ok(());
    };
    let rows = rows::all(&options);
    let names: Vec<String> = rows.iter().map(|row| row.name.clone()).collect();
    let wanted: Vec<Row> =
        rows.into_iter().filter(|row| options.wants(&row.name, &names)).collect();
    if options.list {
        wanted.iter().for_each(|row| println!("{}", row.name));
        return Ok(());
    }
    if wanted.is_empty() {
        return Err("no row has such a name; --list shows them".to_owned());
    }
    let began = report::moment();
    let mut bench = Bench::new(options, cores)?;
    println!("{began}\n\n{}", report::head(&bench));
    let mut outcomes = Vec::new();
    for row in &wanted {
        let outcome = bench.measure(row);
        println!("{}", report::line(&bench, &outcome));
        outcomes.push(outcome);
    }
    println!("\n{}\n{}", report::details(&bench, &outcomes), report::summary(&outcomes));
    report::write(&bench, &outcomes, &began)
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
