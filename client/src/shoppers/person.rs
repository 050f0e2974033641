//! One simulated shopper: an invented name, a random drop, and a random decision.
//!
//! Promise: a shopper has the same id and the same name on every visit, and both are clearly
//! invented.
//! Limit: a refusal ends the visit; only an unreachable or failing server is an error.

use std::time::Duration;

use domain::values::{BuyerId, DisplayName, DropId, Quantity};
use tokio::time::sleep;
use uuid::Uuid;

use crate::calls::{HoldView, NewHold};
use crate::error::ClientError;
use crate::pooled::Client;

/// The number of different shoppers. Enough that limits per buyer seldom apply, few enough that
/// some return.
const POPULATION: u32 = 20_000;

const FIRST_NAMES: [&str; 40] = [
    "Ada", "Amara", "Anouk", "Ben", "Bodil", "Caio", "Chidi", "Dalia", "Dmitri", "Eira", "Elif",
    "Emre", "Farah", "Finn", "Greta", "Hana", "Hugo", "Ines", "Ivo", "Jonas", "Kaveh", "Keiko",
    "Lars", "Leila", "Linh", "Mateo", "Mira", "Naledi", "Nils", "Noor", "Omar", "Priya", "Rosa",
    "Sanna", "Sefa", "Theo", "Uma", "Wanjiru", "Yuki", "Zofia",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Person(u32);

/// How a shopper resolves a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Buy,
    Release,
    Forget,
}

impl Decision {
    /// `roll` is a random number from 0 to below 1.
    fn from_roll(roll: f64) -> Self {
        match roll {
            roll if roll < 0.55 => Self::Buy,
            roll if roll < 0.75 => Self::Release,
            _ => Self::Forget,
        }
    }
}

impl Person {
    pub fn random() -> Self {
        Self(rand::random_range(0..POPULATION))
    }

    fn id(self) -> BuyerId {
        BuyerId::new(&format!("shopper-{:05}@example.com", self.0)).expect("short and printable")
    }

    fn name(self) -> DisplayName {
        // Hashed, so that shoppers with adjacent numbers have different first names.
        let spread = self.0.wrapping_mul(2_654_435_761) >> 8;
        let first = FIRST_NAMES[spread as usize % FIRST_NAMES.len()];
        let letter = char::from(b'A' + u8::try_from(self.0 % 26).unwrap_or(0));
        DisplayName::new(&format!("{first} {letter}.")).expect("short and printable")
    }

    /// Picks one of `drops`, tries to hold one or two units, waits, and resolves the hold.
    ///
    /// # Errors
    /// [`ClientError`] when the server is unreachable or fails. A refusal is not an error.
    pub async fn visit(
        self,
        client: &Client,
        drops: &[DropId],
        thinking: (Duration, Duration),
    ) -> Result<(), ClientError> {
        let drop_id = drops[rand::random_range(0..drops.len())];
        let Some(hold) = ignore_refusal(self.hold(client, drop_id).await)? else {
            return Ok(());
        };
        let decision = Decision::from_roll(rand::random());
        if decision == Decision::Forget {
            return Ok(());
        }
        sleep(time_to_think(&hold, thinking, rand::random())).await;
        let acted = match decision {
            Decision::Buy => client.purchase(hold.id).await.map(|_| ()),
            Decision::Release => client.release(hold.id).await,
            Decision::Forget => Ok(()),
        };
        ignore_refusal(acted).map(|_| ())
    }

    async fn hold(self, client: &Client, drop_id: DropId) -> Result<HoldView, ClientError> {
        let two = rand::random_bool(0.2);
        let first = self
            .place_hold(client, drop_id, if two { 2 } else { 1 })
            .await;
        match first {
            // Two units exceed the drop's limit or the available stock: try one.
            Err(ClientError::Problem(problem)) if two && problem.status == 409 => {
                self.place_hold(client, drop_id, 1).await
            }
            outcome => outcome,
        }
    }

    async fn place_hold(
        self,
        client: &Client,
        drop_id: DropId,
        quantity: i64,
    ) -> Result<HoldView, ClientError> {
        let hold = NewHold {
            buyer_id: self.id(),
            quantity: Quantity::new(quantity).expect("one or two"),
            display_name: Some(self.name()),
        };
        let key = format!("shopper-{}", Uuid::new_v4().simple());
        client.place_hold(drop_id, &hold, &key).await
    }
}

/// A time between the bounds, and at most four fifths of the hold, so that purchases keep clear of
/// the deadline.
fn time_to_think(hold: &HoldView, (least, most): (Duration, Duration), roll: f64) -> Duration {
    let lasts = hold.expires_at.millis() - hold.placed_at.millis();
    let lasts = Duration::from_millis(u64::try_from(lasts).unwrap_or(0));
    let thought = least + most.saturating_sub(least).mul_f64(roll);
    thought.min(lasts * 4 / 5)
}

/// Turns a refusal, which is normal in a shop, into `None`; returns any other error.
fn ignore_refusal<T>(outcome: Result<T, ClientError>) -> Result<Option<T>, ClientError> {
    match outcome {
        Ok(answer) => Ok(Some(answer)),
        Err(ClientError::Problem(problem)) if matches!(problem.status, 409 | 410 | 429) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use domain::values::{HoldId, Position, Timestamp};

    use super::*;

    #[test]
    fn every_shopper_has_a_valid_and_constant_id_and_name() {
        for number in 0..POPULATION {
            let person = Person(number);
            assert!(person.id().as_str().ends_with("@example.com"));
            assert_eq!(person.name(), Person(number).name());
        }
    }

    #[test]
    fn about_half_buy_a_fifth_release_and_the_rest_forget() {
        let decisions = (0..100).map(|n| Decision::from_roll(f64::from(n) / 100.0));
        let decisions: Vec<Decision> = decisions.collect();
        let count = |decision| decisions.iter().filter(|d| **d == decision).count();
        assert_eq!(
            (
                count(Decision::Buy),
                count(Decision::Release),
                count(Decision::Forget)
            ),
            (55, 20, 25)
        );
    }

    #[test]
    fn shoppers_decide_before_their_hold_expires() {
        let hold = HoldView {
            id: HoldId(Uuid::nil()),
            quantity: 1,
            placed_at: Timestamp::from_millis(0),
            expires_at: Timestamp::from_millis(10_000),
            position: Position(1),
        };
        let bounds = (Duration::from_secs(2), Duration::from_secs(60));
        assert_eq!(time_to_think(&hold, bounds, 0.0), Duration::from_secs(2));
        assert_eq!(time_to_think(&hold, bounds, 1.0), Duration::from_secs(8));
    }
}
