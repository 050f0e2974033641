//! The scenarios: which servers, which cells, which question.

mod audit;
mod consequences;
mod disturbed;
mod drop_lists;
mod lag;
mod long_log;
mod memory;
mod pages;
mod release;
mod restart;
mod stream;
mod stream_flood;

pub use self::audit::RATIOS as AUDIT_RATIOS;
pub use self::consequences::{CANCEL, EXPIRIES, RESTOCK};
pub use self::disturbed::Shop;
pub use self::pages::{FIRST_CARD, PRESS, ratio_name};
pub use self::restart::FIRST_ANSWER;
pub use self::stream::{IDLE, LATENCY, MEMORY, WRONG};

use std::time::Duration;

use clap::ValueEnum;

use crate::contenders::{Contender, Store};
use crate::error::BenchError;
use crate::generator::Question;
use crate::report::disturbances::{Disturbance, table};
use crate::report::{Figure, Report, grouped, rounded};
use crate::round::{Cell, Pace, Row, Section, play};
use crate::stage::{Running, Stage};
use crate::stats::median;
use crate::watchers::Seen;

/// A scenario, as `--scenario` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Scenario {
    /// Holds on one drop.
    Hot,
    /// Holds on a hundred drops, beside one.
    Drops,
    /// Refusals of a drop that is sold out.
    SoldOut,
    /// One drop, read.
    Read,
    /// Holds on a drop that many watch.
    Watchers,
    /// How late the live stream is, and what a watcher costs.
    Stream,
    /// Holds on a new drop of a long log, beside an empty one.
    LongLog,
    /// The first answer after a restart.
    Restart,
    /// What a live hold takes in memory.
    Memory,
    /// How late the stock of an expired hold returns under full load.
    Release,
    /// How far the read models are behind the log under full load.
    Lag,
    /// Verify, rebuild and export of a long log, beside the server's own COPY of it.
    Audit,
    /// Holds on other drops while a drop is cancelled or restocked, or its holds expire together.
    Consequences,
    /// Holds while clients send without pause on the live stream.
    StreamFlood,
    /// Holds while 128 clients list drops, of which there are 3,000.
    DropLists,
    /// CPU time of the shop's page up to its first card and to a press, with many drops by few.
    Pages,
}

/// How a run is played.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long and how often.
    pub pace: Pace,
    /// Numbers of clients of the scenario `hot`; the first that is 256, or else the first, is used elsewhere.
    pub clients: Vec<usize>,
    /// Who takes part.
    pub contenders: Vec<Contender>,
    /// Numbers of watchers.
    pub watchers: Vec<usize>,
    /// Watchers whose stream is timed.
    pub stream_watchers: usize,
    /// Events of a long log.
    pub long_log: u64,
    /// Events in the drop that is read back at a restart.
    pub restart: u64,
    /// Holds that memory is divided by.
    pub holds: u64,
    /// Whether only the contenders that a target names take part beside the main scenario.
    pub few_rivals: bool,
    /// Holds of the drop that is cancelled.
    pub consequences: u32,
    /// Numbers of processes on the log while a shop is disturbed.
    pub nodes: Vec<usize>,
    /// Holds a second while a shop is disturbed, over all nodes.
    pub rate: u32,
    /// Drops of the shop whose page is opened.
    pub page_drops: u32,
}

impl Settings {
    /// The number of clients of every scenario but `hot`.
    pub fn usual_clients(&self) -> usize {
        let usual = self.clients.iter().find(|clients| **clients == 256);
        usual.or(self.clients.first()).copied().unwrap_or(256)
    }

    fn among(&self, wanted: &[Contender]) -> Vec<Contender> {
        let takes_part = |contender: &&Contender| self.contenders.contains(contender);
        wanted.iter().filter(takes_part).copied().collect()
    }
}

/// Where a scenario takes place, and what it adds to.
pub struct Play<'a> {
    /// The stage.
    pub stage: &'a Stage,
    /// How.
    pub settings: &'a Settings,
    /// The results.
    pub report: &'a mut Report,
}

impl Play<'_> {
    /// Plays `scenario`.
    ///
    /// # Errors
    /// [`BenchError`]; what was measured before stays in the report.
    pub async fn play(&mut self, scenario: Scenario) -> Result<(), BenchError> {
        let clients = self.settings.usual_clients();
        match scenario {
            Scenario::Hot => self.hot().await,
            Scenario::Drops => self.drops(clients).await,
            Scenario::SoldOut => self.sold_out(clients).await,
            Scenario::Read => self.read(clients).await,
            Scenario::Watchers => self.watchers(clients).await,
            Scenario::Stream => stream::play(self, clients).await,
            Scenario::LongLog => long_log::play(self, clients).await,
            Scenario::Restart => restart::play(self).await,
            Scenario::Memory => memory::play(self, clients).await,
            Scenario::Release => release::play(self, clients).await,
            Scenario::Lag => lag::play(self, clients).await,
            Scenario::Audit => audit::play(self).await,
            Scenario::Consequences => consequences::play(self).await,
            Scenario::StreamFlood => stream_flood::play(self).await,
            Scenario::DropLists => drop_lists::play(self).await,
            Scenario::Pages => pages::play(self).await,
        }
    }

    async fn hot(&mut self) -> Result<(), BenchError> {
        let usual = self.settings.usual_clients();
        for &clients in &self.settings.clients {
            let everybody = self.settings.contenders.clone();
            // The rivals' targets are set at the usual number of clients.
            let few = [Contender::NoOp, Contender::Holdfast, Contender::Against];
            let contenders = if self.settings.few_rivals && clients != usual {
                self.settings.among(&few)
            } else {
                everybody
            };
            let cells: Vec<Cell> = cells(&contenders, Question::Hold);
            self.section("hot", clients, &contenders, &cells).await?;
        }
        Ok(())
    }

    async fn drops(&mut self, clients: usize) -> Result<(), BenchError> {
        let contenders = if self.settings.few_rivals {
            let few = [
                Contender::NoOp,
                Contender::Holdfast,
                Contender::ConditionalUpdate,
            ];
            self.settings.among(&few)
        } else {
            self.settings.contenders.clone()
        };
        let mut all = vec![];
        for (server, &contender) in contenders.iter().enumerate() {
            let one = Cell::new(server, contender, Question::Hold);
            if contender.store() != Store::None {
                all.push(Cell {
                    label: many_drops_label(&one.label),
                    drops: MANY,
                    ..one.clone()
                });
            }
            if contender.is_holdfast() || contender == Contender::NoOp {
                all.push(one);
            }
        }
        self.section("drops", clients, &contenders, &all).await
    }

    async fn sold_out(&mut self, clients: usize) -> Result<(), BenchError> {
        let contenders = self.settings.among(&[
            Contender::NoOp,
            Contender::Holdfast,
            Contender::Against,
            Contender::ConditionalUpdate,
            Contender::RedisMemory,
        ]);
        let mut cells = cells(&contenders, Question::Refusal);
        for cell in &mut cells {
            if contenders[cell.server] == Contender::NoOp {
                // It refuses nothing; its answer to a hold is the limit that a refusal is held against.
                cell.question = Question::Hold;
            }
        }
        self.section("sold-out", clients, &contenders, &cells).await
    }

    async fn read(&mut self, clients: usize) -> Result<(), BenchError> {
        let contenders = self.settings.among(&[
            Contender::NoOp,
            Contender::Holdfast,
            Contender::Against,
            Contender::ConditionalUpdate,
            Contender::RedisMemory,
        ]);
        let cells = cells(&contenders, Question::Read);
        self.section("read", clients, &contenders, &cells).await
    }

    async fn watchers(&mut self, clients: usize) -> Result<(), BenchError> {
        let contenders = self.settings.among(&[Contender::NoOp, Contender::Holdfast]);
        let mut all = cells(&contenders, Question::Hold);
        let alone = all
            .iter()
            .find(|cell| contenders[cell.server] == Contender::Holdfast)
            .cloned();
        for &watchers in &self.settings.watchers {
            all.extend(alone.clone().map(|alone| Cell {
                label: watched_label(watchers),
                watchers,
                ..alone
            }));
        }
        self.section("watchers", clients, &contenders, &all).await?;
        let rows = self.report.section("watchers", None).into_iter();
        let figures: Vec<Figure> = rows
            .flat_map(|section| &section.rows)
            .flat_map(seen)
            .collect();
        for figure in figures {
            self.report.figure(figure);
        }
        Ok(())
    }

    /// Starts the contenders, plays, keeps the results, ends the contenders.
    async fn section(
        &mut self,
        scenario: &str,
        clients: usize,
        contenders: &[Contender],
        cells: &[Cell],
    ) -> Result<(), BenchError> {
        let mut servers: Vec<Running> = vec![];
        for &contender in contenders {
            servers.push(self.stage.start(contender).await?);
        }
        let pace = self.settings.pace;
        let section = play(self.stage, pace, &servers, scenario, clients, cells).await?;
        self.keep(section);
        for server in servers {
            self.stage.end(server).await?;
        }
        Ok(())
    }

    /// The builds of Holdfast that take part.
    fn builds(&self) -> Vec<Contender> {
        self.settings
            .among(&[Contender::Against, Contender::Holdfast])
    }

    /// Holds a second while a shop is disturbed, and how long it is watched before and after.
    fn paced(&self) -> (u32, Duration) {
        let calm = Duration::from_secs_f64(self.settings.pace.seconds);
        (self.settings.rate, calm)
    }

    /// Ends a shop; what its `audit verify` has against it stands at the top of the report.
    async fn close(&mut self, shop: Shop) -> Result<(), BenchError> {
        if let Some(violation) = shop.close(self.stage).await? {
            println!("{violation}");
            self.report.notes.push(violation);
        }
        Ok(())
    }

    fn disturbed(&mut self, disturbance: Disturbance) {
        println!("\n{}", table(std::slice::from_ref(&disturbance)));
        self.report.disturbances.push(disturbance);
    }

    fn keep(&mut self, section: Section) {
        println!("\n{}", crate::report::section_table(&section));
        self.report.sections.push(section);
    }
}

/// What the watchers of one row saw: the medians over the rounds.
fn seen(row: &Row) -> Vec<Figure> {
    let median_of = |figure: fn(&Seen) -> f64| {
        let seen = row.rounds.iter().filter_map(|round| round.seen.as_ref());
        median(&seen.map(figure).collect::<Vec<_>>())
    };
    let named = |name: &str, figure: fn(&Seen) -> f64| {
        Some(Figure {
            scenario: "watchers".into(),
            name: format!("{name}, {}", row.label),
            value: median_of(figure)?,
            unit: "ms".into(),
            detail: format!(
                "medians; {} frames/s over all watchers, whose process took {} cores",
                grouped(median_of(Seen::per_second)?),
                rounded(median_of(|seen| seen.cores)?)
            ),
        })
    };
    [
        named("staleness p50, recorded to received", |seen| {
            seen.of_frames.p50_ms
        }),
        named("staleness p99, recorded to received", |seen| {
            seen.of_frames.p99_ms
        }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Drops of the scenario `drops`.
const MANY: usize = 100;

fn many_drops_label(contender: &str) -> String {
    format!("{contender}, {MANY} drops")
}

/// Holdfast's row for many drops.
pub fn hundred_drops_label() -> String {
    many_drops_label(Contender::Holdfast.name())
}

/// Holdfast's row with `watchers`.
pub fn watched_label(watchers: usize) -> String {
    format!("{}, {watchers} watchers", Contender::Holdfast.name())
}

/// Holdfast's row on a log of `events`.
pub fn long_log_label(events: u64) -> String {
    format!("{}, {events} events", Contender::Holdfast.name())
}

/// Holdfast's row on an empty log.
pub const fn empty_log_label() -> &'static str {
    "holdfast, empty log"
}

fn cells(contenders: &[Contender], question: Question) -> Vec<Cell> {
    let numbered = contenders.iter().enumerate();
    numbered
        .map(|(server, &contender)| Cell::new(server, contender, question))
        .collect()
}
