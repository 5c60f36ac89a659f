//! Authentication: what ACL tells of the default user, its password, and who must say it.

use super::support::client::{Client, Value};
use super::support::server::Server;
use super::tester::{bulk, expect_error};

/// Passwords as the tester makes them, and their SHA-256.
const PASSWORDS: [(&str, &str); 3] = [
    ("pear-592", "e6468555eab6349c3ae937df914694db806242d29fb6764f0179aa576f776ece"),
    ("apple-1", "bdb0024bcd90aed5f9f952f85d03d9cb75ee49ecc8e151c4fed6be538ca3e5e0"),
    ("mango-999", "cbf033cba1bcbef29583953fd486a21633f1a3afbefdf1f75e3c878ce8fe4345"),
];

/// The reply to `ACL GETUSER default`, whose first four elements have fixed places: `flags`,
/// the flags, `passwords`, the passwords. Gives flags and passwords.
#[track_caller]
fn default_user(client: &mut Client) -> (Vec<Value>, Vec<Value>) {
    let reply = client.cmd(&["ACL", "GETUSER", "default"]);
    client.expect_no_more();
    let Value::Array(items) = &reply else {
        panic!("an array was expected, got {reply}");
    };
    match &items[..] {
        [flags, Value::Array(set), passwords, Value::Array(hashes), ..] => {
            assert_eq!(flags, &Value::bulk("flags"));
            assert_eq!(passwords, &Value::bulk("passwords"));
            (set.clone(), hashes.clone())
        }
        _ => panic!("flags and passwords come first, got {reply}"),
    }
}

#[track_caller]
fn set_password(client: &mut Client, password: &str) {
    client.expect(&["ACL", "SETUSER", "default", &format!(">{password}")], "+OK\r\n");
}

#[test]
fn jn4_respond_to_acl_whoami() {
    let server = Server::start(&[]);
    server.client().expect(&["ACL", "WHOAMI"], &bulk("default"));
}

#[test]
fn gx8_respond_to_acl_getuser() {
    let server = Server::start(&[]);
    default_user(&mut server.client());
}

#[test]
fn ql6_the_nopass_flag() {
    let server = Server::start(&[]);
    let (flags, _) = default_user(&mut server.client());
    assert!(flags.contains(&Value::bulk("nopass")), "{flags:?}");
}

#[test]
fn pl7_the_passwords_property() {
    let server = Server::start(&[]);
    let (flags, passwords) = default_user(&mut server.client());
    assert!(flags.contains(&Value::bulk("nopass")), "{flags:?}");
    assert_eq!(passwords, []);
}

#[test]
fn uv9_setting_default_user_password() {
    for (password, sha256) in PASSWORDS {
        let server = Server::start(&[]);
        let mut client = server.client();
        let (flags, passwords) = default_user(&mut client);
        assert!(flags.contains(&Value::bulk("nopass")), "{flags:?}");
        assert_eq!(passwords, []);
        set_password(&mut client, password);
        let (flags, passwords) = default_user(&mut client);
        assert!(!flags.contains(&Value::bulk("nopass")), "{flags:?}");
        assert_eq!(passwords, [Value::bulk(sha256)]);
    }
}

#[test]
fn hz3_the_auth_command() {
    let server = Server::start(&[]);
    let mut client = server.client();
    set_password(&mut client, "pear-592");
    expect_error(&mut client, &["AUTH", "default", "pear-593"], "WRONGPASS ", &[]);
    client.expect(&["AUTH", "default", "pear-592"], "+OK\r\n");
}

#[test]
fn nm2_enforce_authentication() {
    let server = Server::start(&[]);
    let mut first = server.client();
    set_password(&mut first, "pear-592");
    first.expect(&["ACL", "WHOAMI"], &bulk("default"));
    expect_error(&mut server.client(), &["ACL", "WHOAMI"], "NOAUTH ", &[]);
}

#[test]
fn ws7_authenticate_using_auth() {
    let server = Server::start(&[]);
    let mut first = server.client();
    set_password(&mut first, "pear-592");
    first.expect(&["ACL", "WHOAMI"], &bulk("default"));
    let mut second = server.client();
    expect_error(&mut second, &["ACL", "WHOAMI"], "NOAUTH ", &[]);
    second.expect(&["AUTH", "default", "pear-592"], "+OK\r\n");
    second.expect(&["ACL", "WHOAMI"], &bulk("default"));
    second.expect(&["GET", "missing_key_7"], "$-1\r\n");
    second.expect(&["SET", "apple", "mango"], "+OK\r\n");
    second.expect(&["PING"], "+PONG\r\n");
    second.expect(&["ECHO", "grape"], &bulk("grape"));
}
