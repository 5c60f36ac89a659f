//! The command line.

use std::path::PathBuf;

pub const USAGE: &str = "\
cargo bench --bench compare -- [options]

  --server PATH        a server to compare with, repeatable (default: redis-server)
  --ours PATH          another binary of ours
  --only TEXT          rows whose name is or contains this, repeatable
  --list               print the names of the rows and stop
  --quick              three short rounds and little data: a trial, no result
  --rounds N           rounds per row (9)
  --seconds S          length of one run of the load generator (1.0)
  --value-bytes N      size of values where a row does not say it (3)
  --threads N          threads of the load generator (half of the cores)
  --no-redis-benchmark do not run redis-benchmark beside it
  --rdb-mb N           size of the RDB file (1024)
  --items N            items of the memory rows (1000000)
  --bully-keys N       keys of the bully rows (5000000)
  --dir PATH           where the servers work (the temporary folder)
  --port N             the first of a hundred ports (7400)
  --out FILE           where the report goes (BENCHMARKS.md after a full run, else nowhere)";

/// What the command line says.
#[derive(Clone)]
pub struct Options {
    pub servers: Vec<String>,
    pub ours: String,
    pub only: Vec<String>,
    pub list: bool,
    pub quick: bool,
    pub rounds: usize,
    pub seconds: f64,
    pub value_bytes: usize,
    pub threads: usize,
    pub redis_benchmark: bool,
    pub rdb_mb: u64,
    pub items: u64,
    pub bully_keys: u64,
    pub dir: PathBuf,
    pub port: u16,
    pub out: Option<PathBuf>,
}

impl Options {
    /// None: the program was not started by `cargo bench`, or help was asked for.
    pub fn parse(args: impl Iterator<Item = String>, cores: usize) -> Result<Option<Self>, String> {
        let args: Vec<String> = args.collect();
        if !args.iter().any(|arg| arg == "--bench") || args.iter().any(|arg| arg == "--help") {
            return Ok(None);
        }
        let mut options = Options::defaults(cores, args.iter().any(|arg| arg == "--quick"));
        let mut rest = args.into_iter();
        while let Some(name) = rest.next() {
            match name.as_str() {
                "--bench" | "--quick" => {}
                "--list" => options.list = true,
                "--no-redis-benchmark" => options.redis_benchmark = false,
                _ => {
                    let value = rest.next().ok_or(format!("{name} without a value"))?;
                    options.set(&name, value)?;
                }
            }
        }
        if options.servers.is_empty() {
            options.servers.push("redis-server".to_owned());
        }
        let full = options.only.is_empty() && !options.quick;
        options.out = options
            .out
            .or(full.then(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("BENCHMARKS.md")));
        Ok(Some(options))
    }

    fn defaults(cores: usize, quick: bool) -> Options {
        Options {
            servers: Vec::new(),
            ours: env!("CARGO_BIN_EXE_ferrodis").to_owned(),
            only: Vec::new(),
            list: false,
            quick,
            rounds: if quick { 3 } else { 9 },
            seconds: if quick { 0.25 } else { 1.0 },
            value_bytes: 3,
            threads: (cores / 2).max(1),
            redis_benchmark: true,
            rdb_mb: if quick { 32 } else { 1024 },
            items: if quick { 200_000 } else { 1_000_000 },
            bully_keys: if quick { 200_000 } else { 5_000_000 },
            dir: std::env::temp_dir(),
            port: 7400,
            out: None,
        }
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        let number = || match value.parse::<u64>() {
            Ok(number @ 1..) => Ok(number),
            _ => Err(format!("{name} takes a number from 1 on, not {value}")),
        };
        match name {
            "--server" => self.servers.push(value),
            "--ours" => self.ours = value,
            "--only" => self.only.push(value.to_lowercase()),
            "--rounds" => self.rounds = number()? as usize,
            "--seconds" => match value.parse::<f64>() {
                Ok(seconds @ 0.01..=600.0) => self.seconds = seconds,
                _ => return Err(format!("--seconds takes 0.01 to 600, not {value}")),
            },
            "--value-bytes" => self.value_bytes = number()? as usize,
            "--threads" => self.threads = number()? as usize,
            "--rdb-mb" => self.rdb_mb = number()?,
            "--items" => self.items = number()?,
            "--bully-keys" => self.bully_keys = number()?.max(1000),
            "--dir" => self.dir = PathBuf::from(value),
            "--port" => self.port = number()?.min(65_000) as u16,
            "--out" => self.out = Some(PathBuf::from(value)),
            _ => return Err(format!("unknown option {name}\n\n{USAGE}")),
        }
        Ok(())
    }

    /// Whether a row is wanted. A text that is the whole name of a row means only that one.
    pub fn wants(&self, name: &str, all_names: &[String]) -> bool {
        let name = name.to_lowercase();
        self.only.is_empty()
            || self.only.iter().any(|text| {
                match all_names.iter().find(|n| n.to_lowercase() == *text) {
                    Some(_) => name == *text,
                    None => name.contains(text.as_str()),
                }
            })
    }
}
