//! What a process brings into SQL: opened sessions, bans, and what waits in the mirror's outbox; as
//! the recorder does.

use std::{collections::VecDeque, sync::Arc};

use callboard::{
    ids::{RoomId, SessionId, Timestamp, UserId},
    mirror::RoomMirror,
    protocol::EndReason,
};
use futures_util::future::BoxFuture;

use crate::{node::Done, world::World};

const LOOK_MS: u64 = 2_500;
const RETRY_MS: u64 = 300;
const TOUCH_MS: u64 = 30_000;
const OUTBOX: usize = 64;
/// As `recorder::LOST_AFTER`.
const LOST_AFTER_MS: u64 = 180_000;

#[derive(Clone, Copy)]
enum Note {
    Open(RoomId, SessionId, Timestamp),
    Ban(RoomId, UserId),
}

/// See the module.
pub struct Notes {
    world: Arc<World>,
    mirror: Arc<dyn RoomMirror>,
    waiting: VecDeque<Note>,
    next_at: Option<Timestamp>,
    /// There is news since the round at hand began.
    is_due: bool,
    touch_at: Timestamp,
}

impl Notes {
    pub fn new(world: Arc<World>, mirror: Arc<dyn RoomMirror>, now: Timestamp) -> Self {
        Self {
            world,
            mirror,
            waiting: VecDeque::new(),
            next_at: Some(now.plus_ms(LOOK_MS)),
            is_due: false,
            touch_at: now,
        }
    }

    pub fn open(&mut self, room_id: RoomId, session_id: SessionId, start: Timestamp) {
        self.waiting
            .push_back(Note::Open(room_id, session_id, start));
        self.hurry();
    }

    pub fn ban(&mut self, room_id: RoomId, user_id: UserId) {
        self.waiting.push_back(Note::Ban(room_id, user_id));
        self.hurry();
    }

    pub fn closed(&mut self) {
        self.hurry();
    }

    fn hurry(&mut self) {
        let now = self.world.now();
        self.is_due = true;
        self.next_at = self.next_at.map(|at| at.min(now));
    }

    pub fn done(&mut self, now: Timestamp) {
        let wait_ms = if self.is_due { RETRY_MS } else { LOOK_MS };
        self.next_at = Some(now.plus_ms(wait_ms));
    }

    /// What is due now, one round at a time.
    pub fn work(
        &mut self,
        now: Timestamp,
        live: Vec<SessionId>,
    ) -> Option<BoxFuture<'static, Done>> {
        if self.next_at.is_none_or(|at| at > now) {
            return None;
        }
        self.next_at = None;
        let is_away = self.world.sql(|sql| sql.is_away);
        if is_away {
            self.is_due = true;
            return Some(Box::pin(async move { Done::Noted }));
        }
        self.is_due = false;
        for note in self.waiting.drain(..) {
            self.world.sql(|sql| match note {
                Note::Open(room_id, session_id, start) => sql.open(room_id, session_id, start),
                Note::Ban(room_id, user_id) => sql.ban(room_id, user_id),
            });
        }
        let is_touch_due = self.touch_at <= now;
        if is_touch_due {
            self.touch_at = now.plus_ms(TOUCH_MS);
            self.world.sql(|sql| sql.touch(&live, now));
        }
        let (world, mirror) = (Arc::clone(&self.world), Arc::clone(&self.mirror));
        Some(Box::pin(async move {
            record(&world, mirror.as_ref()).await;
            if is_touch_due {
                sweep(&world, mirror.as_ref(), &live).await;
            }
            Done::Noted
        }))
    }
}

async fn record(world: &World, mirror: &dyn RoomMirror) {
    let Ok(sessions) = mirror.outbox(OUTBOX).await else {
        return;
    };
    for session in sessions {
        if world.sql(|sql| sql.is_away) {
            return;
        }
        let is_excused = world.is_excused(session.room_id);
        if let Some(violation) = world.sql(|sql| sql.close(&session))
            && !is_excused
        {
            world.violate(violation);
        }
        world.log(format_args!(
            "session {} recorded: {:?}",
            session.session_id, session.end_reason
        ));
        if mirror
            .recorded(&[(session.room_id, session.session_id)])
            .await
            .is_err()
        {
            return;
        }
    }
}

/// Closes sessions of which nobody knows any more.
async fn sweep(world: &World, mirror: &dyn RoomMirror, live: &[SessionId]) {
    let open: Vec<_> = world.sql(|sql| {
        let rows = sql.sessions.iter();
        rows.filter(|(_, row)| row.end.is_none())
            .map(|(session_id, row)| (*session_id, row.clone()))
            .collect()
    });
    for (session_id, row) in open {
        if live.contains(&session_id) || world.now().ms_since(row.last_seen) < LOST_AFTER_MS {
            continue;
        }
        if let Ok(None) = mirror.ownership(row.room_id).await {
            world.sql(|sql| {
                if let Some(row) = sql.sessions.get_mut(&session_id)
                    && row.end.is_none()
                {
                    row.end = Some((row.last_seen, EndReason::Lost));
                }
            });
        }
    }
}
