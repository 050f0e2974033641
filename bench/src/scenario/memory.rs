//! Memory per live hold: growth of the server's resident memory divided by the holds that were
//! added.
//!
//! Limit: includes the allocator's slack and tables that grow by doubling; more holds make it more
//! precise.

use super::Play;
use crate::contenders::Contender;
use crate::error::BenchError;
use crate::generator::Question;
use crate::procfs::resident;
use crate::report::Figure;
use crate::round::{Cell, Pace, measure};

/// The load runs in slices of this length until there are enough holds.
const SLICE: Pace = Pace {
    rounds: 1,
    seconds: 2.0,
    warm_up: 0.0,
};
/// A server that does not reach the number of holds is given up after this many slices.
const MOST_SLICES: usize = 200;

/// # Errors
/// [`BenchError`].
pub async fn play(play: &mut Play<'_>, clients: usize) -> Result<(), BenchError> {
    let stage = play.stage;
    let server = stage.start(Contender::Holdfast).await?;
    let cell = Cell::new(0, Contender::Holdfast, Question::Hold);
    // The warm-up fills buffers and pools, whose size does not depend on the holds.
    measure(stage, SLICE, &server, clients, &cell).await?;
    let before = resident(server.pid()).unwrap_or_default();
    let mut holds = 0;
    for _slice in 0..MOST_SLICES {
        if holds >= play.settings.holds {
            break;
        }
        let figures = measure(stage, SLICE, &server, clients, &cell).await?;
        holds += figures.stored.unwrap_or_default();
        println!("memory: {holds} of {} holds placed", play.settings.holds);
    }
    let grown = resident(server.pid())
        .unwrap_or_default()
        .saturating_sub(before);
    stage.end(server).await?;
    play.report.figure(Figure {
        scenario: "memory".into(),
        name: "memory per live hold".into(),
        value: ratio(grown, holds),
        unit: "B".into(),
        detail: format!(
            "{} MiB more resident memory for {holds} holds",
            grown / (1 << 20)
        ),
    });
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "both are far below 2^52")]
fn ratio(bytes: u64, holds: u64) -> f64 {
    bytes as f64 / holds.max(1) as f64
}
