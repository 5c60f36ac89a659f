//! What the course's tester does in more than one section: how it waits, judges and stops.

use super::support::client::{Client, Value, encode, quoted};
use super::support::fake::{FakeMaster, MasterLink};
use super::support::random::Random;
use super::support::server::Server;
use super::support::tmp::TempDir;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// 2032-01-01 UTC in unix milliseconds: the expiry of what must live.
pub const FUTURE_MS: u64 = 1_956_528_000_000;

/// The time in which a reply has to come, or a file.
pub const READ_TIME: Duration = Duration::from_secs(2);

/// The ten words of which keys and values are made.
pub const WORDS: [&str; 10] = [
    "apple",
    "orange",
    "banana",
    "pear",
    "grape",
    "pineapple",
    "mango",
    "strawberry",
    "raspberry",
    "blueberry",
];

/// The three writes of the propagation stages.
pub const WRITES: [[&str; 3]; 3] =
    [["SET", "foo", "123"], ["SET", "bar", "456"], ["SET", "baz", "789"]];

/// The time that a stop may take before the tester kills.
pub const STOP_TIME: Duration = Duration::from_secs(2);

pub fn sleep_ms(ms: u64) {
    thread::sleep(Duration::from_millis(ms));
}

/// `INFO replication` as text; the reply must be a bulk string.
pub fn info_replication(client: &mut Client) -> String {
    match client.cmd(&["INFO", "replication"]) {
        Value::Bulk(text) => String::from_utf8(text).expect("INFO is text"),
        other => panic!("a bulk string expected, got {other}"),
    }
}

/// The value of a field of an INFO reply.
pub fn field<'a>(info: &'a str, name: &str) -> &'a str {
    let value = info.lines().find_map(|l| l.strip_prefix(name));
    value.unwrap_or_else(|| panic!("no {name} in {info}"))
}

/// A replica of `master`, and the master's side of its link.
pub fn replica_of(master: &FakeMaster) -> (Server, MasterLink) {
    // The server answers clients only when its start is over; by then it has connected.
    let server = Server::start(&["--replicaof", &master.replicaof()]);
    let link = master.accept();
    (server, link)
}

/// A replica whose handshake is done.
pub fn synced_replica(master: &FakeMaster) -> (Server, MasterLink) {
    let (server, mut link) = replica_of(master);
    link.handshake(server.port());
    (server, link)
}

/// A GET that may be ahead of the replication stream: nil is asked again, as by the tester.
#[track_caller]
pub fn expect_replicated(client: &mut Client, key: &str, value: &str) {
    for _ in 0..5 {
        match client.cmd(&["GET", key]) {
            Value::Null => sleep_ms(500),
            got => {
                assert_eq!(got, Value::bulk(value), "GET {key}");
                return client.expect_no_more();
            }
        }
    }
    panic!("{key} never arrived");
}

/// Asserts that the process ends in the time that the tester gives it.
#[track_caller]
pub fn expect_exit(server: &mut Server) {
    let asked = Instant::now();
    let status = server.wait_exit(STOP_TIME);
    let log = server.log();
    assert!(status.is_some(), "still runs after SIGTERM; log:\n{log}");
    assert!(asked.elapsed() < STOP_TIME);
}

/// A bulk string as it travels.
pub fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// An array as it travels; the items do so, too.
pub fn array<S: AsRef<str>>(items: &[S]) -> String {
    let wire: String = items.iter().map(AsRef::as_ref).collect();
    format!("*{}\r\n{wire}", items.len())
}

/// An array of bulk strings as it travels.
pub fn bulks(words: &[&str]) -> String {
    let items: Vec<String> = words.iter().map(|word| bulk(word)).collect();
    array(&items)
}

/// Asserts that exactly this comes within [`READ_TIME`], and nothing after it.
#[track_caller]
pub fn expect_arrives(client: &mut Client, wire: &str) {
    match client.recv_with_bytes(READ_TIME) {
        Ok((_, got)) => assert_eq!(quoted(&got), quoted(wire.as_bytes())),
        Err(e) => panic!("{} expected, got {e:?}", quoted(wire.as_bytes())),
    }
    client.expect_no_more();
}

/// Asserts that the reply is an error that begins with `prefix` and contains all of `parts` in
/// any letter case.
#[track_caller]
pub fn expect_error(client: &mut Client, args: &[&str], prefix: &str, parts: &[&str]) {
    let reply = client.cmd(args);
    let Value::Error(text) = &reply else {
        panic!("{args:?}: an error was expected, got {reply}");
    };
    let text = String::from_utf8_lossy(text).into_owned();
    assert!(text.starts_with(prefix), "{args:?}: {text}");
    for part in parts {
        assert!(text.to_lowercase().contains(part), "{args:?}: no {part:?} in {text}");
    }
    client.expect_no_more();
}

/// The float that a bulk string holds; no other type will do.
#[track_caller]
pub fn bulk_float(value: &Value) -> f64 {
    let Value::Bulk(text) = value else {
        panic!("a bulk string was expected, got {value}");
    };
    let text = String::from_utf8_lossy(text);
    text.parse().unwrap_or_else(|_| panic!("not a float: {text}"))
}

/// Waits for a file or directory as the tester does: a look every 10 ms, for [`READ_TIME`].
#[track_caller]
pub fn expect_appears(path: &Path) {
    let deadline = Instant::now() + READ_TIME;
    while !path.exists() {
        assert!(Instant::now() < deadline, "{} never appeared", path.display());
        sleep_ms(10);
    }
}

/// The flags of the stages with an append-only file: everything has a name of its own.
pub fn aof_flags(dir: &TempDir) -> [&str; 10] {
    [
        "--dir",
        dir.text(),
        "--appendonly",
        "yes",
        "--appenddirname",
        "mango",
        "--appendfilename",
        "pear.aof",
        "--appendfsync",
        "always",
    ]
}

/// The log that a server with [`aof_flags`] makes.
pub fn aof_log(dir: &TempDir) -> PathBuf {
    dir.path().join("mango/pear.aof.1.incr.aof")
}

/// Waits until a log holds exactly these commands as sent, behind at most one `SELECT 0`.
#[track_caller]
pub fn expect_logged(log: &Path, commands: &[&[&str]]) {
    let wanted: Vec<u8> = commands.iter().flat_map(|command| encode(command)).collect();
    let select = encode(&["SELECT", "0"]);
    let deadline = Instant::now() + READ_TIME;
    loop {
        let bytes = fs::read(log).unwrap_or_default();
        if bytes.strip_prefix(&select[..]).unwrap_or(&bytes) == wanted {
            return;
        }
        let in_time = Instant::now() < deadline;
        assert!(in_time, "{} logged, not {}", quoted(&bytes), quoted(&wanted));
        sleep_ms(10);
    }
}

/// A place on the globe, in degrees.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub longitude: f64,
    pub latitude: f64,
}

/// The limits of the Mercator projection that the geo codes are over.
const MAX_LATITUDE: f64 = 85.051_128_78;
const MAX_LONGITUDE: f64 = 180.0;

/// Metres.
const EARTH_RADIUS: f64 = 6_372_797.560_856;

/// Steps per coordinate: 26 bits.
const STEPS: f64 = (1u64 << 26) as f64;

impl Place {
    /// Uniform in degrees, as the tester draws them.
    pub fn random(random: &mut Random) -> Place {
        let mut within = |max: f64| (random.bits() as f64 / u64::MAX as f64 * 2.0 - 1.0) * max;
        Place { longitude: within(MAX_LONGITUDE), latitude: within(MAX_LATITUDE) }
    }

    /// Adds a member in this place, which must be new.
    #[track_caller]
    pub fn add(self, client: &mut Client, key: &str, member: &str) {
        let (longitude, latitude) = (self.longitude.to_string(), self.latitude.to_string());
        client.expect(&["GEOADD", key, &longitude, &latitude, member], ":1\r\n");
    }

    /// The search for what lies within so many metres of this place.
    pub fn search(self, key: &str, radius: f64) -> Vec<String> {
        let [longitude, latitude, radius] =
            [self.longitude, self.latitude, radius].map(|number| number.to_string());
        ["GEOSEARCH", key, "FROMLONLAT", &longitude, &latitude, "BYRADIUS", &radius, "m"]
            .map(str::to_owned)
            .to_vec()
    }

    /// The steps of longitude and latitude, cut off and not rounded.
    fn steps(self) -> (u64, u64) {
        let steps = |value: f64, max: f64| ((value + max) / (max + max) * STEPS) as u64;
        (steps(self.longitude, MAX_LONGITUDE), steps(self.latitude, MAX_LATITUDE))
    }

    /// The 52-bit code: longitude in the odd bits, latitude in the even ones.
    pub fn code(self) -> u64 {
        let (longitude, latitude) = self.steps();
        let pair = |bit: u32| (longitude >> bit & 1) << 1 | latitude >> bit & 1;
        (0..26).map(|bit| pair(bit) << (2 * bit)).sum()
    }

    /// The middle of the cell that the code stands for.
    pub fn cell_centre(self) -> Place {
        let (longitude, latitude) = self.steps();
        let middle = |steps: u64, max: f64| (steps as f64 + 0.5) / STEPS * 2.0 * max - max;
        Place {
            longitude: middle(longitude, MAX_LONGITUDE),
            latitude: middle(latitude, MAX_LATITUDE),
        }
    }

    /// Metres between two places along the globe, by the haversine formula.
    pub fn distance(self, other: Place) -> f64 {
        let half_sine = |a: f64, b: f64| ((b - a).to_radians() / 2.0).sin();
        let u = half_sine(self.latitude, other.latitude);
        let v = half_sine(self.longitude, other.longitude);
        let cosines = self.latitude.to_radians().cos() * other.latitude.to_radians().cos();
        2.0 * EARTH_RADIUS * (u * u + cosines * v * v).sqrt().asin()
    }
}
