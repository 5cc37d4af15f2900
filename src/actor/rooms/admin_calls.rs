//! Brings an admin's command to its room: on this node, on another one, or after a takeover if its
//! owner is gone.

use std::time::Duration;

use tokio::sync::oneshot;

use super::{AdminError, Location, Rooms};
use crate::{
    actor::room::RunAdmin,
    claims::StartError,
    cluster::{
        Neighbour,
        client::{self, CallFault},
    },
    ids::{NodeId, RoomId},
    mirror::{MirrorFault, NodeRecord, Ownership},
    room::admin::{AdminCommand, AdminReply},
};

/// How long an admin's command may take.
const ADMIN_PATIENCE: Duration = Duration::from_secs(10);
/// Attempts to find a room that is not where the mirror says.
const TRIES_MAX: usize = 40;
/// Wait between two attempts.
const AGAIN: Duration = Duration::from_millis(100);

/// The answer of a room of this node.
enum LocalAnswer {
    /// There is no such room. Nothing was done.
    Absent,
    /// It ended before it answered, and may have run the command.
    Ended,
    /// It answered.
    Answered(Result<AdminReply, AdminError>),
}

/// What the mirror says of a room that is not live here.
enum Lookup {
    /// Another node owns it.
    At(Neighbour),
    /// It is live, but no known node owns it.
    Orphaned,
    /// It is not live.
    Unknown,
}

impl Rooms {
    /// Where a room is live, as far as this node can tell.
    ///
    /// # Errors
    /// When the mirror does not answer.
    pub async fn locate(&self, room_id: RoomId) -> Result<Location, MirrorFault> {
        if self.is_live(room_id) {
            return Ok(Location::Here);
        }
        Ok(match self.look_up(room_id).await? {
            Lookup::At(neighbour) => Location::At(neighbour),
            Lookup::Orphaned | Lookup::Unknown => Location::Nowhere,
        })
    }

    /// The node to which the room's people should connect, if it is not this one: its owner, unless
    /// that is silent or leaves.
    pub async fn host_of(&self, room_id: RoomId) -> Option<Neighbour> {
        let Ok(Location::At(neighbour)) = self.locate(room_id).await else {
            return None;
        };
        let mut entries = self.node.registry.as_ref()?.entries().into_iter();
        entries.find(|node| *node == neighbour)
    }

    /// All nodes on the mirror, this one included.
    ///
    /// # Errors
    /// When the mirror does not answer.
    pub async fn nodes(&self) -> Result<Vec<NodeRecord>, MirrorFault> {
        self.node.mirror.nodes().await
    }

    /// Asks another node to drain.
    ///
    /// # Errors
    /// See [`CallFault`].
    pub async fn drain(&self, neighbour: &Neighbour) -> Result<(), CallFault> {
        self.node.client.drain(neighbour).await
    }

    /// This process.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.node.node_id
    }

    /// Asks a room of this node, without starting one. The command runs even if nobody waits for
    /// the answer.
    ///
    /// None if there is no such room here. Then nothing was done.
    pub async fn ask_here(
        &self,
        room_id: RoomId,
        command: AdminCommand,
    ) -> Option<Result<AdminReply, AdminError>> {
        self.note(room_id, &command);
        match self.ask_local(room_id, command).await {
            LocalAnswer::Absent => None,
            LocalAnswer::Ended => Some(Err(AdminError::Unavailable)),
            LocalAnswer::Answered(answer) => Some(answer),
        }
    }

    /// Asks a live room on any node. A command is repeated only if it certainly did not run, or
    /// changes nothing.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn ask(
        &self,
        room_id: RoomId,
        command: AdminCommand,
    ) -> Result<AdminReply, AdminError> {
        self.note(room_id, &command);
        tokio::time::timeout(ADMIN_PATIENCE, self.ask_anywhere(room_id, &command))
            .await
            .unwrap_or(Err(AdminError::Unavailable))
    }

    async fn ask_anywhere(
        &self,
        room_id: RoomId,
        command: &AdminCommand,
    ) -> Result<AdminReply, AdminError> {
        for _ in 0..TRIES_MAX {
            match self.ask_local(room_id, command.clone()).await {
                LocalAnswer::Absent => {}
                LocalAnswer::Ended if is_question(command) => {}
                LocalAnswer::Ended => return self.after_its_end(room_id).await,
                LocalAnswer::Answered(answer) => return answer,
            }
            let found = self.look_up(room_id).await;
            match found.map_err(|_| AdminError::Unavailable)? {
                Lookup::Unknown => return Err(AdminError::NotLive),
                Lookup::Orphaned => self.adopt(room_id).await?,
                Lookup::At(neighbour) => {
                    if let Some(answer) = self.ask_there(&neighbour, room_id, command).await? {
                        return answer;
                    }
                    // Its owner may be gone: then this node claims it.
                    self.adopt(room_id).await?;
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
        Err(AdminError::Unavailable)
    }

    /// None if the command certainly did not run.
    async fn ask_there(
        &self,
        neighbour: &Neighbour,
        room_id: RoomId,
        command: &AdminCommand,
    ) -> Result<Option<Result<AdminReply, AdminError>>, AdminError> {
        let asked = self.node.client.ask(neighbour, room_id, command).await;
        self.node.metrics.forwarded_ask(client::outcome(&asked));
        match asked {
            Ok(answer) => Ok(Some(answer.map_err(AdminError::Rejected))),
            Err(CallFault::Moved | CallFault::Refused) => Ok(None),
            Err(CallFault::Silent | CallFault::Failed) => Err(AdminError::Unavailable),
        }
    }

    async fn ask_local(&self, room_id: RoomId, command: AdminCommand) -> LocalAnswer {
        let Some(room) = self.directory.find(room_id) else {
            return if self.is_live(room_id) {
                LocalAnswer::Answered(Err(AdminError::Unavailable))
            } else {
                LocalAnswer::Absent
            };
        };
        let (reply, answer) = oneshot::channel();
        room.do_send(RunAdmin { command, reply });
        match tokio::time::timeout(ADMIN_PATIENCE, answer).await {
            Ok(Ok(answer)) => LocalAnswer::Answered(answer.map_err(AdminError::Rejected)),
            // The room ended without an answer. It may have run the command.
            Ok(Err(_)) if !self.is_live(room_id) => LocalAnswer::Ended,
            Ok(Err(_)) | Err(_) => LocalAnswer::Answered(Err(AdminError::Unavailable)),
        }
    }

    /// The room ended here without an answer. If it moved, it may have run the command.
    async fn after_its_end(&self, room_id: RoomId) -> Result<AdminReply, AdminError> {
        match self.look_up(room_id).await {
            Ok(Lookup::Unknown) => Err(AdminError::NotLive),
            Ok(Lookup::At(_) | Lookup::Orphaned) | Err(_) => Err(AdminError::Unavailable),
        }
    }

    /// Takes the room over if its owner is gone.
    async fn adopt(&self, room_id: RoomId) -> Result<(), AdminError> {
        match self.take_over(room_id).await {
            Ok(()) | Err(StartError::Elsewhere(_)) => Ok(()),
            Err(StartError::RoomNotFound) => Err(AdminError::NotLive),
            Err(StartError::ForeignTenant | StartError::Unavailable) => {
                Err(AdminError::Unavailable)
            }
        }
    }

    /// Looks a room up in the mirror. A mirror that belongs to this process alone is not asked: its
    /// rooms are here, or soon will be.
    async fn look_up(&self, room_id: RoomId) -> Result<Lookup, MirrorFault> {
        let Some(registry) = &self.node.registry else {
            return Ok(Lookup::Unknown);
        };
        if !self.node.writer.health().is_up {
            // Fails at once instead of after a time-out.
            return Err(MirrorFault("does not answer".to_owned()));
        }
        let Some(Ownership { owner, .. }) = self.node.mirror.ownership(room_id).await? else {
            return Ok(Lookup::Unknown);
        };
        let Some(owner) = owner.filter(|owner| *owner != self.node.node_id) else {
            return Ok(Lookup::Orphaned);
        };
        let neighbour = registry.neighbour(owner);
        Ok(neighbour.map_or(Lookup::Orphaned, Lookup::At))
    }

    /// Drops what is remembered of the room outside its actor and changes with this command.
    fn note(&self, room_id: RoomId, command: &AdminCommand) {
        match command {
            AdminCommand::ChangeSettings(_)
            | AdminCommand::End(_)
            | AdminCommand::Remove { ban: true, .. } => {
                self.node.claimant.forget_stored_room(room_id);
            }
            AdminCommand::LiftBan { user_id } => {
                self.node.claimant.forget_stored_room(room_id);
                self.node.recorder.forget_ban(room_id, *user_id);
            }
            AdminCommand::Describe
            | AdminCommand::ListParticipants
            | AdminCommand::ChangeParticipant { .. }
            | AdminCommand::Remove { ban: false, .. }
            | AdminCommand::SystemMessage(_)
            | AdminCommand::ListBans => {}
        }
    }
}

/// Whether it changes nothing.
fn is_question(command: &AdminCommand) -> bool {
    match command {
        AdminCommand::Describe | AdminCommand::ListParticipants | AdminCommand::ListBans => true,
        AdminCommand::ChangeParticipant { .. }
        | AdminCommand::Remove { .. }
        | AdminCommand::End(_)
        | AdminCommand::SystemMessage(_)
        | AdminCommand::ChangeSettings(_)
        | AdminCommand::LiftBan { .. } => false,
    }
}
