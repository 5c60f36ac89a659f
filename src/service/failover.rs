//! FAILOVER: writes are held, the chosen replica catches up, then the roles change.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::state::FailoverPlan;
use crate::state::replication::{Failover, Replica, ReplicaState};

/// How often the replicas are asked how far they are.
const ASK_PERIOD: Duration = Duration::from_millis(100);

/// Waits for the replica and hands over; ends early when FAILOVER ABORT says so.
pub fn run(engine: &Arc<Engine>, plan: &FailoverPlan) {
    let server = &engine.server;
    let deadline = plan.timeout.map(|timeout| Instant::now() + timeout);
    loop {
        if *server.replication.failover.lock() != Failover::Waiting || server.has_ended() {
            return;
        }
        let offset = server.log.offset();
        if let Some(replica) = candidate(engine, plan, offset) {
            return hand_over(engine, &replica);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return match candidate(engine, plan, 0) {
                Some(replica) if plan.force => {
                    let name = format!("{}:{}", replica.ip, replica.port);
                    let message = format!("Failover to {name} time out exceeded, failing over.");
                    engine.server.logger.notice(&message);
                    hand_over(engine, &replica)
                }
                _ => give_up(engine, "Failover target didn't catch up in time"),
            };
        }
        server.log.append_control(&[b"REPLCONF", b"GETACK", b"*"]);
        std::thread::sleep(ASK_PERIOD);
    }
}

/// The replica to promote, if it has confirmed `offset`.
fn candidate(engine: &Engine, plan: &FailoverPlan, offset: u64) -> Option<Arc<Replica>> {
    engine.server.replication.replicas().into_iter().find(|replica| {
        let chosen = plan
            .target
            .as_ref()
            .is_none_or(|(host, port)| *host == replica.ip && *port == replica.port);
        chosen
            && replica.state() == ReplicaState::Online
            && replica.acked.load(Ordering::SeqCst) >= offset
    })
}

fn hand_over(engine: &Engine, replica: &Replica) {
    let server = &engine.server;
    let message = format!("Failover: promoting {}:{}", replica.ip, replica.port);
    server.logger.notice(&message);
    let guards = server.keyspace.lock_all();
    let mut state = server.replication.failover.lock();
    if *state != Failover::Waiting {
        // FAILOVER ABORT came first.
        return;
    }
    *state = Failover::InProgress;
    drop(state);
    // Writes that wait go on waiting: should the replica refuse, they are ours to execute.
    server.become_replica((replica.ip.clone(), replica.port));
    drop(guards);
}

/// Ends a failover that did not come about.
pub fn give_up(engine: &Engine, why: &str) {
    let server = &engine.server;
    server.logger.warning(&format!("Failover aborted: {why}"));
    *server.replication.failover.lock() = Failover::None;
    server.pause.let_writes_go();
}
