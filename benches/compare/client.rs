//! A blocking connection that counts replies, and the text of requests with places for numbers.

use crate::reply::Scanner;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// How long a reply may take before the row fails.
pub const PATIENCE: Duration = Duration::from_secs(120);

const READ_BYTES: usize = 64 * 1024;

/// One connection to a server on this machine.
pub struct Client {
    stream: TcpStream,
    scanner: Scanner,
    buffer: Box<[u8]>,
}

impl Client {
    pub fn connect(port: u16) -> Result<Client, String> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(text("connect"))?;
        stream.set_nodelay(true).map_err(text("nodelay"))?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(text("timeout"))?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(text("timeout"))?;
        let buffer = vec![0; READ_BYTES].into_boxed_slice();
        Ok(Client { stream, scanner: Scanner::default(), buffer })
    }

    /// Lets replies be null from now on.
    pub fn let_nulls_pass(&mut self) {
        self.scanner.nulls_pass = true;
    }

    pub fn send(&mut self, requests: &[u8]) -> Result<(), String> {
        self.stream.write_all(requests).map_err(text("write"))
    }

    /// Waits for so many replies and gives the number of values in them.
    pub fn receive(&mut self, replies: u64) -> Result<u64, String> {
        let before = self.scanner.seen;
        self.receive_into(replies, |_| {})?;
        Ok(self.scanner.seen - before)
    }

    fn receive_into(&mut self, replies: u64, mut keep: impl FnMut(&[u8])) -> Result<(), String> {
        let mut done = 0;
        while done < replies {
            let size = self.stream.read(&mut self.buffer).map_err(text("read"))?;
            if size == 0 {
                return Err("the server closed the connection".to_owned());
            }
            keep(&self.buffer[..size]);
            done += self.scanner.feed(&self.buffer[..size])?;
        }
        if done > replies { Err("more replies than requests".to_owned()) } else { Ok(()) }
    }

    /// One command and the bytes of its reply.
    pub fn call(&mut self, args: &[&str]) -> Result<String, String> {
        self.send(Template::new(args, 1).bytes())?;
        let mut reply = Vec::new();
        self.receive_into(1, |bytes| reply.extend_from_slice(bytes))?;
        Ok(String::from_utf8_lossy(&reply).into_owned())
    }

    /// The value of a field of INFO.
    pub fn info(&mut self, field: &str) -> Result<String, String> {
        let all = self.call(&["INFO"])?;
        let found = all.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        found.map(|value| value.trim().to_owned()).ok_or(format!("INFO has no {field}"))
    }
}

/// Says what was done when an error of the system came.
pub fn text(what: &str) -> impl Fn(std::io::Error) -> String {
    move |error| format!("{what}: {error}")
}

/// The numbers that stand in a request, 12 digits each.
#[derive(Clone, Copy)]
enum Hole {
    /// redis-benchmark's own mark, so that it is given the same arguments.
    Random,
    Key,
    Step,
}

const HOLES: [(&str, Hole); 3] =
    [("__rand_int__", Hole::Random), ("__key__", Hole::Key), ("__step__", Hole::Step)];

const DIGITS: usize = 12;

/// Some requests of one form, with places for numbers that differ from one to the next.
#[derive(Clone)]
pub struct Template {
    bytes: Vec<u8>,
    /// Where the numbers stand, request by request.
    holes: Vec<Vec<(usize, Hole)>>,
}

impl Template {
    pub fn new(args: &[impl AsRef<str>], requests: usize) -> Template {
        let mut template = Template { bytes: Vec::new(), holes: Vec::new() };
        for _ in 0..requests {
            template.push_request(args);
        }
        template
    }

    fn push_request(&mut self, args: &[impl AsRef<str>]) {
        let mut holes = Vec::new();
        self.bytes.extend_from_slice(format!("*{}\r\n", args.len()).as_bytes());
        for arg in args {
            let mut rest = arg.as_ref();
            let mut filled = Vec::new();
            let mut places = Vec::new();
            while let Some((at, mark, hole)) = first_hole(rest) {
                filled.extend_from_slice(&rest.as_bytes()[..at]);
                places.push((filled.len(), hole));
                filled.extend_from_slice(&[b'0'; DIGITS]);
                rest = &rest[at + mark.len()..];
            }
            filled.extend_from_slice(rest.as_bytes());
            self.bytes.extend_from_slice(format!("${}\r\n", filled.len()).as_bytes());
            holes.extend(places.iter().map(|&(at, hole)| (self.bytes.len() + at, hole)));
            self.bytes.extend_from_slice(&filled);
            self.bytes.extend_from_slice(b"\r\n");
        }
        self.holes.push(holes);
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Puts new random numbers below `range` everywhere.
    pub fn fill_random(&mut self, random: &mut Random, range: u64) {
        for &(at, _) in self.holes.iter().flatten() {
            put_digits(&mut self.bytes[at..at + DIGITS], random.below(range));
        }
    }

    /// Puts the numbers of one request in order.
    pub fn fill_request(&mut self, request: usize, key: u64, step: u64, random: &mut Random) {
        for &(at, hole) in &self.holes[request] {
            let number = match hole {
                Hole::Random => random.below(10_u64.pow(DIGITS as u32)),
                Hole::Key => key,
                Hole::Step => step,
            };
            put_digits(&mut self.bytes[at..at + DIGITS], number);
        }
    }
}

fn first_hole(text: &str) -> Option<(usize, &'static str, Hole)> {
    let found = HOLES.iter().filter_map(|&(mark, hole)| Some((text.find(mark)?, mark, hole)));
    found.min_by_key(|&(at, _, _)| at)
}

fn put_digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Random numbers that are the same in every run: xorshift64*.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, range: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let mixed = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        // The upper bits are the better ones.
        ((u128::from(mixed) * u128::from(range)) >> 64) as u64
    }
}
