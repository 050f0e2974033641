//! Why a server did not start, or stopped.

use std::net::SocketAddr;

use api::brand::ThemeError;
use database::DatabaseError;
use engine::EngineError;
use infrastructure::error::LogError;
use infrastructure::log::postgres::CannotAppend;
use tokio_util::sync::CancellationToken;

use crate::config::ConfigError;
use crate::config::push::VapidError;
use crate::known_head::KnownHeadError;

/// Why a server did not start, or stopped without a request to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The theme has a fault.
    #[error(transparent)]
    Theme(#[from] ThemeError),
    #[error("cannot render the pages")]
    Pages(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The address is in use, or does not belong to this machine.
    #[error("cannot listen on {address} (--listen chooses another; port 0 picks a free one)")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    /// Each connection is an open file.
    #[error(
        "the system permits {files} open files, and a server needs {fewest} or more: raise the \
         limit (ulimit -n; LimitNOFILE= of a systemd unit)"
    )]
    OpenFiles { files: u64, fewest: u64 },
    /// A signal arrived during the start.
    #[error("interrupted before the server had started")]
    Stopped,
    #[error(transparent)]
    Vapid(#[from] VapidError),
    #[error("cannot read the event log")]
    Load(#[source] LogError),
    /// The log lost events that this data directory knows.
    #[error(transparent)]
    KnownHead(#[from] KnownHeadError),
    /// The database accepts no appends, or the log has no head.
    #[error(transparent)]
    CannotAppend(#[from] CannotAppend),
    /// The log violates its invariants.
    #[error("the event log is refused: run `holdfast log check`, and see docs/LOG_REFUSED.md")]
    Refused(#[source] LogError),
    /// The engine stopped because continuing could do harm.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A task that clients depend on panicked: it has a defect.
    #[error("the background task \"{0}\" failed")]
    Task(&'static str),
    /// The engine panicked: it cannot apply an event, or it has a defect.
    #[error("the engine failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("cannot start the engine's thread")]
    Thread(#[source] std::io::Error),
}

impl ServerError {
    /// Returns true if the settings alone are at fault: another start with them ends like this one.
    #[must_use]
    pub const fn is_of_settings(&self) -> bool {
        match self {
            Self::Config(error) => error.is_of_settings(),
            Self::Database(error) => error.is_of_settings(),
            Self::Theme(_) => true,
            Self::Vapid(error) => !matches!(error, VapidError::Kept(_)),
            Self::Pages(_)
            | Self::Listen { .. }
            | Self::OpenFiles { .. }
            | Self::Stopped
            | Self::Load(_)
            | Self::KnownHead(_)
            | Self::CannotAppend(_)
            | Self::Refused(_)
            | Self::Engine(_)
            | Self::Task(_)
            | Self::Failed(_)
            | Self::Thread(_) => false,
        }
    }
}

/// Returns what `starting` returns, unless `stop` interrupts it.
///
/// # Errors
/// That of `starting`, or [`ServerError::Stopped`].
pub(super) async fn unless_stopped<T, E: Into<ServerError>>(
    stop: &CancellationToken,
    starting: impl Future<Output = Result<T, E>>,
) -> Result<T, ServerError> {
    tokio::select! {
        started = starting => started.map_err(Into::into),
        () = stop.cancelled() => Err(ServerError::Stopped),
    }
}

pub(super) fn unreadable(error: sqlx::Error) -> ServerError {
    ServerError::Load(LogError::Unavailable(error.into()))
}

pub(super) fn not_loaded(error: LogError) -> ServerError {
    match error {
        corrupt @ LogError::Corrupt { .. } => ServerError::Refused(corrupt),
        unavailable @ LogError::Unavailable(_) => ServerError::Load(unavailable),
    }
}
