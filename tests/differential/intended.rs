//! Where the two servers differ on purpose.

/// A difference from redis-server 7.0.15 that is meant.
pub struct Intended {
    /// How the command starts, in capitals.
    pub command: &'static str,
    /// What our reply contains as it is printed, and what the real server's does.
    pub ours: &'static str,
    pub theirs: &'static str,
    /// The reason.
    #[expect(dead_code, reason = "for the reader")]
    pub why: &'static str,
}

pub const INTENDED: &[Intended] = &[
    Intended {
        command: "WAIT",
        ours: "timeout is out of range",
        theirs: "(integer) ",
        why: "7.2 minds that the time would end after time does",
    },
    Intended {
        command: "XREADGROUP",
        ours: "NOGROUP No such key",
        theirs: "UNBLOCKED the stream key no longer exists",
        why: "7.2 executes the command again, which then finds no key",
    },
    Intended {
        command: "XREADGROUP",
        ours: "NOGROUP No such key",
        theirs: "NOGROUP the consumer group this client was blocked on no longer exists",
        why: "the same, and no group",
    },
    Intended {
        command: "XREADGROUP",
        ours: "WRONGTYPE",
        theirs: "UNBLOCKED the stream key no longer exists",
        why: "the same, and another type",
    },
    Intended { command: "RANDOMKEY", ours: "\"", theirs: "\"", why: "which key comes is chance" },
    Intended {
        command: "CONFIG GET",
        ours: "\"maxmemory\"",
        theirs: "\"tls-protocols\"",
        why: "the set of parameters is each server's own",
    },
    Intended {
        command: "COMMAND",
        ours: "\"append\"",
        theirs: "\"bitpos\"",
        why: "the set of commands is each server's own",
    },
    Intended {
        command: "OBJECT ENCODING",
        ours: "\"listpack\"",
        theirs: "\"quicklist\"",
        why: "7.2 keeps short lists in one listpack",
    },
    Intended {
        command: "OBJECT ENCODING",
        ours: "\"listpack\"",
        theirs: "\"skiplist\"",
        why: "SORT makes a sorted set large there, which is no business of a command that reads",
    },
    Intended { command: "DUMP", ours: "\"\\x11", theirs: "\"\\x05", why: "the same" },
    Intended {
        command: "SORT",
        ours: "",
        theirs: "One or more scores can't be converted",
        why: "the real server may see an error that an earlier command has left behind",
    },
    Intended {
        command: "LPOS",
        ours: "value is out of range, value must between -9223372036854775807",
        theirs: "",
        why: "7.2 refuses a rank that it cannot negate",
    },
    Intended {
        command: "LREM",
        ours: "value is out of range, value must between -9223372036854775807",
        theirs: "",
        why: "7.2 refuses a count that it cannot negate",
    },
    Intended {
        command: "DEBUG DIGEST-VALUE",
        ours: "ERR Command not allowed inside a transaction",
        theirs: "",
        why: "DEBUG takes the locks of the keyspace itself, a transaction holds them already",
    },
    Intended {
        command: "HELLO",
        ours: "Syntax error in HELLO",
        theirs: "WRONGPASS",
        why: "7.2 reads all options before it acts on one",
    },
    Intended {
        command: "OBJECT ENCODING",
        ours: "listpack",
        theirs: "hashtable",
        why: "sets have listpacks since 7.2",
    },
    Intended {
        command: "OBJECT REFCOUNT",
        ours: "(integer)",
        theirs: "(integer)",
        why: "who shares a value is each server's own",
    },
    Intended {
        command: "COMMAND COUNT",
        ours: "(integer)",
        theirs: "(integer)",
        why: "the set of commands is each server's own",
    },
    Intended {
        command: "XREAD",
        ours: "Unbalanced 'xread",
        theirs: "Unbalanced XREAD list",
        why: "7.2 says which command it is",
    },
    Intended {
        command: "XADD",
        ours: "equal or smaller than the target",
        theirs: "Elements are too large",
        why: "7.2 says what is wrong when the numbers of a millisecond are used up",
    },
];
