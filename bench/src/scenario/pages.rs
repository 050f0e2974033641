//! What the shop's front page costs with many drops, in CPU time of the browser and the server: up
//! to the first card, and up to a press on it.
//!
//! The shop with few drops and that with many are both up; each round opens the page of each in a
//! new browser context (`bench/pages.mjs`), so a ratio is of two loads of the same minute. Limit:
//! needs Node and Chromium; a browser's CPU time comes in hundredths of a second.

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
/// How long one page may take to show a card; a build that is slow with many drops needs a minute.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long an installation may take.
const INSTALLING: Duration = Duration::from_secs(600);

/// The figure's name, before how many drops.
pub const FIRST_CARD: &str = "CPU to the first card";
/// The same.
pub const PRESS: &str = "CPU to a press";

/// One load of one page.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Load {
    card: Spent,
    press: Spent,
    requests: u32,
    bytes: u64,
}

/// Milliseconds since the page was asked for.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Spent {
    browser: f64,
    server: f64,
    wall: f64,
}

/// The part of a load that a figure is of.
type Part = fn(&Load) -> Spent;

impl Spent {
    fn cpu(&self) -> f64 {
        self.browser + self.server
    }
}

/// Plays it.
///
/// # Errors
/// [`BenchError`].
pub async fn play(play: &mut Play<'_>) -> Result<(), BenchError> {
    let Some(browser) = Browser::find().await? else {
        let note = "Node and Chromium are not installed: the scenario pages is not played.";
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

/// The name of a figure with `many` drops by that with few.
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
        "browser {} ms, server {} ms; after {} ms; {} requests of the API, {} KiB; medians of {} loads",
        of(|spent| spent.browser),
        of(|spent| spent.server),
        of(|spent| spent.wall),
        rounded(median_of(loads, |load| f64::from(load.requests))),
        rounded(bytes / 1024.0),
        loads.len()
    )
}

/// What opens pages.
struct Browser {
    node: PathBuf,
    chromium: PathBuf,
}

impl Browser {
    /// Those of the browser tests, whose packages are installed when missing.
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
            let status = within("npm ci", INSTALLING, installing).await?;
            if !status.success() {
                return Err(BenchError::Unexpected("npm ci failed".into()));
            }
        }
        Ok(Some(Self { node, chromium }))
    }

    /// The loads of each shop, by its number of drops.
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
            .arg(PATIENCE.as_millis().to_string())
            .args(shops.iter().map(|(drops, server)| {
                let (pid, address) = (server.pid(), server.address);
                format!("{pid},{address},{drops}")
            }))
            .current_dir(folder());
        let mut process = Process::spawn(play.stage.reaper(), "node", node)?;
        let mut loads: BTreeMap<u32, Vec<Load>> = BTreeMap::new();
        for _load in 0..rounds * shops.len() {
            // The first line comes after a load of each that is not counted.
            let line = process.line("load ", 3 * PATIENCE).await?;
            let malformed = || BenchError::Unexpected(format!("a load that is none: {line}"));
            let (drops, load) = line.split_once(' ').ok_or_else(malformed)?;
            let drops = drops.parse().map_err(|_| malformed())?;
            let load = serde_json::from_str(load).map_err(|_| malformed())?;
            loads.entry(drops).or_default().push(load);
        }
        process.wait_for("done", PATIENCE).await?;
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
