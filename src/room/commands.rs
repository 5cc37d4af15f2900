//! Commands of participants: each takes effect once, and is acknowledged after its own event.

use super::{
    Attachment, Room,
    window::{self, CommandStatus},
};
use crate::{
    ids::{ConnectionId, Timestamp, UserId},
    protocol::{
        Code, Command, EndReason, Event, GoodbyeReason, LeaveReason, Notice, OwnCommand, Rejection,
        StateChange,
    },
};

/// What follows the acknowledgement of a command.
pub(super) enum AfterAck {
    Nothing,
    /// A stay has ended, perhaps the author's own: its connection is closed.
    Disconnect(ConnectionId, GoodbyeReason),
    /// The meeting is over.
    End,
}

impl Room {
    pub(super) fn command(
        &mut self,
        now: Timestamp,
        connection_id: ConnectionId,
        id: u64,
        command: Command,
    ) {
        if let (Some(Attachment::Lobby(user_id)), Command::Own(OwnCommand::LeaveRoom)) =
            (self.attachments.get(&connection_id), &command)
        {
            let user_id = *user_id;
            self.send(connection_id, Notice::Ack { id, seq: self.seq });
            // The attachment was just found, so the user is waiting.
            let _ = self.deny_waiting(user_id, GoodbyeReason::Left);
            return;
        }
        let user_id = match self.seated(connection_id) {
            Ok(user_id) => user_id,
            Err(rejection) => return self.refuse(connection_id, id, rejection),
        };
        self.confirm_token(user_id);
        match command {
            Command::Relay(relay) => self.relay(now, connection_id, user_id, id, &relay),
            Command::Own(own) => self.once(now, connection_id, user_id, id, |room| {
                room.run_own(now, user_id, own)
            }),
            Command::Host(control) => self.once(now, connection_id, user_id, id, |room| {
                room.run_host(now, user_id, control)
            }),
        }
    }

    /// Runs a command that has not taken effect yet, and acknowledges it.
    fn once(
        &mut self,
        now: Timestamp,
        connection_id: ConnectionId,
        user_id: UserId,
        id: u64,
        run: impl FnOnce(&mut Self) -> Result<AfterAck, Rejection>,
    ) {
        match self.command_status(user_id, id) {
            CommandStatus::Repeated => {
                return self.send(connection_id, Notice::Ack { id, seq: self.seq });
            }
            CommandStatus::BelowWindow => {
                let rejection =
                    Rejection::new(Code::BadRequest, "this id is too old to be repeated");
                return self.refuse(connection_id, id, rejection);
            }
            CommandStatus::New => {}
        }
        match run(self) {
            Ok(after) => {
                self.mark_decided(user_id, id);
                self.send(connection_id, Notice::Ack { id, seq: self.seq });
                match after {
                    AfterAck::Nothing => {}
                    AfterAck::Disconnect(other, reason) => self.disconnect(other, reason),
                    AfterAck::End => self.finish(now, EndReason::Ended),
                }
            }
            Err(rejection) => self.refuse(connection_id, id, rejection),
        }
    }

    pub(super) fn keep_alive(&mut self, connection_id: ConnectionId) {
        if let Ok(user_id) = self.seated(connection_id) {
            self.confirm_token(user_id);
        }
        self.send(connection_id, Notice::KeepAlive { seq: self.seq });
    }

    /// Marks a command as decided without running it.
    pub(super) fn decide(&mut self, connection_id: ConnectionId, id: u64) {
        if let Ok(user_id) = self.seated(connection_id) {
            self.mark_decided(user_id, id);
            self.journal.participant(user_id);
        }
    }

    fn command_status(&self, user_id: UserId, id: u64) -> CommandStatus {
        self.seats.get(&user_id).map_or(CommandStatus::New, |seat| {
            window::status(seat.record.last_command_id, seat.record.command_bits, id)
        })
    }

    /// The mark is mirrored with the change that the command made, or with the next change.
    fn mark_decided(&mut self, user_id: UserId, id: u64) {
        if let Some(seat) = self.seats.get_mut(&user_id) {
            let record = &mut seat.record;
            (record.last_command_id, record.command_bits) =
                window::mark(record.last_command_id, record.command_bits, id);
            self.journal.participant_later(user_id);
        }
    }

    fn run_own(
        &mut self,
        now: Timestamp,
        user_id: UserId,
        command: OwnCommand,
    ) -> Result<AfterAck, Rejection> {
        match command {
            OwnCommand::UpdateState { change } => self.update_state(user_id, change, None),
            OwnCommand::SendMessage { text } => self.publish(&Event::MessageReceived {
                source_user_id: Some(user_id),
                text: &text,
                sent_at: now,
            }),
            OwnCommand::LeaveRoom => {
                let connection = self.end_stay(now, user_id, LeaveReason::Left, None);
                return Ok(close_ended(connection.map(|id| (id, GoodbyeReason::Left))));
            }
        }
        Ok(AfterAck::Nothing)
    }

    /// Sets what differs and publishes it; publishes nothing if nothing differs.
    pub(super) fn update_state(
        &mut self,
        user_id: UserId,
        wanted: StateChange,
        by: Option<UserId>,
    ) {
        let Some(seat) = self.seats.get_mut(&user_id) else {
            return;
        };
        let change = seat.record.flags.apply(wanted);
        if change.is_empty() {
            return;
        }
        self.journal.participant(user_id);
        self.publish(&Event::StateChanged {
            user_id,
            by_user_id: by,
            change,
            is_away: None,
        });
    }
}

/// Closes the connection of an ended stay, if it has one.
pub(super) fn close_ended(ended: Option<(ConnectionId, GoodbyeReason)>) -> AfterAck {
    ended.map_or(AfterAck::Nothing, |(connection_id, reason)| {
        AfterAck::Disconnect(connection_id, reason)
    })
}
