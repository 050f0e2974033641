//! `holdfast demo`: a server with sample drops and simulated shoppers, for trying things out.
//!
//! The shoppers are ordinary clients: they use the public API on the printed address. So is the
//! buyer of the orders, whose webhooks a receiver in this process verifies.

mod receiver;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use api::base_path::base_path;
use api::demo_sign_in::PATH as SIGN_IN;
use clap::Args;
use client::calls::DropView;
use client::{AccessKey, Client, ClientError, Pace, run_shoppers, seed, story};
use domain::values::DropId;
use terminal::arguments::decimal;
use terminal::print_line;
use tokio_util::sync::CancellationToken;

use self::receiver::Receiver;
use crate::admin_keys;
use crate::cli::{announce, on_signal, started};
use crate::config::buyers::with_demo_sign_in;
use crate::config::{ConfigError, Settings, admin_key_file};
use crate::server::{Server, ServerError};

/// Settings of a demo.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// The same as for serve.
    #[command(flatten)]
    pub settings: Settings,

    /// Average number of shoppers that arrive per second; 0 for an empty shop
    #[arg(long, env = "HOLDFAST_SHOPPERS_PER_SECOND", default_value_t = 1.5, value_parser = decimal::<0, 1_000>)]
    pub shoppers_per_second: f64,

    /// Buyers need a token, and get one at a sign-in page of the demo, under any name and without a
    /// password. Only on a loopback address
    #[arg(long, env = "HOLDFAST_DEMO_SIGN_IN", conflicts_with = "sign_in_url")]
    pub sign_in: bool,
}

/// Why the demo failed.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The server did not start, or stopped without a request to stop.
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error("cannot set up the sample drops")]
    Samples(#[source] ClientError),
}

impl DemoError {
    /// Returns true if the settings alone are at fault.
    #[must_use]
    pub const fn is_of_settings(&self) -> bool {
        match self {
            Self::Server(error) => error.is_of_settings(),
            Self::Samples(_) => false,
        }
    }
}

/// Serves, seeds and simulates shoppers until a signal.
///
/// # Errors
/// [`DemoError`].
pub async fn run(args: &DemoArgs) -> Result<(), DemoError> {
    let stop = on_signal();
    let settings = args.settings.clone();
    let mut settings = match args.sign_in {
        true => with_demo_sign_in(settings)
            .map_err(|error| ServerError::Config(ConfigError::Buyers(error)))?,
        false => settings,
    };
    // The receiver of the demo's webhooks listens on this machine.
    if settings.webhooks.webhook_networks.is_empty() {
        settings.webhooks.webhook_networks = receiver::networks();
    }
    let Some(server) = started(Server::start(&settings, &stop).await, &stop)? else {
        return Ok(());
    };
    announce(&settings, &server);
    let address = reachable(server.address());
    let serving = tokio::spawn(server.run(stop.clone()));
    match set_up(args, address).await {
        Ok((client, drops)) => {
            explain(args, &settings, address, &drops);
            let shelves: Vec<DropId> = drops.iter().map(|drop| drop.id).collect();
            if args.shoppers_per_second > 0.0 {
                let pace = Pace {
                    arrivals_per_second: args.shoppers_per_second,
                    ..Pace::default()
                };
                tokio::spawn(until(stop.clone(), play_orders(client.clone())));
                tokio::spawn(run_shoppers(client, shelves, pace, stop));
            }
        }
        // The stopping server refuses the sample drops, too.
        Err(_) if stop.is_cancelled() => {}
        Err(error) => {
            stop.cancel();
            ended(serving.await)?;
            return Err(DemoError::Samples(error));
        }
    }
    ended(serving.await)
}

/// Runs until the server stops. From then on an error is not reported.
async fn until(stop: CancellationToken, running: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = running => {}
    }
}

/// Plays the orders of a shop's day, and prints each outcome and the number of verified webhooks.
async fn play_orders(client: Client) {
    let say = |line: String| {
        if let Err(error) = print_line(&line) {
            tracing::warn!(%error, "cannot write to standard output");
        }
    };
    let receiver = match Receiver::start(&client).await {
        Ok(receiver) => receiver,
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "no webhooks in this demo"
            );
            return;
        }
    };
    let played = story::play(&client, |outcome| say(format!("Orders:      {outcome}"))).await;
    if let Err(error) = played {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the demo's orders stopped"
        );
    }
    match receiver.finish(&client).await {
        Ok(summary) => say(format!("Webhooks:    {summary}")),
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the demo's webhooks stopped"
            );
        }
    }
}

fn ended(served: Result<Result<(), ServerError>, tokio::task::JoinError>) -> Result<(), DemoError> {
    Ok(served.map_err(|panic| ServerError::Failed(panic.into()))??)
}

async fn set_up(
    args: &DemoArgs,
    address: SocketAddr,
) -> Result<(Client, Vec<DropView>), ClientError> {
    let keys = &args.settings.keys;
    let named = keys
        .admin_keys
        .as_deref()
        .and_then(|named| admin_keys::parse(named).ok());
    let named = named.and_then(|pairs| pairs.into_iter().next());
    let key = match (&keys.admin_key, named) {
        (Some(key), _) => AccessKey::new(key)?,
        (None, Some(named)) => AccessKey::new(&named.key)?,
        (None, None) => AccessKey::read(&admin_key_file(&args.settings.database.data_dir))?,
    };
    let client = Client::new(format!("http://{address}{}", base_path()).parse()?, key)?;
    let drops = seed::seed(&client).await?;
    seed::shelf::fill(&client).await?;
    Ok((client, drops))
}

/// A server that listens on all addresses is reached through the loopback address.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = if address.ip().is_unspecified() {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    } else {
        address.ip()
    };
    SocketAddr::new(ip, address.port())
}

fn explain(args: &DemoArgs, settings: &Settings, address: SocketAddr, drops: &[DropView]) {
    let shop = format!("http://{address}{}", base_path());
    let key_file = admin_key_file(&args.settings.database.data_dir);
    let keys = &args.settings.keys;
    let key = match (&keys.admin_key, &keys.admin_keys) {
        (Some(_), _) => "$HOLDFAST_ADMIN_KEY".to_owned(),
        (None, Some(_)) => "YOUR_ADMIN_KEY".to_owned(),
        (None, None) => format!("$(cat {})", key_file.display()),
    };
    let drop_id = drops
        .first()
        .map_or_else(String::new, |drop| drop.id.to_string());
    // The admin key may act for every buyer, also where buyers need tokens.
    let (sign_in, bearer) = match settings.buyers.are_believed() {
        true => (String::new(), String::new()),
        false => (
            match args.sign_in {
                true => format!("\nSign in:     {shop}{SIGN_IN}   (as any buyer)"),
                false => String::new(),
            },
            format!(" -H \"Authorization: Bearer {key}\""),
        ),
    };
    let text = format!(
        "
The shop:    {shop}/{sign_in}
Dashboard:   {shop}/admin   (sign in with the admin key)
Reference:   {shop}/docs   (the API, with samples to copy)
The stream:  curl -sN {shop}/v1/stream
A hold:      curl -s {shop}/v1/drops/{drop_id}/holds -H \"Idempotency-Key: $(date +%s%N)\" \\
                  -H 'Content-Type: application/json' -d '{{\"buyer_id\": \"me\", \"display_name\": \"Me\"}}'{bearer}
Buy it:      curl -s -X POST {shop}/v1/holds/HOLD_ID/purchase{bearer}
The log:     curl -s '{shop}/v1/log?limit=5' -H \"Authorization: Bearer {key}\"

In another terminal, while this runs:
             {program} load --url {shop} --data-dir {data_dir}
             {program} audit verify --data-dir {data_dir}

Ctrl-C stops it; the data stays in {data_dir}.",
        program = std::env::args().next().unwrap_or_else(|| "holdfast".to_owned()),
        data_dir = args.settings.database.data_dir.display(),
    );
    if let Err(error) = print_line(&text) {
        tracing::warn!(%error, "cannot write to standard output");
    }
}
