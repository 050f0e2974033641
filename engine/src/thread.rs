//! Runs the engine on its own thread: after a commit, the next batch is sent without waiting for
//! requests that are being parsed or responses that are being sent.
//!
//! Measured in docs/PERFORMANCE.md.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use infrastructure::log::EventLog;
use infrastructure::ports::{Clock, Ids, Observer};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::task::{Engine, EngineError};

/// A running engine. Dropping this does not stop it.
#[derive(Debug)]
pub struct EngineThread {
    ended: oneshot::Receiver<Result<(), EngineError>>,
}

/// The engine panicked: a defect, or an event that it cannot apply. The thread has printed the
/// panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the engine's thread panicked")]
pub struct EnginePanicked;

impl EngineThread {
    /// Runs `engine` on a new thread.
    ///
    /// # Errors
    /// When the system cannot create the thread or its I/O runtime.
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

    /// Waits for the engine to end, and returns its result.
    ///
    /// # Errors
    /// [`EnginePanicked`].
    pub async fn ended(&mut self) -> Result<Result<(), EngineError>, EnginePanicked> {
        (&mut self.ended).await.map_err(|_| EnginePanicked)
    }
}
