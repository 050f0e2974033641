//! The scenarios: their servers, cells and kinds of requests.

mod audit;
mod consequences;
mod disturbed;
mod drop_lists;
mod followers;
mod lag;
mod long_log;
mod memory;
mod orders;
mod pages;
mod release;
mod restart;
mod stream;
mod stream_flood;
mod webhooks;

pub use self::audit::RATIOS as AUDIT_RATIOS;
pub use self::consequences::{CANCEL, EXPIRIES, RESTOCK};
pub use self::disturbed::Shop;
pub use self::followers::{FIRST_PAGE, STARTED};
pub use self::orders::ORDERS;
pub use self::pages::{FIRST_CARD, PRESS, ratio_name};
pub use self::restart::FIRST_ANSWER;
pub use self::stream::{IDLE, LATENCY, MEMORY, WRONG};
pub use self::webhooks::{IDLE_P99, LOADED_MAX};

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
    /// Holds on a hundred drops, compared with one
    Drops,
    /// Refusals of a drop that is sold out.
    SoldOut,
    /// Reads of one drop
    Read,
    /// Holds on a drop with many watchers
    Watchers,
    /// Latency of the live stream, and the cost of a watcher
    Stream,
    /// Holds on a new drop of a long log, compared with an empty log
    LongLog,
    /// The first response after a restart
    Restart,
    /// Memory per live hold
    Memory,
    /// The delay until units of an expired hold are available, under full load
    Release,
    /// How far projections are behind the log, under full load
    Lag,
    /// Verify, rebuild and export of a long log, compared with the server's own COPY of it
    Audit,
    /// Holds on other drops while a drop is cancelled or restocked, or its holds expire together
    Consequences,
    /// Holds while clients send without pause on the live stream
    StreamFlood,
    /// Holds while 128 clients list 3,000 drops
    DropLists,
    /// CPU time of the shop's page until its first card and until a press, with many drops and with
    /// few
    Pages,
    /// The delay of webhooks, without load and at 2,000 events per second
    Webhooks,
    /// Orders over three drops, compared with single holds, per unit of stock
    Orders,
    /// The first page of a creator with many followers, and the delay until connected followers
    /// know of a start
    Followers,
}

/// The settings of a run.
#[derive(Debug, Clone)]
pub struct Settings {
    pub pace: Pace,
    /// Numbers of clients of the scenario `hot`; other scenarios use 256, or the first number if
    /// 256 is not one of them.
    pub clients: Vec<usize>,
    pub contenders: Vec<Contender>,
    /// Numbers of watchers.
    pub watchers: Vec<usize>,
    /// Watchers whose stream is timed.
    pub stream_watchers: usize,
    /// Events of a long log.
    pub long_log: u64,
    /// Events of the drop that is loaded at a restart.
    pub restart: u64,
    /// Holds after which memory per hold is computed.
    pub holds: u64,
    /// True if only the contenders of a target run outside the main scenario.
    pub few_rivals: bool,
    /// Holds of the drop that is cancelled.
    pub consequences: u32,
    /// Numbers of processes on the log during a disturbance.
    pub nodes: Vec<usize>,
    /// Holds per second during a disturbance, over all nodes.
    pub rate: u32,
    /// Drops of the shop whose page is opened.
    pub page_drops: u32,
    /// Followers of the creator whose lists are read.
    pub followers: u32,
}

impl Settings {
    /// Returns the number of clients of every scenario except `hot`.
    pub fn usual_clients(&self) -> usize {
        let usual = self.clients.iter().find(|clients| **clients == 256);
        usual.or(self.clients.first()).copied().unwrap_or(256)
    }

    fn among(&self, wanted: &[Contender]) -> Vec<Contender> {
        let takes_part = |contender: &&Contender| self.contenders.contains(contender);
        wanted.iter().filter(takes_part).copied().collect()
    }
}

/// The environment of a scenario.
pub struct Play<'a> {
    pub stage: &'a Stage,
    pub settings: &'a Settings,
    pub report: &'a mut Report,
}

impl Play<'_> {
    /// # Errors
    /// [`BenchError`]; earlier results stay in the report.
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
            Scenario::Webhooks => webhooks::play(self).await,
            Scenario::Orders => orders::play(self, clients).await,
            Scenario::Followers => followers::play(self).await,
        }
    }

    async fn hot(&mut self) -> Result<(), BenchError> {
        let usual = self.settings.usual_clients();
        for &clients in &self.settings.clients {
            let everybody = self.settings.contenders.clone();
            // The rivals' targets apply to the usual number of clients.
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
                // The no-op refuses nothing; its response to a hold is the limit to compare a
                // refusal with.
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

    /// Starts the contenders, plays the rounds, stores the results, and stops the contenders.
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

    /// Returns the builds of Holdfast that run.
    fn builds(&self) -> Vec<Contender> {
        self.settings
            .among(&[Contender::Against, Contender::Holdfast])
    }

    /// Returns the holds per second during a disturbance, and the time of observation before and
    /// after it.
    fn paced(&self) -> (u32, Duration) {
        let calm = Duration::from_secs_f64(self.settings.pace.seconds);
        (self.settings.rate, calm)
    }

    /// Ends a shop; violations found by its `audit verify` are noted at the top of the report.
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

/// Returns the results of one row's watchers: medians over the rounds.
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

pub fn hundred_drops_label() -> String {
    many_drops_label(Contender::Holdfast.name())
}

pub fn watched_label(watchers: usize) -> String {
    format!("{}, {watchers} watchers", Contender::Holdfast.name())
}

pub fn long_log_label(events: u64) -> String {
    format!("{}, {events} events", Contender::Holdfast.name())
}

pub const fn empty_log_label() -> &'static str {
    "holdfast, empty log"
}

fn cells(contenders: &[Contender], question: Question) -> Vec<Cell> {
    let numbered = contenders.iter().enumerate();
    numbered
        .map(|(server, &contender)| Cell::new(server, contender, question))
        .collect()
}
