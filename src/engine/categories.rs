//! The categories of ACL that a command is in, derived from its flags and its group.

use crate::engine::spec::{Command, Group, flag};

/// All categories, in Redis's order.
pub const ALL: [&str; 21] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// What follows from a flag.
const BY_FLAG: [(u32, &[&str]); 8] = [
    (flag::WRITE, &["write"]),
    (flag::READONLY, &["read"]),
    (flag::ADMIN, &["admin", "dangerous"]),
    (flag::PUBSUB, &["pubsub"]),
    (flag::FAST, &["fast"]),
    (flag::BLOCKING, &["blocking"]),
    (flag::DANGEROUS, &["dangerous"]),
    (flag::KEYSPACE, &["keyspace"]),
];

/// The category of that name, in any case.
pub fn named(name: &[u8]) -> Option<&'static str> {
    ALL.into_iter().find(|category| name.eq_ignore_ascii_case(category.as_bytes()))
}

/// The categories of a command, in Redis's order, without the `@`.
pub fn of(command: &Command) -> impl Iterator<Item = &'static str> {
    ALL.into_iter().filter(|category| is_in(command, category))
}

/// Whether a command is in a category.
pub fn is_in(command: &Command, category: &str) -> bool {
    let by_flag = |(bit, names): &(u32, &[&str])| command.has(*bit) && names.contains(&category);
    own(command).contains(&category)
        || BY_FLAG.iter().any(by_flag)
        || (category == "slow" && !command.has(flag::FAST))
}

/// The categories that do not follow from flags.
fn own(command: &Command) -> &'static [&'static str] {
    if !command.categories.is_empty() || command.handler.is_none() {
        return command.categories;
    }
    match command.group {
        Group::Generic => &["keyspace"],
        Group::String => &["string"],
        Group::Connection => &["connection"],
        Group::Transactions => &["transaction"],
        Group::Server => &[],
        Group::List => &["list"],
        Group::Hash => &["hash"],
        Group::Set => &["set"],
        Group::SortedSet => &["sortedset"],
        Group::Geo => &["geo"],
        Group::Stream => &["stream"],
        Group::Bitmap => &["bitmap"],
        Group::Hyperloglog => &["hyperloglog"],
        // They have it by their flag.
        Group::Pubsub => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Args, Ctx, Reply};

    fn nothing(ctx: &mut Ctx, _: &mut Args) -> Reply {
        ctx.reply.ok()
    }

    #[test]
    fn flags_and_group_decide() {
        let shown = |command: &Command| of(command).collect::<Vec<_>>().join(" ");
        let get = Command::new("get", nothing).group(Group::String).readonly().fast();
        assert_eq!(shown(&get), "read string fast");
        let save = Command::new("save", nothing).flags(flag::ADMIN);
        assert_eq!(shown(&save), "admin slow dangerous");
        let lastsave = Command::new("lastsave", nothing).fast().categories(&["admin", "dangerous"]);
        assert_eq!(shown(&lastsave), "admin fast dangerous");
        assert_eq!(shown(&Command::container("client").group(Group::Connection)), "slow");
        let copy = Command::new("copy", nothing).group(Group::Generic).write();
        assert_eq!(shown(&copy), "keyspace write slow");
    }
}
