//! What the server tells of itself: INFO, MEMORY, SLOWLOG, LATENCY and MONITOR over TCP.

mod support;

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};
use support::client::{Client, PATIENCE, Value, quoted};
use support::server::Server;

/// Nothing is saved, everything is in the slow log.
const FLAGS: [&str; 4] = ["--save", "", "--slowlog-log-slower-than", "0"];

type Fields = BTreeMap<String, String>;

/// The fields of INFO with these arguments.
fn info(client: &mut Client, sections: &[&str]) -> Fields {
    let mut command = vec!["INFO"];
    command.extend(sections);
    let text = client.cmd(&command).text();
    let mut fields = Fields::new();
    for line in text.split("\r\n").filter(|line| !line.is_empty() && !line.starts_with("# ")) {
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no field: {line}"));
        let before = fields.insert(name.to_owned(), value.to_owned());
        assert!(before.is_none(), "{name} twice in {text}");
    }
    fields
}

/// A command, and its reply as it is printed.
#[track_caller]
fn expect(client: &mut Client, command: &[&str], reply: &str) {
    assert_eq!(client.cmd(command).to_string(), reply, "{:.99}", command.join(" "));
}

#[track_caller]
fn number(fields: &Fields, name: &str) -> f64 {
    let value = fields.get(name).unwrap_or_else(|| panic!("no {name} in {fields:?}"));
    value.trim_end_matches('%').parse().unwrap_or_else(|_| panic!("{name} is {value}"))
}

/// The parts of a value such as `calls=1,usec=2`.
fn parts(value: &str) -> BTreeMap<&str, f64> {
    let pairs = value.split(',').filter_map(|part| part.split_once('='));
    pairs.map(|(name, value)| (name, value.parse().expect("a number"))).collect()
}

fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// What redis_exporter and client libraries read, in any of the default sections.
const NUMBERS: &str = "arch_bits process_id tcp_port server_time_usec uptime_in_seconds \
    uptime_in_days hz configured_hz lru_clock io_threads_active connected_clients \
    cluster_connections maxclients client_recent_max_input_buffer \
    client_recent_max_output_buffer blocked_clients tracking_clients clients_in_timeout_table \
    used_memory used_memory_rss used_memory_peak used_memory_peak_perc used_memory_overhead \
    used_memory_startup used_memory_dataset used_memory_dataset_perc allocator_allocated \
    allocator_active allocator_resident allocator_frag_ratio allocator_frag_bytes \
    allocator_rss_ratio allocator_rss_bytes rss_overhead_ratio rss_overhead_bytes \
    total_system_memory used_memory_lua used_memory_vm_eval used_memory_scripts_eval \
    number_of_cached_scripts number_of_functions number_of_libraries used_memory_vm_functions \
    used_memory_vm_total used_memory_functions used_memory_scripts maxmemory \
    mem_fragmentation_ratio mem_fragmentation_bytes mem_not_counted_for_evict \
    mem_replication_backlog mem_total_replication_buffers mem_clients_slaves mem_clients_normal \
    mem_cluster_links mem_aof_buffer active_defrag_running lazyfree_pending_objects \
    lazyfreed_objects loading async_loading current_cow_peak current_cow_size \
    current_cow_size_age current_fork_perc current_save_keys_processed current_save_keys_total \
    rdb_changes_since_last_save rdb_bgsave_in_progress rdb_last_save_time \
    rdb_last_bgsave_time_sec rdb_current_bgsave_time_sec rdb_saves rdb_last_cow_size \
    rdb_last_load_keys_expired rdb_last_load_keys_loaded aof_enabled aof_rewrite_in_progress \
    aof_rewrite_scheduled aof_last_rewrite_time_sec aof_current_rewrite_time_sec aof_rewrites \
    aof_last_cow_size module_fork_in_progress module_fork_last_cow_size \
    total_connections_received total_commands_processed instantaneous_ops_per_sec \
    total_net_input_bytes total_net_output_bytes total_net_repl_input_bytes \
    total_net_repl_output_bytes instantaneous_input_kbps instantaneous_output_kbps \
    instantaneous_input_repl_kbps instantaneous_output_repl_kbps rejected_connections sync_full \
    sync_partial_ok sync_partial_err expired_keys expired_stale_perc \
    expired_time_cap_reached_count expire_cycle_cpu_milliseconds evicted_keys evicted_clients \
    total_eviction_exceeded_time current_eviction_exceeded_time keyspace_hits keyspace_misses \
    pubsub_channels pubsub_patterns pubsubshard_channels latest_fork_usec total_forks \
    migrate_cached_sockets slave_expires_tracked_keys active_defrag_hits active_defrag_misses \
    active_defrag_key_hits active_defrag_key_misses total_active_defrag_time \
    current_active_defrag_time tracking_total_keys tracking_total_items tracking_total_prefixes \
    unexpected_error_replies total_error_replies dump_payload_sanitizations \
    total_reads_processed total_writes_processed io_threaded_reads_processed \
    io_threaded_writes_processed reply_buffer_shrinks reply_buffer_expands connected_slaves \
    master_repl_offset second_repl_offset repl_backlog_active repl_backlog_size \
    repl_backlog_first_byte_offset repl_backlog_histlen used_cpu_sys used_cpu_user \
    used_cpu_sys_children used_cpu_user_children cluster_enabled";

#[test]
fn fields_are_there_and_plausible() {
    let server = Server::start(&FLAGS);
    let mut client = server.client();
    expect(&mut client, &["SET", "k", &"x".repeat(1 << 20)], "OK");
    expect(&mut client, &["SET", "t", "v", "PX", "1000000"], "OK");
    let fields = info(&mut client, &[]);
    for name in NUMBERS.split_whitespace() {
        number(&fields, name);
    }
    let text = |name: &str| fields[name].as_str();
    assert!(text("redis_version").starts_with("7.") && text("run_id").len() == 40);
    assert_eq!((text("redis_mode"), text("role")), ("standalone", "master"));
    assert_eq!((text("tcp_port"), text("master_replid").len()), (&*server.port().to_string(), 40));
    assert_eq!(text("process_id"), server.pid().to_string());
    assert_eq!((text("rdb_last_bgsave_status"), text("maxmemory_policy")), ("ok", "noeviction"));
    assert_eq!(text("master_failover_state"), "no-failover");
    assert_eq!((text("connected_clients"), text("connected_slaves")), ("1", "0"));
    assert_eq!(text("rdb_changes_since_last_save"), "2");
    let used = number(&fields, "used_memory");
    assert!(used > 1_048_576.0 && used < 50e6, "{used}");
    assert!(number(&fields, "used_memory_peak") >= used);
    assert!(number(&fields, "used_memory_rss") > 1_048_576.0);
    assert!(number(&fields, "total_system_memory") > number(&fields, "used_memory_rss"));
    let whole = number(&fields, "used_memory_overhead") + number(&fields, "used_memory_dataset");
    assert_eq!(whole, used);
    assert!(number(&fields, "used_memory_dataset") > 1_048_576.0);
    assert!(number(&fields, "total_net_input_bytes") > 1_048_576.0);
    let db = parts(text("db0"));
    assert_eq!((db["keys"], db["expires"]), (2.0, 1.0));
}

#[test]
fn average_time_to_live_is_that_of_the_keys_with_one() {
    let server = Server::start(&FLAGS);
    let mut client = server.client();
    expect(&mut client, &["SET", "a", "v", "PX", "1000000"], "OK");
    expect(&mut client, &["SET", "b", "v", "PX", "3000000"], "OK");
    expect(&mut client, &["SET", "c", "v"], "OK");
    // redis-server needs a moment to sample it.
    eventually("avg_ttl", || {
        let fields = info(&mut client, &["keyspace"]);
        let db = parts(&fields["db0"]);
        assert_eq!((db["keys"], db["expires"]), (3.0, 2.0));
        (1_990_000.0..=2_000_000.0).contains(&db["avg_ttl"])
    });
}

#[test]
fn commands_and_errors_are_counted() {
    let server = Server::start(&FLAGS);
    let mut client = server.client();
    for (command, error) in [
        (vec!["SET", "k", "v"], false),
        (vec!["SET", "k"], true),
        (vec!["SET", "k", "v", "nope"], true),
        (vec!["GET", "k"], false),
        (vec!["GET", "none"], false),
        (vec!["NOSUCH"], true),
        (vec!["MEMORY", "USAGE", "k", "nope"], true),
        (vec!["EXEC"], true),
        (vec!["MULTI"], false),
        (vec!["SET"], true),
        (vec!["EXEC"], true),
    ] {
        let reply = client.cmd(&command);
        assert_eq!(matches!(reply, Value::Error(_)), error, "{command:?}: {reply}");
    }
    let fields = info(&mut client, &["commandstats", "errorstats", "stats"]);
    let counts = |name: &str| {
        let value = parts(&fields[&format!("cmdstat_{name}")]);
        assert!(value["usec_per_call"] * value["calls"] <= value["usec"] + 1.0);
        (value["calls"], value["rejected_calls"], value["failed_calls"])
    };
    assert_eq!(counts("set"), (2.0, 2.0, 1.0));
    assert_eq!(counts("get"), (2.0, 0.0, 0.0));
    assert_eq!(counts("memory|usage"), (1.0, 0.0, 1.0));
    assert_eq!(counts("exec"), (2.0, 0.0, 2.0));
    assert!(!fields.contains_key("cmdstat_incr"));
    assert_eq!(fields["errorstat_ERR"], "count=6");
    assert_eq!(fields["errorstat_EXECABORT"], "count=1");
    assert_eq!(number(&fields, "total_error_replies"), 7.0);
    assert_eq!((fields["keyspace_hits"].as_str(), fields["keyspace_misses"].as_str()), ("1", "1"));
}

#[test]
fn info_inside_a_transaction_sees_its_writes() {
    let server = Server::start(&FLAGS);
    let mut client = server.client();
    expect(&mut client, &["MULTI"], "OK");
    for command in [&["SET", "k", "v"][..], &["INFO"], &["MEMORY", "STATS"], &["INFO", "keyspace"]]
    {
        expect(&mut client, command, "QUEUED");
    }
    let replies = client.cmd(&["EXEC"]);
    assert!(replies.items()[3].text().contains("db0:keys=1,"), "{replies}");
    assert!(replies.items()[1].text().contains("db0:keys=1,"), "{replies}");
}

#[test]
fn rates_rise_and_fall() {
    let server = Server::start(&FLAGS);
    let mut client = server.client();
    eventually("ops per second", || {
        (0..200).for_each(|_| expect(&mut client, &["PING"], "PONG"));
        number(&info(&mut client, &["stats"]), "instantaneous_ops_per_sec") > 50.0
    });
    eventually("ops per second fall", || {
        thread::sleep(Duration::from_millis(200));
        number(&info(&mut client, &["stats"]), "instantaneous_ops_per_sec") < 20.0
    });
}

#[test]
fn memory_usage_has_bounds() {
    let server = Server::start(&FLAGS);
    let mut client = server.client();
    for size in [1, 20, 100, 1000, 10_000, 1_000_000] {
        expect(&mut client, &["SET", "k", &"x".repeat(size)], "OK");
        let usage = client.cmd(&["MEMORY", "USAGE", "k"]).int() as usize;
        // A short one lies in its bucket's block, with 17 bytes beside its name and content.
        assert!(usage >= size + 18 && usage <= size * 5 / 4 + 160, "{usage} for {size}");
    }
    let long = "k".repeat(10_000);
    expect(&mut client, &["SET", &long, "v"], "OK");
    let usage = client.cmd(&["MEMORY", "USAGE", &long]).int();
    assert!((10_000..13_000).contains(&usage), "{usage}");
}

#[test]
fn the_slow_log_hides_secrets_and_shortens() {
    let mut flags = FLAGS.to_vec();
    flags.extend(["--slowlog-max-len", "5"]);
    let server = Server::start(&flags);
    let mut client = server.client();
    let newest = |client: &mut Client| {
        let entries = client.cmd(&["SLOWLOG", "GET", "1"]);
        let entry = entries.items()[0].items().to_vec();
        assert_eq!(entry.len(), 6);
        assert_eq!(entry[4].text(), format!("127.0.0.1:{}", client.local_port()));
        entry[3].items().to_vec()
    };
    expect(&mut client, &["SET", "k", &"x".repeat(200)], "OK");
    let args = newest(&mut client);
    let short = format!("{}... (72 more bytes)", "x".repeat(128));
    assert_eq!(args, [Value::bulk("SET"), Value::bulk("k"), Value::bulk(&short)]);
    let mut many = vec!["DEL"];
    many.extend(["none"; 40]);
    expect(&mut client, &many, "(integer) 0");
    let args = newest(&mut client);
    assert_eq!((args.len(), args[31].text().as_str()), (32, "... (10 more arguments)"));
    assert_eq!(client.cmd(&["SLOWLOG", "LEN"]).int(), 5);
    let ids: Vec<i64> =
        client.cmd(&["SLOWLOG", "GET", "-1"]).items().iter().map(|e| e.items()[0].int()).collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1] + 1), "{ids:?}");
    for (command, shown) in [
        (&["AUTH", "hidden"][..], "AUTH (redacted)"),
        (&["AUTH", "me", "hidden"], "AUTH (redacted) (redacted)"),
        (&["HELLO", "2", "AUTH", "me", "hidden"], "HELLO 2 AUTH (redacted) (redacted)"),
        (&["CONFIG", "SET", "masterauth", "hidden"], "CONFIG SET masterauth (redacted)"),
    ] {
        client.cmd(command);
        let args: Vec<String> = newest(&mut client).iter().map(Value::text).collect();
        assert_eq!(args.join(" "), shown);
    }
    // EXEC is not logged, but what it runs is.
    expect(&mut client, &["MULTI"], "OK");
    expect(&mut client, &["PING"], "QUEUED");
    client.cmd(&["EXEC"]);
    assert_eq!(newest(&mut client), [Value::bulk("PING")]);
}

#[test]
fn histograms_are_cumulative() {
    let server = Server::start(&FLAGS);
    let mut client = server.client();
    for _ in 0..100 {
        expect(&mut client, &["SET", "k", "v"], "OK");
    }
    let all = client.cmd(&["LATENCY", "HISTOGRAM", "SET", "GET", "nope"]);
    let [name, stats] = all.items() else { panic!("one command expected, got {all}") };
    let [calls, count, usec, buckets] = stats.items() else { panic!("two pairs, got {stats}") };
    assert_eq!(
        (name, calls, usec),
        (&Value::bulk("set"), &Value::bulk("calls"), &Value::bulk("histogram_usec"))
    );
    assert_eq!(count.int(), 100);
    let pairs: Vec<(i64, i64)> =
        buckets.items().chunks(2).map(|pair| (pair[0].int(), pair[1].int())).collect();
    assert!(pairs.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 < w[1].1), "{pairs:?}");
    assert_eq!(pairs.last().expect("a bucket").1, 100);
    let bounds = [1, 2, 4, 8, 16, 33, 66, 132, 264, 528, 1056, 2113, 4227, 8454, 16_908, 33_816];
    assert!(pairs.iter().all(|(bound, _)| bounds.contains(bound)), "{pairs:?}");
    let fields = info(&mut client, &["latencystats"]);
    let percentiles = parts(&fields["latency_percentiles_usec_set"]);
    assert!(percentiles["p50"] > 0.0 && percentiles["p50"] <= percentiles["p99"]);
    assert!(percentiles["p99"] <= percentiles["p99.9"]);
}

/// Reads a line of MONITOR: the database, and the command.
#[track_caller]
fn seen(monitor: &mut Client) -> String {
    let Value::Simple(line) = monitor.recv() else { panic!("no line of MONITOR") };
    let line = String::from_utf8(line).expect("lines are ASCII");
    let (time, rest) = line.split_once(" [").expect("a bracket");
    let (seconds, micros) = time.split_once('.').expect("a time with a point");
    assert!(seconds.len() == 10 && micros.len() == 6, "{line}");
    let (source, command) = rest.split_once("] ").expect("a closing bracket");
    let (db, addr) = source.split_once(' ').expect("a database and an address");
    assert!(addr.starts_with("127.0.0.1:"), "{line}");
    format!("{db} {command}")
}

#[test]
fn monitors_see_what_others_execute() {
    let server = Server::start(&FLAGS);
    let (mut monitor, mut client) = (server.client(), server.client());
    expect(&mut monitor, &["MONITOR"], "OK");
    monitor.send(&["MONITOR"]);
    monitor.expect_silence(50);
    expect(&mut client, &["PING"], "PONG");
    assert_eq!(seen(&mut monitor), r#"0 "PING""#);
    // The database is that behind the command.
    expect(&mut client, &["SELECT", "3"], "OK");
    assert_eq!(seen(&mut monitor), r#"3 "SELECT" "3""#);
    let odd = b"a\x00\"\xff\n\\";
    client.cmd_bytes(&[b"Set".as_slice(), b"k", odd]);
    assert_eq!(seen(&mut monitor), format!(r#"3 "Set" "k" {}"#, quoted(odd)));
    // What is refused is not shown, nor what administrators do.
    for command in [&["GET"][..], &["NOSUCH", "x"], &["SLOWLOG", "LEN"], &["LATENCY", "LATEST"]] {
        client.cmd(command);
    }
    for (command, shown) in [
        (&["AUTH", "me", "hidden"][..], r#"3 "AUTH" "(redacted)" "(redacted)""#),
        (
            &["HELLO", "2", "AUTH", "me", "hidden"],
            r#"3 "HELLO" "2" "AUTH" "(redacted)" "(redacted)""#,
        ),
    ] {
        client.cmd(command);
        assert_eq!(seen(&mut monitor), shown);
    }
    // Queued commands are shown when they are executed, and then EXEC.
    expect(&mut client, &["MULTI"], "OK");
    assert_eq!(seen(&mut monitor), r#"3 "MULTI""#);
    expect(&mut client, &["SET", "k", "v"], "QUEUED");
    expect(&mut client, &["SELECT", "5"], "QUEUED");
    expect(&mut client, &["GET", "k"], "QUEUED");
    monitor.expect_silence(50);
    client.cmd(&["EXEC"]);
    let shown = [r#"3 "SET" "k" "v""#, r#"5 "SELECT" "5""#, r#"5 "GET" "k""#, r#"5 "EXEC""#];
    assert_eq!([(); 4].map(|()| seen(&mut monitor)), shown);
    // Its own commands follow their replies; keys are not for it.
    expect(&mut monitor, &["PING"], "PONG");
    assert_eq!(seen(&mut monitor), r#"0 "PING""#);
    for command in [&["GET", "k"][..], &["SET", "k", "v"]] {
        expect(&mut monitor, command, "(error) ERR Replica can't interact with the keyspace");
    }
    monitor.expect_no_more();
}

#[test]
fn monitors_that_end_are_forgotten() {
    let server = Server::start(&FLAGS);
    let (mut first, mut second, mut client) = (server.client(), server.client(), server.client());
    expect(&mut first, &["MONITOR"], "OK");
    expect(&mut second, &["MONITOR"], "OK");
    expect(&mut second, &["RESET"], "RESET");
    assert_eq!(seen(&mut first), r#"0 "RESET""#);
    expect(&mut client, &["PING"], "PONG");
    assert_eq!(seen(&mut first), r#"0 "PING""#);
    second.expect_silence(50);
    expect(&mut second, &["GET", "k"], "(nil)");
    drop(first);
    eventually("the monitor is gone", || {
        info(&mut client, &["clients"])["connected_clients"] == "2"
    });
    expect(&mut client, &["PING"], "PONG");
    expect(&mut second, &["MONITOR"], "OK");
    expect(&mut client, &["PING"], "PONG");
    assert_eq!(seen(&mut second), r#"0 "PING""#);
}

/// Fields of the replication section on both sides of a link.
#[test]
fn replication_is_told_on_both_sides() {
    let server = Server::start(&FLAGS);
    let port = server.port().to_string();
    let replica = Server::start(&["--save", "", "--replicaof", &format!("127.0.0.1 {port}")]);
    let (mut client, mut there) = (server.client(), replica.client());
    expect(&mut client, &["SET", "k", "v"], "OK");
    eventually("the link is up and caught up", || {
        let ours = info(&mut client, &["replication"]);
        let theirs = info(&mut there, &["replication"]);
        ours.get("slave0").is_some_and(|slave| slave.contains("state=online"))
            && theirs["master_link_status"] == "up"
            && theirs["slave_repl_offset"] == ours["master_repl_offset"]
            && theirs["master_replid"] == ours["master_replid"]
    });
    let ours = info(&mut client, &["replication"]);
    let about = &ours["slave0"];
    assert!(
        about.starts_with(&format!("ip=127.0.0.1,port={},state=online,offset=", replica.port())),
        "{about}"
    );
    assert_eq!((ours["role"].as_str(), ours["connected_slaves"].as_str()), ("master", "1"));
    assert_eq!(ours["repl_backlog_active"], "1");
    let theirs = info(&mut there, &["replication"]);
    let text = |name: &str| theirs[name].as_str();
    assert_eq!(
        (text("role"), text("master_host"), text("master_port")),
        ("slave", "127.0.0.1", &*port)
    );
    assert_eq!((text("slave_priority"), text("slave_read_only")), ("100", "1"));
    assert_eq!((text("replica_announced"), text("master_sync_in_progress")), ("1", "0"));
    assert!(number(&theirs, "master_last_io_seconds_ago") >= 0.0);
    assert!(!theirs.contains_key("master_link_down_since_seconds"));
    let stats = info(&mut client, &["stats", "clients"]);
    assert_eq!((stats["sync_full"].as_str(), stats["connected_clients"].as_str()), ("1", "1"));
    drop(server);
    eventually("the link is down", || {
        info(&mut there, &["replication"]).contains_key("master_link_down_since_seconds")
    });
}
