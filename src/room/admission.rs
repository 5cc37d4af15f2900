//! Joining: admission in its fixed order, new stays, the start of a session.

use super::{
    Attachment, Room,
    effect::Effect,
    input::Join,
    record::{ParticipantRecord, SessionHead, TokenHash},
    resume::Resumable,
    seat::{Presence, Seat},
};
use crate::{
    ids::{ConnectionId, Timestamp, UserId},
    protocol::{
        Code, DuplicatePolicy, Event, GoodbyeReason, Joined, Kind, LeaveReason, Notice,
        ParticipantFlags, ParticipantView, Refusal, Rejection, Role, RoomView,
    },
};

/// Where an admitted joiner goes.
enum Admission {
    Seat,
    Lobby,
}

impl Room {
    pub(super) fn join(&mut self, now: Timestamp, join: Join) {
        if self.is_closed() {
            let refusal = Refusal::new(GoodbyeReason::Unavailable, "the room is closing");
            return self.refuse_join(join.connection_id, join.id, refusal);
        }
        if self.attachments.contains_key(&join.connection_id) {
            let rejection = Rejection::new(Code::BadRequest, "this connection has joined already");
            return self.refuse(join.connection_id, join.id, rejection);
        }
        if let Some(resume) = &join.resume {
            match self.resumable(now, join.user_id, resume) {
                Resumable::Yes { token_epoch } => return self.resume(join, token_epoch),
                Resumable::Ended(reason) => {
                    let refusal = Refusal::new(reason, "this stay has ended");
                    return self.refuse_join(join.connection_id, join.id, refusal);
                }
                Resumable::Unknown => {}
            }
        }
        if join.is_expired {
            let refusal = Refusal::new(GoodbyeReason::Unauthorized, "the token has expired");
            return self.refuse_join(join.connection_id, join.id, refusal);
        }
        match self.admission(&join) {
            Ok(Admission::Seat) => {
                if self.admit(now, join) {
                    self.lobby_changed();
                }
            }
            Ok(Admission::Lobby) => self.wait(now, join),
            Err(refusal) => self.refuse_join(join.connection_id, join.id, refusal),
        }
    }

    /// Decides about a join. The order of the refusals is part of the contract.
    fn admission(&self, join: &Join) -> Result<Admission, Refusal> {
        let settings = &self.head.settings;
        let seat = self.seats.get(&join.user_id);
        if self.bans.contains_key(&join.user_id) {
            return Err(Refusal::new(GoodbyeReason::Banned, "banned from this room"));
        }
        if self.head.is_locked && seat.is_none() {
            return Err(Refusal::new(
                GoodbyeReason::RoomLocked,
                "the room is locked",
            ));
        }
        let role = self.role_of_joiner(join);
        if !self.allows(role) {
            return Err(role_not_allowed());
        }
        if let Some(seat) = seat {
            if settings.duplicate_policy == DuplicatePolicy::Reject && seat.is_connected() {
                return Err(Refusal::new(
                    GoodbyeReason::Duplicate,
                    "this user is connected already",
                ));
            }
            return Ok(Admission::Seat);
        }
        if !self.has_free_seat() {
            return Err(Refusal::new(GoodbyeReason::RoomFull, "all seats are taken"));
        }
        if !self.must_wait(join.user_id, role) {
            return Ok(Admission::Seat);
        }
        if self.waiting.len() >= self.rules.lobby_max && !self.waiting.contains_key(&join.user_id) {
            return Err(Refusal::new(GoodbyeReason::RoomFull, "the lobby is full"));
        }
        Ok(Admission::Lobby)
    }

    /// Returns whether joiners with this role are admitted.
    pub(super) fn allows(&self, role: Role) -> bool {
        let kind = match role {
            Role::Host => Kind::Host,
            Role::Attendee => Kind::Guest,
        };
        self.head.settings.allowed_roles.contains(&kind)
    }

    pub(super) fn has_free_seat(&self) -> bool {
        self.seats.len() < self.head.settings.max_participants as usize
    }

    /// Returns the role of a joiner. The owner is host; a role set in this session wins over the
    /// token's.
    pub(super) fn role_of_joiner(&self, join: &Join) -> Role {
        if join.user_id == self.head.host_user_id {
            return Role::Host;
        }
        let set = match self.seats.get(&join.user_id) {
            Some(seat) => seat.record.is_role_set.then_some(seat.record.role),
            None => self
                .last_stays
                .get(&join.user_id)
                .and_then(|stay_id| self.left.get(stay_id))
                .and_then(|left| left.is_role_set.then_some(left.role)),
        };
        set.unwrap_or(match join.kind {
            Kind::Host => Role::Host,
            Kind::Guest => Role::Attendee,
        })
    }

    /// Returns whether the joiner waits in the lobby: attendees do until they were admitted once in
    /// this session.
    fn must_wait(&self, user_id: UserId, role: Role) -> bool {
        let is_admitted = self.last_stays.contains_key(&user_id)
            || self
                .waiting
                .get(&user_id)
                .is_some_and(|waiting| waiting.record.is_admitted);
        self.head.settings.is_lobby_enabled && role == Role::Attendee && !is_admitted
    }

    /// Gives the joiner a seat: a new stay begins, and with the first one the session. Returns
    /// whether the hosts saw the joiner waiting.
    pub(super) fn admit(&mut self, now: Timestamp, join: Join) -> bool {
        let role = self.role_of_joiner(&join);
        let is_role_set = self.is_role_set(join.user_id);
        let was_waiting = self.leave_lobby(join.user_id, join.connection_id);
        let session = self.session_or_begin(now, &join);
        if let Some(connection_id) = self.end_stay(now, join.user_id, LeaveReason::Superseded, None)
        {
            self.disconnect(connection_id, GoodbyeReason::Superseded);
        }
        if self.head.depart_at.take().is_some() {
            self.journal.head();
        }
        let record = ParticipantRecord {
            connection_id: join.connection_id,
            role,
            flags: ParticipantFlags::default(),
            joined_at: now,
            display_name: join.display_name,
            is_away: false,
            stay_id: join.stay_id,
            lost_at: None,
            is_role_set,
            resume_token_hashes: vec![TokenHash {
                hash: join.resume_token.hash,
                epoch: self.epoch,
            }],
            last_command_id: 0,
            command_bits: 0,
        };
        let own = record.view(join.user_id);
        self.seats
            .insert(join.user_id, Seat::new(record, Presence::Connected));
        self.attach_to_seat(join.connection_id, join.user_id);
        self.journal.participant(join.user_id);
        self.publish_except(
            &Event::ParticipantJoined { participant: &own },
            join.connection_id,
        );
        self.welcome(
            join.connection_id,
            join.id,
            join.resume_token.text,
            own,
            session,
            false,
        );
        was_waiting
    }

    fn is_role_set(&self, user_id: UserId) -> bool {
        match self.seats.get(&user_id) {
            Some(seat) => seat.record.is_role_set,
            None => self
                .last_stays
                .get(&user_id)
                .and_then(|stay_id| self.left.get(stay_id))
                .is_some_and(|left| left.is_role_set),
        }
    }

    fn session_or_begin(&mut self, now: Timestamp, join: &Join) -> SessionHead {
        if let Some(session) = self.head.session {
            return session;
        }
        let session = SessionHead {
            session_id: join.session_id,
            start_time: now,
        };
        self.head.session = Some(session);
        self.head.empty_at = None;
        self.head.sfu_region = Some(
            join.region
                .clone()
                .unwrap_or_else(|| self.rules.region.clone()),
        );
        self.set_end_of_session();
        self.journal.head();
        self.effects.push(Effect::OpenSession {
            session_id: session.session_id,
            start_time: session.start_time,
        });
        session
    }

    pub(super) fn attach_to_seat(&mut self, connection_id: ConnectionId, user_id: UserId) {
        self.attachments
            .insert(connection_id, Attachment::Seat(user_id));
        self.audience = None;
    }

    /// Sends `RoomJoined` and what belongs to it.
    pub(super) fn welcome(
        &mut self,
        connection_id: ConnectionId,
        id: u64,
        resume_token: String,
        own: ParticipantView,
        session: SessionHead,
        is_snapshot_after_gap: bool,
    ) {
        let is_host = own.role == Role::Host;
        let joined = Joined {
            id,
            seq: self.seq,
            session_id: session.session_id,
            connection_id,
            resume_token,
            own,
            room: RoomView {
                room_id: self.room_id,
                settings: self.head.settings.clone(),
                is_locked: self.head.is_locked,
                is_recording: self.head.is_recording,
                sfu_region: self.head.sfu_region.clone(),
                start_time: session.start_time,
            },
            participants: self.participant_views(),
            is_snapshot_after_gap,
        };
        self.send(connection_id, Notice::RoomJoined(Box::new(joined)));
        self.send_media_server(connection_id);
        if is_host && (is_snapshot_after_gap || self.has_waiting()) {
            self.send_lobby(connection_id);
        }
    }

    fn send_media_server(&mut self, connection_id: ConnectionId) {
        let Some(region) = self.head.sfu_region.clone() else {
            return;
        };
        let Some(servers) = self
            .rules
            .media_servers
            .get(&region)
            .filter(|servers| !servers.is_empty())
        else {
            return;
        };
        // One server for a whole room; the rooms are spread over the servers.
        let index = self.room_id.0.as_u128() % servers.len() as u128;
        let server = servers[usize::try_from(index).unwrap_or(0)].clone();
        self.send(
            connection_id,
            Notice::SfuEndpoint {
                ip: server.ip,
                port: server.port,
                transport_id: connection_id,
                region,
            },
        );
    }

    /// Returns all participants in the order in which they came.
    pub(super) fn participant_views(&self) -> Vec<ParticipantView> {
        let mut seats: Vec<_> = self.seats.iter().collect();
        seats.sort_by_key(|(_, seat)| (seat.record.joined_at, seat.record.stay_id));
        seats
            .into_iter()
            .map(|(user_id, seat)| seat.record.view(*user_id))
            .collect()
    }
}

pub(super) fn role_not_allowed() -> Refusal {
    Refusal::new(
        GoodbyeReason::RoleNotAllowed,
        "this kind of joiner is not let in",
    )
}
