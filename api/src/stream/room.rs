//! A room of watchers: one task that writes to thousands of sockets.
//!
//! Promise: whoever keeps up is sent each state within a sweep of the room; whoever does not is
//! passed over without waiting, loses states in between, and gets the newest as soon as there is
//! space again. A sweep gives each guest the newest tick there is when its turn comes. One who
//! takes nothing for a beat or two of what waits is disconnected, and so is one who sends anything.
//! What one guest costs in one turn is bounded, whatever it sends or accepts: one read of a few
//! bytes, two writes, one piece of a present state; and what is held for it is one piece or one
//! tick, which are shared. Limit: sweeps begin at most once per interval, and rest for half of the
//! time they took, so that telling never starves selling; who hangs up is noticed within a second.
//!
//! Why not a task a watcher: a task, its buffers and its wake-ups cost 35 KiB and a third more CPU a frame
//! (docs/decisions/0024-stream-shards-write-to-sockets.md).

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

use super::framing::Framing;
use super::hub::{BACKLOG, StreamHub, Tick};
use super::present::Present;
use super::watcher::Watcher;
use crate::connections::Socket;

/// Guests served before others of this process get a turn: half a millisecond.
const STRIDE: usize = 64;
/// A guest that is sent a piece of the present state counts as so many.
const PIECE_COSTS: usize = 8;
/// How soon to try again those whose socket was full.
const AGAIN: Duration = Duration::from_millis(10);
/// How soon it is noticed that a guest has hung up, when nothing happens.
const LOOK: Duration = Duration::from_secs(1);
/// A guest who was sent nothing for between so long and twice that is sent a comment: at least every 15 s, with three to spare for
/// a room that is busy.
const BEAT: Duration = Duration::from_secs(6);
/// A comment line, complete without an empty line after it ([`super::RETRY`]). Empty, for a client
/// may keep it until the next event, and some keep 64 KiB at most.
const STILL_HERE: &[u8] = b":\n";
const STILL_HERE_CHUNK: &[u8] = b"2\r\n:\n\r\n";

/// What a guest is written to.
pub(crate) trait Pipe {
    /// Writes what fits now.
    ///
    /// # Errors
    /// `WouldBlock` when nothing fits; anything else means that it is broken.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Whether the other side has hung up, or sent anything. A bounded look.
    fn is_gone(&self) -> bool;

    /// Throws away what the other side has not accepted, once this is dropped.
    fn discard(&self);
}

/// One watcher and its socket.
#[derive(Debug)]
pub(super) struct Guest<P = Socket> {
    pipe: P,
    watcher: Watcher,
    /// The rest of what was begun: a frame is never cut.
    rest: Bytes,
    was_sent_to: bool,
}

/// What a guest has missed.
pub(super) enum Missed<'a> {
    /// Nothing.
    Nothing,
    /// These, oldest first.
    Ticks {
        /// All that came after the one it has seen.
        ticks: Vec<&'a Tick>,
        /// The number of the first.
        first: u64,
    },
    /// More than is kept.
    TooMuch,
}

/// The newest ticks, numbered densely.
#[derive(Debug, Default)]
struct Recent {
    ticks: VecDeque<Arc<Tick>>,
    last: u64,
}

/// What guests are served from.
struct Served<'a> {
    recent: &'a Recent,
    views: &'a Views,
    present: &'a Present,
}

/// Whoever is in a room, and what they are told; no clock, no waiting.
#[derive(Debug)]
pub(super) struct Audience<P> {
    views: Views,
    present: Arc<Present>,
    recent: Recent,
    guests: Vec<Guest<P>>,
    /// Whether somebody's socket was full.
    is_anybody_waiting: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Room<P = Socket> {
    entrance: UnboundedReceiver<Guest<P>>,
    ticks: Receiver<Arc<Tick>>,
    audience: Audience<P>,
}

impl<P: Pipe> Guest<P> {
    /// A guest who was sent the first piece of the present state and nothing more.
    pub(super) const fn new(pipe: P, watcher: Watcher) -> Self {
        Self {
            pipe,
            watcher,
            rest: Bytes::new(),
            was_sent_to: true,
        }
    }

    /// Sends what it has missed, as far as there is space, and at most one piece of the present
    /// state. False: its socket is full, or there is more.
    fn serve(&mut self, room: &Served<'_>) -> io::Result<bool> {
        let Served {
            recent,
            views,
            present,
        } = room;
        if !self.flush()? {
            return Ok(false);
        }
        let framing = self.watcher.framing();
        self.rest = match self.watcher.next_piece(present, views, framing) {
            Some(piece) => piece,
            None => {
                let missed = recent.after(self.watcher.seen());
                self.watcher.catch_up(&missed, present, views)
            }
        };
        let is_sent = self.flush()?;
        let is_behind = self.watcher.is_resyncing() || self.watcher.seen() < recent.last;
        Ok(is_sent && !is_behind)
    }

    /// One write: what a quick reader makes room for meanwhile is for the next turn.
    fn flush(&mut self) -> io::Result<bool> {
        if !self.rest.is_empty() {
            match self.pipe.write(&self.rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.rest.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
            self.was_sent_to = true;
        }
        if !self.rest.is_empty() {
            return Ok(false);
        }
        // Not a part of what all share any longer, which would keep it all in memory.
        self.rest = Bytes::new();
        Ok(true)
    }

    /// Sends a comment if it was sent nothing since the last beat. False: its socket is full.
    ///
    /// # Errors
    /// Also when it has taken nothing since the last beat of what waits for it, and never will.
    fn beat(&mut self) -> io::Result<bool> {
        // First, so that nobody is let go who was not tried.
        let is_done = self.flush()?;
        if std::mem::take(&mut self.was_sent_to) {
            return Ok(is_done);
        }
        if !is_done {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.rest = Bytes::from_static(match self.watcher.framing() {
            Framing::Chunked => STILL_HERE_CHUNK,
            Framing::Plain => STILL_HERE,
        });
        self.flush()
    }

    /// Ends the stream, in order where there is space for it.
    pub(super) fn say_goodbye(mut self) {
        if let Ok(true) = self.flush() {
            let _gone = self.pipe.write(self.watcher.framing().end());
        }
    }
}

impl Recent {
    fn push(&mut self, tick: Arc<Tick>) {
        if tick.number != self.last + 1 {
            // Some were lost: who has not seen the last of those kept has missed too much.
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

impl<P: Pipe> Audience<P> {
    pub(super) fn new(views: Views, hub: &StreamHub) -> Self {
        let present = Arc::clone(hub.present());
        Self {
            views,
            recent: Recent {
                ticks: VecDeque::new(),
                last: present.ticks(),
            },
            present,
            guests: vec![],
            is_anybody_waiting: false,
        }
    }

    pub(super) fn hear(&mut self, tick: Arc<Tick>) {
        self.recent.push(tick);
    }

    /// Lets `guest` in, and tells it what happened since it was told the present state.
    pub(super) fn admit(&mut self, guest: Guest<P>) {
        self.guests.push(guest);
        let last = self.guests.len() - 1;
        self.serve_one(last);
    }

    /// Serves guests from the one at `from` down, up to `most` or as many as cost as much; gives
    /// the place to go on from.
    pub(super) fn serve(&mut self, from: usize, most: usize) -> usize {
        self.each(from, most, Self::serve_one)
    }

    /// Tells up to `most` guests that we are here, as [`Audience::serve`] does: who was told
    /// nothing for long, and disconnects who takes nothing.
    pub(super) fn beat(&mut self, from: usize, most: usize) -> usize {
        self.each(from, most, |room, place| {
            let outcome = room.guests[place].beat();
            room.settle(place, outcome);
            1
        })
    }

    /// Who takes the place of one that is gone came after it and had its turn: places are gone
    /// through from the last to the first. `with` says what each cost.
    fn each(
        &mut self,
        from: usize,
        most: usize,
        mut with: impl FnMut(&mut Self, usize) -> usize,
    ) -> usize {
        let (mut place, mut left) = (from.min(self.guests.len()), most);
        while place > 0 && left > 0 {
            place -= 1;
            left = left.saturating_sub(with(self, place));
        }
        place
    }

    fn serve_one(&mut self, place: usize) -> usize {
        let served = Served {
            recent: &self.recent,
            views: &self.views,
            present: &self.present,
        };
        let guest = &mut self.guests[place];
        let was_resyncing = guest.watcher.is_resyncing();
        let outcome = guest.serve(&served);
        let has_resynced = was_resyncing || guest.watcher.is_resyncing();
        self.settle(place, outcome);
        if has_resynced { PIECE_COSTS } else { 1 }
    }

    /// Keeps who is still there, and is waited for if their socket is full.
    fn settle(&mut self, place: usize, outcome: io::Result<bool>) {
        match outcome {
            Ok(is_done) if !self.guests[place].pipe.is_gone() => {
                self.is_anybody_waiting |= !is_done;
            }
            Ok(_) | Err(_) => {
                let guest = self.guests.swap_remove(place);
                if !guest.rest.is_empty() {
                    guest.pipe.discard();
                }
            }
        }
    }
}

impl Room {
    /// Tells the guests what changes, each drop at most once per `shortest`, until `stop`; then ends their streams.
    pub(crate) async fn run(mut self, shortest: Duration, stop: CancellationToken) {
        stop.run_until_cancelled(self.tell(shortest)).await;
        self.entrance.close();
        while let Some(guest) = self.entrance.recv().await {
            guest.say_goodbye();
        }
        self.audience.guests.drain(..).for_each(Guest::say_goodbye);
    }
}

impl<P: Pipe> Room<P> {
    /// A room that hears what `hub` tells.
    pub(super) fn new(
        hub: &StreamHub,
        views: Views,
        entrance: UnboundedReceiver<Guest<P>>,
    ) -> Self {
        Self {
            entrance,
            // Before the audience looks at the number of the last.
            ticks: hub.listen(),
            audience: Audience::new(views, hub),
        }
    }

    pub(super) async fn tell(&mut self, shortest: Duration) {
        let [mut look, mut beat] = [interval(LOOK), interval(BEAT)];
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut is_news, mut told) = (false, self.audience.recent.last);
        // Newcomers one after the other, before others get a turn.
        let mut newcomers = 0;
        loop {
            tokio::select! {
                biased;
                // Before what happens, which may happen all the time.
                _ = beat.tick() => {
                    self.beat().await;
                    continue;
                }
                Some(guest) = self.entrance.recv(), if newcomers < STRIDE => {
                    newcomers += 1;
                    self.audience.admit(guest);
                    continue;
                }
                () = std::future::ready(()), if is_news => {}
                received = self.ticks.recv() => if !self.hear(received) { return },
                _ = look.tick() => {}
                () = std::future::ready(()), if newcomers >= STRIDE => {
                    newcomers = 0;
                    continue;
                }
                () = sleep(AGAIN), if self.audience.is_anybody_waiting => {}
            }
            newcomers = 0;
            let began = Instant::now();
            is_news = self.sweep().await;
            let ended = Instant::now();
            // A sweep that told nothing must not hold up the next change.
            if told != self.audience.recent.last {
                told = self.audience.recent.last;
                let until = (began + shortest).max(ended + (ended - began) / 2);
                self.rest(until, &mut beat).await;
            }
        }
    }

    /// Tells nobody anything new, but misses no beat.
    async fn rest(&mut self, until: Instant, beat: &mut Interval) {
        loop {
            tokio::select! {
                () = sleep_until(until) => return,
                _ = beat.tick() => self.beat().await,
            }
        }
    }

    async fn beat(&mut self) {
        let mut left = self.audience.guests.len();
        while left > 0 {
            left = self.audience.beat(left, STRIDE);
            yield_now().await;
        }
    }

    fn hear(&mut self, received: Result<Arc<Tick>, RecvError>) -> bool {
        match received {
            Ok(tick) => self.audience.hear(tick),
            // Its number tells that some were lost.
            Err(RecvError::Overflowed(_)) => {}
            Err(RecvError::Closed) => return false,
        }
        true
    }

    /// Serves everybody once. Says whether something happened meanwhile that not all were told.
    async fn sweep(&mut self) -> bool {
        self.hear_what_waits();
        let told_all = self.audience.recent.last;
        self.audience.is_anybody_waiting = false;
        let mut left = self.audience.guests.len();
        while left > 0 {
            left = self.audience.serve(left, STRIDE);
            yield_now().await;
            self.hear_what_waits();
        }
        self.audience.recent.last != told_all
    }

    fn hear_what_waits(&mut self) {
        loop {
            match self.ticks.try_recv() {
                Ok(tick) => self.audience.hear(tick),
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
    fn a_tick_that_was_lost_is_never_skipped_in_silence() {
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
