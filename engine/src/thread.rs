//! The engine on a thread of its own: when a batch has landed, the next one goes on its way without waiting behind requests
//! that are being parsed and answered.
//!
//! Measured in docs/PERFORMANCE.md.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use infrastructure::log::EventLog;
use infrastructure::ports::{Clock, Ids, Observer};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::task::{Engine, EngineError};

/// A running engine. Dropping this leaves it running.
#[derive(Debug)]
pub struct EngineThread {
    ended: oneshot::Receiver<Result<(), EngineError>>,
}

/// The engine ended by a panic: a defect, or history that it cannot apply. The thread has printed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the engine's thread panicked")]
pub struct EnginePanicked;

impl EngineThread {
    /// Runs `engine` on a new thread.
    ///
    /// # Errors
    /// When the system gives no thread, or no room for its timers and sockets.
    pub fn start<L: EventLog, C: Clock, I: Ids, O: Observer>(
        engine: Engine<L, C, I, O>,
    ) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (end, ended) = oneshot::channel();
        thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || {
                if let Ok(outcome) =
                    catch_unwind(AssertUnwindSafe(|| runtime.block_on(engine.run())))
                {
                    let _nobody_waits = end.send(outcome);
                }
            })?;
        Ok(Self { ended })
    }

    /// Waits for the engine to end, and tells how.
    ///
    /// # Errors
    /// [`EnginePanicked`].
    pub async fn ended(&mut self) -> Result<Result<(), EngineError>, EnginePanicked> {
        (&mut self.ended).await.map_err(|_| EnginePanicked)
    }
}
