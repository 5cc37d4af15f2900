//! The requests of handlers to live rooms, each with its possible answers.

use std::time::Duration;

use super::{problem::Problem, reply::CHANGE_ATTEMPTS_MAX, state::AppState};
use crate::{
    actor::AdminError,
    ids::{RoomId, UserId},
    protocol::{Code, EndReason, ParticipantView, Role},
    room::{
        admin::{AdminCommand, AdminReply, LiveRoom},
        record::BanRecord,
    },
    store::Room,
};

/// Attempts at ending the meeting of a room that is deleted already.
const END_ATTEMPTS_MAX: u32 = 5;
/// Wait after the first attempt, doubled after each.
const END_RETRY_WAIT: Duration = Duration::from_millis(100);

/// Describes a live room. `None` if the room is not live.
pub(super) async fn describe(state: &AppState, room: RoomId) -> Result<Option<LiveRoom>, Problem> {
    match state.rooms.ask(room, AdminCommand::Describe).await {
        Ok(AdminReply::Live(live)) => Ok(Some(live)),
        Ok(_) => Err(Problem::bug("Describe was answered with something else")),
        Err(AdminError::NotLive) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Lists the participants. Empty if the room is not live.
pub(super) async fn participants(
    state: &AppState,
    room: RoomId,
) -> Result<Vec<ParticipantView>, Problem> {
    match state.rooms.ask(room, AdminCommand::ListParticipants).await {
        Ok(AdminReply::Participants(participants)) => Ok(participants),
        Ok(_) => Err(Problem::bug(
            "ListParticipants was answered with something else",
        )),
        Err(AdminError::NotLive) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// Mutes a participant, changes the role, or both.
pub(super) async fn change_participant(
    state: &AppState,
    room: RoomId,
    user_id: UserId,
    mute: bool,
    role: Option<Role>,
) -> Result<ParticipantView, Problem> {
    let command = AdminCommand::ChangeParticipant {
        user_id,
        mute,
        role,
    };
    match state.rooms.ask(room, command).await {
        Ok(AdminReply::Participant(participant)) => Ok(participant),
        Ok(_) => Err(Problem::bug(
            "ChangeParticipant was answered with something else",
        )),
        Err(AdminError::NotLive) => Err(Problem::target_not_found()),
        Err(error) => Err(error.into()),
    }
}

/// Removes a participant. With `ban`, bans the user, who need not be in the room. Returns false if
/// the room is not live.
pub(super) async fn remove(
    state: &AppState,
    room: RoomId,
    user_id: UserId,
    ban: bool,
) -> Result<bool, Problem> {
    let command = AdminCommand::Remove { user_id, ban };
    match state.rooms.ask(room, command).await {
        Ok(_) => Ok(true),
        Err(AdminError::NotLive) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Lists the bans of a live room. `None` if the room is not live.
pub(super) async fn bans(
    state: &AppState,
    room: RoomId,
) -> Result<Option<Vec<(UserId, BanRecord)>>, Problem> {
    match state.rooms.ask(room, AdminCommand::ListBans).await {
        Ok(AdminReply::Bans(bans)) => Ok(Some(bans)),
        Ok(_) => Err(Problem::bug("ListBans was answered with something else")),
        Err(AdminError::NotLive) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Lifts a ban in a live room. Returns whether there was one.
pub(super) async fn lift_ban(
    state: &AppState,
    room: RoomId,
    user_id: UserId,
) -> Result<bool, Problem> {
    match state
        .rooms
        .ask(room, AdminCommand::LiftBan { user_id })
        .await
    {
        Ok(AdminReply::Lifted(was_banned)) => Ok(was_banned),
        Ok(_) => Err(Problem::bug("LiftBan was answered with something else")),
        Err(AdminError::NotLive) => Ok(false),
        Err(AdminError::Rejected(rejection)) if rejection.code == Code::TargetNotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Sends a message of the system to everybody in the room.
pub(super) async fn say(state: &AppState, room: RoomId, text: String) -> Result<(), Problem> {
    state
        .rooms
        .ask(room, AdminCommand::SystemMessage(text))
        .await?;
    Ok(())
}

/// Ends the meeting. Returns whether there was one.
pub(super) async fn end(
    state: &AppState,
    room: RoomId,
    reason: EndReason,
) -> Result<bool, Problem> {
    match state.rooms.ask(room, AdminCommand::End(reason)).await {
        Ok(AdminReply::Ended(ended)) => Ok(ended),
        Ok(_) => Err(Problem::bug("End was answered with something else")),
        Err(AdminError::NotLive) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Ends the meeting of a room that SQL has as deleted. The caller could not repeat this (the room
/// is 404 now), so it is tried several times here.
pub(super) async fn end_deleted(state: &AppState, room: RoomId) -> Result<(), Problem> {
    let mut wait = END_RETRY_WAIT;
    for _ in 1..END_ATTEMPTS_MAX {
        if end(state, room, EndReason::Deleted).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(wait).await;
        wait *= 2;
    }
    end(state, room, EndReason::Deleted).await.map(|_| ())
}

/// Gives a live room the settings that SQL has now, and returns the row they are from. Two changes
/// at once may reach the room in the other order than SQL, so SQL is read again afterwards: the
/// last message to the room has the latest settings.
pub(super) async fn follow_settings(state: &AppState, mut room: Room) -> Result<Room, Problem> {
    for _ in 0..CHANGE_ATTEMPTS_MAX {
        let command = AdminCommand::ChangeSettings(room.settings.clone());
        match state.rooms.ask(room.id, command).await {
            Ok(_) => {}
            Err(AdminError::NotLive) => return Ok(room),
            Err(error) => return Err(error.into()),
        }
        match state.store.room(room.tenant_id, room.id).await? {
            Some(latest) if latest.version != room.version => room = latest,
            Some(latest) => return Ok(latest),
            None => return Err(Problem::room_not_found()),
        }
    }
    Ok(room)
}
