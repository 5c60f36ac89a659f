//! Unions, intersections and differences of sorted sets and sets.

use std::collections::HashMap;

use super::{begin_members, push_member, store};
use crate::base::num::{parse_f64, parse_i64};
use crate::data::zset::order;
use crate::data::{Set, Value, Zset};
use crate::engine::spec::Handler;
use crate::engine::spec::access::{ACCESS, OW, RO, UPDATE};
use crate::engine::spec::flag::MOVABLEKEYS;
use crate::engine::{Args, Command, Ctx, Group, KeySpec, Reply};
use crate::resp::error::Error;

const UNION_COST: &str =
    "O(N)+O(M*log(M)), N being the sum of the sizes and M the size of the result";
const INTER_COST: &str =
    "O(N*K)+O(M*log(M)), N being the smallest size, K the number of keys and M the result's size";
const DIFF_COST: &str =
    "O(L+(N-K)*log(N)), L being the sum of the sizes, N the first size and K that of the result";

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    reader("zunion", zunion)
        .syntax(
            "numkeys key [key ...] [WEIGHTS weight [weight ...]] [aggregate: AGGREGATE <SUM | MIN \
             | MAX>] [WITHSCORES]",
        )
        .complexity(UNION_COST)
        .summary("Lists the members of any of several sorted sets."),
    reader("zinter", zinter)
        .syntax(
            "numkeys key [key ...] [WEIGHTS weight [weight ...]] [aggregate: AGGREGATE <SUM | MIN \
             | MAX>] [WITHSCORES]",
        )
        .complexity(INTER_COST)
        .summary("Lists the members of all of several sorted sets."),
    reader("zdiff", zdiff)
        .syntax("numkeys key [key ...] [WITHSCORES]")
        .complexity(DIFF_COST)
        .summary("Lists the members of a sorted set that no other one has."),
    reader("zintercard", zintercard)
        .since("7.0.0")
        .syntax("numkeys key [key ...] [LIMIT limit]")
        .complexity("O(N*K), N being the smallest size and K the number of keys")
        .summary("Counts the members of all of several sorted sets."),
    writer("zunionstore", zunionstore)
        .since("2.0.0")
        .syntax(
            "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [aggregate: \
             AGGREGATE <SUM | MIN | MAX>]",
        )
        .complexity(UNION_COST)
        .summary("Stores the members of any of several sorted sets."),
    writer("zinterstore", zinterstore)
        .since("2.0.0")
        .syntax(
            "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [aggregate: \
             AGGREGATE <SUM | MIN | MAX>]",
        )
        .complexity(INTER_COST)
        .summary("Stores the members of all of several sorted sets."),
    writer("zdiffstore", zdiffstore)
        .syntax("destination numkeys key [key ...]")
        .complexity(DIFF_COST)
        .summary("Stores the members of a sorted set that no other one has."),
];

const READ_KEYS: &[KeySpec] = &[KeySpec::counted(1, RO | ACCESS)];
const STORE_KEYS: &[KeySpec] = &[KeySpec::at(1, OW | UPDATE), KeySpec::counted(2, RO | ACCESS)];

const fn reader(name: &'static str, handler: Handler) -> Command {
    Command::new(name, handler)
        .group(Group::SortedSet)
        .since("6.2.0")
        .readonly()
        .flags(MOVABLEKEYS)
        .arity(-3)
        .keys(READ_KEYS)
}

const fn writer(name: &'static str, handler: Handler) -> Command {
    Command::new(name, handler)
        .group(Group::SortedSet)
        .since("6.2.0")
        .write()
        .deny_oom()
        .flags(MOVABLEKEYS)
        .arity(-4)
        .keys(STORE_KEYS)
}

/// What is done with the inputs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Op {
    Union,
    Inter,
    Diff,
}

/// What becomes of the result.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Reply,
    Count,
    Store,
}

/// How scores of one member become one.
#[derive(Clone, Copy)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn of(self, a: f64, b: f64) -> f64 {
        match self {
            // Opposite infinities make zero.
            Aggregate::Sum => zero_if_nan(a + b),
            Aggregate::Min if b < a => b,
            Aggregate::Max if b > a => b,
            _ => a,
        }
    }
}

fn zero_if_nan(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// The content of an input.
enum Content {
    Zset(Zset),
    /// Its members have the score 1.
    Set(Set),
}

struct Input {
    content: Content,
    weight: f64,
}

impl Input {
    fn len(&self) -> usize {
        match &self.content {
            Content::Zset(zset) => zset.len(),
            Content::Set(set) => set.len(),
        }
    }

    /// The score of a member, without the weight.
    fn score(&self, member: &[u8]) -> Option<f64> {
        match &self.content {
            Content::Zset(zset) => zset.score(member),
            Content::Set(set) => set.contains(member).then_some(1.0),
        }
    }

    /// Visits members with their scores, without the weight, until `visit` answers `false`.
    fn each_while(&self, mut visit: impl FnMut(&[u8], f64) -> bool) {
        match &self.content {
            Content::Zset(zset) => zset.each_while(0..zset.len(), visit),
            Content::Set(set) => {
                _ = set.iter().all(|member| visit(member.bytes(&mut [0; 20]), 1.0));
            }
        }
    }
}

/// Everything that the arguments say.
struct Query<'a> {
    op: Op,
    keys: Vec<&'a [u8]>,
    inputs: Vec<Input>,
    aggregate: Aggregate,
    with_scores: bool,
    limit: usize,
    destination: Option<&'a [u8]>,
}

impl<'a> Query<'a> {
    fn parse(ctx: &mut Ctx, args: &mut Args<'a>, op: Op, purpose: Use) -> Result<Self, Error> {
        let name = args.argv()[0].to_ascii_lowercase();
        let destination = (purpose == Use::Store).then(|| args.key());
        let count = args.int()?;
        if count < 1 {
            let before = "ERR at least 1 input key is needed for '";
            return Err(Error::quoting(before, &name, "' command"));
        }
        let count = usize::try_from(count).ok().filter(|&count| count <= args.left());
        let count = count.ok_or(Error::SYNTAX)?;
        let keys: Vec<&[u8]> = (0..count).map(|_| args.key()).collect();
        let mut inputs = Vec::with_capacity(count);
        for key in &keys {
            inputs.push(Input { content: content(ctx, key)?, weight: 1.0 });
        }
        let (aggregate, with_scores, limit) = (Aggregate::Sum, false, 0);
        let mut query = Query { op, keys, inputs, aggregate, with_scores, limit, destination };
        while !args.is_empty() {
            query.option(args, purpose)?;
        }
        Ok(query)
    }

    fn option(&mut self, args: &mut Args, purpose: Use) -> Result<(), Error> {
        let weighed = self.op != Op::Diff && purpose != Use::Count;
        if weighed && args.left() > self.inputs.len() && args.word("weights") {
            for input in &mut self.inputs {
                input.weight = parse_f64(args.bytes()?).ok_or(Error::WEIGHT_NOT_FLOAT)?;
            }
        } else if weighed && args.left() > 1 && args.word("aggregate") {
            self.aggregate = if args.word("sum") {
                Aggregate::Sum
            } else if args.word("min") {
                Aggregate::Min
            } else if args.word("max") {
                Aggregate::Max
            } else {
                return Err(Error::SYNTAX);
            };
        } else if purpose == Use::Reply && args.word("withscores") {
            self.with_scores = true;
        } else if purpose == Use::Count && args.left() > 1 && args.word("limit") {
            let limit = parse_i64(args.bytes()?).and_then(|limit| usize::try_from(limit).ok());
            self.limit = limit.ok_or(Error::LIMIT_NEGATIVE)?;
        } else {
            return Err(Error::SYNTAX);
        }
        Ok(())
    }

    /// How many members are looked at.
    fn amount(&self) -> usize {
        let lengths = self.inputs.iter().map(Input::len);
        match self.op {
            Op::Union => lengths.sum(),
            Op::Inter => lengths.min().unwrap_or(0),
            Op::Diff => self.inputs.first().map_or(0, Input::len),
        }
    }

    /// The result, in no order.
    fn run(&mut self) -> Vec<(Vec<u8>, f64)> {
        match self.op {
            Op::Union => self.union(),
            Op::Inter => {
                let mut all = Vec::new();
                self.intersect(|member, score| {
                    all.push((member.to_vec(), score));
                    true
                });
                all
            }
            Op::Diff => self.diff(),
        }
    }

    /// In this order scores are added up, which shows in their last digits.
    fn sort_inputs(&mut self) {
        self.inputs.sort_by_key(Input::len);
    }

    fn union(&mut self) -> Vec<(Vec<u8>, f64)> {
        self.sort_inputs();
        let mut all: HashMap<Vec<u8>, f64> = HashMap::new();
        for input in &self.inputs {
            input.each_while(|member, score| {
                let score = zero_if_nan(input.weight * score);
                match all.get_mut(member) {
                    Some(sum) => *sum = self.aggregate.of(*sum, score),
                    None => _ = all.insert(member.to_vec(), score),
                }
                true
            });
        }
        all.into_iter().collect()
    }

    /// Visits the members that all inputs have, until `visit` answers `false`.
    fn intersect(&mut self, mut visit: impl FnMut(&[u8], f64) -> bool) {
        self.sort_inputs();
        let [smallest, others @ ..] = &self.inputs[..] else { return };
        smallest.each_while(|member, score| {
            let mut sum = zero_if_nan(smallest.weight * score);
            for other in others {
                let Some(score) = other.score(member) else { return true };
                sum = self.aggregate.of(sum, score * other.weight);
            }
            visit(member, sum)
        });
    }

    fn diff(&self) -> Vec<(Vec<u8>, f64)> {
        let mut left = Vec::new();
        let [first, others @ ..] = &self.inputs[..] else { return left };
        first.each_while(|member, score| {
            if others.iter().all(|other| other.score(member).is_none()) {
                left.push((member.to_vec(), score));
            }
            true
        });
        left
    }
}

/// The content of an input; a key that is not there is empty.
fn content(ctx: &mut Ctx, key: &[u8]) -> Result<Content, Error> {
    match ctx.db.read(key).map(|entry| entry.value()).as_deref() {
        None => Ok(Content::Zset(Zset::default())),
        Some(Value::Zset(zset)) => Ok(Content::Zset(zset.clone())),
        Some(Value::Set(set)) => Ok(Content::Set(set.clone())),
        Some(_) => Err(Error::WRONG_TYPE),
    }
}

/// ZUNION numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]
/// [WITHSCORES]
fn zunion(ctx: &mut Ctx, args: &mut Args) -> Reply {
    reply_result(ctx, args, Op::Union)
}

/// ZINTER numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]
/// [WITHSCORES]
fn zinter(ctx: &mut Ctx, args: &mut Args) -> Reply {
    reply_result(ctx, args, Op::Inter)
}

/// ZDIFF numkeys key [key ...] [WITHSCORES]
fn zdiff(ctx: &mut Ctx, args: &mut Args) -> Reply {
    reply_result(ctx, args, Op::Diff)
}

fn reply_result(ctx: &mut Ctx, args: &mut Args, op: Op) -> Reply {
    let mut query = Query::parse(ctx, args, op, Use::Reply)?;
    ctx.let_go(query.amount())?;
    let mut all = query.run();
    all.sort_unstable_by(|a, b| order(a.1, &a.0, b.1, &b.0));
    let out = ctx.reply.parts();
    begin_members(out, all.len(), query.with_scores);
    for (member, score) in &all {
        push_member(out, member, *score, query.with_scores);
    }
    ctx.reply.done()
}

/// ZINTERCARD numkeys key [key ...] [LIMIT limit]
fn zintercard(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let mut query = Query::parse(ctx, args, Op::Inter, Use::Count)?;
    let (mut count, limit) = (0, query.limit);
    ctx.let_go(query.amount())?;
    query.intersect(|_, _| {
        count += 1;
        count != limit
    });
    ctx.reply.count(count)
}

/// ZUNIONSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]]
/// [AGGREGATE <SUM | MIN | MAX>]
fn zunionstore(ctx: &mut Ctx, args: &mut Args) -> Reply {
    store_result(ctx, args, Op::Union, "zunionstore")
}

/// ZINTERSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]]
/// [AGGREGATE <SUM | MIN | MAX>]
fn zinterstore(ctx: &mut Ctx, args: &mut Args) -> Reply {
    store_result(ctx, args, Op::Inter, "zinterstore")
}

/// ZDIFFSTORE destination numkeys key [key ...]
fn zdiffstore(ctx: &mut Ctx, args: &mut Args) -> Reply {
    store_result(ctx, args, Op::Diff, "zdiffstore")
}

fn store_result(ctx: &mut Ctx, args: &mut Args, op: Op, event: &'static str) -> Reply {
    let mut query = Query::parse(ctx, args, op, Use::Store)?;
    let (keys, amount, limits) = (query.keys.clone(), query.amount(), ctx.settings.limits);
    let zset = ctx.work_out(&keys, amount, |_| Zset::from_pairs(query.run(), &limits))?;
    let destination = query.destination.unwrap_or_default();
    // The inputs may hold the last reference to what is replaced.
    drop(query);
    store(ctx, destination, zset, event, 1)
}
