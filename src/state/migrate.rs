//! Connections to other servers, over which keys move there (MIGRATE).
//!
//! Must not know values: it carries requests and the lines that answer them. One that worked is
//! kept for a while, because keys are often moved one by one. No shard may be held here.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use crate::base::lock::{Lock, rank};
use crate::state::Server;

/// Connections that are kept at most.
const KEPT: usize = 64;

/// How long one is kept without use.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// How often one that waits looks whether the server ends.
const SLICE: Duration = Duration::from_millis(100);

/// What is sent within one time-out.
const STEP: usize = 64 * 1024;

/// The longest line that is taken for an answer.
const LINE_MAX: usize = 64 * 1024;

/// A connection to another server.
pub struct Target {
    host: Vec<u8>,
    port: Vec<u8>,
    stream: TcpStream,
    /// The database that is selected there, if that is known.
    pub db: Option<i64>,
    input: Vec<u8>,
    used: Instant,
}

/// The connections that nobody uses now.
pub struct Targets(Lock<Vec<Target>>);

impl Default for Targets {
    fn default() -> Self {
        Targets(Lock::new(rank::LEAF + 90, Vec::new()))
    }
}

impl Targets {
    /// A connection to that address: one that was kept, or a new one.
    ///
    /// # Errors
    /// There is no such address, or nobody answers there in time.
    pub fn take(&self, host: &[u8], port: &[u8], timeout: Duration) -> io::Result<Target> {
        let mut kept = self.0.lock();
        match kept.iter().position(|target| target.host == host && target.port == port) {
            Some(at) => Ok(kept.swap_remove(at)),
            None => {
                drop(kept);
                Target::connect(host, port, timeout)
            }
        }
    }

    /// Keeps a connection for the next time. The one that was used longest ago makes room.
    pub fn keep(&self, mut target: Target) {
        target.used = Instant::now();
        let mut kept = self.0.lock();
        if kept.len() == KEPT {
            let oldest = (0..KEPT).min_by_key(|&at| kept[at].used);
            oldest.map(|at| kept.swap_remove(at));
        }
        kept.push(target);
    }

    /// Closes those that have not been used for long.
    pub fn close_idle(&self) {
        self.0.lock().retain(|target| target.used.elapsed() <= KEPT_FOR);
    }

    /// How many are kept.
    pub fn count(&self) -> usize {
        self.0.lock().len()
    }
}

impl Target {
    fn connect(host: &[u8], port: &[u8], timeout: Duration) -> io::Result<Target> {
        let (host, port) = (host.to_vec(), port.to_vec());
        let invalid = || io::Error::from(ErrorKind::InvalidInput);
        let name = str::from_utf8(&host).map_err(|_| invalid())?;
        // What is no number is port 0, where nobody listens, as in Redis.
        let number = str::from_utf8(&port).ok().and_then(|port| port.parse::<u16>().ok());
        let mut last = invalid();
        for address in (name, number.unwrap_or(0)).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    let slice = Some(SLICE.min(timeout));
                    stream.set_read_timeout(slice)?;
                    stream.set_write_timeout(slice)?;
                    let (db, input, used) = (None, Vec::new(), Instant::now());
                    return Ok(Target { host, port, stream, db, input, used });
                }
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    /// Sends bytes; each step of them may take as long as the time-out.
    pub fn send(&mut self, server: &Server, bytes: &[u8], timeout: Duration) -> io::Result<()> {
        for step in bytes.chunks(STEP) {
            let mut rest = step;
            let stream = &mut self.stream;
            patiently(server, timeout, || {
                while !rest.is_empty() {
                    match stream.write(rest)? {
                        0 => return Err(ErrorKind::WriteZero.into()),
                        sent => rest = &rest[sent..],
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The next line that comes within the time-out, without its end.
    pub fn read_line(&mut self, server: &Server, timeout: Duration) -> io::Result<Vec<u8>> {
        let (stream, input) = (&mut self.stream, &mut self.input);
        patiently(server, timeout, || {
            loop {
                if let Some(end) = input.iter().position(|&c| c == b'\n') {
                    let mut line: Vec<u8> = input.drain(..=end).collect();
                    line.pop();
                    if line.last() == Some(&b'\r') {
                        line.pop();
                    }
                    return Ok(line);
                }
                if input.len() > LINE_MAX {
                    return Err(ErrorKind::InvalidData.into());
                }
                let mut step = [0; 1024];
                match stream.read(&mut step)? {
                    0 => return Err(ErrorKind::UnexpectedEof.into()),
                    n => input.extend_from_slice(&step[..n]),
                }
            }
        })
    }
}

/// Goes on with something that waits in slices, until the time is over or the server ends.
fn patiently<R>(
    server: &Server,
    timeout: Duration,
    mut go_on: impl FnMut() -> io::Result<R>,
) -> io::Result<R> {
    let deadline = Instant::now().checked_add(timeout);
    loop {
        match go_on() {
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
        if deadline.is_some_and(|at| Instant::now() >= at) || server.has_ended() {
            return Err(ErrorKind::TimedOut.into());
        }
    }
}
