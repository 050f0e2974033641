//! The changed drops of one interval, serialized once for all subscribers.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use domain::values::{DropId, OrderId, Position, Timestamp};
use projections::views::{DropView, Views};

use super::framing::Framing;
use super::hub::Changed;
use super::subjects::Subjects;
use super::subscriber::{CompleteUpTo, Watched};
use crate::viewer::Viewer;

/// The drops that changed within one interval, serialized for any number of subscribers.
#[derive(Debug)]
pub(crate) struct Tick {
    /// Its number: 1, 2, 3 … A shard that knows one number knows whether it has missed a tick.
    pub(super) number: u64,
    /// The state of a subscriber that was sent this tick and all before it is complete up to
    /// here.
    pub(super) complete: CompleteUpTo,
    /// One for each changed drop, sorted by drop id.
    frames: Vec<Frame>,
    /// The watched orders that changed, sorted.
    pub(super) orders: Box<[OrderId]>,
    /// The bytes of all frames, each as a chunk ([`Framing::Chunked`]): for the staff.
    all: Bytes,
    /// Those of the drops that the public lists, as it sees them: the same bytes, if it sees
    /// everything.
    all_public: Bytes,
}

#[derive(Debug)]
struct Frame {
    drop_id: DropId,
    /// Its index in the tick.
    index: usize,
    /// Set if the drop is new to subscribers of new drops.
    new: Option<NewAt>,
    /// A part of the tick's bytes: one chunk.
    bytes: Bytes,
    public: PublicFrame,
    is_listed: bool,
}

/// The frame of a drop as the public sees it.
#[derive(Debug, Clone)]
pub(super) enum PublicFrame {
    Same,
    /// With a level in the stead of numbers.
    Other(Bytes),
    /// The drop is hidden, or its public state has not changed: a frame would show that units are
    /// held.
    Absent,
}

impl Frame {
    /// Returns the bytes for a reader; `None` if there is nothing for them.
    fn of(&self, viewer: Viewer) -> Option<&Bytes> {
        match (viewer, &self.public) {
            (Viewer::Staff, _) | (Viewer::Public, PublicFrame::Same) => Some(&self.bytes),
            (Viewer::Public, PublicFrame::Other(bytes)) => Some(bytes),
            (Viewer::Public, PublicFrame::Absent) => None,
        }
    }

    fn is_listed_for(&self, viewer: Viewer) -> bool {
        viewer == Viewer::Staff || self.is_listed
    }
}

/// A frame that is not a part of a tick yet.
struct Rendered {
    drop_id: DropId,
    /// Its bytes within those of the tick.
    range: Range<usize>,
    public: PublicFrame,
    is_listed: bool,
}

/// The point from which on a drop counts as new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NewAt {
    /// Scheduled by the event at this position: not new to a subscriber whose state includes it.
    Scheduled(Position),
    /// Readmitted from quarantine: new to every subscriber.
    Readmitted,
}

impl NewAt {
    /// Returns true if the drop is new to a subscriber that has been sent everything up to `sent`.
    fn is_after(self, sent: Option<Position>) -> bool {
        match self {
            Self::Scheduled(position) => sent.is_none_or(|sent| position > sent),
            Self::Readmitted => true,
        }
    }
}

impl Tick {
    pub(super) fn of(views: &Views, changed: &Changed, now: Timestamp) -> Self {
        let complete = CompleteUpTo {
            position: changed.position,
            at: now,
        };
        let drops = changed
            .drops
            .iter()
            .filter_map(|&drop_id| views.drop(drop_id));
        let (mut all, mut rendered) = (BytesMut::new(), vec![]);
        let mut new = changed.new.clone();
        for (drop, id) in in_order(drops.collect(), changed.before, complete) {
            let start = all.len();
            Framing::Chunked.write(&mut all, |to| {
                write_frame(to, Viewer::Staff, &drop, id, now);
            });
            if let Some(listed_at) = drop.listed_at.filter(|at| *at > changed.before) {
                new.entry(drop.drop_id)
                    .or_insert(NewAt::Scheduled(listed_at));
            }
            rendered.push(Rendered {
                drop_id: drop.drop_id,
                range: start..all.len(),
                public: changed.public_frame(&drop, id, now),
                is_listed: drop.row.terms.are_listed(),
            });
        }
        Self::from_parts(complete, rendered, &new, all.freeze())
    }

    fn from_parts(
        complete: CompleteUpTo,
        rendered: Vec<Rendered>,
        new: &BTreeMap<DropId, NewAt>,
        all: Bytes,
    ) -> Self {
        let frame = |(index, rendered): (usize, Rendered)| Frame {
            drop_id: rendered.drop_id,
            index,
            new: new.get(&rendered.drop_id).copied(),
            bytes: all.slice(rendered.range),
            public: rendered.public,
            is_listed: rendered.is_listed,
        };
        let mut frames: Vec<Frame> = rendered.into_iter().enumerate().map(frame).collect();
        let shows_all =
            |frame: &Frame| frame.is_listed && matches!(frame.public, PublicFrame::Same);
        let all_public = if frames.iter().all(shows_all) {
            all.clone()
        } else {
            let listed = frames.iter().filter(|frame| frame.is_listed);
            join(
                listed.filter_map(|frame| frame.of(Viewer::Public)),
                Framing::Chunked,
            )
        };
        frames.sort_unstable_by_key(|frame| frame.drop_id);
        Self {
            number: 0,
            complete,
            frames,
            orders: Box::default(),
            all,
            all_public,
        }
    }

    /// A tick without drops.
    #[cfg(test)]
    pub(super) fn empty(number: u64) -> Self {
        let complete = CompleteUpTo {
            position: Position(number),
            at: Timestamp::from_millis(0),
        };
        Self {
            number,
            complete,
            frames: vec![],
            orders: Box::default(),
            all: Bytes::new(),
            all_public: Bytes::new(),
        }
    }

    /// A tick of `size` bytes.
    #[cfg(test)]
    pub(super) fn of_size(number: u64, size: usize) -> Self {
        Self {
            all: vec![b' '; size].into(),
            ..Self::empty(number)
        }
    }

    /// Returns the size of all frames in bytes.
    pub(super) fn size(&self) -> usize {
        self.all.len()
    }

    /// Returns true if the tick contains `drop_id`.
    pub(crate) fn contains(&self, drop_id: DropId) -> bool {
        self.frame_of(drop_id).is_some()
    }

    pub(super) const fn has_orders(&self) -> bool {
        !self.orders.is_empty()
    }

    /// Returns true if `order_id` is watched and changed.
    pub(super) fn contains_order(&self, order_id: OrderId) -> bool {
        self.orders.binary_search(&order_id).is_ok()
    }

    fn frame_of(&self, drop_id: DropId) -> Option<&Frame> {
        let index = self
            .frames
            .binary_search_by_key(&drop_id, |frame| frame.drop_id);
        index.ok().map(|index| &self.frames[index])
    }
}

/// Returns the newest state of each watched drop in `ticks`, oldest tick first.
///
/// A subscriber that fell behind is sent a drop that changed many times only once. Frames are in
/// the order of their ticks, so that an id never acknowledges a tick whose other frames are still
/// to be sent. A single tick is returned unchanged.
///
/// A subscriber of new drops is sent those scheduled after `sent`, the position up to which its
/// state is complete: a tick can repeat drops that its first state already included.
pub(super) fn newest(
    ticks: &[&Tick],
    subjects: &Subjects,
    sent: Option<Position>,
    framing: Framing,
) -> Bytes {
    let viewer = subjects.viewer;
    let frames = || ticks.iter().flat_map(|tick| &tick.frames);
    let listed = || frames().filter(|frame| frame.is_listed_for(viewer));
    let drop_ids: Vec<DropId> = match (ticks, &subjects.drops) {
        ([], _) => return Bytes::new(),
        ([tick], Watched::All) if framing == Framing::Chunked => {
            return match viewer {
                Viewer::Staff => tick.all.clone(),
                Viewer::Public => tick.all_public.clone(),
            };
        }
        (_, Watched::All) => {
            let changed: BTreeSet<DropId> = listed().map(|frame| frame.drop_id).collect();
            changed.into_iter().collect()
        }
        (_, Watched::Named(drops)) => drops.to_vec(),
        (_, Watched::NamedAndNew(drops)) => {
            let is_unnamed = |frame: &&Frame| drops.binary_search(&frame.drop_id).is_err();
            let new = listed()
                .filter(|frame| frame.new.is_some_and(|new| new.is_after(sent)))
                .filter(is_unnamed);
            // A drop can be new twice, after a readmission.
            let new: BTreeSet<DropId> = new.map(|frame| frame.drop_id).collect();
            new.into_iter().chain(drops.iter().copied()).collect()
        }
    };
    let newest_of = |drop_id| {
        let mut newest_first = ticks.iter().rev();
        newest_first.find_map(|tick| {
            let frame = tick.frame_of(drop_id)?;
            Some((tick.number, frame.index, frame.of(viewer)?))
        })
    };
    let mut newest: Vec<(u64, usize, &Bytes)> =
        drop_ids.into_iter().filter_map(newest_of).collect();
    newest.sort_unstable_by_key(|(tick, index, _)| (*tick, *index));
    join(newest.into_iter().map(|(_, _, bytes)| bytes), framing)
}

/// Joins frames. One frame is shared; several are copied, so that the socket is written to once.
fn join<'a>(mut frames: impl Iterator<Item = &'a Bytes>, framing: Framing) -> Bytes {
    let Some(first) = frames.next() else {
        return Bytes::new();
    };
    let Some(second) = frames.next() else {
        return framing.of_chunk(first);
    };
    let mut joined = BytesMut::new();
    for frame in [first, second].into_iter().chain(frames) {
        joined.extend_from_slice(&framing.of_chunk(frame));
    }
    joined.freeze()
}

/// Returns drops in the order in which they are sent, each with its SSE id. Drops that are over
/// come first. Their id is `before`, except for the last one, which completes the tick.
///
/// A subscriber that reconnects is sent every drop that is not over, whatever its id; a drop that
/// is over only if its last event may be newer than the id. So an id acknowledges drops that are
/// over, and must not acknowledge one that was not sent yet: a stream may be cut between any two
/// frames.
pub(super) fn in_order(
    mut drops: Vec<DropView>,
    before: Position,
    complete: CompleteUpTo,
) -> impl Iterator<Item = (DropView, Position)> {
    let is_over = |drop: &DropView| drop.row.status(complete.at).is_over();
    drops.sort_by_key(|drop| !is_over(drop));
    let last_over = drops.partition_point(is_over);
    let id_at = move |index: usize| {
        if index + 1 < last_over {
            before
        } else {
            complete.position
        }
    };
    (0..).map(id_at).zip(drops).map(|(id, drop)| (drop, id))
}

/// Writes one `drop` event with the whole drop, as `viewer` sees it.
pub(super) fn write_frame(
    to: &mut BytesMut,
    viewer: Viewer,
    drop: &DropView,
    position: Position,
    now: Timestamp,
) {
    to.extend_from_slice(format!("event: drop\nid: {position}\ndata: ").as_bytes());
    if let Err(error) = serde_json::to_writer(to.writer(), &viewer.body(drop, now)) {
        // Not expected: the body consists of texts and numbers, and is written to memory.
        tracing::error!(%error, drop.id = %drop.drop_id, "cannot serialize a drop for the stream");
    }
    to.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests;
