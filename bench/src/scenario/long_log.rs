//! Holds on a new drop of a long log, compared with an empty one.

use super::{Play, empty_log_label, long_log_label};
use crate::contenders::Contender;
use crate::error::BenchError;
use crate::generator::Question;
use crate::round::{Cell, play as play_rounds, settle};
use crate::seed_log::{History, write};
use crate::stage::Kept;

/// Drops over which the events are distributed.
const DROPS: u64 = 100;
/// # Errors
/// [`BenchError`].
pub async fn play(play: &mut Play<'_>, clients: usize) -> Result<(), BenchError> {
    let (stage, events) = (play.stage, play.settings.long_log);
    println!("long-log: writing {events} events");
    let database = stage.database().await?;
    let drops = DROPS;
    write(&database.url, History { events, drops }).await?;
    stage.checkpoint().await?;
    println!("long-log: starting on them, and waiting for the projections");
    let kept = Kept::Postgres(database);
    let long = stage.start_with(Contender::Holdfast, kept).await?;
    settle(&long).await?;
    stage.checkpoint().await?;
    let servers = [long, stage.start(Contender::Holdfast).await?];
    let hold = |server, label: String| Cell {
        label,
        ..Cell::new(server, Contender::Holdfast, Question::Hold)
    };
    let cells = [
        hold(0, long_log_label(events)),
        hold(1, empty_log_label().to_owned()),
    ];
    let pace = play.settings.pace;
    let section = play_rounds(stage, pace, &servers, "long-log", clients, &cells).await?;
    play.keep(section);
    for server in servers {
        stage.end(server).await?;
    }
    Ok(())
}
