//! One shopper: an invented name, a drop that caught their eye, and a mind to make up.
//!
//! Promise: a shopper has the same id and the same name on every visit, and both are plainly invented.
//! Limit: a refusal ends the visit; only a server that is away or at fault is reported.

use std::time::Duration;

use domain::values::{BuyerId, DisplayName, DropId, Quantity};
use tokio::time::sleep;
use uuid::Uuid;

use crate::calls::{HoldView, NewHold};
use crate::error::ClientError;
use crate::pooled::Client;

/// How many different shoppers there are. Enough that limits per buyer seldom turn one away, few enough that some return.
const TOWN: u32 = 20_000;

const FIRST_NAMES: [&str; 40] = [
    "Ada", "Amara", "Anouk", "Ben", "Bodil", "Caio", "Chidi", "Dalia", "Dmitri", "Eira", "Elif",
    "Emre", "Farah", "Finn", "Greta", "Hana", "Hugo", "Ines", "Ivo", "Jonas", "Kaveh", "Keiko",
    "Lars", "Leila", "Linh", "Mateo", "Mira", "Naledi", "Nils", "Noor", "Omar", "Priya", "Rosa",
    "Sanna", "Sefa", "Theo", "Uma", "Wanjiru", "Yuki", "Zofia",
];

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Person(u32);

/// What a shopper does with a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mind {
    Buy,
    Release,
    Forget,
}

impl Mind {
    /// `roll` is a random number from 0 to below 1.
    fn made_up(roll: f64) -> Self {
        match roll {
            roll if roll < 0.55 => Self::Buy,
            roll if roll < 0.75 => Self::Release,
            _ => Self::Forget,
        }
    }
}

impl Person {
    /// Anybody.
    pub fn random() -> Self {
        Self(rand::random_range(0..TOWN))
    }

    fn id(self) -> BuyerId {
        BuyerId::new(&format!("shopper-{:05}@example.com", self.0)).expect("short and printable")
    }

    fn name(self) -> DisplayName {
        // Spread, so that neighbours in number do not share a first name.
        let spread = self.0.wrapping_mul(2_654_435_761) >> 8;
        let first = FIRST_NAMES[spread as usize % FIRST_NAMES.len()];
        let letter = char::from(b'A' + u8::try_from(self.0 % 26).unwrap_or(0));
        DisplayName::new(&format!("{first} {letter}.")).expect("short and printable")
    }

    /// Goes to one of `drops`, tries to hold a unit or two, thinks, and acts.
    ///
    /// # Errors
    /// [`ClientError`] when the server is away or at fault. A refusal is none.
    pub async fn visit(
        self,
        client: &Client,
        drops: &[DropId],
        thinking: (Duration, Duration),
    ) -> Result<(), ClientError> {
        let drop_id = drops[rand::random_range(0..drops.len())];
        let Some(hold) = unless_refused(self.hold(client, drop_id).await)? else {
            return Ok(());
        };
        let mind = Mind::made_up(rand::random());
        if mind == Mind::Forget {
            return Ok(());
        }
        sleep(time_to_think(&hold, thinking, rand::random())).await;
        let acted = match mind {
            Mind::Buy => client.purchase(hold.id).await.map(|_| ()),
            Mind::Release => client.release(hold.id).await,
            Mind::Forget => Ok(()),
        };
        unless_refused(acted).map(|_| ())
    }

    async fn hold(self, client: &Client, drop_id: DropId) -> Result<HoldView, ClientError> {
        let two = rand::random_bool(0.2);
        let first = self.ask(client, drop_id, if two { 2 } else { 1 }).await;
        match first {
            // Two were too many, for the drop or for what is left: one will do.
            Err(ClientError::Problem(problem)) if two && problem.status == 409 => {
                self.ask(client, drop_id, 1).await
            }
            outcome => outcome,
        }
    }

    async fn ask(
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

/// Between the bounds, and at most four fifths of the hold, so that a purchase is not made in its last moment.
fn time_to_think(hold: &HoldView, (least, most): (Duration, Duration), roll: f64) -> Duration {
    let lasts = hold.expires_at.millis() - hold.placed_at.millis();
    let lasts = Duration::from_millis(u64::try_from(lasts).unwrap_or(0));
    let thought = least + most.saturating_sub(least).mul_f64(roll);
    thought.min(lasts * 4 / 5)
}

/// A refusal is a normal day in a shop; anything else is passed on.
fn unless_refused<T>(outcome: Result<T, ClientError>) -> Result<Option<T>, ClientError> {
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
    fn everybody_has_a_valid_id_and_name_that_do_not_change() {
        for number in 0..TOWN {
            let person = Person(number);
            assert!(person.id().as_str().ends_with("@example.com"));
            assert_eq!(person.name(), Person(number).name());
        }
    }

    #[test]
    fn about_half_buy_a_fifth_release_and_the_rest_forget() {
        let minds = (0..100).map(|n| Mind::made_up(f64::from(n) / 100.0));
        let minds: Vec<Mind> = minds.collect();
        let count = |mind| minds.iter().filter(|m| **m == mind).count();
        assert_eq!(
            (count(Mind::Buy), count(Mind::Release), count(Mind::Forget)),
            (55, 20, 25)
        );
    }

    #[test]
    fn nobody_thinks_longer_than_their_hold_lasts() {
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
