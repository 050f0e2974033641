//! The background tasks of a server. A task that panics is logged and shown by `/health/ready`; if
//! clients depend on it at every moment, it ends the server.

use std::collections::HashMap;
use std::future::pending;

use api::stopped::StoppedTasks;
use tokio::task::{Id, JoinError, JoinSet};
use tracing::error;

/// A background task, as messages name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    pub name: &'static str,
    /// Without it, clients read outdated state for ever: the server ends, so that its supervisor
    /// starts it again. Without another task, the shop goes on.
    pub is_essential: bool,
}

impl Task {
    pub const fn essential(name: &'static str) -> Self {
        Self {
            name,
            is_essential: true,
        }
    }

    pub const fn optional(name: &'static str) -> Self {
        Self {
            name,
            is_essential: false,
        }
    }
}

/// The running tasks.
#[derive(Debug)]
pub struct Tasks {
    running: JoinSet<()>,
    tasks: HashMap<Id, Task>,
    stopped: StoppedTasks,
}

impl Tasks {
    /// Returns an empty set that reports the tasks that panic to `stopped`.
    pub fn new(stopped: StoppedTasks) -> Self {
        Self {
            running: JoinSet::new(),
            tasks: HashMap::new(),
            stopped,
        }
    }

    pub fn spawn(&mut self, task: Task, running: impl Future<Output = ()> + Send + 'static) {
        let handle = self.running.spawn(running);
        self.tasks.insert(handle.id(), task);
    }

    /// Waits for an essential task to panic, and returns its name. Reports others that panic
    /// meanwhile.
    pub async fn essential_panicked(&mut self) -> &'static str {
        while let Some(ended) = self.running.join_next_with_id().await {
            match self.panicked(ended) {
                Some(task) if task.is_essential => return task.name,
                _ => {}
            }
        }
        pending().await
    }

    /// Waits for every task to end.
    pub async fn join_all(&mut self) {
        while let Some(ended) = self.running.join_next_with_id().await {
            self.panicked(ended);
        }
    }

    /// Reports and returns the task that `ended`, if it panicked.
    fn panicked(&mut self, ended: Result<(Id, ()), JoinError>) -> Option<Task> {
        let (id, panicked) = match ended {
            Ok((id, ())) => (id, false),
            Err(error) => (error.id(), error.is_panic()),
        };
        let task = self.tasks.remove(&id)?;
        if !panicked {
            return None;
        }
        let consequence = match task.is_essential {
            true => "the server stops",
            false => "the shop goes on without it until this server is restarted",
        };
        error!(
            task = task.name,
            "the background task \"{}\" panicked: {consequence}", task.name
        );
        self.stopped.add(task.name);
        Some(task)
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    async fn fails() {
        panic!("planned by the test");
    }

    #[tokio::test]
    async fn only_an_essential_task_that_panics_ends_the_server() {
        let stopped = StoppedTasks::default();
        let mut tasks = Tasks::new(stopped.clone());
        tasks.spawn(Task::essential("ends as planned"), ready(()));
        tasks.spawn(Task::optional("webhooks"), fails());
        tokio::select! {
            biased;
            name = tasks.essential_panicked() => panic!("{name} ended the server"),
            () = async {
                while stopped.names().is_empty() {
                    tokio::task::yield_now().await;
                }
            } => {}
        }
        assert_eq!(stopped.names(), ["webhooks"]);
        tasks.spawn(Task::essential("streams"), fails());
        assert_eq!(tasks.essential_panicked().await, "streams");
        assert_eq!(stopped.names(), ["webhooks", "streams"]);
    }

    #[tokio::test]
    async fn stop_waits_for_the_tasks_after_one_that_panicked() {
        let mut tasks = Tasks::new(StoppedTasks::default());
        tasks.spawn(Task::optional("projection"), fails());
        let (sender, receiver) = tokio::sync::oneshot::channel();
        tasks.spawn(Task::optional("payments"), async move {
            tokio::task::yield_now().await;
            sender.send("ended").unwrap();
        });
        tasks.join_all().await;
        assert_eq!(receiver.await, Ok("ended"));
    }
}
