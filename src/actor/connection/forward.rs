//! Brings a `JoinRoom` to its room: on this node, or through a socket to the node that owns it.

use std::time::Duration;

use actix::Addr;
use bytestring::ByteString;
use futures_util::{SinkExt, StreamExt};
use serde::Serialize;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::tungstenite::Message as NodeFrame;
use url::Url;

use crate::{
    actor::{
        join_service::{
            JOIN_PATIENCE, JoinAttempt, JoinService, JoinTarget, Person, TRY_AGAIN, unavailable,
        },
        room::RoomActor,
    },
    cluster::{
        self, Neighbour,
        client::{self, CallFault, NodeClient},
        socket::NodeSocket,
    },
    fd_budget::FdPermit,
    ids::{NodeId, RoomId},
    metrics::RefusedConnection,
    protocol::{Goodbye, GoodbyeReason, Refusal, ResumeRequest},
};

/// Wait before the next attempt at an owner that does not answer: it may be gone soon.
const AGAIN_AFTER_SILENCE: Duration = Duration::from_millis(100);
/// Time kept for the last attempt at an owner: no attempt starts later than this before
/// [`JOIN_PATIENCE`] ends.
const ATTEMPT: Duration = Duration::from_millis(1_000);
/// How the encoding of an `Error` begins.
const ERROR: &str = r#"{"type":"Error""#;
/// How the encoding of a `Goodbye` begins.
const GOODBYE: &str = r#"{"type":"Goodbye""#;

/// Where a connection comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A client with a token.
    Client,
    /// Another node, which has verified this person.
    Node(Person),
}

/// Where a connection has joined.
pub(super) enum Entered {
    /// A room of this node.
    Here(Addr<RoomActor>),
    /// At the owner's node.
    There(Box<Opened>),
}

/// A socket to the owner of a room, with its first answers.
pub(super) struct Opened {
    /// Carries everything after that.
    pub(super) socket: NodeSocket,
    /// The owner's first messages, for the client.
    pub(super) said: Vec<ByteString>,
    /// The room's signal URL at the owner.
    pub(super) url: Option<Url>,
    /// The file-descriptor permit of `socket`.
    pub(super) permit: FdPermit,
}

/// The `JoinRoom` that goes to the owner, without the client's token.
#[derive(Serialize)]
#[serde(tag = "type", rename = "JoinRoom", rename_all = "camelCase")]
struct ForwardedJoin<'a> {
    id: u64,
    room_id: RoomId,
    /// Empty: the node's own token says who it is.
    token: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resume: Option<&'a ResumeRequest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<&'a str>,
}

/// Lets a connection join.
pub(super) async fn enter(
    joins: &JoinService,
    attempt: JoinAttempt,
    token: &str,
    origin: Origin,
) -> Result<Entered, Refusal> {
    let decided = async {
        match origin {
            Origin::Client => enter_anywhere(joins, &attempt, token).await,
            Origin::Node(person) => joins.enter_here(&attempt, &person).await.map(Entered::Here),
        }
    };
    match timeout(JOIN_PATIENCE, decided).await {
        Ok(entered) => entered,
        Err(_) => Err(joins.give_up(attempt.room_id, attempt.connection_id)),
    }
}

/// Tries again while the owner cannot be reached: the room may have moved, or be taken over.
async fn enter_anywhere(
    joins: &JoinService,
    attempt: &JoinAttempt,
    token: &str,
) -> Result<Entered, Refusal> {
    let last_attempt = Instant::now() + JOIN_PATIENCE - ATTEMPT;
    let person = joins.identify(token, attempt.room_id).await?;
    loop {
        let owner = match joins.join(attempt, &person).await? {
            JoinTarget::Local(room) => return Ok(Entered::Here(room)),
            JoinTarget::Remote(owner) => owner,
        };
        let Some(permit) = joins.fd_budget.acquire_lasting() else {
            joins
                .node
                .metrics
                .refused_connection(RefusedConnection::Full);
            return Err(unavailable());
        };
        let opened = reach(joins, owner, attempt, &person, permit).await;
        let outcome = client::outcome(&opened);
        joins.node.metrics.forwarded_connection(outcome);
        let wait = match opened {
            Ok(opened) => return Ok(Entered::There(Box::new(opened))),
            Err(CallFault::Moved | CallFault::Refused) => TRY_AGAIN,
            Err(CallFault::Silent | CallFault::Failed) => AGAIN_AFTER_SILENCE,
        };
        if Instant::now() + wait > last_attempt {
            return Err(unavailable());
        }
        sleep(wait).await;
    }
}

/// Opens a socket to the owner on the I/O runtime, so that no actor's thread waits for it.
async fn reach(
    joins: &JoinService,
    owner: NodeId,
    attempt: &JoinAttempt,
    person: &Person,
    permit: FdPermit,
) -> Result<Opened, CallFault> {
    let registry = joins.node.registry.as_ref();
    let neighbour = registry.and_then(|registry| registry.neighbour(owner));
    let neighbour = neighbour.ok_or(CallFault::Moved)?;
    let client = joins.node.client.clone();
    let (person, join) = (person.clone(), forwarded(attempt));
    let (mut answer, opened) = oneshot::channel();
    joins.node.io.spawn(async move {
        let opened = tokio::select! {
            opened = open(&client, &neighbour, &person, join, permit) => opened,
            // The client is gone, or nobody waits any more.
            () = answer.closed() => return,
        };
        // Dropped with the socket in it when nobody takes it.
        let _ = answer.send(opened);
    });
    opened.await.unwrap_or(Err(CallFault::Silent))
}

fn forwarded(attempt: &JoinAttempt) -> String {
    let join = ForwardedJoin {
        id: attempt.id,
        room_id: attempt.room_id,
        token: "",
        resume: attempt.resume.as_ref(),
        region: attempt.region.as_deref(),
    };
    serde_json::to_string(&join).expect("texts and numbers in a struct are always JSON")
}

/// The socket with the owner's first answers. Fails with `Moved` if the room is not there; the
/// client is not told.
async fn open(
    client: &NodeClient,
    neighbour: &Neighbour,
    person: &Person,
    join: String,
    permit: FdPermit,
) -> Result<Opened, CallFault> {
    let mut socket = client
        .signal(neighbour, person.room_id, person.grant())
        .await?;
    let sent = socket.send(NodeFrame::text(join)).await;
    sent.map_err(|_| CallFault::Silent)?;
    let mut said = Vec::new();
    loop {
        let text = next_text(&mut socket).await.ok_or(CallFault::Silent)?;
        if is_moved(&text) {
            return Err(CallFault::Moved);
        }
        // An error may be followed by a goodbye which says that the room is not there.
        let is_decided = !text.starts_with(ERROR);
        said.push(text);
        if is_decided {
            let url = cluster::signal_url(&neighbour.url, person.room_id);
            return Ok(Opened {
                socket,
                said,
                url,
                permit,
            });
        }
    }
}

/// None if the socket has ended.
async fn next_text(socket: &mut NodeSocket) -> Option<ByteString> {
    loop {
        match socket.next().await? {
            Ok(NodeFrame::Text(text)) => return Some(ByteString::from(text.as_str())),
            Ok(NodeFrame::Close(_)) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

fn is_moved(text: &str) -> bool {
    text.starts_with(GOODBYE)
        && serde_json::from_str::<Goodbye>(text)
            .is_ok_and(|goodbye| goodbye.reason == GoodbyeReason::Moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_goodbye_for_a_moved_room_sends_the_joiner_on() {
        for (reason, moved) in [
            (GoodbyeReason::Moved, true),
            (GoodbyeReason::Draining, false),
            (GoodbyeReason::RoomFull, false),
        ] {
            assert_eq!(is_moved(&Goodbye::from(reason).encode()), moved);
        }
        assert!(!is_moved(
            r#"{"type":"MessageReceived","text":"{\"type\":\"Goodbye\"}"}"#
        ));
    }
}
