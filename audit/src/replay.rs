//! `holdfast audit replay`: recomputes every projection from the log alone, to print it or to
//! compare it with its table.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::Args;
use database::Database;
use domain::values::Position;
use projections::checked::{CheckedTable, Comparison, without_table};
use projections::error::ReplayError;
use serde_json::{Value, json};
use terminal::table::columns;

use super::proof::snapshot;
use super::source::{EventFilter, Moment, Source, SourceArgs};
use super::{AuditError, print, written};

/// Rows of a table that share one layout.
const ROWS_AT_ONCE: usize = 1_000;

/// Arguments of `audit replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// Up to this position, or this time; without it, up to the head.
    #[arg(
        long,
        env = "HOLDFAST_AUDIT_AT",
        value_name = "POSITION|TIME",
        conflicts_with = "compare"
    )]
    at: Option<Moment>,

    /// Only this projection; may be repeated.
    #[arg(long, env = "HOLDFAST_AUDIT_VIEW", value_name = "NAME")]
    view: Vec<String>,

    /// Compare with the tables of the database, each as of its checkpoint, instead of printing;
    /// exits with 1 if they differ.
    #[arg(long, env = "HOLDFAST_AUDIT_COMPARE")]
    compare: bool,

    /// Print JSON.
    #[arg(long, env = "HOLDFAST_AUDIT_JSON")]
    json: bool,
}

type Views = Vec<Box<dyn CheckedTable>>;

/// Runs the command.
///
/// # Errors
/// [`AuditError`].
pub async fn run(args: &ReplayArgs) -> Result<ExitCode, AuditError> {
    let source = Source::open(&args.source).await?;
    let views = if args.compare {
        tables(args, &source).await
    } else {
        Ok(without_table(Position(u64::MAX)))
    };
    let replayed = match views.and_then(|views| chosen(views, &args.view)) {
        Ok(views) => replay(args, &source, views).await,
        Err(error) => Err(error),
    };
    source.close().await;
    let (position, views) = replayed?;
    if args.compare {
        return compare(views, args.json);
    }
    let mut out = BufWriter::new(io::stdout().lock());
    written(match args.json {
        true => show_json(&mut out, position, views),
        false => show_text(&mut out, position, views),
    })
}

/// The tables: of the database that is read, or, for a file, of the configured database.
async fn tables(args: &ReplayArgs, source: &Source) -> Result<Views, AuditError> {
    match source {
        Source::Database(database) => Ok(snapshot(&database.pool).await?.tables),
        Source::File(_) => {
            let database = Database::open_existing(&args.source.database).await?;
            let tables = snapshot(&database.pool)
                .await
                .map(|snapshot| snapshot.tables);
            database.close().await;
            tables
        }
    }
}

fn chosen(views: Views, names: &[String]) -> Result<Views, AuditError> {
    let known: BTreeSet<&str> = views.iter().map(|view| view.name()).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name.as_str())) {
        let known: Vec<&str> = known.into_iter().collect();
        return Err(AuditError::NoSuchView {
            name: unknown.clone(),
            known: known.join(", "),
        });
    }
    let is_chosen = |name: &str| names.is_empty() || names.iter().any(|chosen| chosen == name);
    let views = views.into_iter();
    Ok(views.filter(|view| is_chosen(view.name())).collect())
}

async fn replay(
    args: &ReplayArgs,
    source: &Source,
    mut views: Views,
) -> Result<(Position, Views), AuditError> {
    let furthest = views.iter().map(|view| view.checkpoint()).max();
    let until = match (args.compare, furthest) {
        (true, Some(furthest)) => Some(Moment::Position(furthest)),
        (true, None) | (false, _) => args.at,
    };
    let filter = EventFilter {
        until,
        ..EventFilter::default()
    };
    let mut reading = source.read(filter, "replaying").await?;
    while let Some(page) = reading.next().await? {
        for stored in &page {
            let Some(recorded) = reading.decode(stored)? else {
                continue;
            };
            for view in &mut views {
                view.apply(&recorded).map_err(|error| match error {
                    ReplayError::CannotApply(reason) => {
                        AuditError::cannot_apply(recorded.position, &reason)
                    }
                    ReplayError::Scratch(error) => AuditError::Scratch(error),
                })?;
            }
        }
    }
    Ok((reading.until(), views))
}

fn compare(views: Views, as_json: bool) -> Result<ExitCode, AuditError> {
    let (mut lines, mut results, mut differ) = (vec![], vec![], false);
    for view in views {
        let (name, checkpoint) = (view.name(), view.checkpoint());
        if let Some(other) = view.other_version() {
            differ = true;
            lines.push(format!("{name}: cannot be compared: {other}"));
            results.push(json!({ "name": name, "checkpoint": checkpoint, "equal": false, "reason": other.to_string() }));
            continue;
        }
        let Comparison { rows, mismatch } = view.compare().map_err(AuditError::Scratch)?;
        match mismatch {
            None => {
                lines.push(format!(
                    "{name}: {rows} rows, equal to the log up to position {checkpoint}"
                ));
                results.push(
                    json!({ "name": name, "checkpoint": checkpoint, "rows": rows, "equal": true }),
                );
            }
            Some(mismatch) => {
                differ = true;
                let or_none =
                    |row: &Option<String>| row.clone().unwrap_or_else(|| "no row".to_owned());
                lines.push(format!(
                    "{name}: differs from the log up to position {checkpoint}, first at position {}: expected {}, found {}",
                    mismatch.position, or_none(&mismatch.expected), or_none(&mismatch.found)
                ));
                results.push(json!({
                    "name": name, "checkpoint": checkpoint, "rows": rows, "equal": false,
                    "position": mismatch.position, "expected": mismatch.expected, "found": mismatch.found,
                }));
            }
        }
    }
    if as_json {
        print(&format!(
            "{:#}",
            json!({ "equal": !differ, "views": results })
        ))?;
    } else {
        print(&lines.join("\n"))?;
    }
    Ok(if differ {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Writes one document with one row per line, for any number of rows.
fn show_json(out: &mut impl Write, position: Position, views: Views) -> Result<(), AuditError> {
    let mut put = |text: &str| out.write_all(text.as_bytes()).map_err(AuditError::Output);
    put(&format!("{{\n  \"position\": {position},\n  \"views\": {{"))?;
    let mut next_view = "";
    for view in views {
        put(&format!("{next_view}\n    \"{}\": [", view.name()))?;
        let mut next_row = "";
        for row in view.folded().map_err(AuditError::Scratch)? {
            let row = row.map_err(AuditError::Scratch)?;
            put(&format!("{next_row}\n      {row}"))?;
            next_row = ",";
        }
        put("\n    ]")?;
        next_view = ",";
    }
    put("\n  }\n}\n")?;
    out.flush().map_err(AuditError::Output)
}

/// Writes a table for each projection; a long one in pieces of [`ROWS_AT_ONCE`] rows, with column
/// widths per piece.
fn show_text(out: &mut impl Write, position: Position, views: Views) -> Result<(), AuditError> {
    let mut put = |text: &str| writeln!(out, "{text}").map_err(AuditError::Output);
    put(&format!("Up to position {position}:"))?;
    for view in views {
        put(&format!("\n{}", view.name()))?;
        let mut rows = 0;
        let mut left = view.folded().map_err(AuditError::Scratch)?;
        loop {
            let piece: io::Result<Vec<Value>> = left.by_ref().take(ROWS_AT_ONCE).collect();
            let piece = piece.map_err(AuditError::Scratch)?;
            if piece.is_empty() {
                break;
            }
            rows += piece.len();
            put(&table(&piece))?;
        }
        put(&format!(
            "  ({rows} {})",
            if rows == 1 { "row" } else { "rows" }
        ))?;
    }
    out.flush().map_err(AuditError::Output)
}

fn table(rows: &[Value]) -> String {
    let Some(first) = rows.first().and_then(Value::as_object) else {
        return "  none".to_owned();
    };
    let names: Vec<&String> = first.keys().collect();
    let numbers: Vec<usize> = (0..names.len())
        .filter(|index| first[names[*index]].is_number())
        .collect();
    let header = names.iter().map(|name| (*name).clone()).collect();
    let cells = rows.iter().map(|row| {
        names
            .iter()
            .map(|name| cell(name, &row[name.as_str()]))
            .collect()
    });
    columns(
        &std::iter::once(header).chain(cells).collect::<Vec<_>>(),
        &numbers,
    )
}

/// A drop's terms would fill the screen: shows only its name.
fn cell(name: &str, value: &Value) -> String {
    match (name, value) {
        ("terms", terms) => terms["name"].as_str().unwrap_or_default().to_owned(),
        (_, Value::String(text)) => text.clone(),
        (_, Value::Null) => String::new(),
        (_, other) => other.to_string(),
    }
}
