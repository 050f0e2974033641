//! The buyers: when they come, how long they compute, hesitate and wait.

use rand::Rng;
use rand::rngs::SmallRng;

/// The number of buyers.
pub const PEOPLE: usize = 1_000;
/// Buyers with an access code.
pub const CODES: usize = 400;

/// One buyer.
#[derive(Debug, Clone)]
pub struct Person {
    pub arrives: i64,
    /// When they give up.
    pub leaves: i64,
    /// Iterations of PBKDF2 in a second.
    pub rate: f64,
    pub buys: bool,
    /// From the hold to the payment, in milliseconds.
    pub hesitates: i64,
    pub code: Option<usize>,
    pub is_served: bool,
}

/// Returns the buyers of one run.
pub fn people(random: &mut SmallRng, minutes: i64) -> Vec<Person> {
    let person = |index| {
        let arrives = match random.random_bool(0.5) {
            true => random.random_range(0..60_000),
            false => random.random_range(0..minutes * 60_000 * 2 / 3),
        };
        Person {
            arrives,
            leaves: arrives + random.random_range(300_000..1_800_000),
            rate: 500_000.0 * 10_f64.powf(random.random_range(0.0..1.0)),
            buys: random.random_bool(0.9),
            hesitates: random.random_range(15_000..75_000),
            code: (index < CODES).then_some(index),
            is_served: false,
        }
    };
    (0..PEOPLE).map(person).collect()
}
