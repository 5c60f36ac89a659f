//! Places on the earth: sorted sets whose scores are geohashes of 52 bits.

use super::{Add, add_members, store};
use crate::base::double;
use crate::base::num::{parse_f64, push_u64};
use crate::data::Zset;
use crate::data::geohash::{Area, Point, Shape};
use crate::engine::spec::Handler;
use crate::engine::spec::access::{ACCESS, OW, RO, RW, UPDATE};
use crate::engine::spec::flag::MOVABLEKEYS;
use crate::engine::{Args, Command, Ctx, Group, KeySpec, Reply};
use crate::resp::error::Error;

const SEARCH_COST: &str =
    "O(N+log(M)), N being the number of places in the cells around the area and M that of all";

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::new("geoadd", geoadd)
        .group(Group::Geo)
        .since("3.2.0")
        .write()
        .deny_oom()
        .arity(-5)
        .keys(&[KeySpec::at(1, RW | UPDATE)])
        .syntax(
            "key [condition@6.2.0: NX | XX] [CH=change@6.2.0] <data: longitude latitude member \
             ...>",
        )
        .complexity("O(log(N)) for each place, N being the size of the sorted set")
        .history(&[("6.2.0", "The options `CH`, `NX`, `XX`.")])
        .summary("Adds places or moves them."),
    reader("geopos", geopos)
        .arity(-2)
        .syntax("key [member [member ...]]")
        .complexity("O(N) where N is the number of members given")
        .summary("Tells longitudes and latitudes."),
    reader("geohash", geohash)
        .arity(-2)
        .syntax("key [member [member ...]]")
        .complexity("O(N) where N is the number of members given")
        .summary("Tells places as geohash texts."),
    reader("geodist", geodist)
        .arity(-4)
        .syntax("key member1 member2 [unit: M | KM | FT | MI]")
        .complexity("O(1)")
        .summary("Tells how far two places are from each other."),
    reader("geosearch", geosearch)
        .since("6.2.0")
        .arity(-7)
        .syntax(
            "key <from: FROMMEMBER member | <fromlonlat: FROMLONLAT longitude latitude>> <by: \
             <circle: <BYRADIUS radius> <unit: M | KM | FT | MI>> | <box: <BYBOX width> height \
             <unit: M | KM | FT | MI>>> [order: ASC | DESC] [count-block: <COUNT count> [ANY]] \
             [WITHCOORD] [WITHDIST] [WITHHASH]",
        )
        .complexity(SEARCH_COST)
        .history(&[("7.0.0", "Units in upper case.")])
        .summary("Lists the places in a circle or a box."),
    Command::new("geosearchstore", geosearchstore)
        .group(Group::Geo)
        .since("6.2.0")
        .write()
        .deny_oom()
        .arity(-8)
        .keys(&[KeySpec::at(1, OW | UPDATE), KeySpec::at(2, RO | ACCESS)])
        .syntax(
            "destination source <from: FROMMEMBER member | <fromlonlat: FROMLONLAT longitude \
             latitude>> <by: <circle: <BYRADIUS radius> <unit: M | KM | FT | MI>> | <box: <BYBOX \
             width> height <unit: M | KM | FT | MI>>> [order: ASC | DESC] [count-block: <COUNT \
             count> [ANY]] [STOREDIST]",
        )
        .complexity(SEARCH_COST)
        .history(&[("7.0.0", "Units in upper case.")])
        .summary("Stores the places in a circle or a box."),
    Command::new("georadius", georadius)
        .group(Group::Geo)
        .since("3.2.0")
        .write()
        .deny_oom()
        .flags(MOVABLEKEYS)
        .arity(-6)
        .keys(&[
            KeySpec::at(1, RO | ACCESS),
            KeySpec::behind("STORE", 6, OW | UPDATE),
            KeySpec::behind("STOREDIST", 6, OW | UPDATE),
        ])
        .syntax(
            "key longitude latitude radius <unit: M | KM | FT | MI> [WITHCOORD] [WITHDIST] \
             [WITHHASH] [count-block: <COUNT count> [ANY@6.2.0]] [order: ASC | DESC] [store: \
             STORE key=storekey | STOREDIST key=storedistkey]",
        )
        .complexity(SEARCH_COST)
        .history(&[("6.2.0", "The option `ANY` of `COUNT`."), ("7.0.0", "Units in upper case.")])
        .summary("Lists or stores the places around a point.")
        .deprecated("6.2.0", "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument"),
    Command::new("georadiusbymember", georadiusbymember)
        .group(Group::Geo)
        .since("3.2.0")
        .write()
        .deny_oom()
        .flags(MOVABLEKEYS)
        .arity(-5)
        .keys(&[
            KeySpec::at(1, RO | ACCESS),
            KeySpec::behind("STORE", 5, OW | UPDATE),
            KeySpec::behind("STOREDIST", 5, OW | UPDATE),
        ])
        .syntax(
            "key member radius <unit: M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] \
             [count-block: <COUNT count> [ANY]] [order: ASC | DESC] [store: STORE key=storekey | \
             STOREDIST key=storedistkey]",
        )
        .complexity(SEARCH_COST)
        .history(&[("7.0.0", "Units in upper case.")])
        .summary("Lists or stores the places around a member.")
        .deprecated(
            "6.2.0",
            "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments",
        ),
    reader("georadius_ro", georadius_ro)
        .since("3.2.10")
        .arity(-6)
        .syntax(
            "key longitude latitude radius <unit: M | KM | FT | MI> [WITHCOORD] [WITHDIST] \
             [WITHHASH] [count-block: <COUNT count> [ANY@6.2.0]] [order: ASC | DESC]",
        )
        .complexity(SEARCH_COST)
        .history(&[("6.2.0", "The option `ANY` of `COUNT`.")])
        .summary("Lists the places around a point.")
        .deprecated("6.2.0", "`GEOSEARCH` with the `BYRADIUS` argument"),
    reader("georadiusbymember_ro", georadiusbymember_ro)
        .since("3.2.10")
        .arity(-5)
        .syntax(
            "key member radius <unit: M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] \
             [count-block: <COUNT count> [ANY]] [order: ASC | DESC]",
        )
        .complexity(SEARCH_COST)
        .summary("Lists the places around a member.")
        .deprecated("6.2.0", "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments"),
];

const READ_KEYS: &[KeySpec] = &[KeySpec::at(1, RO | ACCESS)];

const fn reader(name: &'static str, handler: Handler) -> Command {
    Command::new(name, handler).group(Group::Geo).since("3.2.0").readonly().keys(READ_KEYS)
}

/// Takes a longitude and a latitude.
fn take_point(args: &mut Args) -> Result<Point, Error> {
    let mut number = || parse_f64(args.bytes()?).ok_or(Error::NOT_FLOAT);
    let (longitude, latitude) = (number()?, number()?);
    Point::new(longitude, latitude).ok_or_else(|| {
        let text = format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}");
        Error::from(text)
    })
}

/// Takes a unit; how many meters it has.
fn take_unit(args: &mut Args) -> Result<f64, Error> {
    const UNITS: [(&str, f64); 4] = [("m", 1.0), ("km", 1000.0), ("ft", 0.3048), ("mi", 1609.34)];
    let unit = args.bytes()?;
    let known = UNITS.iter().find(|(name, _)| unit.eq_ignore_ascii_case(name.as_bytes()));
    known.map(|(_, meters)| *meters).ok_or(Error::GEO_UNIT)
}

/// Takes a radius with its unit; the radius and the meters of its unit.
fn take_radius(args: &mut Args) -> Result<(f64, f64), Error> {
    let radius = parse_f64(args.bytes()?).ok_or(Error::GEO_RADIUS)?;
    if radius < 0.0 {
        return Err(Error::GEO_RADIUS_NEGATIVE);
    }
    Ok((radius, take_unit(args)?))
}

/// The place of a member.
fn place_of(zset: Option<&Zset>, member: &[u8]) -> Option<Point> {
    zset?.score(member).map(Point::from_score)
}

/// GEOADD key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]
fn geoadd(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let key = args.key();
    let mut add = Add::default();
    let options = args.rest();
    loop {
        if args.word("nx") {
            add.nx = true;
        } else if args.word("xx") {
            add.xx = true;
        } else if args.word("ch") {
            add.ch = true;
        } else {
            break;
        }
    }
    let options = &options[..options.len() - args.left()];
    if !args.left().is_multiple_of(3) || (add.nx && add.xx) {
        return Err(Error::SYNTAX);
    }
    while !args.is_empty() {
        let point = take_point(args)?;
        add.pairs.push((point.to_bits() as f64, args.bytes()?));
    }
    if add.pairs.is_empty() {
        return Err(Error::SYNTAX);
    }
    // To the log it is a ZADD.
    let scores: Vec<Vec<u8>> = add.pairs.iter().map(|(score, _)| digits(*score)).collect();
    let mut argv: Vec<&[u8]> = vec![b"zadd", key];
    argv.extend(options);
    for (text, (_, member)) in scores.iter().zip(&add.pairs) {
        argv.extend([text, *member]);
    }
    add_members(ctx, key, &add, Some(&argv))
}

/// A score that is a whole number, as text.
fn digits(score: f64) -> Vec<u8> {
    let mut text = Vec::new();
    push_u64(&mut text, score as u64);
    text
}

/// GEOPOS key [member [member ...]]
fn geopos(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, members) = (args.key(), args.take_rest());
    let zset = ctx.db.get::<Zset>(key)?;
    let out = ctx.reply.parts();
    out.array(members.len());
    for member in members {
        match place_of(zset, member) {
            Some(point) => {
                out.array(2);
                out.human(point.longitude);
                out.human(point.latitude);
            }
            None => out.null_array(),
        }
    }
    ctx.reply.done()
}

/// GEOHASH key [member [member ...]]
fn geohash(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, members) = (args.key(), args.take_rest());
    let zset = ctx.db.get::<Zset>(key)?;
    let out = ctx.reply.parts();
    out.array(members.len());
    for member in members {
        match place_of(zset, member) {
            Some(point) => out.bulk(&point.geohash()),
            None => out.null(),
        }
    }
    ctx.reply.done()
}

/// GEODIST key member1 member2 [M | KM | FT | MI]
fn geodist(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, from, to) = (args.key(), args.bytes()?, args.bytes()?);
    let unit = match args.left() {
        0 => 1.0,
        1 => take_unit(args)?,
        _ => return Err(Error::SYNTAX),
    };
    let zset = ctx.db.get::<Zset>(key)?;
    let (Some(from), Some(to)) = (place_of(zset, from), place_of(zset, to)) else {
        return ctx.reply.null();
    };
    let mut text = Vec::new();
    double::push_4_decimals(&mut text, from.distance(to) / unit);
    ctx.reply.bulk(&text)
}

/// The forms of the search commands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// GEORADIUS, and whether it may store.
    Radius(bool),
    /// GEORADIUSBYMEMBER, and whether it may store.
    RadiusByMember(bool),
    /// GEOSEARCH.
    Search,
    /// GEOSEARCHSTORE.
    SearchStore,
}

impl Form {
    fn is_search(self) -> bool {
        matches!(self, Form::Search | Form::SearchStore)
    }

    fn stores_by_option(self) -> bool {
        matches!(self, Form::Radius(true) | Form::RadiusByMember(true))
    }
}

/// What the options of a search say.
#[derive(Default)]
struct Search<'a> {
    /// The middle; none, too, if it is a member of a key that does not exist.
    center: Option<Point>,
    from_member: bool,
    from_point: bool,
    shape: Option<Shape>,
    /// Meters of the unit that was given.
    unit: f64,
    with_dist: bool,
    with_hash: bool,
    with_coord: bool,
    /// Ascending or descending.
    sort: Option<bool>,
    count: usize,
    any: bool,
    store: Option<&'a [u8]>,
    store_dist: bool,
}

impl<'a> Search<'a> {
    fn parse(args: &mut Args<'a>, form: Form, zset: Option<&Zset>) -> Result<Self, Error> {
        let mut search = Search::default();
        search.begin(args, form, zset)?;
        while !args.is_empty() {
            if search.option(args)? || search.place(args, form, zset)? {
                continue;
            }
            search.storing(args, form)?;
        }
        search.check(args, form)?;
        Ok(search)
    }

    /// What stands at a fixed place in the older commands.
    fn begin(&mut self, args: &mut Args<'a>, form: Form, zset: Option<&Zset>) -> Result<(), Error> {
        match form {
            Form::Radius(_) => self.center = Some(take_point(args)?),
            Form::RadiusByMember(_) if zset.is_none() => {
                // Only the options behind it are looked at.
                for _ in 0..3 {
                    args.bytes()?;
                }
                return Ok(());
            }
            Form::RadiusByMember(_) => self.center = Some(take_member(args, zset)?),
            Form::Search | Form::SearchStore => return Ok(()),
        }
        self.circle(args)
    }

    fn circle(&mut self, args: &mut Args) -> Result<(), Error> {
        let (radius, unit) = take_radius(args)?;
        (self.shape, self.unit) = (Some(Shape::Circle(radius * unit)), unit);
        Ok(())
    }

    fn rectangle(&mut self, args: &mut Args) -> Result<(), Error> {
        let width = parse_f64(args.bytes()?).ok_or(Error::GEO_WIDTH)?;
        let height = parse_f64(args.bytes()?).ok_or(Error::GEO_HEIGHT)?;
        if width < 0.0 || height < 0.0 {
            return Err(Error::GEO_BOX_NEGATIVE);
        }
        self.unit = take_unit(args)?;
        self.shape = Some(Shape::Box(width * self.unit, height * self.unit));
        Ok(())
    }

    /// Takes an option that all forms have; whether there was one.
    fn option(&mut self, args: &mut Args) -> Result<bool, Error> {
        if args.word("withdist") {
            self.with_dist = true;
        } else if args.word("withhash") {
            self.with_hash = true;
        } else if args.word("withcoord") {
            self.with_coord = true;
        } else if args.word("any") {
            self.any = true;
        } else if args.word("asc") {
            self.sort = Some(true);
        } else if args.word("desc") {
            self.sort = Some(false);
        } else if args.left() > 1 && args.word("count") {
            let count = args.int()?;
            if count <= 0 {
                return Err(Error::GEO_COUNT);
            }
            self.count = usize::try_from(count).unwrap_or(usize::MAX);
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// Takes where GEOSEARCH is to look; whether it was said.
    fn place(
        &mut self,
        args: &mut Args<'a>,
        form: Form,
        zset: Option<&Zset>,
    ) -> Result<bool, Error> {
        if !form.is_search() {
            return Ok(false);
        }
        let circle = matches!(self.shape, Some(Shape::Circle(_)));
        let rectangle = matches!(self.shape, Some(Shape::Box(..)));
        if args.left() > 1 && !self.from_point && args.word("frommember") {
            self.from_member = true;
            if zset.is_some() {
                self.center = Some(take_member(args, zset)?);
            } else {
                args.bytes()?;
            }
        } else if args.left() > 2 && !self.from_member && args.word("fromlonlat") {
            self.from_point = true;
            self.center = Some(take_point(args)?);
        } else if args.left() > 2 && !rectangle && args.word("byradius") {
            self.circle(args)?;
        } else if args.left() > 3 && !circle && args.word("bybox") {
            self.rectangle(args)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// Takes what says that the result is stored.
    fn storing(&mut self, args: &mut Args<'a>, form: Form) -> Result<(), Error> {
        if form == Form::SearchStore && args.word("storedist") {
            self.store_dist = true;
            return Ok(());
        }
        if !form.stores_by_option() || args.left() < 2 {
            return Err(Error::SYNTAX);
        }
        let word = if args.word("store") {
            "store"
        } else if args.word("storedist") {
            "storedist"
        } else {
            return Err(Error::SYNTAX);
        };
        self.store_dist = word == "storedist";
        // Only the key behind the first such word is locked, by the command's definition.
        let argv = args.argv();
        let first = if form == Form::Radius(true) { 6 } else { 5 };
        let is_word = |arg: &&[u8]| arg.eq_ignore_ascii_case(word.as_bytes());
        let at = argv.iter().skip(first).position(is_word).map(|at| at + first + 1);
        self.store = Some(args.bytes()?);
        let locked = at.and_then(|at| argv.get(at).copied());
        if locked == self.store { Ok(()) } else { Err(Error::SYNTAX) }
    }

    /// Whether all is there, and goes together.
    fn check(&self, args: &Args, form: Form) -> Result<(), Error> {
        let stores = self.store.is_some() || form == Form::SearchStore;
        if stores && (self.with_dist || self.with_hash || self.with_coord) {
            let searches = form == Form::SearchStore;
            return Err(if searches { Error::GEO_SEARCH_STORE } else { Error::GEO_STORE });
        }
        let name = args.argv()[0];
        if form.is_search() && !self.from_member && !self.from_point {
            let text = "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for ";
            return Err(Error::quoting(text, name, ""));
        }
        if form.is_search() && self.shape.is_none() {
            let text = "ERR exactly one of BYRADIUS and BYBOX can be specified for ";
            return Err(Error::quoting(text, name, ""));
        }
        if self.any && self.count == 0 {
            return Err(Error::GEO_ANY);
        }
        Ok(())
    }

    /// The places that are wanted.
    fn run(&self, zset: &Zset) -> Vec<Found> {
        let (Some(center), Some(shape)) = (self.center, self.shape) else { return Vec::new() };
        let area = Area { center, shape };
        let enough = if self.any { self.count } else { usize::MAX };
        let mut found = Vec::new();
        for (min, max) in area.ranges() {
            if found.len() >= enough {
                break;
            }
            let ranks = zset.ranks_by_score(&(min..max).into());
            zset.each_while(ranks, |member, score| {
                let point = Point::from_score(score);
                if let Some(distance) = area.distance(point) {
                    found.push(Found { member: member.to_vec(), score, point, distance });
                }
                found.len() < enough
            });
        }
        // The nearest are wanted if not all are, unless any will do.
        let nearest = (self.count > 0 && !self.any).then_some(true);
        match self.sort.or(nearest) {
            Some(true) => found.sort_by(|a, b| a.distance.total_cmp(&b.distance)),
            Some(false) => found.sort_by(|a, b| b.distance.total_cmp(&a.distance)),
            None => {}
        }
        if self.count > 0 {
            found.truncate(self.count);
        }
        found
    }
}

/// Takes a member; its place.
fn take_member(args: &mut Args, zset: Option<&Zset>) -> Result<Point, Error> {
    place_of(zset, args.bytes()?).ok_or(Error::GEO_MEMBER)
}

/// A place in the area.
struct Found {
    member: Vec<u8>,
    score: f64,
    point: Point,
    /// Meters from the middle.
    distance: f64,
}

/// GEORADIUS key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH]
/// [COUNT count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]
fn georadius(ctx: &mut Ctx, args: &mut Args) -> Reply {
    search(ctx, args, Form::Radius(true))
}

/// GEORADIUS_RO key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH]
/// [COUNT count [ANY]] [ASC | DESC]
fn georadius_ro(ctx: &mut Ctx, args: &mut Args) -> Reply {
    search(ctx, args, Form::Radius(false))
}

/// GEORADIUSBYMEMBER key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH]
/// [COUNT count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]
fn georadiusbymember(ctx: &mut Ctx, args: &mut Args) -> Reply {
    search(ctx, args, Form::RadiusByMember(true))
}

/// GEORADIUSBYMEMBER_RO key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH]
/// [COUNT count [ANY]] [ASC | DESC]
fn georadiusbymember_ro(ctx: &mut Ctx, args: &mut Args) -> Reply {
    search(ctx, args, Form::RadiusByMember(false))
}

/// GEOSEARCH key <FROMMEMBER member | FROMLONLAT longitude latitude>
/// <BYRADIUS radius <M | KM | FT | MI> | BYBOX width height <M | KM | FT | MI>>
/// [ASC | DESC] [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]
fn geosearch(ctx: &mut Ctx, args: &mut Args) -> Reply {
    search(ctx, args, Form::Search)
}

/// GEOSEARCHSTORE destination source <FROMMEMBER member | FROMLONLAT longitude latitude>
/// <BYRADIUS radius <M | KM | FT | MI> | BYBOX width height <M | KM | FT | MI>>
/// [ASC | DESC] [COUNT count [ANY]] [STOREDIST]
fn geosearchstore(ctx: &mut Ctx, args: &mut Args) -> Reply {
    search(ctx, args, Form::SearchStore)
}

fn search(ctx: &mut Ctx, args: &mut Args, form: Form) -> Reply {
    let destination = (form == Form::SearchStore).then(|| args.key());
    let key = args.key();
    let zset = ctx.db.get::<Zset>(key)?.cloned();
    let search = Search::parse(args, form, zset.as_ref())?;
    let zset = zset.unwrap_or_default();
    let Some(destination) = destination.or(search.store) else {
        ctx.let_go(zset.len())?;
        return reply_found(ctx, &search, &search.run(&zset));
    };
    let score = |place: &Found| {
        if search.store_dist { place.distance / search.unit } else { place.score }
    };
    let limits = ctx.settings.limits;
    let (stored, changes) = ctx.work_out(&[key], zset.len(), |_| {
        let found = search.run(&zset);
        let pairs: Vec<(&[u8], f64)> =
            found.iter().map(|place| (place.member.as_slice(), score(place))).collect();
        (Zset::from_pairs(pairs, &limits), found.len() as u64)
    })?;
    let event = if form.is_search() { "geosearchstore" } else { "georadiusstore" };
    store(ctx, destination, stored, event, changes)
}

fn reply_found(ctx: &mut Ctx, search: &Search, found: &[Found]) -> Reply {
    let extras = usize::from(search.with_dist)
        + usize::from(search.with_hash)
        + usize::from(search.with_coord);
    let out = ctx.reply.parts();
    out.array(found.len());
    let mut text = Vec::new();
    for place in found {
        if extras > 0 {
            out.array(1 + extras);
        }
        out.bulk(&place.member);
        if search.with_dist {
            text.clear();
            double::push_4_decimals(&mut text, place.distance / search.unit);
            out.bulk(&text);
        }
        if search.with_hash {
            out.int(place.score as i64);
        }
        if search.with_coord {
            out.array(2);
            out.human(place.point.longitude);
            out.human(place.point.latitude);
        }
    }
    ctx.reply.done()
}
