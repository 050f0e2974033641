//! The cost of the shop's front page with many drops, in CPU time of the browser and the server:
//! until the first card, and until a press on it.
//!
//! The shop with few drops and the shop with many are both running; each round opens the page of
//! each in a new browser context (`bench/pages.mjs`), so a ratio compares two loads within the same
//! minute.
//! Limit: needs Node and Chromium; a browser's CPU time has a resolution of a hundredth of a
//! second.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;

use super::Play;
use super::disturbed::migrated;
use crate::contenders::{Contender, holdfast};
use crate::error::{BenchError, Doing, within};
use crate::process::Process;
use crate::report::{Figure, rounded};
use crate::round::settle;
use crate::stage::Running;
use crate::stats::{median, paired};

/// Drops of the shop that the others are compared with.
const FEW: u32 = 10;
/// The timeout of one page until it shows a card; a build that is slow with many drops needs a
/// minute.
const PAGE_TIMEOUT: Duration = Duration::from_secs(300);
/// The timeout of an installation.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(600);

/// The figure's name, without the number of drops.
pub const FIRST_CARD: &str = "CPU to the first card";
pub const PRESS: &str = "CPU to a press";

#[derive(Debug, Clone, Copy, Deserialize)]
struct Load {
    card: Spent,
    press: Spent,
    requests: u32,
    bytes: u64,
}

/// Milliseconds since the page was requested.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Spent {
    browser: f64,
    server: f64,
    wall: f64,
}

/// Selects the part of a load that a figure is about.
type Part = fn(&Load) -> Spent;

impl Spent {
    fn cpu(&self) -> f64 {
        self.browser + self.server
    }
}

/// # Errors
/// [`BenchError`].
pub async fn play(play: &mut Play<'_>) -> Result<(), BenchError> {
    let Some(browser) = Browser::find().await? else {
        let note = "Node and Chromium are not installed: the scenario pages is omitted.";
        println!("{note}");
        play.report.notes.push(note.into());
        return Ok(());
    };
    for contender in play.builds() {
        on(play, &browser, contender).await?;
    }
    Ok(())
}

async fn on(
    play: &mut Play<'_>,
    browser: &Browser,
    contender: Contender,
) -> Result<(), BenchError> {
    let (stage, many) = (play.stage, play.settings.page_drops);
    let mut shops: Vec<(u32, Running)> = vec![];
    for drops in [FEW, many] {
        let (kept, mut seeder) = migrated(stage, contender).await?;
        seeder.drops(drops).await?;
        let server = stage.start_with(contender, kept).await?;
        settle(&server).await?;
        shops.push((drops, server));
    }
    let loads = browser.loads(play, &shops).await;
    for (_, server) in shops {
        stage.end(server).await?;
    }
    let loads = loads?;
    let of = |drops: u32| loads.get(&drops).map(Vec::as_slice).unwrap_or_default();
    let by = if contender == Contender::Holdfast {
        String::new()
    } else {
        format!("{}: ", contender.name())
    };
    let parts: [Part; 2] = [|load| load.card, |load| load.press];
    for (name, part) in [FIRST_CARD, PRESS].into_iter().zip(parts) {
        for drops in [FEW, many] {
            play.report.figure(Figure {
                scenario: "pages".into(),
                name: format!("{by}{name}, {drops} drops"),
                value: median_of(of(drops), |load| part(load).cpu()),
                unit: "ms".into(),
                detail: detail(of(drops), part),
            });
        }
        let cpu = |drops| of(drops).iter().map(|load| part(load).cpu()).collect();
        let (more, fewer): (Vec<f64>, Vec<f64>) = (cpu(many), cpu(FEW));
        let Some(ratio) = paired(&more, &fewer) else {
            continue;
        };
        play.report.figure(Figure {
            scenario: "pages".into(),
            name: format!("{by}{}", ratio_name(name, many)),
            value: ratio.median,
            unit: "×".into(),
            detail: format!("{} to {}", rounded(ratio.min), rounded(ratio.max)),
        });
    }
    Ok(())
}

/// Returns the name of a figure's ratio of `many` drops to few.
pub fn ratio_name(name: &str, many: u32) -> String {
    format!("{name}, {many} drops ÷ {FEW}")
}

fn median_of(loads: &[Load], figure: impl Fn(&Load) -> f64) -> f64 {
    let figures: Vec<f64> = loads.iter().map(figure).collect();
    median(&figures).unwrap_or_default()
}

fn detail(loads: &[Load], part: Part) -> String {
    let of = |figure: fn(&Spent) -> f64| rounded(median_of(loads, |load| figure(&part(load))));
    let bytes = median_of(loads, |load| {
        f64::from(u32::try_from(load.bytes).unwrap_or(u32::MAX))
    });
    format!(
        "browser {} ms, server {} ms; after {} ms; {} API requests, {} KiB; medians of {} loads",
        of(|spent| spent.browser),
        of(|spent| spent.server),
        of(|spent| spent.wall),
        rounded(median_of(loads, |load| f64::from(load.requests))),
        rounded(bytes / 1024.0),
        loads.len()
    )
}

/// A browser that opens pages.
struct Browser {
    node: PathBuf,
    chromium: PathBuf,
}

impl Browser {
    /// Finds those of the browser tests, and installs their packages if missing.
    async fn find() -> Result<Option<Self>, BenchError> {
        let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
        let chromium = named.filter(|path| path.is_file()).or_else(|| {
            let names = [
                "chromium",
                "chromium-browser",
                "google-chrome-stable",
                "google-chrome",
            ];
            names.into_iter().find_map(on_path)
        });
        let (Some(node), Some(chromium)) = (on_path("node"), chromium) else {
            return Ok(None);
        };
        let folder = folder();
        if !folder.join("node_modules/playwright-core").is_dir() {
            let mut npm = Command::new("npm");
            npm.args(["ci", "--no-audit", "--no-fund"])
                .current_dir(&folder)
                .kill_on_drop(true);
            let installing = async { npm.status().await.doing("run npm ci") };
            let status = within("npm ci", INSTALL_TIMEOUT, installing).await?;
            if !status.success() {
                return Err(BenchError::Unexpected("npm ci failed".into()));
            }
        }
        Ok(Some(Self { node, chromium }))
    }

    /// Returns the loads of each shop, by its number of drops.
    async fn loads(
        &self,
        play: &Play<'_>,
        shops: &[(u32, Running)],
    ) -> Result<BTreeMap<u32, Vec<Load>>, BenchError> {
        let rounds = play.settings.pace.rounds;
        let mut node = Command::new(&self.node);
        node.arg(holdfast::workspace().join("bench/pages.mjs"))
            .arg(&self.chromium)
            .arg(rounds.to_string())
            .arg(PAGE_TIMEOUT.as_millis().to_string())
            .args(shops.iter().map(|(drops, server)| {
                let (pid, address) = (server.pid(), server.address);
                format!("{pid},{address},{drops}")
            }))
            .current_dir(folder());
        let mut process = Process::spawn(play.stage.reaper(), "node", node)?;
        let mut loads: BTreeMap<u32, Vec<Load>> = BTreeMap::new();
        for _load in 0..rounds * shops.len() {
            // The first line follows an uncounted load of each page.
            let line = process.line("load ", 3 * PAGE_TIMEOUT).await?;
            let malformed = || BenchError::Unexpected(format!("an invalid load: {line}"));
            let (drops, load) = line.split_once(' ').ok_or_else(malformed)?;
            let drops = drops.parse().map_err(|_| malformed())?;
            let load = serde_json::from_str(load).map_err(|_| malformed())?;
            loads.entry(drops).or_default().push(load);
        }
        process.wait_for("done", PAGE_TIMEOUT).await?;
        process.stop(Duration::from_secs(10)).await;
        Ok(loads)
    }
}

fn folder() -> PathBuf {
    holdfast::workspace().join("tests/browser")
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut programs = std::env::split_paths(&path).map(|folder: PathBuf| folder.join(name));
    programs.find(|program: &PathBuf| Path::is_file(program))
}
