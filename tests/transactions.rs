//! Transactions under contention: WATCH loses no update, and what many connections do at once could
//! have been done one by one.
//!
//! Long forms: `FERRODIS_COUNTER_MS=10000`, `FERRODIS_HISTORY=3000` (transactions per connection).

mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::client::{Client, Value};
use support::history::{Step, Transaction, check};
use support::random::{Random, setting};
use support::server::Server;

const CONNECTIONS: usize = 8;

/// Lists that are used at the same time, and how many transactions of a connection use them before
/// it goes on to others, so that they stay short.
const LISTS: usize = 6;
const GENERATION: usize = 40;

fn start() -> Server {
    Server::start(&["--save", ""])
}

fn number(value: &Value) -> u64 {
    match value {
        Value::Null => 0,
        value => value.text().parse().expect("a number"),
    }
}

/// Two counters on different shards go up together.
#[test]
fn a_watched_counter_loses_no_update() {
    let server = start();
    let (done, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    let end = Instant::now() + Duration::from_millis(setting("FERRODIS_COUNTER_MS", 1000));
    thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                let mut client = server.client();
                while Instant::now() < end {
                    let counters = ["counter", "other-counter"];
                    client.send(&["WATCH", counters[0], counters[1]]);
                    counters.iter().for_each(|key| client.send(&["GET", key]));
                    assert_eq!(client.recv().text(), "OK");
                    let values = [client.recv(), client.recv()].map(|value| number(&value));
                    // Taken together only if nothing came between, which EXEC finds out.
                    client.send(&["MULTI"]);
                    for (key, value) in counters.iter().zip(values) {
                        client.send(&["SET", key, &(value + 1).to_string()]);
                    }
                    client.send(&["EXEC"]);
                    (0..3).for_each(|_| drop(client.recv()));
                    match client.recv() {
                        Value::NullArray => refused.fetch_add(1, Ordering::Relaxed),
                        reply => {
                            assert_eq!(reply.items(), [Value::simple("OK"), Value::simple("OK")]);
                            assert_eq!(values[0], values[1]);
                            done.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                }
            });
        }
    });
    let mut client = server.client();
    let (done, refused) = (done.into_inner(), refused.into_inner());
    println!("{done} done, {refused} refused");
    assert_eq!(number(&client.cmd(&["GET", "counter"])), done);
    assert_eq!(number(&client.cmd(&["GET", "other-counter"])), done);
    assert!(done > 20 && refused > 0, "{done} done, {refused} refused: no contention");
}

fn key(list: usize) -> String {
    format!("list:{list}")
}

fn command(step: &Step) -> Vec<String> {
    match step {
        Step::Append(list, element) => vec!["RPUSH".into(), key(*list), element.to_string()],
        Step::Read(list, _) => vec!["LRANGE".into(), key(*list), "0".into(), "-1".into()],
    }
}

fn send(client: &mut Client, step: &Step) {
    let command = command(step);
    client.send(&command.iter().map(String::as_str).collect::<Vec<_>>());
}

/// Puts what was answered into a step.
fn fill(step: &mut Step, reply: &Value) {
    match step {
        Step::Append(..) => assert!(reply.int() > 0),
        Step::Read(_, read) => *read = reply.items().iter().map(number).collect(),
    }
}

/// How a connection runs a transaction of several steps.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// MULTI ... EXEC.
    Multi,
    /// WATCH and reads, then the appends in MULTI ... EXEC.
    Watch,
    /// One by one, which is wrong and must be found out.
    Torn,
    /// As `Watch`, without the WATCH.
    Unwatched,
}

/// One connection of a history.
struct Process {
    number: usize,
    client: Client,
    random: Random,
    history: Vec<Transaction>,
}

impl Process {
    fn record(&mut self, began: Instant, steps: Vec<Step>) {
        let (process, ended) = (self.number, Instant::now());
        self.history.push(Transaction { process, began, ended, steps });
    }

    /// Steps that are not run yet.
    fn steps(&mut self, at: usize, count: usize) -> Vec<Step> {
        let lists = at / GENERATION * LISTS;
        (0..count)
            .map(|step| {
                let list = lists + self.random.below(LISTS);
                let element = (self.number * 1_000_000 + at * 10 + step) as u64 + 1;
                match self.random.one_in(2) {
                    true => Step::Append(list, element),
                    false => Step::Read(list, Vec::new()),
                }
            })
            .collect()
    }

    fn run(&mut self, at: usize, ways: &[Way]) {
        let single = self.random.one_in(3);
        let count = if single { 1 } else { 2 + self.random.below(4) };
        let steps = self.steps(at, count);
        let way = if single { Way::Torn } else { self.random.pick(ways) };
        match way {
            Way::Multi => self.multi(steps),
            Way::Watch | Way::Unwatched => self.watch(steps, way == Way::Watch),
            Way::Torn => self.torn(steps),
        }
    }

    fn torn(&mut self, mut steps: Vec<Step>) {
        let began = Instant::now();
        for step in &mut steps {
            send(&mut self.client, step);
            fill(step, &self.client.recv());
        }
        self.record(began, steps);
    }

    fn multi(&mut self, mut steps: Vec<Step>) {
        let began = Instant::now();
        self.client.send(&["MULTI"]);
        steps.iter().for_each(|step| send(&mut self.client, step));
        self.client.send(&["EXEC"]);
        (0..=steps.len()).for_each(|_| drop(self.client.recv()));
        let reply = self.client.recv();
        steps.iter_mut().zip(reply.items()).for_each(|(step, reply)| fill(step, reply));
        self.record(began, steps);
    }

    /// The reads come first, then the appends.
    fn watch(&mut self, steps: Vec<Step>, really: bool) {
        let (mut reads, appends): (Vec<_>, Vec<_>) =
            steps.into_iter().partition(|step| matches!(step, Step::Read(..)));
        let began = Instant::now();
        if really {
            for read in &reads {
                let key = command(read).swap_remove(1);
                self.client.cmd(&["WATCH", &key]);
            }
        }
        for read in &mut reads {
            send(&mut self.client, read);
            fill(read, &self.client.recv());
        }
        self.client.send(&["MULTI"]);
        appends.iter().for_each(|step| send(&mut self.client, step));
        self.client.send(&["EXEC"]);
        (0..=appends.len()).for_each(|_| drop(self.client.recv()));
        if self.client.recv() != Value::NullArray {
            self.record(began, [reads, appends].concat());
        }
    }
}

/// What some connections do at once in these ways, and a reading of everything at the end.
fn history(server: &Server, seed: u64, each: usize, ways: &[Way]) -> Vec<Transaction> {
    let mut history: Vec<Transaction> = thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let random = Random::new(seed * 100 + number as u64);
                let client = server.client();
                scope.spawn(move || {
                    let mut process = Process { number, client, random, history: Vec::new() };
                    (0..each).for_each(|at| process.run(at, ways));
                    process.history
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("it runs")).collect()
    });
    let client = server.client();
    let random = Random::new(0);
    let mut last = Process { number: CONNECTIONS, client, random, history: Vec::new() };
    let lists = each.div_ceil(GENERATION) * LISTS;
    last.multi((0..lists).map(|list| Step::Read(list, Vec::new())).collect());
    history.append(&mut last.history);
    history
}

#[test]
fn what_connections_do_at_once_could_have_been_done_one_by_one() {
    let server = start();
    let each = setting("FERRODIS_HISTORY", 200) as usize;
    let seed = setting("FERRODIS_SEED", 1);
    let history = history(&server, seed, each, &[Way::Multi, Way::Multi, Way::Watch]);
    println!("{} transactions", history.len());
    assert!(history.len() > CONNECTIONS * each / 2);
    check(&history).unwrap_or_else(|anomaly| panic!("seed {seed}: {anomaly}"));
}

/// The checker is no rubber stamp: it finds connections out that do without MULTI or WATCH.
#[test]
fn a_history_of_broken_transactions_is_found_out() {
    for way in [Way::Torn, Way::Unwatched] {
        let found = (1..=20).any(|seed| {
            let server = start();
            check(&history(&server, seed, GENERATION, &[way])).is_err()
        });
        assert!(found);
    }
}

/// A stale read in a real history, of which everything else is right.
#[test]
fn a_single_stale_read_in_a_real_history_is_found_out() {
    let server = start();
    let mut history = history(&server, 7, GENERATION, &[Way::Multi]);
    assert_eq!(check(&history), Ok(()));
    let wrote = |history: &[Transaction], last: u64| {
        let wrote = |step: &Step| matches!(step, Step::Append(_, element) if *element == last);
        history.iter().find(|t| t.steps.iter().any(wrote)).expect("somebody wrote it").clone()
    };
    let changed = (0..history.len()).rev().skip(1).find(|at| {
        let reader = history[*at].clone();
        let [Step::Read(_, read)] = &reader.steps[..] else { return false };
        read.last().is_some_and(|last| wrote(&history, *last).ended < reader.began)
    });
    let Step::Read(_, read) = &mut history[changed.expect("such a read")].steps[0] else {
        panic!("a read was chosen")
    };
    read.pop();
    assert!(check(&history).is_err_and(|anomaly| anomaly.starts_with("cycle")));
}

/// A made-up history: all at the same time, so that only what they saw orders them.
fn made_up(transactions: &[&[Step]]) -> Vec<Transaction> {
    let began = Instant::now();
    let ended = began + Duration::from_secs(1);
    let one = |(process, steps): (usize, &&[Step])| Transaction {
        process,
        began,
        ended,
        steps: steps.to_vec(),
    };
    transactions.iter().enumerate().map(one).collect()
}

fn read(list: usize, elements: &[u64]) -> Step {
    Step::Read(list, elements.to_vec())
}

#[track_caller]
fn is_anomaly(name: &str, transactions: &[&[Step]]) {
    let anomaly = check(&made_up(transactions)).expect_err("an anomaly was planted");
    assert!(anomaly.starts_with(name), "{name} was planted, found {anomaly}");
}

#[test]
fn planted_anomalies_are_found() {
    let append = Step::Append;
    // Lost update: both have seen nothing.
    is_anomaly(
        "cycle",
        &[&[read(0, &[]), append(0, 1)], &[read(0, &[]), append(0, 2)], &[read(0, &[1, 2])]],
    );
    // Write skew: each has not seen what the other did.
    is_anomaly(
        "cycle",
        &[
            &[read(0, &[]), append(1, 1)],
            &[read(1, &[]), append(0, 2)],
            &[read(0, &[2]), read(1, &[1])],
        ],
    );
    // Fractured read: one half of what another did.
    is_anomaly(
        "cycle",
        &[
            &[append(0, 1), append(1, 2)],
            &[read(0, &[1]), read(1, &[])],
            &[read(0, &[1]), read(1, &[2])],
        ],
    );
    // The middle of another's work on one list.
    is_anomaly("cycle", &[&[append(0, 1), append(0, 2)], &[read(0, &[1])], &[read(0, &[1, 2])]]);
    // Two readers that saw two independent appends in different orders.
    is_anomaly(
        "cycle",
        &[
            &[append(0, 1)],
            &[append(1, 2)],
            &[read(0, &[1]), read(1, &[])],
            &[read(0, &[]), read(1, &[2])],
            &[read(0, &[1]), read(1, &[2])],
        ],
    );
    is_anomaly("lost append", &[&[append(0, 1)], &[read(0, &[])]]);
    is_anomaly("doubled", &[&[append(0, 1)], &[read(0, &[1, 1])]]);
    is_anomaly(
        "incompatible",
        &[&[append(0, 1)], &[append(0, 2)], &[read(0, &[2])], &[read(0, &[1, 2])]],
    );
    is_anomaly("not repeatable", &[&[append(0, 1)], &[read(0, &[]), read(0, &[1])]]);
    is_anomaly("not repeatable", &[&[append(0, 1), read(0, &[])], &[read(0, &[1])]]);
}

#[test]
fn a_history_in_order_is_none() {
    let append = Step::Append;
    let history = made_up(&[
        &[read(1, &[2]), append(0, 1), read(0, &[1])],
        &[read(0, &[]), append(1, 2)],
        &[append(0, 3), append(0, 4), read(0, &[1, 3, 4])],
        &[read(0, &[1]), read(1, &[2])],
        &[read(0, &[1, 3, 4]), read(1, &[2])],
    ]);
    assert_eq!(check(&history), Ok(()));
    // The same, with the last one over before the first one began.
    let mut late = history.clone();
    late[0].began = late[0].ended;
    assert_eq!(check(&late), Ok(()));
    late[4].ended = late[4].began;
    assert!(check(&late).is_err());
}
