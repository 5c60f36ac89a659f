//! Watches a server from a thread of its own while others ill-treat it: it answers soon, and its
//! memory stays what it was.

use crate::support::client::{Client, Value};
use crate::support::server::Server;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Within this time a PING is answered. It takes microseconds; a loaded machine needs the rest.
const ANSWER: Duration = Duration::from_secs(1);

/// Time between two looks.
const TICK: Duration = Duration::from_millis(10);

/// By how much resident memory may grow at any moment, and by how much once all is over: what
/// allocators keep, and thread stacks.
const PEAK_GROWTH_KB: u64 = 96 * 1024;
const FINAL_GROWTH_KB: u64 = 48 * 1024;

/// A watch over one server; [`Watch::end`] says what it saw.
pub struct Watch {
    pid: u32,
    addr: SocketAddr,
    first_kb: u64,
    over: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64, String>>,
}

impl Watch {
    /// Begins. With `empty` the data is thrown away now and then, so that it does not count.
    pub fn start(server: &Server, empty: bool) -> Watch {
        let (pid, addr) = (server.pid(), server.addr());
        // What any server needs for its first clients is not growth.
        let mut warm: Vec<Client> = (0..4).map(|_| server.client()).collect();
        for client in &mut warm {
            assert_eq!(client.cmd(&["PING"]), Value::simple("PONG"));
        }
        let first_kb = resident_kb(pid);
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let thread = thread::spawn(move || look(pid, addr, empty, &seen));
        Watch { pid, addr, first_kb, over, thread }
    }

    /// Ends, and fails if the server was slow, large or dead at any time.
    pub fn end(self, server: &mut Server) {
        self.over.store(true, Ordering::SeqCst);
        let peak_kb = self.thread.join().expect("the watch itself went well");
        let ended = server.wait_exit(Duration::ZERO);
        let log = server.log();
        assert!(ended.is_none(), "the server ended, {ended:?}; its log:\n{log}");
        let peak_kb = peak_kb.unwrap_or_else(|what| panic!("{what}; the log:\n{log}"));
        assert!(!log.contains("panicked"), "a thread panicked; the log:\n{log}");
        let mut client = Client::connect(self.addr);
        assert_eq!(client.cmd(&["FLUSHALL", "SYNC"]), Value::simple("OK"));
        let deadline = Instant::now() + Duration::from_secs(2);
        let first_kb = self.first_kb;
        // Memory is given back in the background.
        while resident_kb(self.pid) > first_kb + FINAL_GROWTH_KB {
            let now_kb = resident_kb(self.pid);
            assert!(Instant::now() < deadline, "{first_kb} KB became {now_kb} KB and stay so");
            thread::sleep(TICK);
        }
        let limit_kb = first_kb + PEAK_GROWTH_KB;
        assert!(peak_kb <= limit_kb, "{first_kb} KB became {peak_kb} KB");
    }
}

/// Resident memory of a process in KB, 0 once it has ended.
fn resident_kb(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|kb| kb.parse().ok()).unwrap_or(0)
}

/// Looks until it is over; the highest resident memory seen, or what went wrong.
fn look(pid: u32, addr: SocketAddr, empty: bool, over: &AtomicBool) -> Result<u64, String> {
    let mut client = Client::connect(addr);
    let mut peak_kb = 0;
    let mut round = 0u64;
    while !over.load(Ordering::SeqCst) {
        round += 1;
        let asked = Instant::now();
        if round.is_multiple_of(10) {
            client = Client::connect(addr);
        }
        let command: &[&str] = match empty && round.is_multiple_of(20) {
            true => &["FLUSHALL"],
            false => &["PING"],
        };
        client.send(command);
        let reply = client.recv_timeout(ANSWER * 10);
        if !matches!(reply, Ok(Value::Simple(_))) {
            return Err(format!("{command:?} got {reply:?}"));
        }
        if asked.elapsed() > ANSWER {
            return Err(format!("{command:?} took {:?}", asked.elapsed()));
        }
        peak_kb = peak_kb.max(resident_kb(pid));
        thread::sleep(TICK);
    }
    Ok(peak_kb)
}
