//! One sale in model time: the drop, its buyers and the bots.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use domain::command::Pass;
use domain::testing::*;
use domain::values::{Difficulty, HoldId};
use domain::{DropAggregate, DropCommand, DropEvent, Refusal};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::defences::Defence;
use super::operator::{Operator, Planned, millis};
use super::people::{self, CODES, PEOPLE, Person};

pub const UNITS: u32 = 200;
pub const MINUTES: i64 = 30;
/// Iterations of PBKDF2 for a level of difficulty, on average.
const WORK: f64 = 256_000.0;
/// Between two looks of the bots, in milliseconds.
const LOOK: i64 = 200;
/// The way of a buyer's request, in milliseconds.
const LATENCY: i64 = 100;

/// The result of one sale, or the mean of several.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    pub sold: u32,
    pub units: u32,
    /// Buyers with a purchased unit.
    pub served: u32,
    pub buyers: u32,
    /// Seconds until the last unit was sold.
    pub sold_out_after: Option<i64>,
    pub bot_holds: u32,
    pub bot_cpu_seconds: f64,
}

/// Returns the mean outcome of `runs` seeds from `seed` on. A sale that does not sell out in every
/// run never does.
pub fn mean_of_seeds(defence: &Defence, seed: u64, runs: u64) -> Outcome {
    let all: Vec<Outcome> = (0..runs)
        .map(|run| World::new(defence, seed.wrapping_add(run)).run())
        .collect();
    let count = u32::try_from(all.len()).expect("few runs");
    let mut total = Outcome {
        sold_out_after: Some(0),
        ..Outcome::default()
    };
    for one in all {
        total.sold += one.sold;
        total.units += one.units;
        total.served += one.served;
        total.buyers += one.buyers;
        total.bot_holds += one.bot_holds;
        total.bot_cpu_seconds += one.bot_cpu_seconds;
        let after = total.sold_out_after.zip(one.sold_out_after);
        total.sold_out_after = after.map(|(sum, after)| sum + after);
    }
    total.bot_holds /= count;
    total.bot_cpu_seconds /= f64::from(count);
    total.sold_out_after = total.sold_out_after.map(|sum| sum / i64::from(count));
    total
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    Hold,
    Entry,
}

/// The owner of a hold or an entry.
#[derive(Debug, Clone, Copy)]
enum Owner {
    Person(usize),
    Bot(Planned),
}

#[derive(Debug, Clone)]
enum Happening {
    /// A buyer looks at the drop, and requests a unit.
    Looks(usize),
    Requests(usize, Asks, Option<Difficulty>),
    Decides(usize, String),
    GivesUp(usize, String),
    BotsLook,
    BotRequests(Planned, Asks, Option<Difficulty>),
    Expires(String),
}

pub struct World<'a> {
    defence: &'a Defence,
    drop: DropAggregate,
    now: i64,
    queue: BinaryHeap<Reverse<(i64, u64)>>,
    happenings: HashMap<u64, Happening>,
    named: u64,
    owners: HashMap<HoldId, (String, Owner)>,
    people: Vec<Person>,
    random: SmallRng,
    operator: Operator,
    outcome: Outcome,
}

impl<'a> World<'a> {
    pub fn new(defence: &'a Defence, seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let people = people::people(&mut random, MINUTES);
        let mut drop = DropAggregate::default();
        drop.evolve(&drop_scheduled(defence.terms.clone(), UNITS));
        let names: Vec<String> = (0..CODES).map(|code| format!("c{code}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        drop.evolve(&codes_created(&names));
        let mut world = Self {
            defence,
            drop,
            now: 0,
            queue: BinaryHeap::new(),
            happenings: HashMap::new(),
            named: 0,
            owners: HashMap::new(),
            random,
            operator: Operator::new(defence.terms.clone(), defence.addresses, defence.bots),
            outcome: Outcome {
                units: UNITS,
                buyers: u32::try_from(PEOPLE).expect("few people"),
                ..Outcome::default()
            },
            people: vec![],
        };
        world.then(0, Happening::BotsLook);
        for (index, person) in people.iter().enumerate() {
            world.then(person.arrives, Happening::Looks(index));
        }
        world.people = people;
        world
    }

    /// Runs the sale to its end.
    pub fn run(mut self) -> Outcome {
        while let Some(Reverse((at, name))) = self.queue.pop() {
            if at > MINUTES * 60_000 {
                break;
            }
            self.now = at;
            let happening = self.happenings.remove(&name).expect("was queued");
            self.happens(happening);
            let stock = self.drop.stock();
            assert_eq!(
                stock.available + stock.held + stock.sold,
                UNITS,
                "units were lost"
            );
            assert_eq!(stock.sold, self.outcome.sold, "sold units without a buyer");
        }
        self.outcome.served = self.count(|person| person.is_served);
        self.outcome.bot_cpu_seconds = self.operator.cpu_seconds;
        self.outcome
    }

    fn count(&self, is: impl Fn(&Person) -> bool) -> u32 {
        let count = self.people.iter().filter(|person| is(person)).count();
        u32::try_from(count).expect("few people")
    }

    fn then(&mut self, at: i64, happening: Happening) {
        self.named += 1;
        self.queue.push(Reverse((at, self.named)));
        self.happenings.insert(self.named, happening);
    }

    fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Looks(person) => self.looks(person),
            Happening::Requests(person, asks, solved) => self.requests(person, asks, solved),
            Happening::Decides(person, hold) => self.decides(person, &hold),
            Happening::GivesUp(person, entry) => self.gives_up(person, &entry),
            Happening::BotsLook => self.bots_look(),
            Happening::BotRequests(planned, asks, solved) => {
                self.bot_requests(planned, asks, solved);
            }
            Happening::Expires(hold) => self.expires(&hold),
        }
    }

    /// Decides a command, and offers units to the waitlist as the engine does.
    fn command(&mut self, command: DropCommand) -> Result<(), Refusal> {
        let decision = self.drop.decide(&command.at(millisecond(self.now)))?;
        self.record(decision.events);
        while self.defence.has_waitlist {
            let serve = serve_waitlist().at(millisecond(self.now));
            let decision = self.drop.decide(&serve).expect("can be served");
            if decision.events.is_empty() {
                break;
            }
            self.record(decision.events);
        }
        Ok(())
    }

    fn record(&mut self, events: Vec<DropEvent>) {
        for event in events {
            self.drop.evolve(&event);
            let DropEvent::HoldPlaced(placed) = event else {
                continue;
            };
            let Some((name, owner)) = self.owners.get(&placed.hold_id).cloned() else {
                panic!("a hold without an owner");
            };
            let millis = placed.expires_at.millis() - T0;
            self.then(millis, Happening::Expires(name.clone()));
            let is_offer = placed.waitlist_entry.is_some();
            match owner {
                Owner::Person(person) => {
                    let decided = self.now + self.people[person].hesitates;
                    self.then(decided, Happening::Decides(person, name));
                }
                Owner::Bot(planned) => {
                    self.operator.placed(planned, is_offer, self.now);
                    self.outcome.bot_holds += 1;
                }
            }
        }
    }

    /// Requests units in the name of `buyer`.
    fn ask(
        &mut self,
        (buyer, owner): (&str, Owner),
        asks: Asks,
        (units, code): (u32, Option<usize>),
        solved: Option<Difficulty>,
    ) -> Result<(), Refusal> {
        self.named += 1;
        let name = format!("x{}", self.named);
        let pass = Pass {
            code: code.map(|index| domain::testing::code(&format!("c{index}"))),
            solved,
            ..Pass::default()
        };
        let command = match asks {
            Asks::Hold => place_hold(&name, units),
            Asks::Entry => join_waitlist(&name, units),
        };
        let command = with_pass(command.by(buyer), pass);
        self.owners.insert(hold_id(&name), (name.clone(), owner));
        self.command(command)?;
        if let (Asks::Entry, Owner::Person(person)) = (asks, owner) {
            let leaves = self.people[person].leaves;
            self.then(leaves.max(self.now), Happening::GivesUp(person, name));
        }
        Ok(())
    }

    fn looks(&mut self, person: usize) {
        let Person {
            leaves,
            is_served,
            code,
            ..
        } = self.people[person];
        let can_try = code.is_some() || self.defence.terms.access == domain::values::Access::Open;
        if is_served || leaves < self.now || !can_try {
            return;
        }
        let reacts = match self.now == self.people[person].arrives {
            true => 0,
            false => self.random.random_range(1_000..3_000),
        };
        let is_available = self.drop.available_for_direct_holds(millisecond(self.now)) > 0;
        match (is_available, self.defence.has_waitlist) {
            (true, _) => {
                let request = Happening::Requests(person, Asks::Hold, None);
                self.then(self.now + reacts + LATENCY, request);
            }
            (false, true) => {
                let request = Happening::Requests(person, Asks::Entry, None);
                self.then(self.now + reacts + LATENCY, request);
            }
            (false, false) => self.looks_later(person),
        }
    }

    fn looks_later(&mut self, person: usize) {
        let later = self.now + self.random.random_range(5_000..15_000);
        self.then(later, Happening::Looks(person));
    }

    fn requests(&mut self, person: usize, asks: Asks, solved: Option<Difficulty>) {
        let (buyer, code) = (format!("h{person}"), self.people[person].code);
        let code = code.filter(|_| self.defence.terms.access == domain::values::Access::Code);
        let who = (buyer.as_str(), Owner::Person(person));
        match self.ask(who, asks, (1, code), solved) {
            Ok(()) => {}
            Err(Refusal::ChallengeRequired { difficulty }) => {
                let seconds = self.iterations(difficulty) / self.people[person].rate;
                let done = self.now + LATENCY + millis(seconds);
                self.then(
                    done + LATENCY,
                    Happening::Requests(person, asks, Some(difficulty)),
                );
            }
            Err(_) => self.looks_later(person),
        }
    }

    /// Half to one and a half times the average.
    fn iterations(&mut self, difficulty: Difficulty) -> f64 {
        WORK * f64::from(difficulty.get()) * self.random.random_range(0.5..1.5)
    }

    fn decides(&mut self, person: usize, hold: &str) {
        if !self.people[person].buys {
            // A hold that is over needs no release.
            let _ = self.command(release_hold(hold));
            self.people[person].leaves = self.now;
            return;
        }
        match self.command(confirm_purchase(hold)) {
            Ok(()) => {
                self.people[person].is_served = true;
                self.outcome.sold += 1;
                if self.outcome.sold == UNITS {
                    self.outcome.sold_out_after = Some(self.now / 1_000);
                }
            }
            Err(_) => self.looks_later(person),
        }
    }

    fn gives_up(&mut self, person: usize, entry: &str) {
        // An entry that was offered a hold is not left.
        let _ = self.command(leave_waitlist(entry));
        self.people[person].leaves = self.people[person].leaves.min(self.now);
    }

    fn expires(&mut self, hold: &str) {
        let held = self.drop.stock().held;
        self.command(expire_hold(hold)).expect("a hold can expire");
        let owner = self.owners.get(&hold_id(hold)).map(|(_, owner)| *owner);
        if let Some(Owner::Bot(planned)) = owner {
            assert!(
                held >= planned.units,
                "a bot's hold is held until it expires"
            );
            self.operator.expired(planned, self.now);
        }
    }

    fn bots_look(&mut self) {
        self.then(self.now + LOOK, Happening::BotsLook);
        loop {
            let available = self.drop.available_for_direct_holds(millisecond(self.now));
            let wanted = available.saturating_sub(self.operator.in_flight);
            if wanted == 0 {
                break;
            }
            let Some(planned) = self.operator.plan_hold(wanted, self.now) else {
                break;
            };
            self.then(
                planned.at,
                Happening::BotRequests(planned, Asks::Hold, None),
            );
        }
        let is_sold_out = self.drop.stock().available == 0;
        while self.defence.has_waitlist && is_sold_out {
            let Some(planned) = self.operator.plan_entry(self.now) else {
                break;
            };
            self.then(
                planned.at,
                Happening::BotRequests(planned, Asks::Entry, None),
            );
        }
    }

    fn bot_requests(&mut self, planned: Planned, asks: Asks, solved: Option<Difficulty>) {
        self.operator.requested();
        let buyer = format!("b{}", planned.identity);
        let who = (buyer.as_str(), Owner::Bot(planned));
        match self.ask(who, asks, (planned.units, planned.code), solved) {
            Ok(()) if asks == Asks::Entry => self.operator.joined(planned),
            Ok(()) => {}
            Err(Refusal::ChallengeRequired { difficulty }) => {
                let iterations = self.iterations(difficulty);
                let done = self.operator.work(iterations, self.now);
                self.then(
                    done + 50,
                    Happening::BotRequests(planned, asks, Some(difficulty)),
                );
            }
            Err(_) => self.operator.refused(planned, asks == Asks::Entry),
        }
    }
}

/// Sets the right with which units are requested.
fn with_pass(mut command: DropCommand, pass: Pass) -> DropCommand {
    if let DropCommand::PlaceHold(command) = &mut command {
        command.pass = pass;
    }
    if let DropCommand::JoinWaitlist(command) = &mut command {
        command.pass = pass;
    }
    command
}
