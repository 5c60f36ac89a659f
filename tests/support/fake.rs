//! The other end of a replication link, played step by step: [`FakeMaster`] for a server that is
//! a replica, [`FakeReplica`] for one that is a master, and small RDB files for both.
//!
//! Both behave as the course's tester does, and are as strict: nothing may be sent before its
//! turn. CRC and encoder are written here on their own, apart from the server's.

use super::client::{Client, PATIENCE, RecvError, Value, encode, quoted};
use super::server::free_port;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

/// A command as a list of its arguments.
pub type Args = Vec<Vec<u8>>;

/// The replication id that the fake master announces.
pub const MASTER_REPLID: &str = "75cd7bc10c49047e0d163660f3b90625b1af31dc";

/// CRC-64 of the Jones polynomial, bit by bit: reflected, no initial value, no final xor.
pub fn crc64(bytes: &[u8]) -> u64 {
    let mut crc = 0u64;
    for &byte in bytes {
        crc ^= u64::from(byte);
        for _ in 0..8 {
            let low = crc & 1;
            crc >>= 1;
            if low == 1 {
                crc ^= 0x95ac_9329_ac4b_c9b5;
            }
        }
    }
    crc
}

/// Writes an RDB file with plain strings.
pub struct RdbWriter {
    bytes: Vec<u8>,
}

impl RdbWriter {
    /// Version 11, as the tester writes; `FERRODIS_TEST_RDB_VERSION` names another one, because
    /// a redis-server 7.0 under these tests reads files up to version 10.
    pub fn new() -> RdbWriter {
        let version = std::env::var("FERRODIS_TEST_RDB_VERSION");
        let version = version.unwrap_or_else(|_| "0011".to_owned());
        RdbWriter { bytes: format!("REDIS{version}").into_bytes() }
    }

    /// A length-prefixed string, for lengths up to 16383.
    fn string(&mut self, text: &[u8]) {
        match text.len() {
            len @ 0..=63 => self.bytes.push(len as u8),
            len => self.bytes.extend([0x40 | (len >> 8) as u8, len as u8]),
        }
        self.bytes.extend_from_slice(text);
    }

    /// An auxiliary field with a text.
    pub fn aux(mut self, name: &str, value: &str) -> RdbWriter {
        self.bytes.push(0xfa);
        self.string(name.as_bytes());
        self.string(value.as_bytes());
        self
    }

    /// An auxiliary field with a number, stored as an 8-bit integer.
    pub fn aux_int8(mut self, name: &str, value: i8) -> RdbWriter {
        self.bytes.push(0xfa);
        self.string(name.as_bytes());
        self.bytes.extend([0xc0, value as u8]);
        self
    }

    /// An auxiliary field with a number, stored as a 32-bit integer.
    pub fn aux_int32(mut self, name: &str, value: i32) -> RdbWriter {
        self.bytes.push(0xfa);
        self.string(name.as_bytes());
        self.bytes.push(0xc2);
        self.bytes.extend(value.to_le_bytes());
        self
    }

    /// Database 0 and its sizes; fewer than 64 keys each.
    pub fn database(mut self, keys: u8, with_ttl: u8) -> RdbWriter {
        assert!(keys < 64 && with_ttl < 64, "one-byte lengths only");
        self.bytes.extend([0xfe, 0, 0xfb, keys, with_ttl]);
        self
    }

    /// A string key, with the moment of its expiry in unix milliseconds if it has one.
    pub fn key(mut self, key: &str, value: &str, expires_ms: Option<u64>) -> RdbWriter {
        if let Some(ms) = expires_ms {
            self.bytes.push(0xfc);
            self.bytes.extend(ms.to_le_bytes());
        }
        self.bytes.push(0);
        self.string(key.as_bytes());
        self.string(value.as_bytes());
        self
    }

    /// Ends the file with its checksum.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.push(0xff);
        let crc = crc64(&self.bytes);
        self.bytes.extend(crc.to_le_bytes());
        self.bytes
    }
}

/// The 88-byte file without keys that a master sends to the replicas of the course.
pub fn empty_rdb() -> Vec<u8> {
    let rdb = RdbWriter::new()
        .aux("redis-ver", "7.2.0")
        .aux_int8("redis-bits", 64)
        .aux_int32("ctime", 0x65bc_086d)
        .aux_int32("used-mem", 0x0010_c4b0)
        .aux_int8("aof-base", 0)
        .finish();
    assert_eq!(rdb.len(), 88);
    rdb
}

/// One key of an RDB file.
#[derive(Debug, PartialEq)]
pub struct RdbKey {
    pub key: Vec<u8>,
    /// What a string holds; nothing for other types.
    pub value: Vec<u8>,
    pub expires_ms: Option<u64>,
}

/// Reads an RDB file to its end, as strictly as the tester's parser: version 1 to 12, known opcodes
/// and types, nothing behind the checksum, which must be right.
pub fn read_rdb(bytes: &[u8]) -> Result<Vec<RdbKey>, String> {
    let head = bytes.get(..9).ok_or("shorter than its header")?;
    let version = std::str::from_utf8(&head[5..]).map_err(|e| e.to_string())?;
    let version: u32 = version.parse().map_err(|_| format!("version {version}"))?;
    if &head[..5] != b"REDIS" || !(1..=12).contains(&version) {
        return Err(format!("header {}", quoted(head)));
    }
    let mut reader = RdbReader { bytes, at: 9 };
    let mut keys = Vec::new();
    let mut expires_ms = None;
    loop {
        match reader.byte()? {
            0xfa => {
                reader.string()?;
                reader.string()?;
            }
            0xfb => {
                reader.length()?;
                reader.length()?;
            }
            0xfc => {
                let eight = reader.take(8)?.try_into().map_err(|_| "expiry")?;
                expires_ms = Some(u64::from_le_bytes(eight));
            }
            0xfe => {
                reader.length()?;
            }
            0xff => break,
            0 => keys.push(RdbKey {
                key: reader.string()?,
                value: reader.string()?,
                expires_ms: expires_ms.take(),
            }),
            kind => {
                let key = reader.string()?;
                reader.skip(kind)?;
                keys.push(RdbKey { key, value: Vec::new(), expires_ms: expires_ms.take() });
            }
        }
    }
    let crc = crc64(&bytes[..reader.at]).to_le_bytes();
    match bytes[reader.at..] == crc {
        true => Ok(keys),
        false => Err(format!("end {}", quoted(&bytes[reader.at..]))),
    }
}

struct RdbReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> RdbReader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let part = self.bytes.get(self.at..self.at + count);
        self.at += count;
        part.ok_or_else(|| format!("cut off at {}", self.at))
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    fn length(&mut self) -> Result<usize, String> {
        let first = self.byte()?;
        match first >> 6 {
            0 => Ok(usize::from(first)),
            1 => Ok(usize::from(first & 0x3f) << 8 | usize::from(self.byte()?)),
            2 if first == 0x80 => {
                let four = self.take(4)?.try_into().map_err(|_| "length")?;
                Ok(u32::from_be_bytes(four) as usize)
            }
            2 if first == 0x81 => {
                let eight = self.take(8)?.try_into().map_err(|_| "length")?;
                Ok(u64::from_be_bytes(eight) as usize)
            }
            _ => Err(format!("length byte {first}")),
        }
    }

    fn lengths(&mut self, count: usize) -> Result<(), String> {
        (0..count).try_for_each(|_| self.length().map(drop))
    }

    fn strings(&mut self, count: usize) -> Result<(), String> {
        (0..count).try_for_each(|_| self.string().map(drop))
    }

    /// Passes over a value of these types, which are all that today's servers write up to 7.2.
    fn skip(&mut self, kind: u8) -> Result<(), String> {
        match kind {
            // Intset, and listpacks of a hash, a sorted set and a set.
            11 | 16 | 17 | 20 => self.strings(1),
            19 | 21 => self.skip_stream(kind),
            2 => {
                let count = self.length()?;
                self.strings(count)
            }
            4 => {
                let count = self.length()?;
                self.strings(2 * count)
            }
            // Sorted set with binary doubles.
            5 => (0..self.length()?).try_for_each(|_| {
                self.strings(1)?;
                self.take(8).map(drop)
            }),
            // List of listpacks.
            18 => (0..self.length()?).try_for_each(|_| {
                self.lengths(1)?;
                self.strings(1)
            }),
            other => Err(format!("type or opcode {other} before {}", self.at)),
        }
    }

    fn skip_stream(&mut self, kind: u8) -> Result<(), String> {
        let blocks = self.length()?;
        self.strings(2 * blocks)?;
        // Length, the last and the first id, the highest deleted one, and all entries ever added.
        self.lengths(8)?;
        for _group in 0..self.length()? {
            self.strings(1)?;
            self.lengths(3)?;
            for _pending in 0..self.length()? {
                self.take(16 + 8)?;
                self.lengths(1)?;
            }
            for _consumer in 0..self.length()? {
                self.strings(1)?;
                self.take(if kind == 21 { 16 } else { 8 })?;
                let pending = self.length()?;
                self.take(16 * pending)?;
            }
        }
        Ok(())
    }

    /// A string; a compressed one as it is.
    fn string(&mut self) -> Result<Vec<u8>, String> {
        let width = match self.bytes.get(self.at) {
            Some(0xc3) => {
                self.at += 1;
                let compressed = self.length()?;
                self.lengths(1)?;
                return Ok(self.take(compressed)?.to_vec());
            }
            Some(0xc0) => 1,
            Some(0xc1) => 2,
            Some(0xc2) => 4,
            _ => {
                let len = self.length()?;
                return Ok(self.take(len)?.to_vec());
            }
        };
        self.at += 1;
        let mut number = [0; 8];
        let part = self.take(width)?;
        number[..width].copy_from_slice(part);
        if part[width - 1] & 0x80 != 0 {
            number[width..].fill(0xff);
        }
        Ok(i64::from_le_bytes(number).to_string().into_bytes())
    }
}

/// A listening port that plays a master; it serves one replica.
pub struct FakeMaster {
    listener: TcpListener,
    port: u16,
}

impl FakeMaster {
    /// Listens, before the replica is started.
    pub fn listen() -> FakeMaster {
        let port = free_port();
        let listener = TcpListener::bind(("0.0.0.0", port)).expect("the port is free");
        listener.set_nonblocking(true).expect("a listener can be polled");
        FakeMaster { listener, port }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The one argument for `--replicaof`.
    pub fn replicaof(&self) -> String {
        format!("localhost {}", self.port)
    }

    /// Waits for the replica's connection.
    pub fn accept(&self) -> MasterLink {
        let link = self.accept_within(PATIENCE);
        link.expect("a replica connects")
    }

    /// A connection made within `timeout`, if any.
    pub fn accept_within(&self, timeout: Duration) -> Option<MasterLink> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).expect("a blocking socket");
                    let client = Client::over(stream);
                    return Some(MasterLink { client });
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => panic!("accept: {e}"),
            }
            if Instant::now() >= deadline {
                return None;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// A master's side of one replication link.
pub struct MasterLink {
    pub client: Client,
}

impl MasterLink {
    /// The next command from the replica.
    #[track_caller]
    pub fn next(&mut self) -> Args {
        command(self.client.recv())
    }

    /// Expects `PING` and nothing behind it for `quiet_ms`; answers.
    #[track_caller]
    pub fn ping(&mut self, quiet_ms: u64) {
        let got = self.next();
        assert!(
            got.len() == 1 && got[0].eq_ignore_ascii_case(b"PING"),
            "PING expected, got {}",
            printed(&got)
        );
        self.client.expect_silence(quiet_ms);
        self.client.send_raw(b"+PONG\r\n");
    }

    /// Expects `REPLCONF listening-port <port>`; the second REPLCONF may already follow.
    #[track_caller]
    pub fn listening_port(&mut self, port: u16) {
        let got = self.next();
        let name = got[0].to_ascii_uppercase();
        let wanted = ["REPLCONF", "listening-port", &port.to_string()];
        assert_eq!(printed(&[&[name], &got[1..]].concat()), wanted.join(" "));
        self.client.send_raw(b"+OK\r\n");
    }

    /// Expects `REPLCONF capa ...` and nothing behind it for `quiet_ms`; answers.
    #[track_caller]
    pub fn capa(&mut self, quiet_ms: u64) {
        let got = self.next();
        let capa = |i: usize| got.get(i).is_some_and(|a| a.eq_ignore_ascii_case(b"capa"));
        let right = got[0].eq_ignore_ascii_case(b"REPLCONF")
            && got.len() >= 3
            && capa(1)
            && (got.len() != 5 || capa(3));
        assert!(right, "REPLCONF capa expected, got {}", printed(&got));
        self.client.expect_silence(quiet_ms);
        self.client.send_raw(b"+OK\r\n");
    }

    /// Expects `PSYNC ? -1` and nothing behind it for `quiet_ms`; announces a full resync.
    #[track_caller]
    pub fn psync(&mut self, quiet_ms: u64) {
        let got = self.next();
        let name = got[0].to_ascii_uppercase();
        assert_eq!(printed(&[&[name], &got[1..]].concat()), "PSYNC ? -1");
        self.client.expect_silence(quiet_ms);
        let line = format!("+FULLRESYNC {MASTER_REPLID} 0\r\n");
        self.client.send_raw(line.as_bytes());
    }

    /// Sends the file without keys.
    pub fn send_rdb(&mut self) {
        let rdb = empty_rdb();
        let head = format!("${}\r\n", rdb.len());
        self.client.send_raw(&[head.as_bytes(), &rdb].concat());
    }

    /// The whole handshake with a replica that listens on `port`, up to the end of the RDB.
    #[track_caller]
    pub fn handshake(&mut self, port: u16) {
        self.handshake_without_rdb(port);
        self.send_rdb();
    }

    /// The handshake up to the announcement of the full resync.
    #[track_caller]
    pub fn handshake_without_rdb(&mut self, port: u16) {
        self.ping(1);
        self.listening_port(port);
        self.capa(1);
        self.psync(1);
    }

    /// Asks for the replica's offset and asserts the answer, byte by byte, and that it is all.
    #[track_caller]
    pub fn expect_ack(&mut self, offset: u64) {
        self.client.send(&["REPLCONF", "GETACK", "*"]);
        let got = self.client.recv_raw();
        let wanted = encode(&["REPLCONF", "ACK", &offset.to_string()]);
        assert_eq!(quoted(&got), quoted(&wanted));
        self.client.expect_no_more();
    }
}

/// A replica that has done its handshake and reads the stream of commands.
pub struct FakeReplica {
    pub client: Client,
    /// The id and the offset of the FULLRESYNC line.
    pub replid: String,
    pub start_offset: u64,
    /// The RDB as it came.
    pub rdb: Vec<u8>,
    /// Bytes of the command stream read so far.
    pub received: u64,
    started: bool,
}

impl FakeReplica {
    /// The whole handshake as the tester does it, which sends nothing afterwards.
    #[track_caller]
    pub fn attach(addr: SocketAddr) -> FakeReplica {
        let mut client = Client::connect(addr);
        FakeReplica::greet(&mut client);
        let (replid, start_offset) = FakeReplica::psync(&mut client);
        let rdb = FakeReplica::receive_rdb(&mut client);
        FakeReplica { client, replid, start_offset, rdb, received: 0, started: false }
    }

    /// The handshake up to both REPLCONFs.
    #[track_caller]
    pub fn greet(client: &mut Client) {
        client.expect(&["PING"], "+PONG\r\n");
        client.expect(&["REPLCONF", "listening-port", "6380"], "+OK\r\n");
        client.expect(&["REPLCONF", "capa", "psync2"], "+OK\r\n");
    }

    /// `PSYNC ? -1`: the replication id and offset of the FULLRESYNC line.
    #[track_caller]
    pub fn psync(client: &mut Client) -> (String, u64) {
        let reply = client.cmd(&["PSYNC", "?", "-1"]);
        let Value::Simple(line) = &reply else {
            panic!("FULLRESYNC expected, got {reply}");
        };
        let line = String::from_utf8_lossy(line).into_owned();
        let words: Vec<&str> = line.split(' ').collect();
        let [name, replid, offset] = words[..] else {
            panic!("FULLRESYNC expected, got {line}");
        };
        assert_eq!(name, "FULLRESYNC");
        let plain = replid.bytes().all(|b| b.is_ascii_alphanumeric());
        assert!(replid.len() == 40 && plain, "replication id {replid}");
        (replid.to_owned(), offset.parse().expect("an offset"))
    }

    /// The RDB: `$<length>`, CRLF, the bytes, no CRLF. A leading empty line is an error too.
    #[track_caller]
    pub fn receive_rdb(client: &mut Client) -> Vec<u8> {
        let head = client.read_line();
        let length = head.strip_prefix(b"$").map(String::from_utf8_lossy);
        let length = length.and_then(|text| text.parse().ok());
        let length = length.unwrap_or_else(|| panic!("RDB header {}", quoted(&head)));
        client.read_exactly(length)
    }

    /// The next command of the stream within `timeout`; `None` when none comes.
    #[track_caller]
    pub fn next_within(&mut self, timeout: Duration) -> Option<Args> {
        match self.client.recv_with_bytes(timeout) {
            Ok((value, bytes)) => {
                self.received += bytes.len() as u64;
                Some(command(value))
            }
            Err(RecvError::Timeout) => None,
            Err(e) => panic!("replication stream: {e:?}"),
        }
    }

    /// The next command as text; one SELECT at the head of the stream is skipped.
    #[track_caller]
    pub fn next(&mut self) -> String {
        let mut args = self.next_within(PATIENCE).expect("a propagated command");
        if !self.started && args[0].eq_ignore_ascii_case(b"SELECT") {
            args = self.next_within(PATIENCE).expect("a propagated command");
        }
        self.started = true;
        printed(&args)
    }

    /// Reads up to a master offset and gives the commands, without the master's pings.
    #[track_caller]
    pub fn read_to(&mut self, offset: u64) -> Vec<Args> {
        let mut commands = Vec::new();
        while self.start_offset + self.received < offset {
            let args = self.next_within(PATIENCE).expect("the announced bytes");
            if !args[0].eq_ignore_ascii_case(b"PING") {
                commands.push(args);
            }
        }
        commands
    }

    /// Acknowledges an offset; a master gives no reply.
    pub fn ack(&mut self, offset: u64) {
        self.client.send(&["REPLCONF", "ACK", &offset.to_string()]);
    }

    /// Acknowledges all that was received.
    pub fn ack_all(&mut self) {
        self.ack(self.start_offset + self.received);
    }
}

/// The arguments of a value that must be a command.
#[track_caller]
fn command(value: Value) -> Args {
    let Value::Array(items) = &value else {
        panic!("a command was expected, got {value}");
    };
    let bulk = |item: &Value| match item {
        Value::Bulk(bytes) => bytes.clone(),
        _ => panic!("a command was expected, got {value}"),
    };
    assert!(!items.is_empty(), "an empty command");
    items.iter().map(bulk).collect()
}

/// A command as text, for comparing and for messages.
pub fn printed(args: &[Vec<u8>]) -> String {
    let words: Vec<_> = args.iter().map(|a| String::from_utf8_lossy(a)).collect();
    words.join(" ")
}
