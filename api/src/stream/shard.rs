//! A stream shard: one task that writes to thousands of sockets.
//!
//! Promise: a subscriber that keeps up is sent each state within one sweep of the shard. A slow one
//! is skipped without waiting, loses the states in between, and is sent the newest as soon as its
//! socket has space. A sweep sends each subscriber the newest tick that exists when its turn comes.
//! A subscriber is disconnected when it accepts none of its pending bytes for one or two
//! heartbeats, or when it sends anything. The cost of one subscriber per turn is bounded for
//! everything that it sends or accepts: one read of a few bytes, two writes, one piece of a present
//! state. The memory held for it is one piece or one tick, and both are shared. Limit: sweeps begin
//! at most once per interval, and pause for half of the time they took, so that the stream never
//! starves requests; a hang-up is noticed within a second.
//!
//! Why not one task per subscriber: a task, its buffers and its wake-ups cost 35 KiB and a third
//! more CPU per frame (docs/decisions/0024-stream-shards-write-to-sockets.md).

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_broadcast::{Receiver, RecvError, TryRecvError};
use bytes::{Buf, Bytes};
use projections::views::Views;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::yield_now;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::hub::{BACKLOG, StreamHub};
use super::present::Present;
use super::subscriber::SubscriberState;
use super::tick::Tick;
use crate::connections::Socket;

/// Subscribers served before other tasks get a turn: half a millisecond.
const STRIDE: usize = 64;
/// Cost of a subscriber that is sent a piece of the present state, counted in subscribers.
const PIECE_COSTS: usize = 8;
/// Delay before retrying subscribers whose socket was full.
const FULL_SOCKET_RETRY: Duration = Duration::from_millis(10);
/// Interval at which hang-ups are noticed while no drop changes.
const HANG_UP_CHECK: Duration = Duration::from_secs(1);
/// Heartbeat interval. A subscriber that was sent nothing for between one and two intervals is sent
/// a comment: at least every 15 s, with a margin of 3 s for a busy shard.
pub(crate) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(6);

/// The connection of a subscriber.
pub trait Pipe {
    /// Writes as many bytes as the socket accepts without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when the socket is full; any other error means that it is broken.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Returns true if the client has hung up or sent anything. Reads a bounded number of bytes.
    fn is_gone(&self) -> bool;

    /// Discards the bytes that the client has not accepted, once this is dropped.
    fn discard(&self);
}

/// One subscriber and its connection.
#[derive(Debug)]
pub(super) struct Subscriber<P = Socket> {
    pipe: P,
    state: SubscriberState,
    /// The rest of a frame that was begun: frames are never cut.
    unsent: Bytes,
    was_sent_to: bool,
}

/// The ticks that a subscriber has missed.
pub(super) enum Missed<'a> {
    Nothing,
    Ticks {
        /// Every tick after the last one seen, oldest first.
        ticks: Vec<&'a Tick>,
        /// The number of the first tick.
        first: u64,
    },
    /// More than the backlog holds.
    TooMuch,
}

/// The newest ticks, numbered without gaps.
#[derive(Debug, Default)]
struct Recent {
    ticks: VecDeque<Arc<Tick>>,
    last: u64,
}

/// The shared state from which subscribers are served.
struct Sources<'a> {
    recent: &'a Recent,
    views: &'a Views,
    present: &'a Present,
}

/// The subscribers of a shard and the ticks for them. It has no clock and never waits.
#[derive(Debug)]
pub(super) struct Subscribers<P> {
    views: Views,
    present: Arc<Present>,
    recent: Recent,
    list: Vec<Subscriber<P>>,
    /// Set if a socket was full or a subscriber has more to receive.
    needs_retry: bool,
}

/// One task's subscribers, its inbox and its ticks.
#[derive(Debug)]
pub struct StreamShard<P = Socket> {
    inbox: UnboundedReceiver<Subscriber<P>>,
    ticks: Receiver<Arc<Tick>>,
    subscribers: Subscribers<P>,
}

impl<P: Pipe> Subscriber<P> {
    /// A subscriber that was sent the first piece of the present state and nothing else.
    pub(super) const fn new(pipe: P, state: SubscriberState) -> Self {
        Self {
            pipe,
            state,
            unsent: Bytes::new(),
            was_sent_to: true,
        }
    }

    /// Sends the missed ticks as far as the socket has space, and at most one piece of the
    /// present state. Returns false if the socket is full or more is to be sent.
    fn serve(&mut self, sources: &Sources<'_>) -> io::Result<bool> {
        let Sources {
            recent,
            views,
            present,
        } = sources;
        if !self.flush()? {
            return Ok(false);
        }
        let framing = self.state.framing();
        self.unsent = match self.state.next_piece(present, views, framing) {
            Some(piece) => piece,
            None => {
                let missed = recent.after(self.state.seen());
                self.state.catch_up(&missed, present, views)
            }
        };
        let is_sent = self.flush()?;
        let is_behind = self.state.is_resyncing() || self.state.seen() < recent.last;
        Ok(is_sent && !is_behind)
    }

    /// Writes once. Space that a fast reader frees meanwhile is used in its next turn.
    fn flush(&mut self) -> io::Result<bool> {
        if !self.unsent.is_empty() {
            match self.pipe.write(&self.unsent) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.unsent.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
            self.was_sent_to = true;
        }
        if !self.unsent.is_empty() {
            return Ok(false);
        }
        // Drop the reference to the shared bytes, which would keep all of them in memory.
        self.unsent = Bytes::new();
        Ok(true)
    }

    /// Sends a comment if nothing was sent since the last heartbeat. Returns false if the
    /// socket is full.
    ///
    /// # Errors
    /// Also when it has accepted none of its pending bytes since the last heartbeat.
    fn heartbeat(&mut self) -> io::Result<bool> {
        // Flush first, so that no subscriber is disconnected without an attempt.
        let is_done = self.flush()?;
        if std::mem::take(&mut self.was_sent_to) {
            return Ok(is_done);
        }
        if !is_done {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.unsent = Bytes::from_static(self.state.framing().heartbeat());
        self.flush()
    }

    /// Ends the stream, with a proper end of the body if the socket has space.
    pub(super) fn end_stream(mut self) {
        if let Ok(true) = self.flush() {
            let _gone = self.pipe.write(&self.state.framing().end());
        }
    }
}

impl Recent {
    fn push(&mut self, tick: Arc<Tick>) {
        if tick.number != self.last + 1 {
            // Ticks were lost: a subscriber that has not seen the last kept tick has
            // missed too much.
            self.ticks.clear();
        }
        self.last = tick.number;
        self.ticks.push_back(tick);
        if self.ticks.len() > BACKLOG {
            self.ticks.pop_front();
        }
    }

    fn after(&self, seen: u64) -> Missed<'_> {
        let last = self.last;
        let Some(missed) = last.checked_sub(seen).filter(|missed| *missed > 0) else {
            return Missed::Nothing;
        };
        let kept = self.ticks.len();
        match usize::try_from(missed) {
            Ok(missed) if missed <= kept => {
                let ticks = self.ticks.range(kept - missed..).map(AsRef::as_ref);
                Missed::Ticks {
                    ticks: ticks.collect(),
                    first: seen + 1,
                }
            }
            Ok(_) | Err(_) => Missed::TooMuch,
        }
    }
}

impl<P: Pipe> Subscribers<P> {
    pub(super) fn new(views: Views, hub: &StreamHub) -> Self {
        let present = Arc::clone(hub.present());
        Self {
            views,
            recent: Recent {
                ticks: VecDeque::new(),
                last: present.ticks(),
            },
            present,
            list: vec![],
            needs_retry: false,
        }
    }

    pub(super) fn receive(&mut self, tick: Arc<Tick>) {
        self.recent.push(tick);
    }

    /// Adds a subscriber and sends it the changes since its first state.
    pub(super) fn add(&mut self, subscriber: Subscriber<P>) {
        self.list.push(subscriber);
        let last = self.list.len() - 1;
        self.serve_one(last);
    }

    /// Serves subscribers from index `from` downwards until the cost reaches `most`; returns
    /// the index at which to continue.
    pub(super) fn serve(&mut self, from: usize, most: usize) -> usize {
        self.each(from, most, Self::serve_one)
    }

    /// Sends heartbeats to up to `most` subscribers, in the order of [`Subscribers::serve`], and
    /// disconnects those that accept nothing.
    pub(super) fn heartbeat(&mut self, from: usize, most: usize) -> usize {
        self.each(from, most, |subscribers, index| {
            let outcome = subscribers.list[index].heartbeat();
            subscribers.settle(index, outcome);
            1
        })
    }

    /// Iterates from the last index to the first, because `swap_remove` fills a gap with a
    /// subscriber that had its turn already. `with` returns the cost of each.
    fn each(
        &mut self,
        from: usize,
        most: usize,
        mut with: impl FnMut(&mut Self, usize) -> usize,
    ) -> usize {
        let (mut index, mut left) = (from.min(self.list.len()), most);
        while index > 0 && left > 0 {
            index -= 1;
            left = left.saturating_sub(with(self, index));
        }
        index
    }

    fn serve_one(&mut self, index: usize) -> usize {
        let sources = Sources {
            recent: &self.recent,
            views: &self.views,
            present: &self.present,
        };
        let subscriber = &mut self.list[index];
        let was_resyncing = subscriber.state.is_resyncing();
        let outcome = subscriber.serve(&sources);
        let has_resynced = was_resyncing || subscriber.state.is_resyncing();
        self.settle(index, outcome);
        if has_resynced { PIECE_COSTS } else { 1 }
    }

    /// Keeps a subscriber that is still connected, and notes whether it must be served again.
    fn settle(&mut self, index: usize, outcome: io::Result<bool>) {
        match outcome {
            Ok(is_done) if !self.list[index].pipe.is_gone() => {
                self.needs_retry |= !is_done;
            }
            Ok(_) | Err(_) => {
                let subscriber = self.list.swap_remove(index);
                if !subscriber.unsent.is_empty() {
                    subscriber.pipe.discard();
                }
            }
        }
    }
}

impl StreamShard {
    /// Serves subscribers, each drop at most once per `shortest`, until `stop`; then ends their
    /// streams.
    pub async fn run(mut self, shortest: Duration, stop: CancellationToken) {
        stop.run_until_cancelled(self.serve_changes(shortest)).await;
        self.inbox.close();
        while let Some(subscriber) = self.inbox.recv().await {
            subscriber.end_stream();
        }
        self.subscribers
            .list
            .drain(..)
            .for_each(Subscriber::end_stream);
    }
}

impl<P: Pipe> StreamShard<P> {
    /// A shard that receives the ticks of `hub`.
    pub(super) fn new(
        hub: &StreamHub,
        views: Views,
        inbox: UnboundedReceiver<Subscriber<P>>,
    ) -> Self {
        Self {
            inbox,
            // Before `Subscribers::new` reads the number of the last tick.
            ticks: hub.new_receiver(),
            subscribers: Subscribers::new(views, hub),
        }
    }

    pub(super) async fn serve_changes(&mut self, shortest: Duration) {
        let [mut hang_up_check, mut heartbeats] =
            [interval(HANG_UP_CHECK), interval(HEARTBEAT_INTERVAL)];
        hang_up_check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut has_changes, mut sent) = (false, self.subscribers.recent.last);
        // Count of new subscribers that were added one after another, before others get a
        // turn.
        let mut added_in_a_row = 0;
        loop {
            tokio::select! {
                biased;
                                // First, because changes may never stop.
                _ = heartbeats.tick() => {
                    self.heartbeat().await;
                    continue;
                }
                Some(subscriber) = self.inbox.recv(), if added_in_a_row < STRIDE => {
                    added_in_a_row += 1;
                    self.subscribers.add(subscriber);
                    continue;
                }
                () = std::future::ready(()), if has_changes => {}
                received = self.ticks.recv() => if !self.receive(received) { return },
                _ = hang_up_check.tick() => {}
                () = std::future::ready(()), if added_in_a_row >= STRIDE => {
                    added_in_a_row = 0;
                    continue;
                }
                () = sleep(FULL_SOCKET_RETRY), if self.subscribers.needs_retry => {}
            }
            added_in_a_row = 0;
            let began = Instant::now();
            has_changes = self.sweep().await;
            let ended = Instant::now();
            // A sweep that sent nothing must not delay the next change.
            if sent != self.subscribers.recent.last {
                sent = self.subscribers.recent.last;
                let until = (began + shortest).max(ended + (ended - began) / 2);
                self.pause(until, &mut heartbeats).await;
            }
        }
    }

    /// Waits until `until` without serving changes, but still sends heartbeats.
    async fn pause(&mut self, until: Instant, heartbeats: &mut Interval) {
        loop {
            tokio::select! {
                () = sleep_until(until) => return,
                _ = heartbeats.tick() => self.heartbeat().await,
            }
        }
    }

    async fn heartbeat(&mut self) {
        let mut left = self.subscribers.list.len();
        while left > 0 {
            left = self.subscribers.heartbeat(left, STRIDE);
            yield_now().await;
        }
    }

    fn receive(&mut self, received: Result<Arc<Tick>, RecvError>) -> bool {
        match received {
            Ok(tick) => self.subscribers.receive(tick),
            // The number of the next tick shows that some were lost.
            Err(RecvError::Overflowed(_)) => {}
            Err(RecvError::Closed) => return false,
        }
        true
    }

    /// Serves every subscriber once. Returns true if ticks arrived meanwhile that not all were
    /// sent.
    async fn sweep(&mut self) -> bool {
        self.receive_pending();
        let sent_to_all = self.subscribers.recent.last;
        self.subscribers.needs_retry = false;
        let mut left = self.subscribers.list.len();
        while left > 0 {
            left = self.subscribers.serve(left, STRIDE);
            yield_now().await;
            self.receive_pending();
        }
        self.subscribers.recent.last != sent_to_all
    }

    fn receive_pending(&mut self) {
        loop {
            match self.ticks.try_recv() {
                Ok(tick) => self.subscribers.receive(tick),
                Err(TryRecvError::Overflowed(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_tick_is_detected_and_never_skipped_silently() {
        let mut recent = Recent::default();
        for number in [1, 2, 3, 6] {
            recent.push(Arc::new(Tick::empty(number)));
        }
        let missed = |seen| match recent.after(seen) {
            Missed::Nothing => Some(0),
            Missed::Ticks { ticks, first } => {
                assert_eq!(first, seen + 1);
                Some(ticks.len())
            }
            Missed::TooMuch => None,
        };
        assert_eq!((missed(3), missed(4)), (None, None));
        assert_eq!(
            (missed(5), missed(6), missed(7)),
            (Some(1), Some(0), Some(0))
        );
    }
}
