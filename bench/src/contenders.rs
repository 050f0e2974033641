//! Who takes part. Every rival is a server process of its own on the same axum stack, with the same routes, the same
//! request and the same answer; only what happens between them differs.
//!
//! | contender | acknowledges after | leaves out |
//! |---|---|---|
//! | no-op | nothing | everything but HTTP: the limit of the stack |
//! | holdfast | an fsync'd commit | nothing: the real program, everything on |
//! | for-update | an fsync'd commit | expiry, audit, streams, answers to retries |
//! | conditional-update | an fsync'd commit | the same |
//! | cqrs-es | an fsync'd commit | expiry, read models, streams, personal data kept apart |
//! | redis-always | an fsync'd append to its log | expiry, audit, streams |
//! | redis-memory | nothing durable | the same, and durability |
//!
//! What a rival leaves out is in its favour. So is a new drop for every run: stock `cqrs-es` never has a long history.

pub mod conditional_update;
pub mod desk;
pub mod for_update;
pub mod holdfast;
pub mod no_op;
pub mod redis_lua;
pub mod sql_shop;
pub mod stock_cqrs;

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use self::desk::{DeskError, serve};

/// A contender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contender {
    /// The limit of the stack.
    NoOp,
    /// The real program.
    Holdfast,
    /// Another build of it, named by `--against`.
    Against,
    /// A row lock.
    ForUpdate,
    /// One conditional statement.
    ConditionalUpdate,
    /// The stock framework on the same aggregate.
    CqrsEs,
    /// A Lua script, fsync for every append.
    RedisAlways,
    /// A Lua script, nothing durable.
    RedisMemory,
}

/// Where a contender keeps its holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// Nowhere.
    None,
    /// A database in the run's Postgres.
    Postgres,
    /// A Redis of its own.
    Redis {
        /// Whether every append is fsync'd.
        durable: bool,
    },
}

impl Contender {
    /// As it is called in tables and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoOp => "no-op",
            Self::Holdfast => "holdfast",
            Self::Against => "against",
            Self::ForUpdate => "for-update",
            Self::ConditionalUpdate => "conditional-update",
            Self::CqrsEs => "cqrs-es",
            Self::RedisAlways => "redis-always",
            Self::RedisMemory => "redis-memory",
        }
    }

    /// Where it keeps its holds.
    pub const fn store(self) -> Store {
        match self {
            Self::NoOp => Store::None,
            Self::Holdfast
            | Self::Against
            | Self::ForUpdate
            | Self::ConditionalUpdate
            | Self::CqrsEs => Store::Postgres,
            Self::RedisAlways => Store::Redis { durable: true },
            Self::RedisMemory => Store::Redis { durable: false },
        }
    }

    /// Whether it is a build of Holdfast.
    pub const fn is_holdfast(self) -> bool {
        matches!(self, Self::Holdfast | Self::Against)
    }
}

/// Options of the hidden command `serve-rival`.
#[derive(Debug, Clone, Args)]
pub struct ServeRival {
    /// Which one.
    pub contender: Contender,
    /// Its database, or its Redis.
    #[arg(long, default_value = "")]
    pub store: String,
    /// Connections to its database.
    #[arg(long, default_value_t = 8)]
    pub connections: u32,
}

/// A rival's own program: set up like Holdfast's, one runtime with a worker per core (or `TOKIO_WORKER_THREADS`).
pub fn serve_rival(options: &ServeRival) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let served = match runtime {
        Ok(runtime) => runtime.block_on(serve_as(options)),
        Err(error) => Err(error.into()),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", options.contender.name());
            ExitCode::FAILURE
        }
    }
}

async fn serve_as(options: &ServeRival) -> Result<(), DeskError> {
    let listen: SocketAddr = ([127, 0, 0, 1], 0).into();
    let (store, connections) = (&options.store, options.connections);
    match options.contender {
        Contender::NoOp => serve(no_op::NoOp, listen).await,
        Contender::ForUpdate => {
            let shop = sql_shop::open(store, connections).await?;
            serve(for_update::ForUpdate(shop), listen).await
        }
        Contender::ConditionalUpdate => {
            let shop = sql_shop::open(store, connections).await?;
            serve(conditional_update::ConditionalUpdate(shop), listen).await
        }
        Contender::CqrsEs => {
            serve(
                stock_cqrs::StockCqrs::open(store, connections).await?,
                listen,
            )
            .await
        }
        Contender::RedisAlways | Contender::RedisMemory => {
            serve(redis_lua::RedisLua::open(store).await?, listen).await
        }
        Contender::Holdfast | Contender::Against => Err("holdfast is no rival of itself".into()),
    }
}
