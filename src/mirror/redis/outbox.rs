//! Finished sessions. The closing commit writes an entry into the slot of its room. The set
//! `outbox` holds hints, so that no scan is needed to find entries.

use redis::{Cmd, cmd};

use super::{RedisMirror, decode, fault, keys, scripts};
use crate::{
    ids::{NodeId, RoomId, SessionId},
    mirror::{Commit, MirrorFault, fields::from_json, rules},
    room::record::ClosedSession,
};

/// How many more hints than entries are read, because some hints may have no entry yet.
const HINTS_MARGIN: usize = 64;

impl RedisMirror {
    /// Writes the hints of closing commits. This happens before the commits, so no entry lacks a
    /// hint.
    pub(super) async fn announce_closings(&self, commits: &[Commit]) -> Result<(), MirrorFault> {
        match add_hints(commits.iter()) {
            Some(call) => self.call::<u64>(call).await.map(|_| ()),
            None => Ok(()),
        }
    }

    /// Cleans up after closing commits that were applied.
    pub(super) async fn after_closings(&self, closed: &[&Commit]) {
        self.unlist_rooms(closed.iter().map(|commit| owner_and_room(commit)))
            .await;
        // Writes the hints again: a reader may have removed them before the entry existed.
        if let Some(call) = add_hints(closed.iter().copied())
            && let Err(fault) = self.client.call(call).await
        {
            tracing::debug!(%fault, "hints of the outbox were not written again");
        }
    }

    /// Reads entries by their hints and deletes hints without entry.
    pub(super) async fn read_outbox(
        &self,
        limit: usize,
    ) -> Result<Vec<ClosedSession>, MirrorFault> {
        let mut query = cmd("SRANDMEMBER");
        query
            .arg(keys::OUTBOX)
            .arg(limit.saturating_add(HINTS_MARGIN));
        let members: Vec<String> = self.call(query).await?;
        let mut stale: Vec<String> = Vec::new();
        let mut hints: Vec<(String, SessionId)> = Vec::new();
        let mut calls: Vec<Cmd> = Vec::new();
        for member in members {
            match keys::parse_outbox_member(&member) {
                Some((room_id, session_id)) => {
                    calls.push(scripts::outbox(room_id, session_id));
                    hints.push((member, session_id));
                }
                None => stale.push(member),
            }
        }
        let mut sessions = Vec::new();
        if !calls.is_empty() {
            for ((member, session_id), answer) in
                hints.into_iter().zip(self.client.run(calls).await?)
            {
                let (entry, live): (Option<String>, Option<String>) =
                    decode(answer.map_err(fault)?)?;
                match entry {
                    Some(_) if sessions.len() == limit => {}
                    Some(json) => match from_json(&json) {
                        Ok(session) => sessions.push(session),
                        Err(fault) => {
                            tracing::error!(%fault, entry = member, "outbox entry stays unrecorded");
                        }
                    },
                    None if live == Some(session_id.to_string()) => {}
                    None => stale.push(member),
                }
            }
        }
        self.drop_hints(&stale).await?;
        Ok(sessions)
    }

    /// Deletes entries, then hints: a hint without entry is harmless, an entry without hint is
    /// lost.
    pub(super) async fn remove_recorded(
        &self,
        sessions: &[(RoomId, SessionId)],
    ) -> Result<(), MirrorFault> {
        let deletes = sessions.iter().map(|(room_id, session_id)| {
            let mut delete = cmd("DEL");
            delete.arg(keys::closed(*room_id, *session_id));
            delete
        });
        for answer in self.client.run(deletes.collect()).await? {
            answer.map_err(fault)?;
        }
        let hints: Vec<String> = sessions
            .iter()
            .map(|(room_id, session_id)| keys::outbox_member(*room_id, *session_id))
            .collect();
        self.drop_hints(&hints).await
    }

    async fn drop_hints(&self, members: &[String]) -> Result<(), MirrorFault> {
        if members.is_empty() {
            return Ok(());
        }
        let mut remove = cmd("SREM");
        remove.arg(keys::OUTBOX).arg(members);
        self.call::<u64>(remove).await.map(|_| ())
    }
}

fn owner_and_room(commit: &Commit) -> (NodeId, RoomId) {
    (commit.owner, commit.room_id)
}

/// Returns the command that adds the hints of closed sessions. `None` if no commit closes one.
fn add_hints<'a>(commits: impl Iterator<Item = &'a Commit>) -> Option<Cmd> {
    let members: Vec<String> = commits
        .filter_map(|commit| {
            let session = rules::closed_session(commit)?;
            Some(keys::outbox_member(commit.room_id, session.session_id))
        })
        .collect();
    if members.is_empty() {
        return None;
    }
    let mut add = cmd("SADD");
    add.arg(keys::OUTBOX).arg(members);
    Some(add)
}
