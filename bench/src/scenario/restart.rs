//! The first response after a restart: from starting the process to an acknowledged hold on a drop
//! with a long history.
//!
//! Every restart follows an orderly stop. Postgres keeps running, and its cache is as warm as on a
//! machine whose program was restarted.

use std::time::Instant;

use super::Play;
use crate::contenders::Contender;
use crate::error::BenchError;
use crate::report::Figure;
use crate::round::settle;
use crate::seed_log::{History, write};
use crate::stage::Kept;
use crate::stats::quantile;

/// The number of restarts; the median counts.
const TIMES: usize = 5;

/// The figure's name, without the number of events.
pub const FIRST_ANSWER: &str = "first answer after a restart";

/// # Errors
/// [`BenchError`].
pub async fn play(play: &mut Play<'_>) -> Result<(), BenchError> {
    let (stage, events) = (play.stage, play.settings.restart);
    println!("restart: writing {events} events");
    let database = stage.database().await?;
    let drops = write(&database.url, History { events, drops: 1 }).await?;
    let drop_id = drops.first().copied().unwrap_or_default();
    stage.checkpoint().await?;
    println!("restart: a first start, waiting for the projections");
    let kept = Kept::Postgres(database);
    let first = stage.start_with(Contender::Holdfast, kept).await?;
    settle(&first).await?;
    let mut kept = first.stop().await;
    let mut seconds = vec![];
    for _restart in 0..TIMES {
        let began = Instant::now();
        let server = stage.start_with(Contender::Holdfast, kept).await?;
        server.place(drop_id).await?;
        seconds.push(began.elapsed().as_secs_f64());
        settle(&server).await?;
        kept = server.stop().await;
    }
    if let Kept::Postgres(database) = kept {
        stage.drop_database(database).await?;
    }
    let at = |rank| quantile(&seconds, rank).unwrap_or_default();
    play.report.figure(Figure {
        scenario: "restart".into(),
        name: format!("{FIRST_ANSWER}, {events} events"),
        value: at(0.5),
        unit: "s".into(),
        detail: format!(
            "in one live drop; {TIMES} restarts, {:.2} to {:.2} s",
            at(0.0),
            at(1.0)
        ),
    });
    Ok(())
}
