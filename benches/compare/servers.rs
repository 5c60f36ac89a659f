//! Starts the servers under test, each in a folder of its own, and reads what the system knows of
//! their processes.

use crate::client::{Client, text};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A server program.
pub struct Program {
    pub path: String,
    /// "Redis 7.0.15".
    pub label: String,
    /// All that it says of its version.
    pub version: String,
}

impl Program {
    /// The program at a path or of a name in PATH; ours goes by its own name.
    pub fn find(path: &str, own_label: Option<&str>) -> Result<Program, String> {
        let output = Command::new(path).arg("--version").output().map_err(text(path))?;
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        // "Redis server v=7.0.15 sha=..."
        let name = version.split(' ').next().unwrap_or_default();
        let number = version.split("v=").nth(1).and_then(|rest| rest.split(' ').next());
        let number = number.ok_or(format!("{path} --version printed: {version}"))?;
        let label = own_label.map_or(format!("{name} {number}"), str::to_owned);
        Ok(Program { path: path.to_owned(), label, version })
    }
}

/// Where servers live: their folders and ports.
pub struct Home {
    pub folder: PathBuf,
    first_port: u16,
    started: u16,
}

/// Ports are taken in turn, because connections closed just before still hold the last one.
const PORTS: u16 = 100;

impl Home {
    pub fn new(folder: PathBuf, first_port: u16) -> Result<Home, String> {
        fs::create_dir_all(&folder).map_err(text("the working folder"))?;
        // Servers go into their folders and would not find relative paths from there.
        let folder = folder.canonicalize().map_err(text("the working folder"))?;
        Ok(Home { folder, first_port, started: 0 })
    }

    /// Starts a server that saves nothing by itself, and waits until it has loaded its data.
    pub fn start(&mut self, program: &Program, settings: &[&str]) -> Result<Server, String> {
        self.start_with(program, settings, None)
    }

    /// As [`Home::start`], with an RDB file to load.
    pub fn start_with(
        &mut self,
        program: &Program,
        settings: &[&str],
        rdb: Option<&Path>,
    ) -> Result<Server, String> {
        let port = self.first_port + self.started % PORTS;
        self.started = self.started.wrapping_add(1);
        if Client::connect(port).is_ok() {
            return Err(format!("something listens on port {port}; choose others with --port"));
        }
        let folder = self.folder.join(format!("server-{port}"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(text("a server's folder"))?;
        if let Some(rdb) = rdb {
            fs::hard_link(rdb, folder.join("dump.rdb")).map_err(text("dump.rdb"))?;
        }
        let begun = Instant::now();
        let child = Command::new(&program.path)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--loglevel", "warning", "--logfile"])
            .arg(folder.join("log"))
            .arg("--dir")
            .arg(&folder)
            .args(settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(text(&program.path))?;
        let mut server = Server { child, port, folder, ready_after: Duration::ZERO };
        server.wait_until_ready(begun)?;
        Ok(server)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A running server, ended on drop.
pub struct Server {
    child: Child,
    pub port: u16,
    folder: PathBuf,
    /// From the start of the process to its first PONG.
    pub ready_after: Duration,
}

impl Server {
    fn wait_until_ready(&mut self, begun: Instant) -> Result<(), String> {
        let ping = |port| Client::connect(port).and_then(|mut c| c.call(&["PING"]));
        while ping(self.port).as_deref() != Ok("+PONG\r\n") {
            if let Ok(Some(status)) = self.child.try_wait() {
                let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                return Err(format!("the server ended with {status}: {}", log.trim()));
            }
            if begun.elapsed() > Duration::from_secs(600) {
                return Err("the server does not answer PING".to_owned());
            }
            // One that loads for long is not asked so often that it notices.
            let pause = begun.elapsed() / 50;
            thread::sleep(pause.clamp(Duration::from_micros(200), Duration::from_millis(10)));
        }
        self.ready_after = begun.elapsed();
        let answers = self.client()?.info("process_id")?;
        if answers == self.pid().to_string() {
            return Ok(());
        }
        Err(format!("process {answers} answers on port {} instead of ours", self.port))
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn client(&self) -> Result<Client, String> {
        Client::connect(self.port)
    }

    pub fn rdb(&self) -> PathBuf {
        self.folder.join("dump.rdb")
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> Result<u64, String> {
        let status = self.proc("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or("no VmRSS".to_owned())
    }

    /// Seconds of processor time of all its threads, also of those that have ended.
    pub fn cpu_seconds(&self) -> Result<f64, String> {
        /// Linux shows times in hundredths of a second on every platform that we know.
        const TICKS_PER_SECOND: f64 = 100.0;
        let stat = self.proc("stat")?;
        // The name, in parentheses, may contain blanks. utime and stime are fields 14 and 15.
        let after_name = stat.rsplit(") ").next().unwrap_or_default();
        let fields: Vec<f64> =
            after_name.split(' ').skip(11).take(2).filter_map(|f| f.parse().ok()).collect();
        Ok(fields.iter().sum::<f64>() / TICKS_PER_SECOND)
    }

    fn proc(&self, file: &str) -> Result<String, String> {
        let path = format!("/proc/{}/{file}", self.pid());
        fs::read_to_string(&path).map_err(text(&path))
    }

    /// Instructions of the server while something is done. `perf` counts until its own child
    /// ends: a `cat` whose input we close.
    pub fn instructions(&self, work: impl FnOnce() -> Result<(), String>) -> Result<f64, String> {
        let mut command = Command::new("perf");
        command.args(["stat", "-x,", "-e", "instructions", "-p", &self.pid().to_string()]);
        command.args(["--", "cat"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut perf = command.spawn().map_err(text("perf"))?;
        thread::sleep(Duration::from_millis(200));
        let done = work();
        drop(perf.stdin.take());
        let mut printed = String::new();
        if let Some(mut errors) = perf.stderr.take() {
            errors.read_to_string(&mut printed).map_err(text("perf"))?;
        }
        perf.wait().map_err(text("perf"))?;
        done?;
        count_of_instructions(&printed).ok_or(format!("perf printed: {printed}"))
    }
}

/// Whether `perf` counts instructions here: many virtual machines do not let it.
pub fn counts_instructions() -> bool {
    let perf = Command::new("perf").args(["stat", "-x,", "-e", "instructions", "true"]).output();
    let printed = perf.map(|output| String::from_utf8_lossy(&output.stderr).into_owned());
    printed.is_ok_and(|printed| count_of_instructions(&printed).is_some())
}

fn count_of_instructions(printed: &str) -> Option<f64> {
    let line = printed.lines().find(|line| line.contains("instructions"))?;
    line.split(',').next()?.parse().ok()
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
