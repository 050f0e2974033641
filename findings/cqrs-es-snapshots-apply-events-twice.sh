#!/usr/bin/env bash
# cqrs-es 0.5.0: a snapshot store and an aggregate store save a state to which each event has been
# applied twice.
#
# Behaviour: EventSink::write applies an event to the aggregate immediately, so that the command can
# continue with the new state. PersistedEventStore::commit applies the same events to the same
# aggregate again before it saves the snapshot (src/event_sink.rs, src/persist/event_store.rs). A
# counter to which 1 was added loads as 2. A store of events alone saves no state and loads 1.
# Output: events: 1 / snapshots: 2 / aggregate: 2. Affected: programs on postgres_snapshot_cqrs,
# postgres_aggregate_cqrs and their equivalents for other databases, all of which save this state;
# postgres_cqrs is not affected.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
mkdir "$work/src"
cat > "$work/Cargo.toml" <<'TOML'
[package]
name = "twice"
version = "0.0.0"
edition = "2021"
[dependencies]
cqrs-es = "=0.5.0"
serde = { version = "=1.0.229", features = ["derive"] }
serde_json = "=1.0.154"
tokio = { version = "=1.54.1", features = ["macros", "rt"] }
[workspace]
TOML
cat > "$work/src/main.rs" <<'RUST'
use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::*;
use cqrs_es::{Aggregate, CqrsFramework, DomainEvent, EventStore};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::{Arc, Mutex};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Added(u32);
impl DomainEvent for Added {
    fn event_type(&self) -> String { "Added".into() }
    fn event_version(&self) -> String { "1.0".into() }
}
#[derive(Default, Serialize, Deserialize)]
struct Counter { sum: u32 }
#[derive(Debug)]
struct Never;
impl std::fmt::Display for Never { fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { Ok(()) } }
impl std::error::Error for Never {}
impl Aggregate for Counter {
    const TYPE: &'static str = "counter";
    type Command = u32; type Event = Added; type Error = Never; type Services = ();
    async fn handle(&mut self, add: u32, _: &(), sink: &EventSink<Self>) -> Result<(), Never> {
        sink.write(Added(add), self).await;
        Ok(())
    }
    fn apply(&mut self, event: Added) { self.sum += event.0; }
}

/// A repository in memory.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<(Vec<SerializedEvent>, Option<SerializedSnapshot>)>>);
impl PersistedEventRepository for Memory {
    async fn get_events<A: Aggregate>(&self, _: &str) -> Result<Vec<SerializedEvent>, PersistenceError> {
        Ok(self.0.lock().unwrap().0.clone())
    }
    async fn get_last_events<A: Aggregate>(&self, _: &str, last: usize) -> Result<Vec<SerializedEvent>, PersistenceError> {
        Ok(self.0.lock().unwrap().0.iter().filter(|event| event.sequence > last).cloned().collect())
    }
    async fn get_snapshot<A: Aggregate>(&self, _: &str) -> Result<Option<SerializedSnapshot>, PersistenceError> {
        let kept = self.0.lock().unwrap();
        Ok(kept.1.as_ref().map(|kept| SerializedSnapshot {
            aggregate_id: kept.aggregate_id.clone(), aggregate: kept.aggregate.clone(),
            current_sequence: kept.current_sequence, current_snapshot: kept.current_snapshot,
        }))
    }
    async fn persist<A: Aggregate>(&self, events: &[SerializedEvent], update: Option<(String, Value, usize)>) -> Result<(), PersistenceError> {
        let mut kept = self.0.lock().unwrap();
        kept.0.extend_from_slice(events);
        if let Some((aggregate_id, aggregate, current_snapshot)) = update {
            let current_sequence = kept.0.len();
            kept.1 = Some(SerializedSnapshot { aggregate_id, aggregate, current_sequence, current_snapshot });
        }
        Ok(())
    }
    async fn stream_events<A: Aggregate>(&self, _: &str) -> Result<ReplayStream, PersistenceError> { unimplemented!() }
    async fn stream_all_events<A: Aggregate>(&self) -> Result<ReplayStream, PersistenceError> { unimplemented!() }
}

type Store = PersistedEventStore<Memory, Counter>;
async fn sum(name: &str, store: impl Fn(Memory) -> Store) {
    let memory = Memory::default();
    CqrsFramework::new(store(memory.clone()), vec![], ()).execute("one", 1).await.unwrap();
    let loaded = store(memory).load_aggregate("one").await.unwrap();
    println!("{name}: {}", loaded.aggregate.sum);
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    sum("events", Store::new_event_store).await;
    sum("snapshots", |memory| Store::new_snapshot_store(memory, 1)).await;
    sum("aggregate", Store::new_aggregate_store).await;
}
RUST
said=$(cd "$work" && CARGO_TARGET_DIR=$work/target cargo run -q)
echo "$said"
[ "$said" = $'events: 1\nsnapshots: 2\naggregate: 2' ]
