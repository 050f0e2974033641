//! What a live hold takes: growth of the server's resident memory over the holds that it grew by.
//!
//! Limit: the allocator's slack and the tables that grow by doubling are in it; more holds make it truer.

use super::Play;
use crate::contenders::Contender;
use crate::error::BenchError;
use crate::generator::Question;
use crate::procfs::resident;
use crate::report::Figure;
use crate::round::{Cell, Pace, measure};

/// Measured in slices of this length, until there are enough holds.
const SLICE: Pace = Pace {
    rounds: 1,
    seconds: 2.0,
    warm_up: 0.0,
};
/// A server that never gets there is given up after as many slices.
const MOST_SLICES: usize = 200;

/// Plays it.
///
/// # Errors
/// [`BenchError`].
pub async fn play(play: &mut Play<'_>, clients: usize) -> Result<(), BenchError> {
    let stage = play.stage;
    let server = stage.start(Contender::Holdfast).await?;
    let cell = Cell::new(0, Contender::Holdfast, Question::Hold);
    // Buffers and pools fill once, whatever the holds.
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
