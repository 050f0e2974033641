//! Orders over three drops next to single holds on the same number of drops, closed loop. The rates
//! are compared per unit of stock: an order decides three.

use super::Play;
use crate::contenders::Contender;
use crate::error::BenchError;
use crate::generator::Question;
use crate::report::{Figure, grouped};
use crate::round::Cell;
use crate::stats::paired;

/// The drops of an order.
const DROPS: usize = 3;
/// The name of the ratio.
pub const ORDERS: &str = "units ordered over three drops ÷ units held";

/// # Errors
/// [`BenchError`].
pub async fn play(play: &mut Play<'_>, clients: usize) -> Result<(), BenchError> {
    let contenders = play.settings.among(&[Contender::Holdfast]);
    if contenders.is_empty() {
        return Ok(());
    }
    let cell = |label: &str, question| Cell {
        label: label.to_owned(),
        drops: DROPS,
        ..Cell::new(0, Contender::Holdfast, question)
    };
    let (holds, orders) = ("holds on three drops", "orders over three drops");
    let cells = [cell(holds, Question::Hold), cell(orders, Question::Order)];
    play.section("orders", clients, &contenders, &cells).await?;
    let figure = play
        .report
        .section("orders", Some(clients))
        .and_then(|section| {
            let units = |label: &str, question: Question| {
                let units = f64::from(u32::try_from(question.holds(DROPS)).ok()?);
                let rates = section.row(label)?.rates().into_iter();
                Some(rates.map(|rate| rate * units).collect::<Vec<f64>>())
            };
            let held = units(holds, Question::Hold)?;
            let ordered = units(orders, Question::Order)?;
            let ratio = paired(&ordered, &held)?;
            Some(Figure {
                scenario: "orders".into(),
                name: ORDERS.into(),
                value: ratio.median,
                unit: "×".into(),
                detail: format!(
                    "median of the rounds; units/s, last round: {} and {}",
                    grouped(*ordered.last()?),
                    grouped(*held.last()?)
                ),
            })
        });
    if let Some(figure) = figure {
        play.report.figure(figure);
    }
    Ok(())
}
