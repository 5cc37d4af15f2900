//! Coming in and coming back: admission in its fixed order, new stays, resumes.

use super::{
    Place, Room,
    effect::{Effect, Joined, Notice, Resumed},
    event::Event,
    goodbye::GoodbyeReason,
    input::{Join, Resume},
    record::{LeaveReason, ParticipantRecord, Role, SessionHead, TokenHash},
    seat::{Presence, Seat},
    settings::{DuplicatePolicy, Kind},
    view::{Code, ParticipantView, Rejection, RoomView},
};
use crate::ids::{ConnectionId, Epoch, Seq, Timestamp, UserId};

/// Resume tokens that are valid for one stay at the same time.
const TOKENS_MAX: usize = 3;

/// Where an admitted joiner goes.
enum Entry {
    Seat,
    Lobby,
}

/// What a presented resume token is worth.
enum Standing {
    /// The stay goes on; the epoch that issued the token.
    Alive(Epoch),
    /// The stay was ended on purpose: no way back by this token.
    Ended(LeaveReason),
    /// Unknown or timed out: a new stay.
    Unknown,
}

impl Room {
    pub(super) fn join(&mut self, now: Timestamp, join: Join) {
        if self.is_closed() {
            let rejection = Rejection::new(Code::Unavailable, "the room is closing");
            return self.turn_away(
                join.connection_id,
                join.id,
                rejection,
                GoodbyeReason::Unavailable,
            );
        }
        if self.places.contains_key(&join.connection_id) {
            let rejection = Rejection::new(Code::BadRequest, "this connection has joined already");
            return self.refuse(join.connection_id, join.id, rejection);
        }
        if let Some(resume) = &join.resume {
            match self.standing(now, join.user_id, resume) {
                Standing::Alive(epoch) => return self.resume(join, epoch),
                Standing::Ended(reason) => return self.refuse_resume(&join, reason),
                Standing::Unknown => {}
            }
        }
        if join.is_expired {
            let rejection = Rejection::new(Code::Unauthorized, "the token has expired");
            return self.turn_away(
                join.connection_id,
                join.id,
                rejection,
                GoodbyeReason::Unauthorized,
            );
        }
        match self.admission(&join) {
            Ok(Entry::Seat) => self.admit(now, join),
            Ok(Entry::Lobby) => self.wait(now, join),
            Err((rejection, reason)) => {
                self.turn_away(join.connection_id, join.id, rejection, reason)
            }
        }
    }

    /// The order of the refusals is part of the contract.
    fn admission(&self, join: &Join) -> Result<Entry, (Rejection, GoodbyeReason)> {
        let settings = &self.head.settings;
        let seat = self.seats.get(&join.user_id);
        if self.bans.contains_key(&join.user_id) {
            let rejection = Rejection::new(Code::Banned, "banned from this room");
            return Err((rejection, GoodbyeReason::Banned));
        }
        if self.head.is_locked && seat.is_none() {
            let rejection = Rejection::new(Code::RoomLocked, "the room is locked");
            return Err((rejection, GoodbyeReason::RoomLocked));
        }
        let role = self.role_of_joiner(join);
        let kind = match role {
            Role::Host => Kind::Host,
            Role::Attendee => Kind::Guest,
        };
        if !settings.allowed_roles.contains(&kind) {
            let rejection =
                Rejection::new(Code::RoleNotAllowed, "this kind of joiner is not let in");
            return Err((rejection, GoodbyeReason::RoleNotAllowed));
        }
        if let Some(seat) = seat {
            if settings.duplicate_policy == DuplicatePolicy::Reject && seat.is_connected() {
                let rejection = Rejection::new(Code::Duplicate, "this user is connected already");
                return Err((rejection, GoodbyeReason::Duplicate));
            }
            return Ok(Entry::Seat);
        }
        if !self.has_free_seat() {
            let rejection = Rejection::new(Code::RoomFull, "all seats are taken");
            return Err((rejection, GoodbyeReason::RoomFull));
        }
        if !self.must_wait(join.user_id, role) {
            return Ok(Entry::Seat);
        }
        if self.waiting.len() >= self.rules.lobby_max && !self.waiting.contains_key(&join.user_id) {
            let rejection = Rejection::new(Code::RoomFull, "the lobby is full");
            return Err((rejection, GoodbyeReason::RoomFull));
        }
        Ok(Entry::Lobby)
    }

    pub(super) fn has_free_seat(&self) -> bool {
        self.seats.len() < self.head.settings.max_participants as usize
    }

    /// The owner is host; a role set in this session wins over the token's.
    fn role_of_joiner(&self, join: &Join) -> Role {
        if join.user_id == self.head.host_user_id {
            return Role::Host;
        }
        let set = match self.seats.get(&join.user_id) {
            Some(seat) => seat.record.is_role_set.then_some(seat.record.role),
            None => self
                .former
                .get(&join.user_id)
                .and_then(|stay_id| self.left.get(stay_id))
                .and_then(|left| left.is_role_set.then_some(left.role)),
        };
        set.unwrap_or(match join.kind {
            Kind::Host => Role::Host,
            Kind::Guest => Role::Attendee,
        })
    }

    /// Attendees wait, unless they were admitted once in this session.
    fn must_wait(&self, user_id: UserId, role: Role) -> bool {
        let is_admitted = self.former.contains_key(&user_id)
            || self
                .waiting
                .get(&user_id)
                .is_some_and(|waiting| waiting.record.is_admitted);
        self.head.settings.is_lobby_enabled && role == Role::Attendee && !is_admitted
    }

    /// Gives a seat: a new stay begins, and with the first one the session.
    pub(super) fn admit(&mut self, now: Timestamp, join: Join) {
        let role = self.role_of_joiner(&join);
        let is_role_set = self.is_role_set(join.user_id);
        self.leave_lobby(join.user_id, join.connection_id);
        let session = self.session_or_begin(now, &join);
        if let Some(connection_id) = self.end_stay(now, join.user_id, LeaveReason::Superseded, None)
        {
            self.disconnect(connection_id, GoodbyeReason::Superseded);
        }
        self.head.depart_at = None;
        let record = ParticipantRecord {
            connection_id: join.connection_id,
            role,
            is_muted: false,
            is_video_on: false,
            joined_at: now,
            display_name: join.display_name,
            is_away: false,
            is_hand_raised: false,
            is_screen_sharing: false,
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
        let own = ParticipantView::new(join.user_id, &record);
        self.seats
            .insert(join.user_id, Seat::new(record, Presence::Connected));
        self.take_place(join.connection_id, join.user_id);
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
    }

    fn is_role_set(&self, user_id: UserId) -> bool {
        match self.seats.get(&user_id) {
            Some(seat) => seat.record.is_role_set,
            None => self
                .former
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

    fn take_place(&mut self, connection_id: ConnectionId, user_id: UserId) {
        self.places.insert(connection_id, Place::Seat(user_id));
        self.audience = None;
    }

    /// `RoomJoined` and what belongs to it.
    fn welcome(
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
        if is_host && !self.waiting.is_empty() {
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
        // One server for all of a room, spread over the rooms.
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

    /// Everybody, by join time.
    pub(super) fn participant_views(&self) -> Vec<ParticipantView> {
        let mut views: Vec<ParticipantView> = self
            .seats
            .iter()
            .map(|(user_id, seat)| ParticipantView::new(*user_id, &seat.record))
            .collect();
        views.sort_by_key(|view| (view.joined_at, view.user_id));
        views
    }

    fn standing(&self, now: Timestamp, user_id: UserId, resume: &Resume) -> Standing {
        let find = |tokens: &[TokenHash]| {
            tokens
                .iter()
                .find(|token| token.hash == resume.token.hash)
                .map(|token| token.epoch)
        };
        if let Some(epoch) = self
            .seats
            .get(&user_id)
            .and_then(|seat| find(&seat.record.resume_token_hashes))
        {
            return Standing::Alive(epoch);
        }
        let ended = self.left.values().find(|left| {
            left.user_id == user_id
                && now.ms_since(left.ended_at) < self.rules.reconnect_grace_ms
                && find(&left.resume_token_hashes).is_some()
        });
        match ended.map(|left| left.leave_reason) {
            None | Some(LeaveReason::Timeout | LeaveReason::Ended) => Standing::Unknown,
            Some(
                reason @ (LeaveReason::Left
                | LeaveReason::Removed
                | LeaveReason::Banned
                | LeaveReason::Superseded),
            ) => Standing::Ended(reason),
        }
    }

    fn refuse_resume(&mut self, join: &Join, reason: LeaveReason) {
        let (code, goodbye) = match reason {
            LeaveReason::Left | LeaveReason::Timeout | LeaveReason::Ended => {
                (Code::Forbidden, GoodbyeReason::Left)
            }
            LeaveReason::Removed => (Code::Forbidden, GoodbyeReason::Removed),
            LeaveReason::Banned => (Code::Banned, GoodbyeReason::Banned),
            LeaveReason::Superseded => (Code::Superseded, GoodbyeReason::Superseded),
        };
        let rejection = Rejection::new(code, "this stay has ended");
        self.turn_away(join.connection_id, join.id, rejection, goodbye);
    }

    /// The same stay goes on, on another connection.
    fn resume(&mut self, join: Join, token_epoch: Epoch) {
        let (Some(resume), Some(session)) = (join.resume, self.head.session) else {
            return;
        };
        let has_seen_known_events =
            resume.last_seq <= self.seq && self.is_before_fork(token_epoch, resume.last_seq);
        let epoch = self.epoch;
        let is_durable = self.is_durable;
        let Some(seat) = self.seats.get_mut(&join.user_id) else {
            return;
        };
        let older = seat.connection();
        let was_away = seat.record.is_away;
        seat.record.connection_id = join.connection_id;
        seat.record.is_away = false;
        seat.record.lost_at = None;
        seat.presence = Presence::Connected;
        let presented = resume.token.hash.clone();
        let resume_token = if is_durable {
            rotate(
                &mut seat.record.resume_token_hashes,
                &presented,
                join.resume_token.hash,
                epoch,
            );
            join.resume_token.text
        } else {
            resume.token.text
        };
        seat.opened_with = Some(presented);
        let held = std::mem::take(&mut seat.held);
        let relays_lost = std::mem::take(&mut seat.are_relays_lost) || token_epoch != epoch;
        let own = ParticipantView::new(join.user_id, &seat.record);
        if let Some(older) = older {
            self.disconnect(older, GoodbyeReason::Superseded);
        }
        self.take_place(join.connection_id, join.user_id);
        self.journal.participant(join.user_id);
        if was_away {
            self.publish_except(&presence_changed(join.user_id, false), join.connection_id);
        }
        let missed = has_seen_known_events
            .then(|| self.tail.after(resume.last_seq, self.seq))
            .flatten();
        match missed {
            Some(missed) => {
                let resumed = Resumed {
                    id: join.id,
                    seq: self.seq,
                    session_id: session.session_id,
                    connection_id: join.connection_id,
                    resume_token,
                    missed,
                    relays_lost,
                };
                self.send(join.connection_id, Notice::RoomResumed(Box::new(resumed)));
                if own.role == Role::Host && !self.waiting.is_empty() {
                    self.send_lobby(join.connection_id);
                }
            }
            None => self.welcome(
                join.connection_id,
                join.id,
                resume_token,
                own,
                session,
                true,
            ),
        }
        for frame in held {
            self.effects.push(Effect::Relay {
                from: None,
                to: join.connection_id,
                frame,
            });
        }
    }

    /// Whether what the holder of a token saw belongs to this room's history: not beyond the start of the first epoch
    /// after the token's.
    fn is_before_fork(&self, token_epoch: Epoch, last_seq: Seq) -> bool {
        self.head
            .epoch_starts
            .iter()
            .find(|start| start.epoch > token_epoch)
            .is_none_or(|start| last_seq <= start.seq)
    }

    /// The first frame on a connection that was opened with a resume token: older tokens are no longer needed.
    pub(super) fn confirm_token(&mut self, user_id: UserId) {
        let Some(seat) = self.seats.get_mut(&user_id) else {
            return;
        };
        let Some(opened_with) = seat.opened_with.take() else {
            return;
        };
        let tokens = &mut seat.record.resume_token_hashes;
        if let Some(index) = tokens.iter().position(|token| token.hash == opened_with)
            && index > 0
        {
            tokens.drain(..index);
            self.journal.participant_later(user_id);
        }
    }
}

/// Tokens issued after the presented one never arrived; older ones stay until a frame confirms the presented one.
fn rotate(tokens: &mut Vec<TokenHash>, presented: &str, hash: String, epoch: Epoch) {
    if let Some(index) = tokens.iter().position(|token| token.hash == presented) {
        tokens.truncate(index + 1);
    }
    tokens.push(TokenHash { hash, epoch });
    let excess = tokens.len().saturating_sub(TOKENS_MAX);
    tokens.drain(..excess);
}

/// Away or back.
pub(super) fn presence_changed(user_id: UserId, is_away: bool) -> Event<'static> {
    Event::StateChanged {
        user_id,
        by_user_id: None,
        change: Default::default(),
        is_away: Some(is_away),
    }
}
