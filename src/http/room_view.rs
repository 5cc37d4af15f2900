//! Rooms as JSON: what callers send and see.

use serde::{Deserialize, Serialize};

use super::etag::{Tag, Tagged};
use crate::{
    ids::{RoomId, Timestamp, UserId},
    protocol::Settings,
    room::admin::LiveRoom,
    store::{Room, RoomStatus},
};

/// State of a room in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schema(as = RoomStatus)]
pub enum RoomStatusView {
    /// Nobody was admitted yet.
    Scheduled,
    /// A session is open.
    Active,
    /// The last session is over. The next join begins another.
    Completed,
}

impl From<RoomStatus> for RoomStatusView {
    fn from(status: RoomStatus) -> Self {
        match status {
            RoomStatus::Scheduled => Self::Scheduled,
            RoomStatus::Active => Self::Active,
            RoomStatus::Completed => Self::Completed,
        }
    }
}

impl From<RoomStatusView> for RoomStatus {
    fn from(status: RoomStatusView) -> Self {
        match status {
            RoomStatusView::Scheduled => Self::Scheduled,
            RoomStatusView::Active => Self::Active,
            RoomStatusView::Completed => Self::Completed,
        }
    }
}

/// A room as callers see it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Room)]
pub struct RoomResource {
    /// The id given at creation, or a new one.
    #[schema(value_type = Uuid)]
    pub id: RoomId,
    /// The same as `id`, under the name that the rest of the API uses.
    #[schema(value_type = Uuid)]
    pub room_id: RoomId,
    /// The owner: always host.
    #[schema(value_type = Uuid)]
    pub host_user_id: UserId,
    /// The current settings.
    pub settings: Settings,
    /// `ACTIVE` as soon as the actor has a session, even before SQL has it.
    pub status: RoomStatusView,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// State of the live room. Absent while the room is not live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<LiveRoom>,
}

impl RoomResource {
    /// Combines a row with the state of the live room.
    #[must_use]
    pub fn new(room: Room, live: Option<LiveRoom>) -> Self {
        let has_session = live.as_ref().is_some_and(|live| live.session_id.is_some());
        Self {
            id: room.id,
            room_id: room.id,
            host_user_id: room.host_user_id,
            settings: room.settings,
            status: if has_session {
                RoomStatusView::Active
            } else {
                room.status.into()
            },
            created_at: room.created_at,
            live,
        }
    }
}

impl Tagged for RoomResource {
    /// The settings are the content. Status and `live` belong to the view only.
    fn tag(&self) -> Tag {
        Tag::new(&(self.room_id, &self.settings), self)
    }
}

/// The tag of a row, for `If-Match` only.
#[must_use]
pub fn content_tag(room: &Room) -> Tag {
    Tag::new(&(room.id, &room.settings), &())
}

/// A created room.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreatedRoom {
    /// The room.
    #[serde(flatten)]
    pub room: RoomResource,
    /// Lets the host join.
    pub join_token: String,
}

impl Tagged for CreatedRoom {
    /// The tag of the room: the token is no part of it.
    fn tag(&self) -> Tag {
        self.room.tag()
    }
}

/// A room to be created.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewRoom {
    /// Makes the call repeatable. By default a new id.
    #[schema(value_type = Option<Uuid>)]
    pub id: Option<RoomId>,
    /// A user of the tenant: the owner, always host.
    #[schema(value_type = Uuid)]
    pub host_user_id: UserId,
    /// Members that are not given have their defaults.
    #[serde(default)]
    pub settings: Settings,
}

/// The members of a room that a merge patch may change.
#[derive(Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RoomContent {
    /// Merged member by member. `null` means the defaults.
    pub settings: Settings,
}

/// What `end` did.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct EndResult {
    /// False if there was no meeting.
    pub ended: bool,
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{ids::Seq, store::DEFAULT_TENANT};

    #[test]
    fn running_session_shows_as_active_and_leaves_the_content_tag() {
        let row = Room {
            id: RoomId(Uuid::from_u128(1)),
            tenant_id: DEFAULT_TENANT,
            host_user_id: UserId(Uuid::from_u128(2)),
            settings: Settings::default(),
            status: RoomStatus::Scheduled,
            version: 1,
            created_at: Timestamp(0),
            deleted_at: None,
        };
        let live = LiveRoom {
            session_id: Some(crate::ids::SessionId(Uuid::from_u128(3))),
            start_time: Some(Timestamp(5)),
            participant_count: 1,
            lobby_count: 0,
            is_recording: false,
            is_locked: false,
            sfu_region: None,
            seq: Seq(1),
            durable: true,
        };
        let before = RoomResource::new(row.clone(), None);
        let during = RoomResource::new(row.clone(), Some(live));
        assert_eq!(before.status, RoomStatusView::Scheduled);
        assert_eq!(during.status, RoomStatusView::Active);
        assert_ne!(before.tag(), during.tag());
        let request = actix_web::test::TestRequest::default()
            .insert_header(("if-match", before.tag().header_value()))
            .to_http_request();
        assert!(during.tag().check_if_match(&request).is_ok());
        assert!(content_tag(&row).check_if_match(&request).is_ok());
    }
}
