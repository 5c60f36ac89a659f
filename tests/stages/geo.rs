//! Geospatial: scores and distances are computed here on their own and compared.
//!
//! The tester draws places uniformly in degrees, so many lie near a pole or far apart.

use super::support::client::{Client, Value};
use super::support::random::Random;
use super::support::server::Server;
use super::tester::{Place, WORDS, array, bulk_float, expect_error};

/// Adds places under the words in their order.
fn add_places(client: &mut Client, key: &str, places: &[Place]) {
    for (place, member) in places.iter().zip(WORDS) {
        place.add(client, key, member);
    }
}

fn random_places(random: &mut Random, count: usize) -> Vec<Place> {
    (0..count).map(|_| Place::random(random)).collect()
}

/// The members that a ZRANGE or GEOSEARCH gives, sorted.
#[track_caller]
fn members(client: &mut Client, command: &[impl AsRef<[u8]>]) -> Vec<String> {
    let reply = client.cmd_bytes(command);
    client.expect_no_more();
    let mut names: Vec<String> = reply.items().iter().map(|item| item.text()).collect();
    names.sort();
    names
}

/// Asserts that GEOPOS gives the centre of a place's cell.
#[track_caller]
fn expect_position(position: &Value, place: Place) {
    let [longitude, latitude] = position.items() else {
        panic!("two coordinates were expected, got {position}");
    };
    let centre = place.cell_centre();
    assert!((bulk_float(longitude) - centre.longitude).abs() <= 1e-6, "{position}");
    assert!((bulk_float(latitude) - centre.latitude).abs() <= 1e-6, "{position}");
}

#[test]
fn zt4_respond_to_geoadd() {
    let server = Server::start(&[]);
    Place::random(&mut Random::new(1)).add(&mut server.client(), "apple", "pear");
}

#[test]
fn ck3_validate_coordinates() {
    let server = Server::start(&[]);
    let mut client = server.client();
    for (longitude, latitude, bad) in [
        ("12.5", "86.1", "latitude"),
        ("12.5", "-86.1", "latitude"),
        ("181.5", "12.5", "longitude"),
        ("-181.5", "12.5", "longitude"),
    ] {
        expect_error(&mut client, &["GEOADD", "apple", longitude, latitude, "m"], "ERR ", &[bad]);
    }
}

#[test]
fn tn5_store_a_location() {
    let server = Server::start(&[]);
    let mut client = server.client();
    add_places(&mut client, "apple", &random_places(&mut Random::new(3), 3));
    let names = members(&mut client, &["ZRANGE", "apple", "0", "-1"]);
    assert_eq!(names, ["apple", "banana", "orange"]);
}

#[test]
fn cr3_calculate_location_score() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let mut random = Random::new(4);
    for round in 0..20 {
        let key = format!("places_{round}");
        let places = random_places(&mut random, 3);
        add_places(&mut client, &key, &places);
        for (place, member) in places.iter().zip(WORDS) {
            let score = bulk_float(&client.cmd(&["ZSCORE", &key, member]));
            assert_eq!(score, place.code() as f64, "{place:?}");
            client.expect_no_more();
        }
    }
}

#[test]
fn xg4_respond_to_geopos() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let places = random_places(&mut Random::new(5), 3);
    add_places(&mut client, "apple", &places);
    let reply = client.cmd(&[
        "GEOPOS",
        "apple",
        "missing_1",
        "orange",
        "missing_2",
        "missing_3",
        "apple",
        "banana",
    ]);
    client.expect_no_more();
    let positions = reply.items();
    assert_eq!(positions.len(), 6);
    for (i, place) in [(1, places[1]), (4, places[0]), (5, places[2])] {
        expect_position(&positions[i], place);
    }
    for i in [0, 2, 3] {
        assert_eq!(positions[i], Value::NullArray);
    }
    let nothing = array(&["*-1\r\n"; 3]);
    client.expect(&["GEOPOS", "missing_key_7", "apple", "pear", "mango"], &nothing);
}

#[test]
fn hb5_decode_coordinates() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let places = random_places(&mut Random::new(6), WORDS.len());
    for (place, member) in places.iter().zip(WORDS) {
        client.expect(&["ZADD", "apple", &place.code().to_string(), member], ":1\r\n");
    }
    let reply = client.cmd(&[&["GEOPOS", "apple"][..], &WORDS].concat());
    client.expect_no_more();
    assert_eq!(reply.items().len(), WORDS.len());
    for (position, place) in reply.items().iter().zip(places) {
        expect_position(position, place);
    }
}

#[test]
fn ek6_calculate_distance() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let places = random_places(&mut Random::new(7), WORDS.len());
    add_places(&mut client, "apple", &places);
    for (a, first) in places.iter().zip(WORDS) {
        for (b, second) in places.iter().zip(WORDS) {
            let got = bulk_float(&client.cmd(&["GEODIST", "apple", first, second]));
            let wanted = a.cell_centre().distance(b.cell_centre());
            assert!((got - wanted).abs() <= 1e-4, "{a:?} {b:?}: {got} for {wanted}");
        }
        let itself = bulk_float(&client.cmd(&["GEODIST", "apple", first, first]));
        assert_eq!(itself, 0.0);
    }
}

#[test]
fn rm9_search_within_radius() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let mut random = Random::new(8);
    for round in 0..20 {
        let key = format!("places_{round}");
        let places = random_places(&mut random, 4 + round % 2);
        add_places(&mut client, &key, &places);
        let count = places.len() as f64;
        let centre = Place {
            longitude: places.iter().map(|p| p.longitude).sum::<f64>() / count,
            latitude: places.iter().map(|p| p.latitude).sum::<f64>() / count,
        };
        let mut near: Vec<(f64, &str)> =
            places.iter().map(|p| p.cell_centre().distance(centre)).zip(WORDS).collect();
        near.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (nearest, farthest) = (near[0].0, near[near.len() - 1].0);
        for radius in [0.75 * nearest, 1.25 * farthest, (nearest + farthest) / 2.0] {
            let inside = near.iter().filter(|(distance, _)| *distance <= radius);
            let mut wanted: Vec<&str> = inside.map(|(_, member)| *member).collect();
            wanted.sort();
            assert_eq!(members(&mut client, &centre.search(&key, radius)), wanted, "{places:?}");
        }
    }
}
