//! The contenders. Every rival is a separate server process on the same axum stack, with the same
//! routes, requests and responses; only the work between request and response differs.
//!
//! | contender | acknowledges after | leaves out |
//! |---|---|---|
//! | no-op | nothing | everything but HTTP: the limit of the stack |
//! | holdfast | an fsync'd commit | nothing: the real program, everything on |
//! | for-update | an fsync'd commit | expiry, audit, streams, replayed retries |
//! | conditional-update | an fsync'd commit | the same |
//! | cqrs-es | an fsync'd commit | expiry, read models, streams, personal data kept apart |
//! | redis-always | an fsync'd append to its log | expiry, audit, streams |
//! | redis-memory | nothing durable | the same, and durability |
//!
//! The omissions favour the rivals. So does a new drop for every run: stock `cqrs-es` never has a
//! long history.

pub mod conditional_update;
pub mod for_update;
pub mod holdfast;
pub mod http;
pub mod no_op;
pub mod redis_lua;
pub mod sql_shop;
pub mod stock_cqrs;

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use self::http::{RivalError, serve};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contender {
    /// The limit of the HTTP stack.
    NoOp,
    Holdfast,
    /// Another build, given by `--against`.
    Against,
    /// A row lock per hold.
    ForUpdate,
    /// One conditional `UPDATE` per hold.
    ConditionalUpdate,
    /// The stock framework on the same aggregate.
    CqrsEs,
    /// A Lua script, fsync for every append.
    RedisAlways,
    /// A Lua script, nothing durable.
    RedisMemory,
}

/// The store of a contender's holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    None,
    /// A database in the run's Postgres.
    Postgres,
    /// A Redis of its own.
    Redis {
        /// True if every append is fsync'd.
        durable: bool,
    },
}

impl Contender {
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

    pub const fn is_holdfast(self) -> bool {
        matches!(self, Self::Holdfast | Self::Against)
    }
}

/// Options of the internal command `serve-rival`.
#[derive(Debug, Clone, Args)]
pub struct ServeRival {
    pub contender: Contender,
    /// The URL of its database or Redis.
    #[arg(long, default_value = "")]
    pub store: String,
    #[arg(long, default_value_t = 8)]
    pub connections: u32,
}

/// Runs a rival's server, configured like Holdfast's: one runtime with one worker per core (or
/// `TOKIO_WORKER_THREADS`).
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

async fn serve_as(options: &ServeRival) -> Result<(), RivalError> {
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
        Contender::Holdfast | Contender::Against => Err("holdfast is not a rival".into()),
    }
}
