//! CONFIG GET, SET and REWRITE as Redis answers them.

use super::parse::Declared;
use super::settings::Permission;
use super::table::PARAMS;
use super::testing::TempDir;
use super::*;

const ANYONE: Origin = Origin { is_local: false, is_loading: false };

fn config_of(settings: Settings) -> Config {
    Config::new(Startup { settings, config_file: None, declared: Declared::default() })
}

fn config() -> Config {
    config_of(Settings::default())
}

fn set_as(
    config: &Config,
    origin: Origin,
    pairs: &[(&str, &str)],
) -> Result<Vec<&'static str>, Refusal> {
    let pairs: Vec<(&[u8], &[u8])> =
        pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    config.set_params(&pairs, origin, |_, _, _| Ok(()))
}

fn set(config: &Config, pairs: &[(&str, &str)]) -> Result<Vec<&'static str>, Refusal> {
    set_as(config, ANYONE, pairs)
}

fn get(config: &Config, pattern: &str) -> Vec<(String, String)> {
    config
        .get_params(&[pattern.as_bytes()])
        .into_iter()
        .map(|(name, value)| (name, String::from_utf8(value).unwrap()))
        .collect()
}

fn value(config: &Config, name: &str) -> String {
    get(config, name).remove(0).1
}

fn assert_error(result: Result<Vec<&'static str>, Refusal>, text: &str) {
    assert_eq!(result, Err(Refusal::Error(text.into())));
}

/// Parameter, value, and why Redis refuses it.
const REFUSED: &[(&str, &str, &str)] = &[
    ("port", "abc", "argument couldn't be parsed into an integer"),
    ("port", "", "argument couldn't be parsed into an integer"),
    ("port", " 1", "argument couldn't be parsed into an integer"),
    ("port", "70000", "argument must be between 0 and 65535 inclusive"),
    ("maxclients", "-1", "argument must be between 1 and 4294967295 inclusive"),
    ("repl-timeout", "0", "argument must be between 1 and 2147483647 inclusive"),
    ("slave-priority", "x", "argument couldn't be parsed into an integer"),
    (
        "slowlog-log-slower-than",
        "-2",
        "argument must be between -1 and 9223372036854775807 inclusive",
    ),
    (
        "hash-max-ziplist-entries",
        "-1",
        "argument must be between 0 and 9223372036854775807 inclusive",
    ),
    (
        "proto-max-bulk-len",
        "1",
        "argument must be between 1048576 and 9223372036854775807 inclusive",
    ),
    ("repl-backlog-size", "0", "argument must be between 1 and 9223372036854775807 inclusive"),
    (
        "stream-node-max-bytes",
        "9999999999999gb",
        "argument must be between 0 and 9223372036854775807 inclusive",
    ),
    ("maxmemory", "x", "argument must be a memory value"),
    ("maxmemory", "-1", "argument must be a memory value"),
    ("latency-tracking", "maybe", "argument must be 'yes' or 'no'"),
    (
        "loglevel",
        "x",
        "argument(s) must be one of the following: debug, verbose, notice, warning, nothing",
    ),
    ("save", "900", "Invalid save parameters"),
    ("save", "900  1", "Invalid save parameters"),
    ("save", "0 1", "Invalid save parameters"),
    ("save", "1 99999999999", "Invalid save parameters"),
    ("notify-keyspace-events", "zq", "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."),
    (
        "client-output-buffer-limit",
        "master 1 1 1",
        "Invalid client class specified in buffer limit configuration.",
    ),
    (
        "client-output-buffer-limit",
        "replica 1 1",
        "Wrong number of arguments in buffer limit configuration.",
    ),
    (
        "client-output-buffer-limit",
        "replica 1 x 1",
        "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
    ),
    (
        "shutdown-on-sigint",
        "save nosave",
        "shutdown options SAVE and NOSAVE can't be used simultaneously",
    ),
    (
        "shutdown-on-sigint",
        "",
        "argument(s) must be one of the following: default, save, nosave, now, force",
    ),
    (
        "latency-tracking-info-percentiles",
        "50 x",
        "Invalid latency-tracking-info-percentiles parameters",
    ),
    (
        "latency-tracking-info-percentiles",
        "50 nan",
        "Invalid latency-tracking-info-percentiles parameters",
    ),
    (
        "latency-tracking-info-percentiles",
        "50 101",
        "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]",
    ),
    ("bind", "a b c d e f g h i j k l m n o p q", "Too many bind addresses specified."),
    ("databases", "3", "can't set immutable config"),
    ("DATABASES", "3", "can't set immutable config"),
    ("dir", "/tmp", "can't set protected config"),
    ("dbfilename", "a/b", "can't set protected config"),
];

#[test]
fn refused_values_have_the_texts_of_redis() {
    for &(name, value, why) in REFUSED {
        let text = format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}");
        assert_error(set(&config(), &[(name, value)]), &text);
    }
    assert_error(
        set(&config(), &[("fo\u{e9}\0o", "1")]),
        "ERR Unknown option or number of arguments for CONFIG SET - 'fo\u{e9}'",
    );
}

#[test]
fn values_come_back_as_redis_shows_them() {
    let config = config();
    for (name, given, shown) in [
        ("maxmemory", "", "0"),
        ("maxmemory", "1gb", "1073741824"),
        ("maxmemory", "18446744073709551616", "18446744073709551615"),
        ("save", "900 ", "900 0"),
        ("save", "3600 1 300 100", "3600 1 300 100"),
        ("save", "", ""),
        ("HZ", "1000", "500"),
        ("hz", "0", "1"),
        ("notify-keyspace-events", "Kmnxg", "gxnKm"),
        (
            "client-output-buffer-limit",
            "replica 1mb 1k 5",
            "normal 0 0 0 slave 1048576 1000 5 pubsub 33554432 8388608 60",
        ),
        ("shutdown-on-sigint", "now SAVE", "save now"),
        ("shutdown-on-sigint", "default", "default"),
        ("latency-tracking-info-percentiles", "50 0.1 99.9999999", "50 0.1 100"),
        ("latency-tracking-info-percentiles", "", ""),
        ("LogLevel", "WARNING", "warning"),
        ("list-max-ziplist-size", "-5", "-5"),
        ("bind", "127.0.0.1 -::1", "127.0.0.1 -::1"),
        ("bind", "", ""),
        ("acl-pubsub-default", "allchannels", "allchannels"),
    ] {
        set(&config, &[(name, given)]).unwrap();
        assert_eq!(value(&config, name), shown, "{name} {given}");
    }
}

#[test]
fn every_parameter_reads_back_its_own_value() {
    let defaults = Settings::default();
    for param in PARAMS {
        if param.name == "replicaof" {
            continue;
        }
        let shown = param.get(&defaults);
        let mut copy = defaults.clone();
        param.set(&mut copy, &arguments(param, &shown), Source::Command).unwrap();
        assert_eq!(copy, defaults, "{}", param.name);
    }
}

#[test]
fn patterns_and_names_are_matched_as_in_redis() {
    let config = config();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(get(&config, "LogLevel"), [pair("LogLevel", "notice")]);
    assert_eq!(get(&config, "LOGL*"), [pair("loglevel", "notice")]);
    assert_eq!(get(&config, "nothing"), []);
    assert_eq!(get(&config, "p\\ort"), []);
    let names = |patterns: &[&[u8]]| -> Vec<String> {
        config.get_params(patterns).into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(names(&[b"PORT", b"por?", b"port"]), ["PORT"]);
    assert_eq!(
        names(&[b"slave-priorit?", b"replica-priority", b"SLAVE-PRIORITY"]),
        ["slave-priority", "replica-priority"]
    );
    let shown = table::names().filter(|(_, param)| !param.is_hidden).count();
    assert_eq!(names(&[b"*"]).len(), shown);
    assert_eq!(names(&[b"*", b"*"]).len(), shown);
}

#[test]
fn all_or_nothing_with_the_names_that_changed() {
    let config = config();
    let version = config.version();
    assert_eq!(
        set(&config, &[("timeout", "5"), ("slave-priority", "7"), ("hz", "10")]),
        Ok(vec!["timeout", "replica-priority"])
    );
    assert_eq!(config.version(), version + 1);
    let before = config.get();
    assert_error(
        set(&config, &[("timeout", "6"), ("port", "x")]),
        "ERR CONFIG SET failed (possibly related to argument 'port') - argument couldn't be \
         parsed into an integer",
    );
    assert_error(
        set(&config, &[("timeout", "6"), ("bad", "1"), ("databases", "1")]),
        "ERR Unknown option or number of arguments for CONFIG SET - 'bad'",
    );
    assert_error(
        set(&config, &[("timeout", "6"), ("TimeOut", "7")]),
        "ERR CONFIG SET failed (possibly related to argument 'TimeOut') - duplicate parameter",
    );
    assert_eq!(*config.get(), *before);
    assert_eq!(config.version(), version + 1);
    set(&config, &[("min-slaves-max-lag", "3"), ("min-replicas-max-lag", "4")]).unwrap();
    assert_eq!(config.get().min_replicas_max_lag, 4);
}

#[test]
fn the_hook_sees_the_change_and_can_refuse_it() {
    let config = config();
    let pairs: [(&[u8], &[u8]); 2] = [(b"slave-priority", b"1"), (b"port", b"1")];
    let refused = config.set_params(&pairs, ANYONE, |old, new, changed| {
        assert_eq!((old.port, new.port), (6379, 1));
        assert_eq!(changed, ["replica-priority", "port"]);
        assert_eq!(config.get().port, 6379, "not in force yet");
        Err(("replica-priority", "no".to_owned()))
    });
    assert_error(
        refused,
        "ERR CONFIG SET failed (possibly related to argument 'slave-priority') - no",
    );
    assert_eq!(config.get().port, 6379);
    let same: [(&[u8], &[u8]); 1] = [(b"port", b"6379")];
    let unchanged = config.set_params(&same, ANYONE, |_, _, _| Err(("port", String::new())));
    assert_eq!(unchanged, Ok(vec![]), "nothing to apply");
}

#[test]
fn protected_and_loading_parameters_ask_who_and_when() {
    let local = Origin { is_local: true, is_loading: false };
    let loading = Origin { is_local: true, is_loading: true };
    let config =
        config_of(Settings { enable_protected_configs: Permission::Local, ..Settings::default() });
    let file = [("dbfilename", "x.rdb")];
    assert!(set_as(&config, ANYONE, &file).is_err());
    assert_eq!(set_as(&config, local, &file), Ok(vec!["dbfilename"]));
    assert_error(
        set_as(&config, local, &[("dbfilename", "a\\b")]),
        "ERR CONFIG SET failed (possibly related to argument 'dbfilename') - dbfilename \
         can't be a path, just a filename",
    );
    assert_error(
        set_as(&config, local, &[("dir", "/nonexist")]),
        "ERR CONFIG SET failed (possibly related to argument 'dir') - No such file or \
         directory",
    );
    assert_eq!(set_as(&config, loading, &[("dir", "/")]), Err(Refusal::Loading));
    assert_eq!(set_as(&config, loading, &file), Ok(vec![]));
    assert!(set_as(&config, local, &[("dir", "/")]).is_ok());
    assert_eq!(value(&config, "dir"), "/");
}

#[test]
fn passwords_are_bytes() {
    let config = config();
    let pairs: [(&[u8], &[u8]); 1] = [(b"requirepass", b"\xff\0a")];
    config.set_params(&pairs, ANYONE, |_, _, _| Ok(())).unwrap();
    assert_eq!(config.get().requirepass, b"\xff\0a");
    assert_eq!(config.get_params(&[b"requirepass"])[0].1, b"\xff\0a");
    assert!(is_sensitive(b"RequirePass") && !is_sensitive(b"port"));
}

#[test]
fn rewrite_needs_a_file_and_includes_later_changes() {
    let config = config();
    let without = "ERR The server is running without a config file";
    assert_eq!(config.rewrite(&[], false), Err(without.to_owned()));
    let dir = TempDir::new("config");
    let path = PathBuf::from(dir.write("a.conf", "port 1\n"));
    let config = Config::new(Startup {
        settings: Settings::default(),
        config_file: Some(path.clone()),
        declared: Declared::default(),
    });
    config.update(|settings| settings.replicaof = Some(("h".to_owned(), 1)));
    assert_eq!(config.version(), 1);
    config.rewrite(&[], false).unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.starts_with("port 6379\n") && text.contains("\nreplicaof h 1\n"), "{text}");
}
