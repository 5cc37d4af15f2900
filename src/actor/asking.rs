//! Admin commands on their way to a room, wherever it is live: here, on another node, or on none that is alive any more.

use std::time::Duration;

use tokio::sync::oneshot;

use super::{ADMIN_PATIENCE, AskError, Location, Rooms, room::Administer};
use crate::{
    claims::StartError,
    cluster::{
        Neighbour,
        client::{self, CallFault},
    },
    ids::{NodeId, RoomId},
    mirror::{MirrorFault, NodeRecord, Ownership},
    room::admin::{AdminCommand, AdminReply},
};

/// How often a room is looked for that is not where it was said to be.
const TRIES_MAX: usize = 40;
/// Between two of them.
const AGAIN: Duration = Duration::from_millis(100);

/// What became of a command at a room of this node.
enum Local {
    /// There is no such room. Nothing was done.
    Absent,
    /// It ended before it answered; what was asked may have been done.
    Ended,
    /// It said so.
    Answered(Result<AdminReply, AskError>),
}

/// What the mirror says of a room that is not live here.
enum Found {
    /// Another node owns it.
    At(Neighbour),
    /// It is live, but no node that is known owns it.
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
        Ok(match self.look_for(room_id).await? {
            Found::At(neighbour) => Location::At(neighbour),
            Found::Orphaned | Found::Unknown => Location::Nowhere,
        })
    }

    /// The node that a room's people should connect to, if it is not this one: its owner, unless that is silent or about to go.
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

    /// Asks a room that is live on this node; never starts one. The command is carried out even if the asker does not wait. None:
    /// there is no such room here, and nothing was done.
    pub async fn ask_here(
        &self,
        room_id: RoomId,
        command: AdminCommand,
    ) -> Option<Result<AdminReply, AskError>> {
        self.note(room_id, &command);
        match self.ask_local(room_id, command).await {
            Local::Absent => None,
            Local::Ended => Some(Err(AskError::Unavailable)),
            Local::Answered(answer) => Some(answer),
        }
    }

    /// Asks a live room, wherever it is. A command is repeated only if it was certainly not carried out, or changes nothing.
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn ask(
        &self,
        room_id: RoomId,
        command: AdminCommand,
    ) -> Result<AdminReply, AskError> {
        self.note(room_id, &command);
        tokio::time::timeout(ADMIN_PATIENCE, self.ask_anywhere(room_id, &command))
            .await
            .unwrap_or(Err(AskError::Unavailable))
    }

    async fn ask_anywhere(
        &self,
        room_id: RoomId,
        command: &AdminCommand,
    ) -> Result<AdminReply, AskError> {
        for _ in 0..TRIES_MAX {
            match self.ask_local(room_id, command.clone()).await {
                Local::Absent => {}
                Local::Ended if is_question(command) => {}
                Local::Ended => return self.after_its_end(room_id).await,
                Local::Answered(answer) => return answer,
            }
            let found = self.look_for(room_id).await;
            match found.map_err(|_| AskError::Unavailable)? {
                Found::Unknown => return Err(AskError::NotLive),
                Found::Orphaned => self.adopt(room_id).await?,
                Found::At(neighbour) => {
                    if let Some(answer) = self.ask_there(&neighbour, room_id, command).await? {
                        return answer;
                    }
                    // Its owner may be gone: then it is claimed here.
                    self.adopt(room_id).await?;
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
        Err(AskError::Unavailable)
    }

    /// None: it was certainly not carried out.
    async fn ask_there(
        &self,
        neighbour: &Neighbour,
        room_id: RoomId,
        command: &AdminCommand,
    ) -> Result<Option<Result<AdminReply, AskError>>, AskError> {
        let asked = self.node.client.ask(neighbour, room_id, command).await;
        self.node.metrics.forwarded_ask(client::outcome(&asked));
        match asked {
            Ok(answer) => Ok(Some(answer.map_err(AskError::Rejected))),
            Err(CallFault::Moved | CallFault::Refused) => Ok(None),
            Err(CallFault::Silent | CallFault::Failed) => Err(AskError::Unavailable),
        }
    }

    async fn ask_local(&self, room_id: RoomId, command: AdminCommand) -> Local {
        let Some(room) = self.node.directory.find(room_id) else {
            return if self.is_live(room_id) {
                Local::Answered(Err(AskError::Unavailable))
            } else {
                Local::Absent
            };
        };
        let (reply, answer) = oneshot::channel();
        room.do_send(Administer { command, reply });
        match tokio::time::timeout(ADMIN_PATIENCE, answer).await {
            Ok(Ok(answer)) => Local::Answered(answer.map_err(AskError::Rejected)),
            // The room closed before it came to this.
            Ok(Err(_)) if !self.is_live(room_id) => Local::Ended,
            Ok(Err(_)) | Err(_) => Local::Answered(Err(AskError::Unavailable)),
        }
    }

    /// The room ended here without an answer: a meeting that is over cannot be asked, one that moved may have done it.
    async fn after_its_end(&self, room_id: RoomId) -> Result<AdminReply, AskError> {
        match self.look_for(room_id).await {
            Ok(Found::Unknown) => Err(AskError::NotLive),
            Ok(Found::At(_) | Found::Orphaned) | Err(_) => Err(AskError::Unavailable),
        }
    }

    /// Takes the room over if its owner is gone.
    async fn adopt(&self, room_id: RoomId) -> Result<(), AskError> {
        match self.take_over(room_id).await {
            Ok(()) | Err(StartError::Elsewhere(_)) => Ok(()),
            Err(StartError::RoomNotFound) => Err(AskError::NotLive),
            Err(StartError::ForeignTenant | StartError::Unavailable) => Err(AskError::Unavailable),
        }
    }

    /// What the mirror says. One that is this process's alone has nothing to say: what it holds is here, or soon will be.
    async fn look_for(&self, room_id: RoomId) -> Result<Found, MirrorFault> {
        let Some(registry) = &self.node.registry else {
            return Ok(Found::Unknown);
        };
        if !self.node.writer.health().is_up {
            // Nobody waits for a timeout that everybody before has met.
            return Err(MirrorFault("does not answer".to_owned()));
        }
        let Some(Ownership { owner, .. }) = self.node.mirror.ownership(room_id).await? else {
            return Ok(Found::Unknown);
        };
        let Some(owner) = owner.filter(|owner| *owner != self.node.node_id) else {
            return Ok(Found::Orphaned);
        };
        let neighbour = registry.neighbour(owner);
        Ok(neighbour.map_or(Found::Orphaned, Found::At))
    }

    /// What the command means for what is remembered of the room outside its actor.
    fn note(&self, room_id: RoomId, command: &AdminCommand) {
        match command {
            AdminCommand::ChangeSettings(_)
            | AdminCommand::End(_)
            | AdminCommand::Remove { ban: true, .. } => {
                self.node.claimant.forget_basis(room_id);
            }
            AdminCommand::LiftBan { user_id } => {
                self.node.claimant.forget_basis(room_id);
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
