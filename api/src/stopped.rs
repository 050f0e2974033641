//! The background tasks that have stopped because they panicked.

use std::sync::{Arc, Mutex, PoisonError};

/// The background tasks that panicked since the start, which only a restart starts again. Clones
/// refer to the same list.
#[derive(Debug, Clone, Default)]
pub struct StoppedTasks(Arc<Mutex<Vec<&'static str>>>);

impl StoppedTasks {
    /// Adds a task by its name.
    pub fn add(&self, name: &'static str) {
        self.read().push(name);
    }

    /// Returns the names, in the order in which the tasks stopped.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        self.read().clone()
    }

    fn read(&self) -> std::sync::MutexGuard<'_, Vec<&'static str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
