//! Replication: both sides of the handshake, propagation, acknowledgements and WAIT.
//!
//! The tester's replicas never acknowledge anything unless a stage says so.

use super::support::client::{Client, encode, quoted};
use super::support::fake::{FakeMaster, FakeReplica, read_rdb};
use super::support::server::{Server, free_port};
use super::tester::{
    WRITES, expect_replicated, field, info_replication, replica_of, sleep_ms, synced_replica,
};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn bw1_configure_listening_port() {
    let port = free_port();
    let server = Server::start_on(port, &[]);
    server.client().expect(&["PING"], "+PONG\r\n");
}

#[test]
fn ye5_info_command() {
    let server = Server::start(&[]);
    let info = info_replication(&mut server.client());
    assert!(info.contains("role:master"), "{info}");
}

#[test]
fn hc6_info_on_a_replica() {
    let master = FakeMaster::listen();
    let (server, mut link) = replica_of(&master);
    let port = server.port();
    let handshake = thread::spawn(move || link.handshake(port));
    let mut client = server.client();
    let info = info_replication(&mut client);
    assert!(info.contains("role:slave"), "{info}");
    handshake.join().expect("the handshake went well");
    // The master has gone; a reconnection that hangs in its backlog must not block INFO.
    let info = info_replication(&mut client);
    assert!(info.contains("role:slave"), "{info}");
}

#[test]
fn xc1_initial_replication_id_and_offset() {
    let server = Server::start(&[]);
    let info = info_replication(&mut server.client());
    let replid = field(&info, "master_replid:");
    assert_eq!(replid.len(), 40, "{replid}");
    assert!(replid.bytes().all(|b| b.is_ascii_alphanumeric()));
    assert_eq!(field(&info, "master_repl_offset:"), "0");
}

#[test]
fn gl7_send_handshake_1_of_3() {
    let master = FakeMaster::listen();
    let (_server, mut link) = replica_of(&master);
    link.ping(1);
}

#[test]
fn eh4_send_handshake_2_of_3() {
    let master = FakeMaster::listen();
    let (server, mut link) = replica_of(&master);
    link.ping(1);
    link.listening_port(server.port());
    link.capa(1);
}

#[test]
fn ju6_send_handshake_3_of_3() {
    let master = FakeMaster::listen();
    let (server, mut link) = replica_of(&master);
    link.handshake_without_rdb(server.port());
}

#[test]
fn fj0_receive_handshake_1_of_2() {
    let server = Server::start(&[]);
    FakeReplica::greet(&mut server.client());
}

#[test]
fn vm3_receive_handshake_2_of_2() {
    let server = Server::start(&[]);
    let mut client = server.client();
    FakeReplica::greet(&mut client);
    let (_, offset) = FakeReplica::psync(&mut client);
    assert_eq!(offset, 0);
}

#[test]
fn cf8_empty_rdb_transfer() {
    let server = Server::start(&[]);
    let asked = Instant::now();
    let mut replica = FakeReplica::attach(server.addr());
    assert!(asked.elapsed() < Duration::from_secs(2));
    assert_eq!(replica.start_offset, 0);
    let keys = read_rdb(&replica.rdb).expect("a readable RDB");
    assert_eq!(keys, [], "the server is empty");
    replica.client.expect_no_more();
}

/// The three SETs of one client, each answered, and the same three at every replica.
fn propagate(server: &Server, client: &mut Client, replicas: &mut [FakeReplica]) {
    for write in &WRITES {
        client.expect(write, "+OK\r\n");
    }
    for replica in replicas {
        assert_eq!(replica.start_offset, 0);
        for write in &WRITES {
            assert_eq!(replica.next(), write.join(" "), "log: {}", server.log());
        }
        replica.client.expect_no_more();
    }
}

#[test]
fn zn8_single_replica_propagation() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let replica = FakeReplica::attach(server.addr());
    propagate(&server, &mut client, &mut [replica]);
}

#[test]
fn hd5_multi_replica_propagation() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let mut replicas: Vec<_> = (0..3).map(|_| FakeReplica::attach(server.addr())).collect();
    propagate(&server, &mut client, &mut replicas);
}

#[test]
fn yg4_command_processing() {
    let master = FakeMaster::listen();
    let (server, mut link) = synced_replica(&master);
    let mut client = server.client();
    let writes: Vec<u8> = WRITES.iter().flat_map(|w| encode(w)).collect();
    link.client.send_raw(&writes);
    sleep_ms(1);
    for [_, key, value] in WRITES {
        expect_replicated(&mut client, key, value);
    }
}

#[test]
fn xv6_acks_with_no_commands() {
    let master = FakeMaster::listen();
    let (_server, mut link) = synced_replica(&master);
    link.expect_ack(0);
}

#[test]
fn yd3_acks_with_commands() {
    let master = FakeMaster::listen();
    let (_server, mut link) = synced_replica(&master);
    link.expect_ack(0);
    link.client.send(&["PING"]);
    link.expect_ack(37 + 14);
    let set = ["SET", "pineapple", "raspberry"];
    link.client.send(&set);
    link.client.send(&set);
    let sets = 2 * encode(&set).len() as u64;
    link.expect_ack(37 + 14 + 37 + sets);
}

#[test]
fn my8_wait_with_no_replicas() {
    let server = Server::start(&[]);
    let asked = Instant::now();
    server.client().expect(&["WAIT", "0", "60000"], ":0\r\n");
    assert!(asked.elapsed() < Duration::from_secs(2));
}

#[test]
fn tu8_wait_with_no_commands() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let replicas: Vec<_> = (0..7).map(|_| FakeReplica::attach(server.addr())).collect();
    for wanted in [3, 5, 7, 9] {
        let reply = format!(":{}\r\n", replicas.len());
        client.expect(&["WAIT", &wanted.to_string(), "500"], &reply);
    }
}

/// One round of na2: a write, WAIT, and answers from the first `acking` of the replicas. Gives
/// the time from WAIT to its reply.
fn wait_round(
    client: &mut Client,
    replicas: &mut [FakeReplica],
    write: [&str; 3],
    wait: [&str; 3],
    acking: usize,
) -> Duration {
    client.expect(&write, "+OK\r\n");
    let asked = Instant::now();
    client.send(&wait);
    for (i, replica) in replicas.iter_mut().enumerate() {
        assert_eq!(replica.next(), write.join(" "));
        let offset = replica.received;
        assert_eq!(replica.next(), "REPLCONF GETACK *");
        replica.client.expect_no_more();
        if i < acking {
            replica.ack(offset);
        }
    }
    let reply = client.recv_raw();
    let elapsed = asked.elapsed();
    assert_eq!(quoted(&reply), quoted(format!(":{acking}\r\n").as_bytes()));
    client.expect_no_more();
    // There is no reply to an ACK.
    for replica in replicas {
        replica.client.expect_no_more();
    }
    elapsed
}

#[test]
fn na2_wait_with_multiple_commands() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let mut replicas: Vec<_> = (0..4).map(|_| FakeReplica::attach(server.addr())).collect();
    let (first, last) = (["SET", "foo", "123"], ["SET", "baz", "789"]);
    let took = wait_round(&mut client, &mut replicas, first, ["WAIT", "1", "5000"], 1);
    assert!(took < Duration::from_millis(5000), "enough had answered");
    let took = wait_round(&mut client, &mut replicas, last, ["WAIT", "3", "2000"], 2);
    let range = Duration::from_millis(1500)..=Duration::from_millis(2500);
    assert!(range.contains(&took), "WAIT took {took:?}");
}
