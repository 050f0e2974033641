//! The only file that uses `cqrs_es`: a thin adapter that lets stock `cqrs-es` and `postgres-es`
//! programs run the same aggregate on the same log.
//!
//! Limit: those programs reload a stream for each command and take time and ids from the commands.

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};

use crate::command::DropCommand;
use crate::drop::DropAggregate;
use crate::event::DropEvent;
use crate::refusal::Refusal;

impl DomainEvent for DropEvent {
    fn event_type(&self) -> String {
        Self::event_type(self).to_owned()
    }

    fn event_version(&self) -> String {
        Self::event_version(self).to_owned()
    }
}

impl Aggregate for DropAggregate {
    const TYPE: &'static str = crate::AGGREGATE_TYPE;
    type Command = DropCommand;
    type Event = DropEvent;
    type Error = Refusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: DropCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), Refusal> {
        // The whole decision is made before the first write: each write is applied immediately, and
        // a later refusal would not undo it.
        for event in self.decide(&command)?.events {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: DropEvent) {
        self.evolve(&event);
    }
}
