//! Places on the earth as numbers of 52 bits, which are the scores of a sorted set.
//!
//! The number interleaves the bits of two offsets of 26 bits each: latitude in the even bits,
//! longitude in the odd ones. So numbers with equal high bits lie in one cell of a grid, and a
//! search reads the ranges of numbers of the few cells that it touches. All arithmetic is in the
//! order in which Redis does it, because the last bit of a score counts.
//!
//! Must not know the sorted set nor the commands. Angles are degrees, distances meters.

use std::cmp::Ordering;
use std::f64::consts::PI;

/// The greatest longitude.
pub const LONGITUDE_MAX: f64 = 180.0;
/// The greatest latitude: that of the square map of the web, which has no poles.
pub const LATITUDE_MAX: f64 = 85.05112878;

/// Bits of each coordinate in a score.
const STEPS: u32 = 26;

/// The radius of the earth in this model.
const EARTH_RADIUS: f64 = 6372797.560856;

/// Half the length of the equator on the map.
const MAP_MAX: f64 = 20037726.37;

/// The letters of a geohash, five bits each.
const LETTERS: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";

/// A point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Degrees east.
    pub longitude: f64,
    /// Degrees north.
    pub latitude: f64,
}

/// A cell of the grid that has 2^`steps` columns and as many rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    column: u32,
    row: u32,
    steps: u32,
}

/// What is searched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// All within this distance.
    Circle(f64),
    /// All within half of this width and half of this height.
    Box(f64, f64),
}

/// A shape around a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    /// Its middle.
    pub center: Point,
    /// Its shape.
    pub shape: Shape,
}

fn radians(degrees: f64) -> f64 {
    degrees * (PI / 180.0)
}

fn degrees(radians: f64) -> f64 {
    radians / (PI / 180.0)
}

/// The place of a coordinate among 2^`steps` parts of its range.
fn offset(value: f64, max: f64, steps: u32) -> u32 {
    let part = (value + max) / (max + max);
    // Truncated, not rounded. The greatest value itself lies one beyond the last part.
    (part * (1u64 << steps) as f64) as u32
}

/// Where a part begins.
fn edge(offset: u32, max: f64, steps: u32) -> f64 {
    -max + (f64::from(offset) / (1u64 << steps) as f64) * (max + max)
}

/// Spreads the bits of a number to the even places.
fn spread(bits: u32) -> u64 {
    let mut x = u64::from(bits);
    x = (x | x << 16) & 0x0000_ffff_0000_ffff;
    x = (x | x << 8) & 0x00ff_00ff_00ff_00ff;
    x = (x | x << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    x = (x | x << 2) & 0x3333_3333_3333_3333;
    (x | x << 1) & 0x5555_5555_5555_5555
}

/// Gathers the bits at the even places.
fn gather(bits: u64) -> u32 {
    let mut x = bits & 0x5555_5555_5555_5555;
    x = (x | x >> 1) & 0x3333_3333_3333_3333;
    x = (x | x >> 2) & 0x0f0f_0f0f_0f0f_0f0f;
    x = (x | x >> 4) & 0x00ff_00ff_00ff_00ff;
    x = (x | x >> 8) & 0x0000_ffff_0000_ffff;
    (x | x >> 16) as u32
}

/// A score as the bits that it stands for. Any number may be a score; out of range it becomes what
/// a conversion on x86-64 makes of it.
fn bits_of(score: f64) -> u64 {
    const HALF: f64 = (1u64 << 63) as f64;
    if score < HALF {
        score as i64 as u64
    } else if score < 2.0 * HALF {
        score as u64
    } else {
        0
    }
}

impl Point {
    /// The point, if it is on the map.
    pub fn new(longitude: f64, latitude: f64) -> Option<Point> {
        let inside = longitude.abs() <= LONGITUDE_MAX && latitude.abs() <= LATITUDE_MAX;
        inside.then_some(Point { longitude, latitude })
    }

    /// The number of 52 bits that stands for the point; the next one up for the corner of the map.
    pub fn to_bits(self) -> u64 {
        Cell::of(self, STEPS).bits()
    }

    /// The middle of the cell that a score stands for.
    pub fn from_score(score: f64) -> Point {
        let bits = bits_of(score);
        let middle = |offset: u32, max: f64| {
            let (low, high) = (edge(offset, max, STEPS), edge(offset.wrapping_add(1), max, STEPS));
            ((low + high) / 2.0).clamp(-max, max)
        };
        Point {
            longitude: middle(gather(bits >> 1), LONGITUDE_MAX),
            latitude: middle(gather(bits), LATITUDE_MAX),
        }
    }

    /// The distance along the surface, by the haversine formula.
    pub fn distance(self, other: Point) -> f64 {
        let v = ((radians(other.longitude) - radians(self.longitude)) / 2.0).sin();
        if v == 0.0 {
            return self.latitude_distance(other);
        }
        let (from, to) = (radians(self.latitude), radians(other.latitude));
        let u = ((to - from) / 2.0).sin();
        let a = u * u + from.cos() * to.cos() * v * v;
        2.0 * EARTH_RADIUS * a.sqrt().asin()
    }

    fn latitude_distance(self, other: Point) -> f64 {
        EARTH_RADIUS * (radians(other.latitude) - radians(self.latitude)).abs()
    }

    /// The usual geohash of eleven letters, whose grid reaches to the poles. Its last letter would
    /// need more bits than there are and is always 0.
    pub fn geohash(self) -> [u8; 11] {
        let column = offset(self.longitude, 180.0, STEPS);
        let row = offset(self.latitude, 90.0, STEPS);
        let bits = spread(row) | spread(column) << 1;
        let mut text = [LETTERS[0]; 11];
        for (index, letter) in text[..10].iter_mut().enumerate() {
            *letter = LETTERS[(bits >> (52 - (index + 1) * 5)) as usize & 0x1f];
        }
        text
    }
}

impl Cell {
    fn of(point: Point, steps: u32) -> Cell {
        Cell {
            column: offset(point.longitude, LONGITUDE_MAX, steps),
            row: offset(point.latitude, LATITUDE_MAX, steps),
            steps,
        }
    }

    fn bits(self) -> u64 {
        spread(self.row) | spread(self.column) << 1
    }

    /// The range of scores in the cell, its end excluded.
    fn scores(self) -> (f64, f64) {
        let shift = 2 * (STEPS - self.steps);
        ((self.bits() << shift) as f64, ((self.bits() + 1) << shift) as f64)
    }

    /// The number of the last column, and row. Points on the eastern or northern edge of the map
    /// have cells of their own behind it.
    fn last(self) -> u32 {
        ((1u64 << self.steps) - 1) as u32
    }

    /// The cell beside it in both directions; the grid goes on from its other side.
    fn neighbor(self, east: i32, north: i32) -> Cell {
        let moved =
            |at: u32, by| if by == 0 { at } else { at.wrapping_add_signed(by) & self.last() };
        Cell { column: moved(self.column, east), row: moved(self.row, north), steps: self.steps }
    }

    /// The cell at the other side of the map, if this is one behind the last.
    fn wrapped(self) -> Cell {
        Cell { column: self.column & self.last(), row: self.row & self.last(), ..self }
    }

    /// The cells behind the last ones that are beside it.
    fn behind(self) -> impl Iterator<Item = Cell> {
        let Cell { column, row, steps } = self;
        let columns = (column == self.last()).then_some(column + 1);
        let rows = (row == self.last()).then_some(row + 1);
        let beside = columns.map(|column| Cell { column, row, steps });
        let above = rows.map(|row| Cell { column, row, steps });
        let corner = columns.zip(rows).map(|(column, row)| Cell { column, row, steps });
        [beside, above, corner].into_iter().flatten()
    }

    fn west(self) -> f64 {
        edge(self.column, LONGITUDE_MAX, self.steps)
    }

    fn east(self) -> f64 {
        edge(self.column.wrapping_add(1), LONGITUDE_MAX, self.steps)
    }

    fn south(self) -> f64 {
        edge(self.row, LATITUDE_MAX, self.steps)
    }

    fn north(self) -> f64 {
        edge(self.row.wrapping_add(1), LATITUDE_MAX, self.steps)
    }
}

/// The edges of a rectangle of degrees.
struct Bounds {
    west: f64,
    south: f64,
    east: f64,
    north: f64,
}

impl Area {
    /// Half the width and half the height.
    fn extent(&self) -> (f64, f64) {
        match self.shape {
            Shape::Circle(radius) => (radius, radius),
            Shape::Box(width, height) => (width / 2.0, height / 2.0),
        }
    }

    /// The distance to the farthest points.
    fn reach(&self) -> f64 {
        match self.shape {
            Shape::Circle(radius) => radius,
            Shape::Box(width, height) => {
                ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt()
            }
        }
    }

    /// The bounds as Redis has them, which are wrong around a pole.
    fn redis_bounds(&self) -> Bounds {
        let (width, height) = self.extent();
        let Point { longitude, latitude } = self.center;
        let up = degrees(height / EARTH_RADIUS);
        // The parallel that is nearer to a pole is the shorter one.
        let parallel = if latitude < 0.0 { latitude - up } else { latitude + up };
        let side = degrees(width / EARTH_RADIUS / radians(parallel).cos());
        Bounds {
            west: longitude - side,
            south: latitude - up,
            east: longitude + side,
            north: latitude + up,
        }
    }

    /// The bounds: around a pole all longitudes are near.
    fn bounds(&self) -> Bounds {
        let bounds = self.redis_bounds();
        if bounds.south > -90.0 && bounds.north < 90.0 {
            return bounds;
        }
        Bounds { west: f64::NEG_INFINITY, east: f64::INFINITY, ..bounds }
    }

    /// So many bits of each coordinate that three cells beside each other are about as wide as the
    /// area.
    fn steps(&self) -> u32 {
        let mut reach = self.reach();
        if reach == 0.0 {
            return STEPS;
        }
        let mut steps = 1;
        while reach < MAP_MAX {
            reach *= 2.0;
            steps += 1;
        }
        steps -= 2;
        // Cells get narrower towards the poles.
        let latitude = self.center.latitude.abs();
        steps -= i32::from(latitude > 66.0) + i32::from(latitude > 80.0);
        steps.clamp(1, STEPS as i32) as u32
    }

    /// The ranges of scores, ends excluded and without overlap, that hold all points of the area,
    /// in the order in which Redis searches them: the middle cell, the four beside it, the four at
    /// its corners. What Redis misses, near the poles and the edges of the map, follows.
    pub fn ranges(&self) -> Vec<(f64, f64)> {
        let mut ranges = Vec::with_capacity(9);
        let bounds = self.redis_bounds();
        let mut steps = self.steps();
        if steps > 1 && Cell::of(self.center, steps).is_small_for(&bounds) {
            steps -= 1;
        }
        let middle = Cell::of(self.center, steps);
        for cell in middle.with_neighbors(&bounds) {
            add_range(&mut ranges, cell.scores());
        }
        let bounds = self.bounds();
        while steps > 1 && !Cell::of(self.center, steps).wrapped().covers(&bounds) {
            steps -= 1;
        }
        let middle = Cell::of(self.center, steps).wrapped();
        for cell in middle.with_neighbors(&bounds) {
            add_range(&mut ranges, cell.scores());
            cell.behind().for_each(|cell| add_range(&mut ranges, cell.scores()));
        }
        ranges
    }

    /// The distance of a point from the middle, if it is inside.
    pub fn distance(&self, point: Point) -> Option<f64> {
        match self.shape {
            Shape::Circle(radius) => {
                // A distance that is no number, between antipodes, is not farther.
                let distance = self.center.distance(point);
                (distance.partial_cmp(&radius) != Some(Ordering::Greater)).then_some(distance)
            }
            Shape::Box(width, height) => {
                if point.latitude_distance(self.center) > height / 2.0 {
                    return None;
                }
                let beside = Point { latitude: point.latitude, ..self.center };
                if point.distance(beside) > width / 2.0 {
                    return None;
                }
                Some(self.center.distance(point))
            }
        }
    }
}

/// Adds what of a range is not in any other.
fn add_range(ranges: &mut Vec<(f64, f64)>, range: (f64, f64)) {
    let mut left = vec![range];
    for &(start, end) in ranges.iter() {
        let cut = |(from, to): (f64, f64)| [(from, to.min(start)), (from.max(end), to)];
        left = left.into_iter().flat_map(cut).filter(|(from, to)| from < to).collect();
    }
    ranges.append(&mut left);
}

/// What a search asks of cells.
impl Cell {
    /// Whether one of the neighbours ends within the bounds, by Redis's test, which knows nothing
    /// of the other side of the map.
    fn is_small_for(self, bounds: &Bounds) -> bool {
        self.neighbor(0, 1).north() < bounds.north
            || self.neighbor(0, -1).south() > bounds.south
            || self.neighbor(1, 0).east() < bounds.east
            || self.neighbor(-1, 0).west() > bounds.west
    }

    /// Whether it and its neighbours reach to all bounds that lie on the map.
    fn covers(self, bounds: &Bounds) -> bool {
        let (width, height) = (self.east() - self.west(), self.north() - self.south());
        self.west() - width <= bounds.west
            && self.east() + width >= bounds.east
            && self.south() - height <= bounds.south.max(-LATITUDE_MAX)
            && self.north() + height >= bounds.north.min(LATITUDE_MAX)
    }

    /// The cell and its neighbours, without those that lie beyond the bounds.
    fn with_neighbors(self, bounds: &Bounds) -> impl Iterator<Item = Cell> {
        // With two columns or rows all may be reached from both sides.
        let fine = self.steps >= 2;
        let no_south = fine && self.south() < bounds.south;
        let no_north = fine && self.north() > bounds.north;
        let no_west = fine && self.west() < bounds.west;
        let no_east = fine && self.east() > bounds.east;
        let order = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];
        let wanted = move |&(east, north): &(i32, i32)| {
            let beyond = north < 0 && no_south || north > 0 && no_north;
            !(beyond || east < 0 && no_west || east > 0 && no_east)
        };
        order.into_iter().filter(wanted).map(move |(east, north)| self.neighbor(east, north))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    fn point(longitude: f64, latitude: f64) -> Point {
        Point::new(longitude, latitude).unwrap()
    }

    #[test]
    fn known_places() {
        let palermo = point(13.361389, 38.115556);
        let catania = point(15.087269, 37.502669);
        assert_eq!((palermo.to_bits(), catania.to_bits()), (3479099956230698, 3479447370796909));
        let [palermo, catania] =
            [palermo, catania].map(|place| Point::from_score(place.to_bits() as f64));
        assert_eq!(format!("{:.4}", palermo.distance(catania)), "166274.1516");
        assert_eq!(palermo.geohash(), *b"sqc8b49rny0");
        assert_eq!(catania.geohash(), *b"sqdtr74hyu0");
        assert_eq!(format!("{:.17}", palermo.longitude), "13.36138933897018433");
        assert_eq!(format!("{:.17}", palermo.latitude), "38.11555639549629859");
    }

    #[test]
    fn the_edges_of_the_map() {
        assert_eq!(Point::new(180.1, 0.0), None);
        assert_eq!(Point::new(0.0, -85.06), None);
        assert_eq!(Point::new(f64::NAN, 0.0), None);
        assert_eq!(point(-180.0, -LATITUDE_MAX).to_bits(), 0);
        // Beyond the last cell, as in Redis.
        assert_eq!(point(180.0, LATITUDE_MAX).to_bits(), 3 << 52);
        assert_eq!(Point::from_score((3u64 << 52) as f64), point(180.0, LATITUDE_MAX));
        for score in [-1.0, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300, 0.5] {
            let place = Point::from_score(score);
            assert!(Point::new(place.longitude, place.latitude).is_some(), "{score}");
        }
    }

    #[test]
    fn spreading_is_undone() {
        for bits in [0, 1, 0x2aaaaaa, 0x3ffffff, u32::MAX, 0x1234567] {
            assert_eq!(gather(spread(bits)), bits);
            assert_eq!(gather(spread(bits) << 1), 0);
        }
    }

    #[test]
    fn a_search_finds_what_is_inside_and_nothing_else_matters() {
        let mut rng = Rng::seeded(11);
        let mut random = |max: f64| (rng.next_u64() as f64 / u64::MAX as f64 * 2.0 - 1.0) * max;
        let mut anywhere = || {
            let (mut longitude, mut latitude) = (random(180.0), random(LATITUDE_MAX));
            // Some on the edges of the map.
            if random(1.0) > 0.9 {
                longitude = 180f64.copysign(longitude);
            }
            if random(1.0) > 0.9 {
                latitude = LATITUDE_MAX.copysign(latitude);
            }
            point(longitude, latitude)
        };
        let places: Vec<f64> = (0..2_000).map(|_| anywhere().to_bits() as f64).collect();
        let centers: Vec<Point> = (0..300).map(|_| anywhere()).collect();
        for (round, center) in centers.into_iter().enumerate() {
            // From some kilometers to more than half of the globe.
            let size = 10f64.powf(3.5 + random(1.0).abs() * 4.0);
            let shape = match round % 3 {
                0 => Shape::Box(size, random(size).abs()),
                1 => Shape::Box(random(size).abs(), size),
                _ => Shape::Circle(size),
            };
            let area = Area { center, shape };
            let ranges = area.ranges();
            for &score in &places {
                let found =
                    ranges.iter().filter(|(min, max)| *min <= score && score < *max).count();
                let inside = area.distance(Point::from_score(score)).is_some();
                assert!(found <= 1, "{area:?}: {score} in two ranges");
                assert!(!inside || found == 1, "{area:?}: {score} is missing");
            }
        }
    }
}
