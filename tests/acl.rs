//! Users and their rights, as far as several connections, files or a restart are needed to see
//! them; the rest is in `scripts/acl`. The course's stages about authentication come first.

mod support;

use std::fs;
use std::time::Duration;
use support::client::{Client, Value};
use support::server::Server;
use support::tmp::TempDir;

/// A password as the course's tester makes them, and its SHA-256.
const PASSWORD: &str = "pear-592";
const HASH: &str = "e6468555eab6349c3ae937df914694db806242d29fb6764f0179aa576f776ece";

const WRONGPASS: &str = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";

fn ok(client: &mut Client, args: &[&str]) {
    client.expect(args, "+OK\r\n");
}

/// The value of a field of a reply that is a list of names and values.
fn field(reply: &Value, name: &str) -> Value {
    let items = reply.items();
    let at = items.iter().step_by(2).position(|item| *item == Value::bulk(name));
    items[at.unwrap_or_else(|| panic!("no {name} in {reply}")) * 2 + 1].clone()
}

fn texts(list: &Value) -> Vec<String> {
    list.items().iter().map(Value::text).collect()
}

fn set_password(client: &mut Client) {
    ok(client, &["ACL", "SETUSER", "default", &format!(">{PASSWORD}")]);
}

#[test]
fn authentication_jn4_respond_to_acl_whoami() {
    let server = Server::start(&[]);
    server.client().expect(&["ACL", "WHOAMI"], "$7\r\ndefault\r\n");
}

#[test]
fn authentication_gx8_respond_to_acl_getuser() {
    let server = Server::start(&[]);
    let reply = server.client().cmd(&["ACL", "GETUSER", "default"]);
    assert_eq!(reply.items()[0], Value::bulk("flags"));
    assert!(matches!(reply.items()[1], Value::Array(_)));
}

#[test]
fn authentication_ql6_the_nopass_flag() {
    let server = Server::start(&[]);
    let reply = server.client().cmd(&["ACL", "GETUSER", "default"]);
    assert!(texts(&reply.items()[1]).contains(&"nopass".to_owned()), "{reply}");
}

#[test]
fn authentication_pl7_the_passwords_property() {
    let server = Server::start(&[]);
    let reply = server.client().cmd(&["ACL", "GETUSER", "default"]);
    assert_eq!(reply.items()[2], Value::bulk("passwords"));
    assert_eq!(reply.items()[3], Value::Array(Vec::new()));
}

#[test]
fn authentication_uv9_setting_default_user_password() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.cmd(&["ACL", "GETUSER", "default"]);
    set_password(&mut client);
    let reply = client.cmd(&["ACL", "GETUSER", "default"]);
    assert!(!texts(&reply.items()[1]).contains(&"nopass".to_owned()), "{reply}");
    assert_eq!(texts(&reply.items()[3]), [HASH]);
}

#[test]
fn authentication_hz3_the_auth_command() {
    let server = Server::start(&[]);
    let mut client = server.client();
    set_password(&mut client);
    client.expect(&["AUTH", "default", "wrong"], WRONGPASS);
    ok(&mut client, &["AUTH", "default", PASSWORD]);
}

#[test]
fn authentication_nm2_enforce_authentication() {
    let server = Server::start(&[]);
    let mut first = server.client();
    set_password(&mut first);
    first.expect(&["ACL", "WHOAMI"], "$7\r\ndefault\r\n");
    server.client().expect(&["ACL", "WHOAMI"], "-NOAUTH Authentication required.\r\n");
}

#[test]
fn authentication_ws7_authenticate_using_auth() {
    let server = Server::start(&[]);
    set_password(&mut server.client());
    let mut second = server.client();
    second.expect(&["ACL", "WHOAMI"], "-NOAUTH Authentication required.\r\n");
    ok(&mut second, &["AUTH", "default", PASSWORD]);
    second.expect(&["ACL", "WHOAMI"], "$7\r\ndefault\r\n");
    ok(&mut second, &["SET", "pear", "7"]);
    second.expect(&["GET", "missing_key_7"], "$-1\r\n");
    second.expect(&["PING"], "+PONG\r\n");
    second.expect(&["ECHO", "grape"], "$5\r\ngrape\r\n");
}

#[test]
fn trap_t33_authentication_is_decided_when_a_connection_begins() {
    let server = Server::start(&[]);
    let (mut first, mut silent) = (server.client(), server.client());
    // It is there, but has said nothing yet.
    while first.cmd(&["CLIENT", "LIST"]).text().lines().count() < 2 {}
    set_password(&mut first);
    first.expect(&["PING"], "+PONG\r\n");
    silent.expect(&["PING"], "+PONG\r\n");
    server.client().expect(&["PING"], "-NOAUTH Authentication required.\r\n");
    let mut third = server.client();
    ok(&mut third, &["AUTH", PASSWORD]);
    ok(&mut first, &["ACL", "SETUSER", "default", "resetpass", ">other"]);
    third.expect(&["PING"], "+PONG\r\n");
}

/// Makes bob, and a connection of his.
fn bob(server: &Server, rules: &[&str]) -> Client {
    let head = ["ACL", "SETUSER", "bob", "on", ">b"];
    ok(&mut server.client(), &[&head, rules].concat());
    let mut client = server.client();
    ok(&mut client, &["AUTH", "bob", "b"]);
    client
}

#[test]
fn refusals_have_the_texts_of_7_2() {
    let server = Server::start(&[]);
    let mut bob = bob(&server, &["+get", "+config|get", "~a*"]);
    for (args, text) in [
        (&["SET", "a", "1"][..], "User bob has no permissions to run the 'set' command"),
        (
            &["CONFIG", "SET", "port", "1"],
            "User bob has no permissions to run the 'config|set' command",
        ),
        (&["GET", "b"], "No permissions to access a key"),
    ] {
        bob.expect(args, &format!("-NOPERM {text}\r\n"));
    }
    bob.expect(&["GET", "a"], "$-1\r\n");
    let stats = server.client().cmd(&["INFO", "everything"]).text();
    for line in [
        "acl_access_denied_auth:0",
        "acl_access_denied_cmd:2",
        "acl_access_denied_key:1",
        "acl_access_denied_channel:0",
        "errorstat_NOPERM:count=3",
    ] {
        assert!(stats.lines().any(|l| l == line), "{line}: {stats}");
    }
    assert!(stats.contains("cmdstat_get:calls=1,") && stats.contains("rejected_calls=1"));
}

#[test]
fn the_log_tells_who_was_refused_what() {
    let server = Server::start(&[]);
    let mut admin = server.client();
    let mut bob = bob(&server, &["+get", "~a*", "+multi", "+exec", "+client|setname"]);
    ok(&mut bob, &["CLIENT", "SETNAME", "bobs"]);
    bob.cmd(&["GET", "x"]);
    bob.cmd(&["GET", "x"]);
    bob.cmd(&["Set", "a", "1"]);
    admin.cmd(&["Auth", "carl", "no"]);
    ok(&mut bob, &["MULTI"]);
    bob.cmd(&["GET", "x"]);
    let log = admin.cmd(&["ACL", "LOG"]);
    let told: Vec<String> = log
        .items()
        .iter()
        .map(|entry| {
            let names = ["count", "reason", "context", "object", "username", "entry-id"];
            names.map(|name| field(entry, name).to_string().replace("(integer) ", "")).join(" ")
        })
        .collect();
    assert_eq!(
        told,
        [
            r#"1 "key" "multi" "x" "bob" 3"#,
            r#"1 "auth" "toplevel" "Auth" "carl" 2"#,
            r#"1 "command" "toplevel" "set" "bob" 1"#,
            r#"2 "key" "toplevel" "x" "bob" 0"#,
        ]
    );
    let oldest = &log.items()[3];
    assert_eq!(oldest.items().len(), 20);
    let info = field(oldest, "client-info").text();
    assert!(info.contains(" name=bobs ") && info.contains(" cmd=get user=bob "), "{info}");
    assert!(!info.ends_with('\n'));
    let (created, updated) =
        (field(oldest, "timestamp-created").int(), field(oldest, "timestamp-last-updated").int());
    assert!(created <= updated && updated - created < 60_000, "{created} {updated}");
    let age: f64 = field(oldest, "age-seconds").text().parse().unwrap();
    assert!((0.0..60.0).contains(&age));
    assert_eq!(admin.cmd(&["ACL", "LOG", "2"]).items().len(), 2);
    ok(&mut admin, &["CONFIG", "SET", "acllog-max-len", "3"]);
    bob.cmd(&["DEL", "x"]);
    assert_eq!(admin.cmd(&["ACL", "LOG"]).items().len(), 3);
    ok(&mut admin, &["ACL", "LOG", "RESET"]);
    bob.cmd(&["DEL", "x"]);
    assert_eq!(field(&admin.cmd(&["ACL", "LOG"]).items()[0], "entry-id").int(), 5);
}

#[test]
fn a_deleted_user_loses_its_connections() {
    let server = Server::start(&[]);
    let mut admin = server.client();
    let mut first = bob(&server, &["+@all", "~*"]);
    let mut second = bob(&server, &[]);
    let list = admin.cmd(&["CLIENT", "LIST"]).text();
    assert_eq!(list.matches(" user=bob ").count(), 2, "{list}");
    // Who deletes itself still hears of it.
    assert_eq!(first.cmd(&["ACL", "DELUSER", "bob"]).int(), 1);
    first.expect_closed();
    second.expect_closed();
    admin.expect(&["PING"], "+PONG\r\n");
    let list = admin.cmd(&["CLIENT", "LIST"]).text();
    assert!(!list.contains("bob"), "{list}");
    let mut third = bob(&server, &["+get"]);
    third.expect(&["PING"], "-NOPERM User bob has no permissions to run the 'ping' command\r\n");
}

#[test]
fn client_kill_by_user() {
    let server = Server::start(&[]);
    let mut admin = server.client();
    let mut bob = bob(&server, &["+@all"]);
    admin.expect(&["CLIENT", "KILL", "USER", "carl"], "-ERR No such user 'carl'\r\n");
    admin.expect(&["CLIENT", "KILL", "USER", "bob"], ":1\r\n");
    bob.expect_closed();
    admin.expect(&["CLIENT", "KILL", "USER", "bob"], ":0\r\n");
    admin.expect(&["CLIENT", "KILL", "USER", "default", "SKIPME", "yes"], ":0\r\n");
}

#[test]
fn rights_change_under_open_connections() {
    let server = Server::start(&[]);
    let mut admin = server.client();
    let mut bob = bob(&server, &["+@all", "~*", "&*"]);
    ok(&mut bob, &["SET", "a", "1"]);
    ok(&mut admin, &["ACL", "SETUSER", "bob", "-set"]);
    bob.expect(
        &["SET", "a", "1"],
        "-NOPERM User bob has no permissions to run the 'set' command\r\n",
    );
    ok(&mut admin, &["ACL", "SETUSER", "bob", "+@all"]);
    ok(&mut bob, &["SET", "a", "1"]);
    ok(&mut admin, &["ACL", "SETUSER", "default", "-ping"]);
    let mut fresh = server.client();
    for client in [&mut admin, &mut fresh] {
        client.expect(
            &["PING"],
            "-NOPERM User default has no permissions to run the 'ping' command\r\n",
        );
    }
    bob.expect(&["PING"], "+PONG\r\n");
}

#[test]
fn who_has_to_wait_is_asked_again() {
    let server = Server::start(&[]);
    let mut admin = server.client();
    let mut bob = bob(&server, &["+blpop", "~list*"]);
    bob.send(&["BLPOP", "list1", "0"]);
    while !admin.cmd(&["INFO", "clients"]).text().contains("blocked_clients:1") {}
    ok(&mut admin, &["ACL", "SETUSER", "bob", "resetkeys", "~other"]);
    admin.expect(&["RPUSH", "list1", "a"], ":1\r\n");
    let refused = "(error) NOPERM No permissions to access a key";
    assert_eq!(bob.recv().to_string(), refused);
    admin.expect(&["LLEN", "list1"], ":1\r\n");
    let entry = &admin.cmd(&["ACL", "LOG"]).items()[0].clone();
    assert_eq!(field(entry, "object"), Value::bulk("list1"));
    let stats = admin.cmd(&["INFO", "commandstats"]).text();
    let counted = "cmdstat_blpop:calls=0,usec=0,usec_per_call=0.00,rejected_calls=1,failed_calls=0";
    assert!(stats.contains(counted), "{stats}");
    ok(&mut admin, &["ACL", "SETUSER", "bob", "~list*", "-blpop"]);
    bob.expect(
        &["BLPOP", "list1", "0"],
        "-NOPERM User bob has no permissions to run the 'blpop' command\r\n",
    );
}

#[test]
fn subscribers_hear_that_they_may_not() {
    let server = Server::start(&[]);
    let mut bob = bob(&server, &["+@pubsub", "+acl", "&x"]);
    for args in [&["SUBSCRIBE", "x", "y"][..], &["PSUBSCRIBE", "*"], &["SPUBLISH", "y", "hi"]] {
        bob.expect(args, "-NOPERM No permissions to access a channel\r\n");
    }
    let stats = server.client().cmd(&["INFO", "stats"]).text();
    assert!(stats.contains("acl_access_denied_channel:3"), "{stats}");
    // Who takes its own channels away still hears of it.
    bob.cmd(&["HELLO", "3", "AUTH", "bob", "b"]);
    let head = ["ACL", "SETUSER", "bob"];
    ok(&mut server.client(), &[&head[..], &["+hello"]].concat());
    bob.cmd(&["HELLO", "3"]);
    bob.cmd(&["SUBSCRIBE", "x"]);
    assert_eq!(bob.cmd(&[&head[..], &["resetchannels"]].concat()), Value::simple("OK"));
    bob.expect_closed();
}

#[test]
fn passwords_stay_out_of_sight() {
    let server = Server::start(&["--slowlog-log-slower-than", "0"]);
    let (mut admin, mut watcher) = (server.client(), server.client());
    ok(&mut watcher, &["MONITOR"]);
    ok(&mut admin, &["ACL", "SETUSER", "bob", "on", ">hush"]);
    ok(&mut admin, &["AUTH", "bob", "hush"]);
    let line = watcher.recv().to_string();
    assert!(line.contains("AUTH") && !line.contains("hush"), "{line}");
    let mut other = server.client();
    let log = other.cmd(&["SLOWLOG", "GET"]).to_string();
    assert!(log.contains("SETUSER") && log.contains("(redacted)"), "{log}");
    assert!(!log.contains("hush") && !log.contains("bob"), "{log}");
}

const DEFAULT: &str = "user default on nopass sanitize-payload ~* &* +@all";

/// The users, as ACL LIST tells them.
fn list(client: &mut Client) -> Vec<String> {
    texts(&client.cmd(&["ACL", "LIST"]))
}

#[test]
fn users_of_the_configuration_and_their_rewriting() {
    let text = "# mine\nuser bob on >b +@read ~a* (%W~w* +set)\nport 0\nuser carl off\n";
    let mut server = Server::start_with_conf(text, &[]);
    let mut client = server.client();
    let hash = "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d";
    let users = [
        format!(
            "user bob on sanitize-payload #{hash} ~a* resetchannels -@all +@read (%W~w* \
             resetchannels -@all +set)"
        ),
        "user carl off sanitize-payload resetchannels -@all".to_owned(),
        DEFAULT.to_owned(),
    ];
    assert_eq!(list(&mut client), users);
    client.expect(&["ACL", "DELUSER", "carl"], ":1\r\n");
    ok(&mut client, &["ACL", "SETUSER", "default", "-flushdb"]);
    ok(&mut client, &["CONFIG", "REWRITE"]);
    let rewritten = fs::read_to_string(server.conf()).unwrap();
    let start = format!("# mine\n{}\nport ", users[0]);
    assert!(rewritten.starts_with(&start), "{rewritten}");
    assert!(rewritten.contains(&format!("\n{DEFAULT} -flushdb\n")), "{rewritten}");
    assert!(!rewritten.contains("carl"), "{rewritten}");
    server.shut_down(client);
    server.relaunch();
    let mut client = server.client();
    assert_eq!(list(&mut client), [users[0].clone(), format!("{DEFAULT} -flushdb")]);
    let refused = "-NOPERM User default has no permissions to run the 'flushdb' command\r\n";
    client.expect(&["FLUSHDB"], refused);
    server.shut_down(client);
}

#[test]
fn a_default_user_of_the_configuration_goes_before_requirepass() {
    let server = Server::start(&["--user", "default", "on", ">x", "~*", "+@all"]);
    server.client().expect(&["PING"], "-NOAUTH Authentication required.\r\n");
    ok(&mut server.client(), &["AUTH", "x"]);
    let server = Server::start(&["--requirepass", "y", "--user", "default", "on", "nopass"]);
    let refused = "-NOPERM User default has no permissions to run the 'ping' command\r\n";
    server.client().expect(&["PING"], refused);
}

/// What a server says that does not start.
fn refused_start(flags: &[&str]) -> String {
    let mut server = Server::start_unready(flags);
    let status = server.wait_exit(Duration::from_secs(5)).expect("it does not start");
    assert_eq!(status.code(), Some(1));
    server.log()
}

#[test]
fn wrong_users_keep_the_server_from_starting() {
    let dir = TempDir::new("acl-wrong");
    let file = dir.path().join("users.acl");
    fs::write(&file, "user bob on\nuser bob off\n").unwrap();
    let path = file.to_str().unwrap();
    for (flags, text) in [
        (
            &["--user", "bob", "+nosuch"][..],
            "Error loading ACL rule '+nosuch' for the user named 'bob': Unknown command or \
             category name in ACL",
        ),
        (&["--user", "bob", "nosuch"], "Error in user declaration 'nosuch': Syntax error"),
        (&["--user", "bob", "--user", "bob"], "Duplicate user found."),
        (&["--aclfile", path], "Aborting Redis startup because of ACL errors: WARNING: Duplicate"),
        (&["--aclfile", "/no/file"], "opening file '/no/file': No such file or directory"),
        (&["--aclfile", path, "--user", "bob"], "but not both."),
    ] {
        let log = refused_start(flags);
        assert!(log.contains(text), "{flags:?}: {log}");
    }
}

#[test]
fn a_file_of_users_is_loaded_and_saved() {
    let dir = TempDir::new("acl-file");
    let file = dir.path().join("users.acl");
    fs::write(&file, "user alice on nopass ~* &* +@all\nuser bob on >b -@all +@set +acl\n")
        .unwrap();
    let name = dir.path().to_str().unwrap();
    let server = Server::start(&["--dir", name, "--aclfile", "users.acl"]);
    let mut admin = server.client();
    assert_eq!(list(&mut admin)[2], DEFAULT);
    let mut bob = server.client();
    ok(&mut bob, &["AUTH", "bob", "b"]);
    ok(&mut admin, &["ACL", "SETUSER", "eve", "on", ">e", "+get", "allkeys"]);
    ok(&mut admin, &["ACL", "SAVE"]);
    let saved = fs::read_to_string(&file).unwrap();
    assert_eq!(saved, list(&mut admin).join("\n") + "\n");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    // Everybody but the default user has to come again.
    ok(&mut admin, &["ACL", "LOAD"]);
    bob.expect_closed();
    admin.expect(&["PING"], "+PONG\r\n");
    fs::write(&file, saved.clone() + "user eve off\n").unwrap();
    let error = admin.cmd(&["ACL", "LOAD"]).to_string();
    let expected = "(error) ERR WARNING: Duplicate user 'eve' found on line 5. WARNING: ACL errors \
                    detected, no change to the previously active ACL rules was performed";
    assert_eq!(error, expected);
    assert_eq!(list(&mut admin).join("\n") + "\n", saved);
    // Without a default user there is the one of the beginning.
    fs::write(&file, "user bob on >b -@all +ping\n").unwrap();
    ok(&mut admin, &["ACL", "LOAD"]);
    assert_eq!(texts(&admin.cmd(&["ACL", "USERS"])), ["bob", "default"]);
    assert_eq!(list(&mut admin)[1], DEFAULT);
    fs::remove_file(&file).unwrap();
    let error = admin.cmd(&["ACL", "LOAD"]).to_string();
    assert!(error.ends_with("opening file 'users.acl': No such file or directory"), "{error}");
    let error = admin.cmd(&["CONFIG", "SET", "aclfile", "x"]).to_string();
    assert!(error.contains("can't set immutable config"), "{error}");
}
