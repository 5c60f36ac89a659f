//! Hashes against a simple model.

use std::collections::HashMap;

use super::*;
use crate::base::rng::Rng;

type Model = HashMap<Vec<u8>, (Vec<u8>, Option<i64>)>;

fn limits(entries: usize) -> Limits {
    Limits { hash_max_listpack_entries: entries, ..Limits::default() }
}

fn text(item: Item) -> Vec<u8> {
    item.to_vec()
}

fn check(hash: &Hash, model: &Model) {
    assert_eq!((hash.len(), hash.is_empty()), (model.len(), model.is_empty()));
    assert_eq!(hash.next_deadline(), model.values().filter_map(|(_, at)| *at).min());
    let seen: Model = hash
        .fields()
        .map(|field| (text(field.name), (text(field.value), field.deadline)))
        .collect();
    assert_eq!(seen, *model);
    for (name, (value, deadline)) in model {
        let field = hash.get(name).unwrap();
        assert_eq!((text(field.value), field.deadline), (value.clone(), *deadline));
    }
    assert!(hash.get(b"absent").is_none());
    assert!(
        hash.as_triples()
            .is_none_or(|list| { list.is_empty() || packed::is_sound(list, Shape::Triples) })
    );
}

fn name(rng: &mut Rng, names: u64) -> Vec<u8> {
    let number = rng.next_u64() % names;
    match number % 3 {
        0 => number.to_string().into_bytes(),
        1 => format!("f{number}").into_bytes(),
        _ => format!("{number}").repeat(3).into_bytes(),
    }
}

fn value(rng: &mut Rng) -> Vec<u8> {
    match rng.next_u64() % 200 {
        0 => vec![b'x'; 300],
        number if number < 100 => number.to_string().into_bytes(),
        number => format!("value {number}").into_bytes(),
    }
}

fn exercise(seed: u64, entries: usize, names: u64, rounds: usize) {
    let mut rng = Rng::seeded(seed);
    let limits = Limits { hash_max_listpack_value: 10_000, ..limits(entries) };
    let (mut hash, mut model) = (Hash::default(), Model::new());
    let mut clones = Vec::new();
    for round in 0..rounds {
        if round % (rounds / 8) == 7 {
            check(&hash, &model);
            clones.push((hash.clone(), model.clone()));
            // Going on with either of the two makes no difference.
            if round % 2 == 0 {
                hash = hash.clone();
            }
        }
        let name = name(&mut rng, names);
        match rng.next_u64() % 10 {
            0..4 => {
                let value = value(&mut rng);
                assert_eq!(
                    hash.set(&name, &value, Deadline::Clear, &limits),
                    model.insert(name, (value, None)).is_none()
                );
            }
            4 => {
                let value = value(&mut rng);
                let old = model.get(&name).and_then(|(_, at)| *at);
                hash.set(&name, &value, Deadline::Keep, &limits);
                model.insert(name, (value, old));
            }
            5 | 6 => assert_eq!(hash.remove(&name), model.remove(&name).is_some()),
            7 | 8 => {
                let deadline = match rng.next_u64() % 4 {
                    0 => None,
                    _ => Some(1 + (rng.next_u64() % 50) as i64),
                };
                let known = model.get_mut(&name);
                assert_eq!(hash.set_deadline(&name, deadline), known.is_some());
                if let Some((_, at)) = known {
                    *at = deadline;
                }
            }
            _ => {
                let now = (rng.next_u64() % 20) as i64;
                while let Some(name) = hash.pop_due(now) {
                    let (_, deadline) = model.remove(&name).unwrap();
                    assert!(deadline.unwrap() < now);
                }
                assert!(model.values().all(|(_, at)| at.is_none_or(|at| at >= now)));
            }
        }
    }
    check(&hash, &model);
    clones.iter().for_each(|(clone, model)| check(clone, model));
}

#[test]
fn agrees_with_a_model() {
    exercise(1, 512, 40, 5_000);
    exercise(2, 10, 40, 5_000);
    exercise(3, 0, 40, 5_000);
    exercise(4, 100, 3_000, 30_000);
}

#[test]
fn forms_follow_redis() {
    assert_eq!(size_of::<Hash>(), 16);
    let limits = limits(4);
    let mut hash = Hash::default();
    for name in ["a", "b", "c", "d"] {
        hash.set(name.as_bytes(), b"1", Deadline::Clear, &limits);
    }
    assert_eq!(hash.encoding(), "listpack");
    let mut large = hash.clone();
    large.set(b"e", b"1", Deadline::Clear, &limits);
    assert_eq!(large.encoding(), "hashtable");
    large.remove(b"e");
    assert_eq!((large.encoding(), large == hash), ("hashtable", true));
    let mut long = hash.clone();
    long.set(b"a", &[b'x'; 65], Deadline::Clear, &limits);
    assert_eq!(long.encoding(), "hashtable");
    hash.make_timed();
    assert_eq!((hash.encoding(), large == hash), ("listpackex", true));
    let mut many = Hash::default();
    let pair: [&[u8]; 2] = [b"same", b"name"];
    many.prepare(&[pair; 5], &limits);
    assert_eq!(many.encoding(), "hashtable");
}

#[test]
fn triples_stand_in_the_order_of_redis() {
    let limits = limits(100);
    let mut hash = Hash::default();
    for name in ["a", "b", "c", "d", "e"] {
        hash.set(name.as_bytes(), name.as_bytes(), Deadline::Clear, &limits);
    }
    let mut order = |name: &str, deadline| {
        assert!(hash.set_deadline(name.as_bytes(), deadline));
        hash.fields().flat_map(|field| text(field.name)).map(char::from).collect::<String>()
    };
    assert_eq!(order("c", Some(50)), "cabde");
    assert_eq!(order("b", Some(60)), "cbade");
    // Of two with the same deadline the newer one comes first.
    assert_eq!(order("e", Some(60)), "cebad");
    assert_eq!(order("c", None), "ebadc");
    hash.set(b"b", b"9", Deadline::Clear, &limits);
    let names: Vec<_> = hash.fields().map(|field| text(field.name)).collect();
    assert_eq!(names.concat(), b"eadcb");
}

#[test]
fn foreign_blocks_are_checked() {
    let limits = limits(3);
    let pack = |values: &[&str]| {
        let mut list = Listpack::new();
        list.extend(values.iter().map(|value| value.as_bytes()));
        list
    };
    let pairs = |values: &[&str]| Hash::from_pairs(pack(values), &limits);
    assert_eq!(pairs(&["a", "1", "b", "2"]).unwrap().encoding(), "listpack");
    let many = ["a", "1", "b", "2", "c", "3", "d", "4"];
    assert_eq!(pairs(&many).unwrap().encoding(), "hashtable");
    for bad in [&[][..], &["a"], &["a", "1", "a", "2"], &["a", "1", "b"]] {
        assert!(pairs(bad).is_none(), "{bad:?}");
    }
    let triples = |values: &[&str]| Hash::from_triples(pack(values), &limits);
    let hash = triples(&["a", "1", "7", "b", "2", "0"]).unwrap();
    assert_eq!((hash.encoding(), hash.next_deadline()), ("listpackex", Some(7)));
    let bad: [&[&str]; 6] = [
        &[],
        &["a", "1", "0", "b", "2", "7"],
        &["a", "1", "9", "b", "2", "7"],
        &["a", "1", "-1"],
        &["a", "1", "x"],
        &["a", "1", "5", "a", "1", "6"],
    ];
    for bad in bad {
        assert!(triples(bad).is_none(), "{bad:?}");
    }
}

#[test]
fn random_fields_are_spread_evenly() {
    let mut rng = Rng::seeded(5);
    for entries in [100, 0] {
        let mut hash = Hash::default();
        assert!(hash.random(&mut || rng.next_u64()).is_none());
        for number in 0..50u8 {
            hash.set(&[b'a' + number], b"", Deadline::Clear, &limits(entries));
        }
        let mut counts = [0; 50];
        for _ in 0..10_000 {
            let field = hash.random(&mut || rng.next_u64()).unwrap();
            counts[usize::from(text(field.name)[0] - b'a')] += 1;
        }
        assert!(counts.iter().all(|count| (120..290).contains(count)), "{counts:?}");
    }
}
