//! Few threads that attend to many busy connections.
//!
//! A connection's own thread waits in reading. That is the shortest way for one client, but costs a
//! change of threads per request, which is most of the work where many are busy and do not
//! pipeline. So a thread that finds itself in a crowd ([`Pressure`]) gives its connection to an
//! attendant and sleeps until it gets it back. The attendant waits for all its sockets at once,
//! executes what each has brought, and then sends all replies: one change of threads, and one write
//! of the append-only file, is for many requests.
//!
//! An attendant must not wait for anybody. It executes only commands that do not either
//! (`Command::is_brisk`) and whose work is not long (`Ctx::let_go`); a connection with another
//! one goes home, with the command unexecuted. So does one that is silent. Should an attendant be
//! held up nevertheless, the watch sends all other connections home.
//!
//! Half of the attendants suffice for short turns, whose time the sockets take. Where commands take
//! most of it, those that are at work all the time share with the others.
//!
//! Invariants: a connection is in one place (see [`Place`]), and only who has taken it from there
//! works with it; its own thread sleeps until it is [`Place::Home`].

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::base::lock::{Lock, rank};
use crate::base::sys::{Interest, POLL_IN, wait_for};
use crate::base::wake::Waker;
use crate::engine::Engine;
use crate::service::connection::Connection;
use crate::state::stats::Stats;

/// Turns between two looks at how crowded it is, of a connection that was sent home because of what
/// it asked for. All others look at each turn.
const TURNS_WHEN_CALM: u64 = 256;
/// It is crowded where the others have so many turns for each of its own,
const OTHERS: u64 = 4;
/// and all together so many in a millisecond; it is not if it was silent so long that an attendant
/// would send it home.
const TURNS_PER_MS: u64 = 5;

/// How often an attendant looks at how long it had to wait, and whether to share.
const PERIOD: Duration = Duration::from_millis(20);
/// How often it looks for connections that have been silent since, or that are few. Of a thousand
/// busy ones each may have a turn every 20 ms.
const SILENCE: Duration = Duration::from_millis(100);
/// A turn that takes longer counts against its connection, which is better off with its own thread
/// then. But once in a while it is the attendant that was not given a processor.
const LONG_TURN: Duration = Duration::from_micros(500);
/// Short turns that make up for a long one.
const LONG_WEIGHT: u32 = 4;
/// What a connection may have against it.
const STRIKES: u32 = 3 * LONG_WEIGHT;
/// A helper keeps connections for so long before it is asked whether it is of use.
const SHARED_FOR: Duration = Duration::from_millis(200);
/// So few connections are no crowd.
const FEW: usize = 3;

/// How often the watch looks at the attendants.
const LOOK: Duration = Duration::from_millis(3);
/// So many looks in a row that find an attendant at the same connection mean that it is held up.
const LOOKS: u32 = 6;

/// How crowded it is around one connection, as its own thread sees it: by the reads of all
/// connections during some turns of its own.
pub(super) struct Pressure {
    /// Turns of its own since the last look, and how many there are to be until the next.
    turns: u64,
    until: u64,
    /// Reads of all connections at the last look, and when that was.
    reads: u64,
    began_ms: i64,
    /// What long turns with an attendant have left against it.
    strikes: u32,
}

/// All attendants of a server.
pub(super) struct Attendants {
    list: Vec<Attendant>,
    /// Rung when there is something to watch.
    watch_bell: Waker,
}

struct Attendant {
    /// The connections that are with it; the lock guards nothing but the list.
    seats: Lock<Vec<Arc<Seat>>>,
    /// Changed behind each change of `seats`.
    changes: AtomicU64,
    /// Rung for an attendant that waits for its sockets.
    bell: Waker,
    is_waiting: AtomicBool,
    /// Changes from turn to turn.
    beat: AtomicU64,
    /// It takes no connections: it is held up, or has ended.
    is_closed: AtomicBool,
}

/// A connection that its own thread has given away.
struct Seat {
    fd: RawFd,
    owner: Thread,
    /// Whether it has brought something since the attendant looked back last.
    is_busy: AtomicBool,
    place: Lock<Place>,
}

/// Where a connection is.
enum Place {
    /// With an attendant, who waits for its socket.
    Seated(Box<Connection>),
    /// The attendant works with it; whether it is to go home then.
    Attended(bool),
    /// Its own thread may take it back.
    Home(Box<Connection>),
    /// Its own thread has done so.
    Gone,
}

/// What an attendant has done for some time.
struct Record {
    began: Instant,
    waited: Duration,
    executed: Duration,
    sent: Duration,
}

/// What an attendant works with: the seats as of `changes`.
struct Rounds<'a> {
    attendant: &'a Attendant,
    changes: u64,
    seats: Vec<Arc<Seat>>,
    /// The bell and the sockets of the seats.
    list: Vec<Interest>,
    /// Places in `seats` whose replies are to be sent.
    answered: Vec<usize>,
    /// The buffer that connections read into, unless what they brought last is not executed.
    spare: Vec<u8>,
    record: Record,
    looked_back: Instant,
}

impl Pressure {
    /// Begins now, in Unix ms.
    pub(super) fn new(stats: &Stats, now_ms: i64) -> Self {
        Pressure { turns: 0, until: 1, reads: stats.reads(), began_ms: now_ms, strikes: 0 }
    }

    /// To be asked behind each turn, and told the time in Unix ms; whether it is crowded.
    pub(super) fn is_high(&mut self, stats: &Stats, now_ms: i64) -> bool {
        self.turns += 1;
        if self.turns < self.until {
            return false;
        }
        let turns = self.turns;
        let all = stats.reads().saturating_sub(self.reads);
        let passed_ms = u64::try_from(now_ms - self.began_ms).unwrap_or(0);
        *self = Pressure::new(stats, now_ms);
        let is_busy = u128::from(passed_ms) < SILENCE.as_millis() * u128::from(turns);
        is_busy && all >= turns * (OTHERS + 1) && all >= passed_ms * TURNS_PER_MS
    }

    /// Begins anew, as nothing was asked while an attendant was at work.
    pub(super) fn begin(&mut self, stats: &Stats, now_ms: i64) {
        *self = Pressure { until: self.until, ..Pressure::new(stats, now_ms) };
    }

    /// Notes how long an attendant took for a turn; whether the connection may stay with him.
    fn note(&mut self, took: Duration) -> bool {
        self.strikes = match took > LONG_TURN {
            true => self.strikes + LONG_WEIGHT,
            false => self.strikes.saturating_sub(1),
        };
        self.strikes < STRIKES
    }

    /// It has asked for what an attendant does not do, and is likely to do so again.
    fn calm(&mut self) {
        self.until = TURNS_WHEN_CALM;
    }
}

impl Seat {
    /// Takes the connection to work with it, unless it has gone home.
    fn take(&self) -> Option<Box<Connection>> {
        let mut place = self.place.lock();
        match std::mem::replace(&mut *place, Place::Attended(false)) {
            Place::Seated(connection) => Some(connection),
            other => {
                *place = other;
                None
            }
        }
    }

    /// Puts the connection back, or sends it home; whether it stays.
    fn put(&self, connection: Box<Connection>, stays: bool) -> bool {
        let mut place = self.place.lock();
        let stays = stays && !matches!(*place, Place::Attended(true));
        *place = if stays { Place::Seated(connection) } else { Place::Home(connection) };
        drop(place);
        if !stays {
            self.owner.unpark();
        }
        stays
    }

    /// Sends the connection home, at the latest when the attendant is done with it.
    fn send_home(&self) {
        let mut place = self.place.lock();
        *place = match std::mem::replace(&mut *place, Place::Gone) {
            Place::Seated(connection) => Place::Home(connection),
            Place::Attended(_) => Place::Attended(true),
            other => other,
        };
        drop(place);
        self.owner.unpark();
    }

    /// Sleeps until the connection is home.
    fn wait(&self) -> Box<Connection> {
        loop {
            let mut place = self.place.lock();
            match std::mem::replace(&mut *place, Place::Gone) {
                Place::Home(connection) => return connection,
                other => *place = other,
            }
            drop(place);
            thread::park();
        }
    }

    /// Whether it is taken still.
    fn is_taken(&self) -> bool {
        matches!(*self.place.lock(), Place::Seated(_) | Place::Attended(false))
    }
}

impl Attendants {
    /// One for each processor; fails without file descriptors.
    pub(super) fn new() -> io::Result<Self> {
        let processors = thread::available_parallelism().map_or(1, |n| n.get());
        let list = (0..processors).map(|_| Attendant::new()).collect::<io::Result<_>>()?;
        Ok(Attendants { list, watch_bell: Waker::new()? })
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.list.len()
    }

    /// How many take connections from their own threads.
    fn front(&self) -> usize {
        self.list.len().div_ceil(2)
    }

    /// Gives a connection to an attendant, and sleeps until it comes home: at once, if none takes
    /// it.
    pub(super) fn attend(&self, mut connection: Connection) -> Connection {
        let fd = connection.fd();
        let attendant = &self.list[fd as usize % self.front()];
        let mut seats = attendant.seats.lock();
        if attendant.is_closed.load(Ordering::SeqCst) || connection.leave_home().is_err() {
            return connection;
        }
        let place = Lock::new(rank::LEAF + 96, Place::Seated(Box::new(connection)));
        let is_busy = AtomicBool::new(true);
        let seat = Arc::new(Seat { fd, owner: thread::current(), is_busy, place });
        seats.push(Arc::clone(&seat));
        let is_first = seats.len() == 1;
        drop(seats);
        attendant.changed();
        if is_first {
            self.watch_bell.wake();
        }
        let mut connection = seat.wait();
        connection.come_home();
        *connection
    }

    /// Wakes all, so that they see that the server has ended.
    pub(super) fn wake(&self) {
        self.watch_bell.wake();
        self.list.iter().for_each(|attendant| attendant.bell.wake());
    }

    /// Shares the connections of an attendant with its helper, or gives back those of a helper, if
    /// what it has done says so; whether that was looked at. The bounds are such that pipelines of
    /// 16 are shared on two processors, where that is of use, and single commands are not.
    fn share(&self, index: usize, record: &Record) -> bool {
        let attendant = &self.list[index];
        let passed = record.began.elapsed();
        if index < self.front() {
            let is_at_work = record.waited * 4 < passed && record.executed * 2 >= record.sent * 5;
            match self.list.get(self.front() + index) {
                Some(helper) if is_at_work && helper.seats.lock().is_empty() => {
                    attendant.move_to(helper, 2);
                }
                _ => {}
            }
            return true;
        }
        let is_over = passed >= SHARED_FOR;
        if is_over && (record.waited * 2 > passed || record.executed * 2 < record.sent * 3) {
            attendant.move_to(&self.list[index % self.front()], 1);
        }
        is_over
    }
}

impl Attendant {
    fn new() -> io::Result<Self> {
        Ok(Attendant {
            seats: Lock::new(rank::LEAF + 95, Vec::new()),
            changes: AtomicU64::new(0),
            bell: Waker::new()?,
            is_waiting: AtomicBool::new(false),
            beat: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
        })
    }

    /// Its seats are others.
    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        if self.is_waiting.load(Ordering::SeqCst) {
            self.bell.wake();
        }
    }

    /// Lets another one have every `nth` of its connections.
    fn move_to(&self, other: &Attendant, nth: usize) {
        let mut place = 0;
        let is_moved = |_: &mut Arc<Seat>| {
            place += 1;
            place % nth == 0
        };
        let moved: Vec<_> = self.seats.lock().extract_if(.., is_moved).collect();
        other.seats.lock().extend(moved);
        self.changed();
        other.changed();
        if other.is_closed.load(Ordering::SeqCst) {
            other.clear();
        }
    }

    /// Sends all connections home.
    fn clear(&self) {
        self.seats.lock().drain(..).for_each(|seat| seat.send_home());
        self.changed();
    }

    /// Takes no more connections and sends home those it has.
    fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.clear();
    }
}

/// However an attendant ends, no connection is left behind.
impl Drop for Rounds<'_> {
    fn drop(&mut self) {
        self.attendant.close();
    }
}

impl Rounds<'_> {
    /// Waits until a connection has brought something.
    fn wait(&mut self) {
        let attendant = self.attendant;
        let changes = attendant.changes.load(Ordering::SeqCst);
        if changes != self.changes {
            self.changes = changes;
            if self.seats.is_empty() {
                self.record = Record::new();
            }
            self.list.truncate(1);
            let seats = attendant.seats.lock();
            self.list.extend(seats.iter().map(|seat| Interest::new(seat.fd, POLL_IN)));
            self.seats.clone_from(&seats);
        }
        if self.seats.is_empty() || wait_for(&mut self.list, Some(Duration::ZERO)) == 0 {
            let began = Instant::now();
            attendant.is_waiting.store(true, Ordering::SeqCst);
            if attendant.changes.load(Ordering::SeqCst) == self.changes {
                let timeout = if self.seats.is_empty() { Duration::from_secs(1) } else { PERIOD };
                wait_for(&mut self.list, Some(timeout));
            }
            attendant.is_waiting.store(false, Ordering::SeqCst);
            self.record.waited += began.elapsed();
        }
        if self.list[0].happened != 0 {
            attendant.bell.clear();
        }
    }

    /// Executes what the connections have brought, then sends all replies.
    fn attend(&mut self) {
        let (mut now, mut have_left) = (Instant::now(), false);
        for (place, interest) in self.list[1..].iter().enumerate() {
            if interest.happened == 0 {
                continue;
            }
            let seat = &self.seats[place];
            seat.is_busy.store(true, Ordering::Relaxed);
            let Some(mut connection) = seat.take() else { continue };
            self.attendant.beat.fetch_add(1, Ordering::Relaxed);
            let began = now;
            let mut stays = connection.receive(&mut self.spare);
            now = Instant::now();
            self.record.executed += now - began;
            stays &= connection.pressure.note(now - began);
            if !stays {
                connection.pressure.calm();
            }
            if seat.put(connection, stays) {
                self.answered.push(place);
            } else {
                have_left = true;
            }
        }
        for place in self.answered.drain(..) {
            let seat = &self.seats[place];
            let Some(mut connection) = seat.take() else { continue };
            self.attendant.beat.fetch_add(1, Ordering::Relaxed);
            let stays = connection.reply();
            have_left |= !seat.put(connection, stays);
        }
        self.record.sent += now.elapsed();
        if have_left {
            self.forget_the_gone();
        }
    }

    /// Takes those who have gone home off the list.
    fn forget_the_gone(&self) {
        self.attendant.seats.lock().retain(|seat| seat.is_taken());
        self.attendant.changed();
    }

    /// Sends home who has been silent, or all if they are few. To be called once in a while.
    fn look_back(&mut self) {
        let is_busy = |seat: &&Arc<Seat>| seat.is_busy.load(Ordering::Relaxed);
        let are_few = self.seats.iter().filter(is_busy).count() <= FEW;
        let mut have_left = false;
        for seat in &self.seats {
            if !seat.is_busy.swap(false, Ordering::Relaxed) || are_few {
                seat.send_home();
                have_left = true;
            }
        }
        if have_left {
            self.forget_the_gone();
        }
    }
}

impl Record {
    fn new() -> Self {
        let none = Duration::ZERO;
        Record { began: Instant::now(), waited: none, executed: none, sent: none }
    }
}

/// Runs one of the attendants until the server ends.
pub(super) fn run(engine: &Engine, attendants: &Attendants, index: usize) {
    let attendant = &attendants.list[index];
    let mut rounds = Rounds {
        attendant,
        changes: 0,
        seats: Vec::new(),
        list: vec![Interest::new(attendant.bell.fd(), POLL_IN)],
        answered: Vec::new(),
        spare: Vec::new(),
        record: Record::new(),
        looked_back: Instant::now(),
    };
    while !engine.server.has_ended() {
        attendant.is_closed.store(false, Ordering::SeqCst);
        rounds.wait();
        rounds.attend();
        if rounds.record.began.elapsed() >= PERIOD && attendants.share(index, &rounds.record) {
            rounds.record = Record::new();
        }
        if rounds.looked_back.elapsed() >= SILENCE {
            rounds.looked_back = Instant::now();
            rounds.look_back();
        }
    }
}

/// Watches the attendants until the server ends.
pub(super) fn watch(engine: &Engine, attendants: &Attendants) {
    // With each the beat that was seen last, and how often.
    let mut seen = vec![(0, 0); attendants.count()];
    while !engine.server.has_ended() {
        let is_idle = attendants.list.iter().all(|attendant| attendant.seats.lock().is_empty());
        if is_idle {
            let mut list = [Interest::new(attendants.watch_bell.fd(), POLL_IN)];
            wait_for(&mut list, Some(Duration::from_secs(1)));
            attendants.watch_bell.clear();
        } else {
            thread::sleep(LOOK);
        }
        for (attendant, (beat, looks)) in attendants.list.iter().zip(&mut seen) {
            let now = attendant.beat.load(Ordering::Relaxed);
            let is_held_up = now == *beat && !attendant.is_waiting.load(Ordering::SeqCst);
            (*beat, *looks) = (now, if is_held_up { *looks + 1 } else { 0 });
            if *looks >= LOOKS && !attendant.seats.lock().is_empty() {
                attendant.close();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it is crowded at the end of some turns, behind each of which the others have
    /// `others`, in so many milliseconds altogether.
    fn is_high(pressure: &mut Pressure, stats: &Stats, turns: u64, others: u64, ms: u64) -> bool {
        let began_ms = pressure.began_ms;
        let mut is_high = false;
        for turn in 1..=turns {
            (0..=others).for_each(|id| stats.received(id, 1));
            is_high = pressure.is_high(stats, began_ms + (ms * turn / turns) as i64);
            assert!(turn == turns || !is_high);
        }
        is_high
    }

    #[test]
    fn many_that_are_busy_are_a_crowd() {
        let stats = Stats::new(1);
        let mut pressure = Pressure::new(&stats, 0);
        let few_ms = (OTHERS + 1) / TURNS_PER_MS;
        assert!(is_high(&mut pressure, &stats, 1, OTHERS, few_ms));
        assert!(!is_high(&mut pressure, &stats, 1, OTHERS - 1, 0), "too few");
        assert!(!is_high(&mut pressure, &stats, 1, OTHERS, few_ms + 1), "too slow");
        assert!(!is_high(&mut pressure, &stats, 1, 0, 0), "one alone");
        assert!(is_high(&mut pressure, &stats, 1, 1000, 99));
        assert!(!is_high(&mut pressure, &stats, 1, 1000, 100), "would be sent home");
        pressure.calm();
        pressure.begin(&stats, 5);
        assert!(is_high(&mut pressure, &stats, TURNS_WHEN_CALM, OTHERS, few_ms));
        (0..100).for_each(|id| stats.received(id, 1));
        pressure.begin(&stats, 1000);
        assert!(!is_high(&mut pressure, &stats, 1, 0, 0), "what came before does not count");
        // A clock that is set back, and counters that are reset, are no reason to panic.
        (0..100).for_each(|id| stats.received(id, 1));
        stats.reset();
        assert!(!pressure.is_high(&stats, 0));
    }

    #[test]
    fn one_long_turn_is_forgiven_and_many_are_not() {
        let mut pressure = Pressure::new(&Stats::new(1), 0);
        let (short, long) = (Duration::ZERO, LONG_TURN * 2);
        for _ in 0..100 {
            assert!(pressure.note(long));
            (0..LONG_WEIGHT).for_each(|_| assert!(pressure.note(short)));
        }
        let noted = (0..100).take_while(|_| pressure.note(short) && pressure.note(long)).count();
        assert!(noted < 5, "{noted}");
    }
}
