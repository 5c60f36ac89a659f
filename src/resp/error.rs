//! Error replies: the type and every text that more than one place needs.
//!
//! Must not know how a reply is framed. Clients match on these texts, so they are Redis 7.2's,
//! letter by letter.
//!
//! Invariant: a text starts with its code in capitals (`ERR`, `WRONGTYPE`, ...) and carries neither
//! the leading `-` nor the line end. Bytes of a client may be inside; the writer makes CR and LF
//! harmless.

use std::borrow::Cow;
use std::fmt;

/// How many bytes of a client's words an error about an unknown command repeats, as in Redis.
const QUOTED_MAX: usize = 128;

/// The code is looked for in so many bytes; a text without one counts as `ERR`.
const CODE_MAX: usize = 31;

/// An error reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Cow<'static, [u8]>);

impl Error {
    /// An error with a fixed text.
    pub const fn new(text: &'static str) -> Self {
        Self(Cow::Borrowed(text.as_bytes()))
    }

    /// An error with a text made for the occasion, which may hold any bytes.
    pub fn owned(text: Vec<u8>) -> Self {
        Self(Cow::Owned(text))
    }

    /// `before`, a client's argument, `after`. The argument ends at its first NUL, as it does in
    /// Redis, where texts are put together from C strings.
    pub fn quoting(before: &str, arg: &[u8], after: &str) -> Self {
        Self::owned([before.as_bytes(), until_nul(arg), after.as_bytes()].concat())
    }

    /// The whole text, code first, without the leading `-` and the line end.
    pub fn text(&self) -> &[u8] {
        &self.0
    }

    /// The first word, under which INFO errorstats counts the error.
    pub fn code(&self) -> &str {
        let head = &self.0[..self.0.len().min(CODE_MAX)];
        head.iter()
            .position(|&b| b == b' ')
            .and_then(|end| std::str::from_utf8(&head[..end]).ok())
            .unwrap_or("ERR")
    }
}

impl From<String> for Error {
    fn from(text: String) -> Self {
        Self::owned(text.into_bytes())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl std::error::Error for Error {}

/// Arguments and values that any command may get wrong.
impl Error {
    /// What Redis answers where it gives no reason.
    pub const GENERIC: Self = Self::new("ERR");
    pub const SYNTAX: Self = Self::new("ERR syntax error");
    pub const WRONG_TYPE: Self =
        Self::new("WRONGTYPE Operation against a key holding the wrong kind of value");
    pub const NOT_INTEGER: Self = Self::new("ERR value is not an integer or out of range");
    pub const NOT_FLOAT: Self = Self::new("ERR value is not a valid float");
    pub const NOT_POSITIVE: Self = Self::new("ERR value is out of range, must be positive");
    pub const INVALID_CURSOR: Self = Self::new("ERR invalid cursor");
}

/// Strings.
impl Error {
    pub const OVERFLOW: Self = Self::new("ERR increment or decrement would overflow");
    /// DECRBY by the smallest integer, which has no opposite.
    pub const DECREMENT_OVERFLOW: Self = Self::new("ERR decrement would overflow");
    pub const NAN_OR_INF: Self = Self::new("ERR increment would produce NaN or Infinity");
    pub const OFFSET_RANGE: Self = Self::new("ERR offset is out of range");
    pub const STRING_TOO_LONG: Self =
        Self::new("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    pub const LCS_NOT_STRINGS: Self =
        Self::new("ERR The specified keys must contain string values");
    pub const LCS_LEN_AND_IDX: Self =
        Self::new("ERR If you want both the length and indexes, please just use IDX.");
    pub const LCS_TOO_LONG: Self = Self::new("ERR String too long for LCS");
    pub const LCS_MEMORY: Self =
        Self::new("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");
}

/// Sorted sets and places.
impl Error {
    pub const ZADD_NX_XX: Self =
        Self::new("ERR XX and NX options at the same time are not compatible");
    pub const ZADD_GT_LT_NX: Self =
        Self::new("ERR GT, LT, and/or NX options at the same time are not compatible");
    pub const ZADD_INCR: Self =
        Self::new("ERR INCR option supports a single increment-element pair");
    pub const ZADD_NAN: Self = Self::new("ERR resulting score is not a number (NaN)");
    pub const RANGE_NOT_FLOAT: Self = Self::new("ERR min or max is not a float");
    pub const RANGE_NOT_STRING: Self = Self::new("ERR min or max not valid string range item");
    pub const LIMIT_BY_RANK: Self = Self::new(
        "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
    );
    pub const WITHSCORES_BY_LEX: Self =
        Self::new("ERR syntax error, WITHSCORES not supported in combination with BYLEX");
    pub const WEIGHT_NOT_FLOAT: Self = Self::new("ERR weight value is not a float");
    pub const GEO_UNIT: Self = Self::new("ERR unsupported unit provided. please use M, KM, FT, MI");
    pub const GEO_RADIUS: Self = Self::new("ERR need numeric radius");
    pub const GEO_RADIUS_NEGATIVE: Self = Self::new("ERR radius cannot be negative");
    pub const GEO_WIDTH: Self = Self::new("ERR need numeric width");
    pub const GEO_HEIGHT: Self = Self::new("ERR need numeric height");
    pub const GEO_BOX_NEGATIVE: Self = Self::new("ERR height or width cannot be negative");
    pub const GEO_COUNT: Self = Self::new("ERR COUNT must be > 0");
    pub const GEO_ANY: Self = Self::new("ERR the ANY argument requires COUNT argument");
    pub const GEO_MEMBER: Self = Self::new("ERR could not decode requested zset member");
    pub const GEO_STORE: Self = Self::new(
        "ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD \
         options",
    );
    pub const GEO_SEARCH_STORE: Self = Self::new(
        "ERR GEOSEARCHSTORE is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
    );
}

/// Hashes.
impl Error {
    pub const HASH_NOT_INTEGER: Self = Self::new("ERR hash value is not an integer");
    pub const HASH_NOT_FLOAT: Self = Self::new("ERR hash value is not a float");
    pub const IS_NAN_OR_INF: Self = Self::new("ERR value is NaN or Infinity");
    pub const RANGE: Self = Self::new("ERR value is out of range");
    pub const NO_FIELDS_WORD: Self =
        Self::new("ERR Mandatory argument FIELDS is missing or not at the right position");
    pub const FIELDS_NOT_POSITIVE: Self =
        Self::new("ERR Number of fields must be a positive integer");
    pub const NUMFIELDS_NOT_POSITIVE: Self =
        Self::new("ERR Parameter `numFields` should be greater than 0");
    pub const NUMFIELDS_MISMATCH: Self =
        Self::new("ERR The `numfields` parameter must match the number of arguments");
    pub const EXPIRE_NEGATIVE: Self = Self::new("ERR invalid expire time, must be >= 0");
}

/// Lists.
impl Error {
    pub const INDEX_RANGE: Self = Self::new("ERR index out of range");
    pub const RANK_ZERO: Self = Self::new(
        "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or \
         use negative to start from the end of the list",
    );
    pub const COUNT_NEGATIVE: Self = Self::new("ERR COUNT can't be negative");
    pub const MAXLEN_NEGATIVE: Self = Self::new("ERR MAXLEN can't be negative");
    pub const NUMKEYS_POSITIVE: Self = Self::new("ERR numkeys should be greater than 0");
    pub const COUNT_POSITIVE: Self = Self::new("ERR count should be greater than 0");
    pub const SORT_NOT_FLOAT: Self =
        Self::new("ERR One or more scores can't be converted into double");
}

/// Bits, HyperLogLogs and sets.
impl Error {
    pub const BIT_OFFSET: Self = Self::new("ERR bit offset is not an integer or out of range");
    pub const NOT_A_BIT: Self = Self::new("ERR bit is not an integer or out of range");
    pub const BITPOS_BIT: Self = Self::new("ERR The bit argument must be 1 or 0.");
    pub const BITOP_NOT: Self = Self::new("ERR BITOP NOT must be called with a single source key.");
    pub const BITFIELD_OVERFLOW: Self = Self::new("ERR Invalid OVERFLOW type specified");
    pub const BITFIELD_TYPE: Self = Self::new(
        "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but \
         i64 is.",
    );
    pub const BITFIELD_RO: Self = Self::new("ERR BITFIELD_RO only supports the GET subcommand");
    pub const NOT_HLL: Self = Self::new("WRONGTYPE Key is not a valid HyperLogLog string value.");
    pub const HLL_CORRUPT: Self = Self::new("INVALIDOBJ Corrupted HLL object detected");
    pub const HLL_NO_KEY: Self = Self::new("ERR The specified key does not exist");
    pub const HLL_NOT_SPARSE: Self = Self::new("ERR HLL encoding is not sparse");
    pub const NUMKEYS_TOO_LARGE: Self =
        Self::new("ERR Number of keys can't be greater than number of args");
    pub const LIMIT_NEGATIVE: Self = Self::new("ERR LIMIT can't be negative");
    pub const OUT_OF_RANGE: Self = Self::new("ERR value is out of range");
}

/// Keys and databases.
impl Error {
    pub const NO_KEY: Self = Self::new("ERR no such key");
    pub const SAME_OBJECT: Self = Self::new("ERR source and destination objects are the same");
    pub const BUSY_KEY: Self = Self::new("BUSYKEY Target key name already exists.");
    pub const DB_INDEX: Self = Self::new("ERR DB index is out of range");
    pub const INVALID_FIRST_DB: Self = Self::new("ERR invalid first DB index");
    pub const INVALID_SECOND_DB: Self = Self::new("ERR invalid second DB index");
    pub const EXPIRE_NX_CONFLICT: Self =
        Self::new("ERR NX and XX, GT or LT options at the same time are not compatible");
    pub const EXPIRE_GT_LT: Self =
        Self::new("ERR GT and LT options at the same time are not compatible");
    pub const DUMP_PAYLOAD: Self = Self::new("ERR DUMP payload version or checksum are wrong");
    pub const BAD_DATA: Self = Self::new("ERR Bad data format");
    pub const RESTORE_TTL: Self = Self::new("ERR Invalid TTL value, must be >= 0");
    pub const RESTORE_IDLETIME: Self = Self::new("ERR Invalid IDLETIME value, must be >= 0");
    pub const RESTORE_FREQ: Self = Self::new("ERR Invalid FREQ value, must be >= 0 and <= 255");
    pub const IDLETIME_WITH_LFU: Self = Self::new(
        "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when \
         switching between policies at runtime LRU and LFU data will take some time to adjust.",
    );
    pub const FREQ_WITHOUT_LFU: Self = Self::new(
        "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note \
         that when switching between policies at runtime LRU and LFU data will take some time to \
         adjust.",
    );
}

/// Streams.
impl Error {
    pub const STREAM_ID: Self =
        Self::new("ERR Invalid stream ID specified as stream command argument");
    pub const STREAM_RANGE_START: Self = Self::new("ERR invalid start ID for the interval");
    pub const STREAM_RANGE_END: Self = Self::new("ERR invalid end ID for the interval");
    pub const XADD_ZERO: Self = Self::new("ERR The ID specified in XADD must be greater than 0-0");
    pub const XADD_SMALL: Self = Self::new(
        "ERR The ID specified in XADD is equal or smaller than the target stream top item",
    );
    pub const XADD_EXHAUSTED: Self =
        Self::new("ERR The stream has exhausted the last possible ID, unable to add more items");
    pub const XADD_TOO_LARGE: Self = Self::new("ERR Elements are too large to be stored");
    pub const TRIM_TWICE: Self =
        Self::new("ERR syntax error, MAXLEN and MINID options at the same time are not compatible");
    pub const TRIM_MAXLEN: Self = Self::new("ERR The MAXLEN argument must be >= 0.");
    pub const TRIM_LIMIT: Self = Self::new("ERR The LIMIT argument must be >= 0.");
    pub const TRIM_LIMIT_ALONE: Self =
        Self::new("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy");
    pub const TRIM_LIMIT_EXACT: Self =
        Self::new("ERR syntax error, LIMIT cannot be used without the special ~ option");
    pub const XTRIM_NO_STRATEGY: Self =
        Self::new("ERR syntax error, XTRIM must be called with a trimming strategy");
    pub const XSETID_ADDED: Self = Self::new("ERR entries_added must be positive");
    pub const XSETID_BELOW_GIVEN: Self = Self::new(
        "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
    );
    pub const XSETID_BELOW_DELETED: Self =
        Self::new("ERR The ID specified in XSETID is smaller than current max_deleted_entry_id");
    pub const XSETID_BELOW_TOP: Self =
        Self::new("ERR The ID specified in XSETID is smaller than the target stream top item");
    pub const XSETID_BELOW_LENGTH: Self = Self::new(
        "ERR The entries_added specified in XSETID is smaller than the target stream length",
    );
    pub const XREAD_GROUP: Self = Self::new(
        "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.",
    );
    pub const XREAD_NOACK: Self = Self::new(
        "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.",
    );
    pub const XREAD_NEW: Self = Self::new(
        "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> \
         <consumer> option.",
    );
    pub const XREADGROUP_NO_GROUP: Self = Self::new("ERR Missing GROUP option for XREADGROUP");
    pub const XREADGROUP_DOLLAR: Self = Self::new(
        "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history \
         of this consumer by specifying a proper ID, or use the > ID to get new messages. The $ \
         ID would just return an empty result set.",
    );
    pub const XREADGROUP_PLUS: Self = Self::new(
        "ERR The + ID is meaningless in the context of XREADGROUP: you want to read the history \
         of this consumer by specifying a proper ID, or use the > ID to get new messages. The + \
         ID would just return an empty result set.",
    );
    pub const XGROUP_NO_KEY: Self = Self::new(
        "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want \
         to use the MKSTREAM option to create an empty stream automatically.",
    );
    pub const BUSYGROUP: Self = Self::new("BUSYGROUP Consumer Group name already exists");
    pub const ENTRIES_READ: Self = Self::new("ERR value for ENTRIESREAD must be positive or -1");
    pub const XCLAIM_MIN_IDLE: Self = Self::new("ERR Invalid min-idle-time argument for XCLAIM");
    pub const XCLAIM_IDLE: Self = Self::new("ERR Invalid IDLE option argument for XCLAIM");
    pub const XCLAIM_TIME: Self = Self::new("ERR Invalid TIME option argument for XCLAIM");
    pub const XCLAIM_RETRYCOUNT: Self =
        Self::new("ERR Invalid RETRYCOUNT option argument for XCLAIM");
    pub const XAUTOCLAIM_MIN_IDLE: Self =
        Self::new("ERR Invalid min-idle-time argument for XAUTOCLAIM");
    pub const XAUTOCLAIM_COUNT: Self = Self::new("ERR COUNT must be > 0");
}

/// Refusals that depend on the server's or the client's state, and transactions.
impl Error {
    pub const NOAUTH: Self = Self::new("NOAUTH Authentication required.");
    pub const WRONGPASS: Self =
        Self::new("WRONGPASS invalid username-password pair or user is disabled.");
    pub const LOADING: Self = Self::new("LOADING Redis is loading the dataset in memory");
    pub const READONLY: Self = Self::new("READONLY You can't write against a read only replica.");
    pub const MASTERDOWN: Self = Self::new(
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    );
    pub const NOREPLICAS: Self = Self::new("NOREPLICAS Not enough good replicas to write.");
    pub const OOM: Self = Self::new("OOM command not allowed when used memory > 'maxmemory'.");
    pub const MISCONF: Self = Self::new(
        "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist \
         to disk. Commands that may modify the data set are disabled, because this instance is \
         configured to report errors during writes if RDB snapshotting fails \
         (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the \
         RDB error.",
    );
    pub const CHILD_ACTIVE: Self = Self::new(
        "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE \
         in order to schedule a BGSAVE whenever possible.",
    );
    pub const REWRITE_IN_PROGRESS: Self =
        Self::new("ERR Background append only file rewriting already in progress");
    pub const REWRITE_FAILED: Self = Self::new(
        "ERR Can't execute an AOF background rewriting. Please check the server logs for more \
         information.",
    );
    pub const REPLICA_KEYSPACE: Self = Self::new("ERR Replica can't interact with the keyspace");
    pub const EXECABORT: Self =
        Self::new("EXECABORT Transaction discarded because of previous errors.");
    pub const NOT_IN_MULTI: Self = Self::new("ERR Command not allowed inside a transaction");
    pub const WATCH_INSIDE_MULTI: Self = Self::new("ERR WATCH inside MULTI is not allowed");
    pub const NESTED_MULTI: Self = Self::new("ERR MULTI calls can not be nested");
    pub const EXEC_WITHOUT_MULTI: Self = Self::new("ERR EXEC without MULTI");
    pub const DISCARD_WITHOUT_MULTI: Self = Self::new("ERR DISCARD without MULTI");
    pub const TIMEOUT_NOT_INTEGER: Self =
        Self::new("ERR timeout is not an integer or out of range");
    pub const TIMEOUT_NOT_FLOAT: Self = Self::new("ERR timeout is not a float or out of range");
    pub const TIMEOUT_NEGATIVE: Self = Self::new("ERR timeout is negative");
    pub const TIMEOUT_RANGE: Self = Self::new("ERR timeout is out of range");
    pub const UNBLOCKED: Self = Self::new("UNBLOCKED client unblocked via CLIENT UNBLOCK");
    pub const UNBLOCKED_BY_ROLE: Self = Self::new(
        "UNBLOCKED force unblock from blocking operation, instance state changed \
         (master -> replica?)",
    );
}

/// The connection and the CLIENT family.
impl Error {
    pub const PROTECTED_MODE: Self = Self::new(
        "DENIED Redis is running in protected mode because protected mode is enabled and no \
         password is set for the default user. In this mode connections are only accepted from \
         the loopback interface. If you want to connect from external computers to Redis you may \
         adopt one of the following solutions: 1) Just disable protected mode sending the command \
         'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis from \
         the same host the server is running, however MAKE SURE Redis is not publicly accessible \
         from internet if you do so. Use CONFIG REWRITE to make this change permanent. 2) \
         Alternatively you can just disable the protected mode by editing the Redis configuration \
         file, and setting the protected mode option to 'no', and then restarting the server. 3) \
         If you started the server manually just for testing, restart it with the \
         '--protected-mode no' option. 4) Setup a an authentication password for the default \
         user. NOTE: You only need to do one of the above things in order for the server to start \
         accepting connections from the outside.",
    );
    pub const MAX_CLIENTS: Self = Self::new("ERR max number of clients reached");
    pub const AUTH_NO_PASSWORD: Self = Self::new(
        "ERR AUTH <password> called without any password configured for the default user. \
         Are you sure your configuration is correct?",
    );
    pub const HELLO_NOAUTH: Self = Self::new(
        "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO \
         <proto> AUTH <user> <pass> option can be used to authenticate the client and select the \
         RESP protocol version at the same time",
    );
    pub const NOPROTO: Self = Self::new("NOPROTO unsupported protocol version");
    pub const PROTOCOL_NOT_INTEGER: Self =
        Self::new("ERR Protocol version is not an integer or out of range");
    pub const CLIENT_NAME: Self =
        Self::new("ERR Client names cannot contain spaces, newlines or special characters.");
    pub const SORT_BY_DENIED: Self =
        Self::new("ERR BY option of SORT denied due to insufficient ACL permissions.");
    pub const SORT_GET_DENIED: Self =
        Self::new("ERR GET option of SORT denied due to insufficient ACL permissions.");
    pub const NO_ACL_FILE: Self = Self::new(
        "ERR This Redis instance is not configured to use an ACL file. You may want to specify \
         users via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a \
         Redis configuration file set) in order to store users in the Redis configuration.",
    );
    pub const ACL_SAVE_FAILED: Self = Self::new(
        "ERR There was an error trying to save the ACLs. Please check the server logs for more \
         information",
    );
    pub const GENPASS_BITS: Self = Self::new(
        "ERR ACL GENPASS argument must be the number of bits for the output password, a positive \
         number up to 4096",
    );
    pub const NO_CLIENT: Self = Self::new("ERR No such client");
    pub const CLIENT_ID: Self = Self::new("ERR Invalid client ID");
    pub const CLIENT_ID_NOT_POSITIVE: Self = Self::new("ERR client-id should be greater than 0");
    pub const CLIENT_UNBLOCK_REASON: Self =
        Self::new("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
    pub const CLIENT_PAUSE_MODE: Self = Self::new("ERR CLIENT PAUSE mode must be WRITE or ALL");
    pub const RESET_NORMAL_ONLY: Self = Self::new("ERR can only reset normal client connections");
}

/// The server, persistence and replication.
impl Error {
    pub const COMMAND_INVALID: Self = Self::new("ERR Invalid command specified");
    pub const COMMAND_NO_KEYS: Self = Self::new("ERR The command has no key arguments");
    pub const COMMAND_ARITY: Self =
        Self::new("ERR Invalid number of arguments specified for command");
    pub const COMMAND_ARGUMENTS: Self = Self::new("ERR Invalid arguments specified for command");
    pub const NO_SHUTDOWN: Self = Self::new("ERR No shutdown in progress.");
    pub const SHUTDOWN_FAILED: Self = Self::new("ERR Errors trying to SHUTDOWN. Check logs.");
    pub const SAVE_IN_PROGRESS: Self = Self::new("ERR Background save already in progress");
    pub const INVALID_MASTER_PORT: Self = Self::new("ERR Invalid master port");
    pub const SYNC_NO_LINK: Self =
        Self::new("NOMASTERLINK Can't SYNC while not connected with my master");
    pub const LOCAL_OUT_OF_RANGE: Self =
        Self::new("ERR value is out of range, value must between 0 and 1");
    pub const WAITAOF_ON_REPLICA: Self = Self::new(
        "ERR WAITAOF cannot be used with replica instances. Please also note that writes to \
         replicas are just local and are not propagated.",
    );
    pub const WAITAOF_WITHOUT_AOF: Self =
        Self::new("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.");
    pub const WAIT_ON_REPLICA: Self = Self::new(
        "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if \
         a replica is configured to be writable (which is not the default) writes to replicas are \
         just local and are not propagated.",
    );
}

/// A call whose number of arguments does not fit; `full_name` as in `config|get`.
pub fn wrong_args(full_name: &str) -> Error {
    Error::from(format!("ERR wrong number of arguments for '{full_name}' command"))
}

/// An expiry that is not positive or does not fit; `command` is its full name.
pub fn invalid_expire(command: &str) -> Error {
    Error::from(format!("ERR invalid expire time in '{command}' command"))
}

/// An integer outside of a range that the text names, bounds included.
pub fn out_of_bounds(min: i64, max: i64) -> Error {
    Error::from(format!("ERR value is out of range, value must between {min} and {max}"))
}

/// A command that does not exist. `args` are those after the name; as many are repeated as begin
/// within 128 bytes, quotes and spaces counted.
pub fn unknown_command<'a>(name: &[u8], args: impl IntoIterator<Item = &'a [u8]>) -> Error {
    let mut shown = Vec::new();
    for arg in args {
        if shown.len() >= QUOTED_MAX {
            break;
        }
        let room = QUOTED_MAX - shown.len();
        shown.push(b'\'');
        shown.extend_from_slice(clip(arg, room));
        shown.extend_from_slice(b"' ");
    }
    let mut text = b"ERR unknown command '".to_vec();
    text.extend_from_slice(clip(name, QUOTED_MAX));
    text.extend_from_slice(b"', with args beginning with: ");
    text.extend_from_slice(&shown);
    Error::owned(text)
}

/// A subcommand that its container does not have; `container` in any case.
pub fn unknown_subcommand(sub: &[u8], container: &str) -> Error {
    let after = format!("'. Try {} HELP.", container.to_ascii_uppercase());
    Error::quoting("ERR unknown subcommand '", clip(sub, QUOTED_MAX), &after)
}

/// A subcommand whose arguments fit none of its forms; `container` in any case.
pub fn subcommand_syntax(sub: &[u8], container: &str) -> Error {
    let before = "ERR unknown subcommand or wrong number of arguments for '";
    let after = format!("'. Try {} HELP.", container.to_ascii_uppercase());
    Error::quoting(before, clip(sub, QUOTED_MAX), &after)
}

/// The part of `bytes` that a C string shows, in at most `max` bytes.
fn clip(bytes: &[u8], max: usize) -> &[u8] {
    until_nul(&bytes[..bytes.len().min(max)])
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    &bytes[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_the_first_word() {
        assert_eq!(Error::SYNTAX.code(), "ERR");
        assert_eq!(Error::WRONG_TYPE.code(), "WRONGTYPE");
        assert_eq!(Error::GENERIC.code(), "ERR");
        assert_eq!(Error::from("a".repeat(30) + " b").code(), "a".repeat(30));
        assert_eq!(Error::from("a".repeat(31) + " b").code(), "ERR");
        assert_eq!(Error::owned(b"\xff\xfe x".to_vec()).code(), "ERR");
        assert_eq!(Error::owned(Vec::new()).code(), "ERR");
    }

    fn unknown(name: &[u8], args: &[&[u8]]) -> String {
        unknown_command(name, args.iter().copied()).to_string()
    }

    #[test]
    fn unknown_commands_repeat_their_arguments() {
        let text = "ERR unknown command 'foo', with args beginning with: ";
        assert_eq!(unknown(b"foo", &[]), text);
        assert_eq!(unknown(b"foo", &[b"a", b"", b"b c"]), format!("{text}'a' '' 'b c' "));
        assert_eq!(unknown(b"foo\0bar", &[b"x\0y"]), format!("{text}'x' "));
        assert_eq!(unknown(b"", &[]), "ERR unknown command '', with args beginning with: ");
    }

    #[test]
    fn unknown_commands_repeat_128_bytes() {
        let text = "ERR unknown command 'foo', with args beginning with: ";
        let [a30, a60, b70, a200] =
            [("a", 30), ("a", 60), ("b", 70), ("a", 200)].map(|(s, n)| s.repeat(n));
        let cut = "a".repeat(128);
        assert_eq!(unknown(b"foo", &[a200.as_bytes(), b"b"]), format!("{text}'{cut}' "));
        let shown = format!("{text}'{a60}' '{}' ", "b".repeat(65));
        assert_eq!(unknown(b"foo", &[a60.as_bytes(), b70.as_bytes(), b"c"]), shown);
        let shown = format!("{text}'{a30}' '{a30}' '{a30}' '{}' ", "a".repeat(29));
        assert_eq!(unknown(b"foo", &[a30.as_bytes(); 10]), shown);
        let shown = format!("ERR unknown command '{cut}', with args beginning with: 'a' ");
        assert_eq!(unknown(a200.as_bytes(), &[b"a"]), shown);
    }

    #[test]
    fn texts_with_names() {
        let texts = [
            (wrong_args("config|get"), "ERR wrong number of arguments for 'config|get' command"),
            (invalid_expire("set"), "ERR invalid expire time in 'set' command"),
            (out_of_bounds(-1, 7), "ERR value is out of range, value must between -1 and 7"),
            (
                unknown_subcommand(b"foo\0x", "config"),
                "ERR unknown subcommand 'foo'. Try CONFIG HELP.",
            ),
            (
                subcommand_syntax(b"kill", "client"),
                "ERR unknown subcommand or wrong number of arguments for 'kill'. Try CLIENT HELP.",
            ),
            (
                Error::quoting("ERR Unknown client type '", b"x\0y", "'"),
                "ERR Unknown client type 'x'",
            ),
        ];
        for (error, text) in texts {
            assert_eq!(error.to_string(), text);
        }
        let long = unknown_subcommand(&b"x".repeat(300), "config").to_string();
        let shown = "x".repeat(128);
        assert_eq!(long, format!("ERR unknown subcommand '{shown}'. Try CONFIG HELP."));
    }
}
