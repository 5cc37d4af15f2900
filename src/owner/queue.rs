//! The queue of a room's effects: an effect leaves when every change before it is committed.

use std::collections::{BTreeSet, VecDeque};

use bytestring::ByteString;

use crate::{
    ids::{ConnectionId, ConnectionMap, Version},
    protocol::Notice,
    room::{admin::AdminReply, effect::Effect},
};

/// Bytes counted for an item besides its text.
const ITEM_BYTES: usize = 256;
/// Bytes counted for one participant of a snapshot, or one person in a lobby.
const PERSON_BYTES: usize = 128;

/// Bounds of a room's queue.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Effects that may wait.
    pub items_max: usize,
    /// Bytes that may wait.
    pub bytes_max: usize,
}

#[derive(Debug)]
struct Item {
    /// The version that the mirror must have first.
    needs: Version,
    bytes: usize,
    effect: Effect,
}

/// A relay: its target and the encoded frame.
pub type Relay = (ConnectionId, ByteString);

/// Effects that wait for their commit, in order.
#[derive(Debug)]
pub struct Queue {
    limits: QueueLimits,
    items: VecDeque<Item>,
    bytes: usize,
    /// Irreversible effects that others overtook while the mirror was away. They wait for their
    /// commit in any case.
    irreversible: VecDeque<Item>,
    /// Connections whose `RoomJoined` or `RoomResumed` is queued, each with the relays that wait
    /// for it.
    joining: ConnectionMap<Vec<Relay>>,
}

impl Queue {
    /// An empty queue.
    #[must_use]
    pub fn new(limits: QueueLimits) -> Self {
        Self {
            limits,
            items: VecDeque::new(),
            bytes: 0,
            irreversible: VecDeque::new(),
            joining: ConnectionMap::default(),
        }
    }

    /// Whether the queue takes no more commands.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.items.len() + self.irreversible.len() >= self.limits.items_max
            || self.bytes >= self.limits.bytes_max
    }

    /// Queues an effect until the mirror has version `needs`. Returns a relay that need not wait.
    pub fn push(&mut self, effect: Effect, needs: Version) -> Option<Relay> {
        let bytes = ITEM_BYTES + text_bytes(&effect);
        match effect {
            Effect::Relay { from, to, frame } => {
                let joining = [Some(to), from]
                    .into_iter()
                    .flatten()
                    .find(|id| self.joining.contains_key(id));
                let Some(relays) = joining.and_then(|id| self.joining.get_mut(&id)) else {
                    return Some((to, frame));
                };
                self.bytes += bytes;
                relays.push((to, frame));
            }
            effect => {
                if let Some(to) = answers_join_of(&effect) {
                    self.joining.entry(to).or_default();
                }
                self.bytes += bytes;
                self.items.push_back(Item {
                    needs,
                    bytes,
                    effect,
                });
            }
        }
        None
    }

    /// Puts `DurabilityChanged` before everything else that waits, because events carry no
    /// `durable`. Earlier announcements are dropped.
    ///
    /// `audience` is who is connected. Recipients of waiting events that are no longer connected
    /// are told as well.
    pub fn announce(&mut self, durable: bool, audience: impl IntoIterator<Item = ConnectionId>) {
        let is_announcement = |item: &Item| {
            matches!(
                item.effect,
                Effect::Send {
                    notice: Notice::DurabilityChanged { .. },
                    ..
                }
            )
        };
        self.items.retain(|item| !is_announcement(item));
        let mut receivers: BTreeSet<ConnectionId> = audience.into_iter().collect();
        for item in &self.items {
            if let Effect::Broadcast { to, .. } = &item.effect {
                receivers.extend(to.iter());
            }
        }
        for to in receivers {
            let effect = Effect::Send {
                to,
                notice: Notice::DurabilityChanged { durable },
            };
            // After the answer to the recipient's own join, if that waits.
            let mut answers = self.items.iter().map(|item| answers_join_of(&item.effect));
            let at = match self.joining.contains_key(&to) {
                true => answers.position(|joiner| joiner == Some(to)),
                false => None,
            };
            let item = Item {
                needs: Version::default(),
                bytes: ITEM_BYTES,
                effect,
            };
            self.items.insert(at.map_or(0, |at| at + 1), item);
        }
        self.bytes = self.items.iter().map(|item| item.bytes).sum::<usize>() + self.held_bytes();
    }

    /// Bytes counted for the relays that wait for a join.
    fn held_bytes(&self) -> usize {
        let relays = self.joining.values().flatten();
        relays.map(|(_, frame)| ITEM_BYTES + frame.len()).sum()
    }

    /// The next effect whose changes are committed. While `is_degraded` only irreversible effects
    /// wait.
    pub fn pop(&mut self, committed: Version, is_degraded: bool) -> Option<Effect> {
        if self
            .irreversible
            .front()
            .is_some_and(|item| item.needs <= committed)
        {
            return self.irreversible.pop_front().map(|item| item.effect);
        }
        loop {
            let is_committed = self.items.front()?.needs <= committed;
            if !is_committed && !is_degraded {
                return None;
            }
            let item = self.items.pop_front()?;
            self.bytes -= item.bytes;
            if is_committed || !is_irreversible(&item.effect) {
                return Some(item.effect);
            }
            self.irreversible.push_back(item);
        }
    }

    /// The join of a connection left the queue. Returns the relays that waited for it.
    pub fn joined(&mut self, connection_id: ConnectionId) -> Vec<Relay> {
        let relays = self.joining.remove(&connection_id).unwrap_or_default();
        for (_, frame) in &relays {
            self.bytes -= ITEM_BYTES + frame.len();
        }
        relays
    }

    /// Commands whose answer still waits.
    pub fn unanswered(&self) -> Vec<(ConnectionId, u64)> {
        self.items
            .iter()
            .filter_map(|item| {
                let (to, notice) = item.effect.told()?;
                Some((to, command_answered_by(notice)?))
            })
            .collect()
    }
}

fn command_answered_by(notice: &Notice) -> Option<u64> {
    match notice {
        Notice::Ack { id, .. } | Notice::RelayAck { id, .. } => Some(*id),
        Notice::Error { id, .. } => *id,
        Notice::RoomJoined(_)
        | Notice::RoomResumed(_)
        | Notice::LobbyWaiting { .. }
        | Notice::LobbyDenied { .. }
        | Notice::LobbyChanged { .. }
        | Notice::SfuEndpoint { .. }
        | Notice::DurabilityChanged { .. }
        | Notice::KeepAlive { .. } => None,
    }
}

/// The connection whose join an effect answers.
fn answers_join_of(effect: &Effect) -> Option<ConnectionId> {
    let (to, notice) = effect.told()?;
    let answers_join = matches!(notice, Notice::RoomJoined(_) | Notice::RoomResumed(_));
    answers_join.then_some(to)
}

/// Whether an effect must not be performed while the mirror may still refuse its change.
fn is_irreversible(effect: &Effect) -> bool {
    match effect {
        Effect::OpenSession { .. } | Effect::StoreBan { .. } | Effect::Closed { .. } => true,
        Effect::Send { .. }
        | Effect::Broadcast { .. }
        | Effect::Relay { .. }
        | Effect::Disconnect { .. }
        | Effect::Reply { .. } => false,
    }
}

fn text_bytes(effect: &Effect) -> usize {
    match effect {
        Effect::Broadcast { event, .. } => event.frame.len(),
        Effect::Relay { frame, .. } => frame.len(),
        Effect::Send { notice, .. } => notice_bytes(notice),
        Effect::Reply {
            result: Ok(AdminReply::Participants(participants)),
            ..
        } => participants.len() * PERSON_BYTES,
        Effect::Disconnect { .. }
        | Effect::Reply { .. }
        | Effect::OpenSession { .. }
        | Effect::StoreBan { .. }
        | Effect::Closed { .. } => 0,
    }
}

fn notice_bytes(notice: &Notice) -> usize {
    match notice {
        Notice::RoomJoined(joined) => joined.participants.len() * PERSON_BYTES,
        Notice::RoomResumed(resumed) => resumed.missed.iter().map(|frame| frame.len()).sum(),
        Notice::LobbyChanged { waiting } => waiting.len() * PERSON_BYTES,
        Notice::LobbyWaiting { .. }
        | Notice::LobbyDenied { .. }
        | Notice::Ack { .. }
        | Notice::RelayAck { .. }
        | Notice::Error { .. }
        | Notice::SfuEndpoint { .. }
        | Notice::DurabilityChanged { .. }
        | Notice::KeepAlive { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::ids::Seq;

    impl Queue {
        /// Gives the event with this text a wrong weight, so that taking it out overflows. False if
        /// it does not wait here.
        pub(in crate::owner) fn break_telling(&mut self, text: &str) -> bool {
            let is_meant = |item: &&mut Item| match &item.effect {
                Effect::Broadcast { event, .. } => event.frame.contains(text),
                _ => false,
            };
            let found = self.items.iter_mut().find(is_meant);
            found.map(|item| item.bytes = usize::MAX).is_some()
        }
    }

    const LIMITS: QueueLimits = QueueLimits {
        items_max: 3,
        bytes_max: 10_000,
    };

    fn connection(number: u128) -> ConnectionId {
        ConnectionId(Uuid::from_u128(number))
    }

    fn ack(id: u64) -> Effect {
        Effect::Send {
            to: connection(1),
            notice: Notice::Ack { id, seq: Seq(1) },
        }
    }

    fn popped_id(effect: Option<Effect>) -> Option<u64> {
        match effect {
            Some(Effect::Send {
                notice: Notice::Ack { id, .. },
                ..
            }) => Some(id),
            _ => None,
        }
    }

    #[test]
    fn items_leave_in_order_when_their_version_is_committed() {
        let mut queue = Queue::new(LIMITS);
        for (id, needs) in [(1, 1), (2, 2), (3, 2)] {
            assert!(queue.push(ack(id), Version(needs)).is_none());
        }
        assert!(queue.is_full());
        assert_eq!(popped_id(queue.pop(Version(0), false)), None);
        assert_eq!(popped_id(queue.pop(Version(1), false)), Some(1));
        assert_eq!(popped_id(queue.pop(Version(1), false)), None);
        assert_eq!(
            queue.unanswered(),
            vec![(connection(1), 2), (connection(1), 3)]
        );
        assert_eq!(popped_id(queue.pop(Version(2), false)), Some(2));
        assert_eq!(popped_id(queue.pop(Version(2), false)), Some(3));
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn while_degraded_only_the_irreversible_waits_for_its_commit() {
        let mut queue = Queue::new(LIMITS);
        queue.push(Effect::Closed { session: None }, Version(1));
        queue.push(ack(7), Version(2));
        assert_eq!(popped_id(queue.pop(Version(0), true)), Some(7));
        assert!(queue.pop(Version(0), true).is_none());
        assert_eq!(queue.irreversible.len(), 1);
        assert!(matches!(
            queue.pop(Version(1), false),
            Some(Effect::Closed { .. })
        ));
    }

    #[test]
    fn a_relay_waits_only_for_the_join_of_its_sender_or_target() {
        let relay = |from, to| Effect::Relay {
            from: Some(connection(from)),
            to: connection(to),
            frame: "x".into(),
        };
        let mut queue = Queue::new(LIMITS);
        queue.joining.insert(connection(9), Vec::new());
        assert!(queue.push(relay(1, 2), Version(5)).is_some());
        assert!(queue.push(relay(1, 9), Version(5)).is_none());
        assert!(queue.push(relay(9, 1), Version(5)).is_none());
        assert_eq!(
            queue.joined(connection(9)),
            vec![(connection(9), "x".into()), (connection(1), "x".into())]
        );
        assert!(queue.push(relay(1, 9), Version(5)).is_some());
        assert_eq!(queue.bytes, 0);
    }
}
