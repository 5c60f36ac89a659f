//! Judges a recorded history of transactions that read and append to lists: could it have come from
//! running them one by one, in an order that agrees with the clock?
//!
//! The idea is that of Elle's list-append: every element is appended once, so that a list tells in
//! which order its writers came, and a read tells what its transaction came behind and before. From
//! that follow edges between transactions (one wrote behind another, read what it wrote, or did not
//! see it yet); a cycle is an anomaly, and without one any sorting of the graph is an order in
//! which everything could have happened.

use std::collections::HashMap;
use std::time::Instant;

/// A step of a transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Appends an element, which nobody else ever does, to a list.
    Append(usize, u64),
    /// Reads a whole list.
    Read(usize, Vec<u64>),
}

/// A transaction that has taken effect.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Who ran it: a connection runs one after the other.
    pub process: usize,
    /// Before it was sent.
    pub began: Instant,
    /// After it was answered.
    pub ended: Instant,
    /// In their order.
    pub steps: Vec<Step>,
}

/// Checks a history at whose end every list was read. The error names the anomaly.
pub fn check(history: &[Transaction]) -> Result<(), String> {
    let orders = orders(history)?;
    let writers = writers(history, &orders)?;
    history.iter().try_for_each(check_inside)?;
    let mut edges: Vec<Vec<(usize, &str)>> = vec![Vec::new(); history.len()];
    for (list, order) in &orders {
        let by: Vec<usize> = order.iter().map(|element| writers[&(*list, *element)]).collect();
        for pair in by.windows(2).filter(|pair| pair[0] != pair[1]) {
            edges[pair[0]].push((pair[1], "wrote before"));
        }
        for (reader, read) in reads_of(history, *list) {
            if let Some(&writer) = read.len().checked_sub(1).and_then(|last| by.get(last))
                && writer != reader
            {
                edges[writer].push((reader, "was read by"));
            }
            if let Some(&writer) = by.get(read.len())
                && writer != reader
            {
                edges[reader].push((writer, "had not yet seen"));
            }
        }
    }
    add_clock(history, &mut edges);
    match cycle(&edges) {
        Some(path) => Err(described(history, &path)),
        None => Ok(()),
    }
}

/// The order of each list's elements: its longest read, of which all other reads are beginnings.
fn orders(history: &[Transaction]) -> Result<HashMap<usize, &[u64]>, String> {
    let mut orders: HashMap<usize, &[u64]> = HashMap::new();
    for transaction in history {
        for step in &transaction.steps {
            let (list, read) = match step {
                Step::Append(list, _) => (list, &[][..]),
                Step::Read(list, read) => (list, read.as_slice()),
            };
            let order = orders.entry(*list).or_default();
            if read.len() > order.len() {
                *order = read;
            }
        }
    }
    for (reader, transaction) in history.iter().enumerate() {
        for step in &transaction.steps {
            if let Step::Read(list, read) = step
                && !orders[list].starts_with(read)
            {
                return Err(format!(
                    "incompatible order: {reader} read {read:?} of list {list}, which is {:?}",
                    orders[list]
                ));
            }
        }
    }
    Ok(orders)
}

/// Who appended which element of which list. Every append must be there, and once.
fn writers(
    history: &[Transaction],
    orders: &HashMap<usize, &[u64]>,
) -> Result<HashMap<(usize, u64), usize>, String> {
    let mut writers = HashMap::new();
    for (writer, transaction) in history.iter().enumerate() {
        for step in &transaction.steps {
            if let Step::Append(list, element) = step {
                let twice = writers.insert((*list, *element), writer);
                assert_eq!(twice, None, "the history appends {element} twice");
            }
        }
    }
    let mut left = writers.clone();
    for (list, order) in orders {
        for element in *order {
            if left.remove(&(*list, *element)).is_none() {
                return Err(format!("doubled or invented: {element} in list {list}"));
            }
        }
    }
    match left.iter().next() {
        Some(((list, element), writer)) => {
            Err(format!("lost append: {element} of {writer} is not in list {list}"))
        }
        None => Ok(writers),
    }
}

/// A transaction sees what it did itself, and nothing of others between its steps.
fn check_inside(transaction: &Transaction) -> Result<(), String> {
    let mut known: HashMap<usize, Vec<u64>> = HashMap::new();
    let mut own: HashMap<usize, Vec<u64>> = HashMap::new();
    for step in &transaction.steps {
        match step {
            Step::Append(list, element) => {
                own.entry(*list).or_default().push(*element);
                if let Some(known) = known.get_mut(list) {
                    known.push(*element);
                }
            }
            Step::Read(list, read) => {
                let own = own.get(list).map_or(&[][..], Vec::as_slice);
                let wanted = known.entry(*list).or_insert_with(|| read.clone());
                if wanted != read || !read.ends_with(own) {
                    return Err(format!("not repeatable inside: {:?}", transaction.steps));
                }
            }
        }
    }
    Ok(())
}

/// What each transaction read of a list.
fn reads_of(history: &[Transaction], list: usize) -> impl Iterator<Item = (usize, &[u64])> {
    history.iter().enumerate().flat_map(move |(reader, transaction)| {
        transaction.steps.iter().filter_map(move |step| match step {
            Step::Read(of, read) if *of == list => Some((reader, read.as_slice())),
            _ => None,
        })
    })
}

/// Who was answered before another was sent comes before it. The last one of each process is
/// enough, because those of a process follow each other.
fn add_clock(history: &[Transaction], edges: &mut [Vec<(usize, &str)>]) {
    let mut of_process: HashMap<usize, Vec<usize>> = HashMap::new();
    for (at, transaction) in history.iter().enumerate() {
        of_process.entry(transaction.process).or_default().push(at);
    }
    of_process.values_mut().for_each(|list| list.sort_by_key(|at| history[*at].began));
    for (later, transaction) in history.iter().enumerate() {
        for list in of_process.values() {
            let before = list.partition_point(|at| history[*at].ended < transaction.began);
            if let Some(&earlier) = before.checked_sub(1).and_then(|last| list.get(last)) {
                edges[earlier].push((later, "was over before"));
            }
        }
        let list = &of_process[&transaction.process];
        let place = list.iter().position(|at| *at == later).expect("it is of its process");
        if let Some(earlier) = place.checked_sub(1) {
            edges[list[earlier]].push((later, "came before"));
        }
    }
}

/// A cycle of the graph, as its nodes with the name of the edge that leaves each.
fn cycle<'e>(edges: &[Vec<(usize, &'e str)>]) -> Option<Vec<(usize, &'e str)>> {
    let mut into = vec![0; edges.len()];
    edges.iter().flatten().for_each(|(to, _)| into[*to] += 1);
    let mut free: Vec<usize> = (0..edges.len()).filter(|at| into[*at] == 0).collect();
    let mut sorted = vec![false; edges.len()];
    while let Some(at) = free.pop() {
        sorted[at] = true;
        for (to, _) in &edges[at] {
            into[*to] -= 1;
            if into[*to] == 0 {
                free.push(*to);
            }
        }
    }
    // What is left lies on cycles or behind them; going backwards, it only lies on them.
    let mut at = sorted.iter().position(|done| !done)?;
    let back = |node: usize| {
        let mut all = (0..edges.len()).filter(|from| !sorted[*from]);
        all.find_map(|from| {
            let edge = edges[from].iter().find(|(to, _)| *to == node)?;
            Some((from, edge.1))
        })
    };
    let mut path: Vec<(usize, &str)> = Vec::new();
    let mut seen = HashMap::new();
    while !seen.contains_key(&at) {
        seen.insert(at, path.len());
        let (from, name) = back(at).expect("an unsorted node has an unsorted one before it");
        path.push((from, name));
        at = from;
    }
    let mut path = path.split_off(seen[&at]);
    path.reverse();
    Some(path)
}

fn described(history: &[Transaction], path: &[(usize, &str)]) -> String {
    let mut text = "cycle:".to_owned();
    for (at, name) in path {
        text.push_str(&format!("\n  {at} {:?} {name}", history[*at].steps));
    }
    text
}
