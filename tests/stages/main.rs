//! The 115 stages of the course "Build your own Redis" and the traps behind them: one test per
//! stage, asserting what the course's tester asserts, byte for byte where it compares bytes.
//!
//! Every test starts the program anew, as the tester does, because its ten words for keys repeat
//! from stage to stage. Ports are free ones instead of 6379 and 6380, so that the tests can run
//! side by side.

mod aof;
mod auth;
mod base;
mod geo;
mod lists;
mod pubsub;
mod rdb;
mod replication;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod tester;
mod transactions;
mod traps;
mod watch;
mod zsets;

use support::fake::{RdbWriter, crc64, empty_rdb, read_rdb};

/// The sections, their stages in the course's order, and the sources that hold their tests.
const SECTIONS: [(&str, &str, &str); 12] = [
    ("base", include_str!("base.rs"), "jm1 rg2 wy1 zu2 qq0 la7 yz1"),
    (
        "replication",
        include_str!("replication.rs"),
        "bw1 ye5 hc6 xc1 gl7 eh4 ju6 fj0 vm3 cf8 zn8 hd5 yg4 xv6 yd3 my8 tu8 na2",
    ),
    ("rdb", include_str!("rdb.rs"), "zg5 jz6 gc6 jw4 dq3 sm4"),
    ("aof", include_str!("aof.rs"), "uj3 vd9 fm0 dw4 pb9 dc8 fi1 ep6 xz2 kn2"),
    ("lists", include_str!("lists.rs"), "mh6 tn7 lx4 sf6 ri1 gu5 fv6 ef1 jp1 ec3 xj7"),
    ("streams", include_str!("streams.rs"), "cc3 cf6 hq8 yh3 xu6 zx1 yp1 fs1 um0 ru9 bs1 hw1 xu1"),
    (
        "transactions",
        include_str!("transactions.rs"),
        "si4 lz8 mk1 pn0 lo4 we1 rs9 fy6 rl9 sg9 jf8",
    ),
    ("watch", include_str!("watch.rs"), "jb7 jq9 mh8 fp0 uo9 bn1 fn4 hq1"),
    ("pubsub", include_str!("pubsub.rs"), "mx3 zc8 aw8 lf1 hf2 dn4 ze9"),
    ("zsets", include_str!("zsets.rs"), "ct1 hf1 lg6 ic1 bj4 kn4 gd7 sq7"),
    ("geo", include_str!("geo.rs"), "zt4 ck3 tn5 cr3 xg4 hb5 ek6 rm9"),
    ("auth", include_str!("auth.rs"), "jn4 gx8 ql6 pl7 uv9 hz3 nm2 ws7"),
];

/// The number of the last trap.
const TRAPS: usize = 35;

/// The names of the tests of a source file: the functions right behind `#[test]`.
fn tests_of(source: &str) -> Vec<&str> {
    let lines: Vec<&str> = source.lines().collect();
    let names = lines.windows(2).filter(|two| two[0] == "#[test]");
    names.filter_map(|two| two[1].strip_prefix("fn ")?.split('(').next()).collect()
}

#[test]
fn every_stage_has_one_test_and_every_trap_has_one() {
    let mut wrong = Vec::new();
    let mut stages = 0;
    for (section, source, codes) in SECTIONS {
        let tests = tests_of(source);
        for code in codes.split(' ') {
            stages += 1;
            let own = tests.iter().filter(|name| name.starts_with(&format!("{code}_")));
            match own.count() {
                1 => {}
                count => wrong.push(format!("{section} {code}: {count} tests")),
            }
        }
        let count = codes.split(' ').count();
        if tests.len() != count {
            wrong.push(format!("{section}: {} tests for {count} stages", tests.len()));
        }
    }
    assert_eq!(stages, 115, "stages of the course");
    let traps = tests_of(include_str!("traps.rs"));
    for number in 1..=TRAPS {
        let prefix = format!("t{number:02}_");
        if !traps.iter().any(|name| name.starts_with(&prefix)) {
            wrong.push(format!("trap {number}: no test"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn tools_make_a_valid_rdb() {
    assert_eq!(crc64(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    assert_eq!(read_rdb(&empty_rdb()), Ok(Vec::new()));
    let long = "x".repeat(100);
    let rdb = RdbWriter::new().database(1, 1).key("k", &long, Some(7));
    let mut rdb = rdb.finish();
    let keys = read_rdb(&rdb).expect("a readable RDB");
    assert_eq!(keys[0].value, long.as_bytes());
    assert_eq!(keys[0].expires_ms, Some(7));
    *rdb.last_mut().expect("not empty") ^= 1;
    assert!(read_rdb(&rdb).is_err());
}
