//! The way of a `JoinRoom` into its room, wherever that is: on this node, or through a socket to the node that owns it.

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
        gate::{Gate, JOIN_PATIENCE, JoinAttempt, Knocked, Person, TRY_AGAIN, unavailable},
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

/// Wait before the gate is asked again for an owner that does not answer: it may be gone soon.
const AGAIN_AFTER_SILENCE: Duration = Duration::from_millis(100);
/// What one more attempt at an owner may take: no attempt begins later than this before the joiner's patience ends.
const ATTEMPT: Duration = Duration::from_millis(1_000);
/// How the encoding of an `Error` begins.
const ERROR: &str = r#"{"type":"Error""#;
/// How the encoding of a `Goodbye` begins.
const GOODBYE: &str = r#"{"type":"Goodbye""#;

/// Where a connection comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// From a client, who has a token.
    Client,
    /// From another node, which has verified the token of this person.
    Node(Person),
}

/// Where a connection has been let in.
pub(super) enum Entered {
    /// A room of this node.
    Here(Addr<RoomActor>),
    /// The owner's node has answered.
    There(Box<Opened>),
}

/// A socket to the owner of a room that has begun to answer.
pub(super) struct Opened {
    /// The rest of the conversation.
    pub(super) socket: NodeSocket,
    /// What the owner has said so far, for the client.
    pub(super) said: Vec<ByteString>,
    /// Where the client finds the room without this node.
    pub(super) url: Option<Url>,
    /// Pays for the file of `socket`.
    pub(super) permit: FdPermit,
}

/// A `JoinRoom` on its way to the owner: the caller's token stays here.
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

/// Lets a connection in.
pub(super) async fn enter(
    gate: &Gate,
    attempt: JoinAttempt,
    token: &str,
    origin: Origin,
) -> Result<Entered, Refusal> {
    let decided = async {
        match origin {
            Origin::Client => enter_anywhere(gate, &attempt, token).await,
            Origin::Node(person) => gate.enter_here(&attempt, &person).await.map(Entered::Here),
        }
    };
    match timeout(JOIN_PATIENCE, decided).await {
        Ok(entered) => entered,
        Err(_) => Err(gate.give_up(attempt.room_id, attempt.connection_id)),
    }
}

/// Asks the gate again for as long as the owner cannot be reached: it may have moved, or be taken over.
async fn enter_anywhere(
    gate: &Gate,
    attempt: &JoinAttempt,
    token: &str,
) -> Result<Entered, Refusal> {
    let last_attempt = Instant::now() + JOIN_PATIENCE - ATTEMPT;
    let person = gate.identify(token, attempt.room_id).await?;
    loop {
        let owner = match gate.knock(attempt, &person).await? {
            Knocked::In(room) => return Ok(Entered::Here(room)),
            Knocked::Elsewhere(owner) => owner,
        };
        let Some(permit) = gate.fd_budget.acquire_lasting() else {
            gate.node
                .metrics
                .refused_connection(RefusedConnection::Full);
            return Err(unavailable());
        };
        let opened = reach(gate, owner, attempt, &person, permit).await;
        let outcome = client::outcome(&opened);
        gate.node.metrics.forwarded_connection(outcome);
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

/// Opens a socket to the owner, on the I/O runtime: an actor's thread must not wait for it.
async fn reach(
    gate: &Gate,
    owner: NodeId,
    attempt: &JoinAttempt,
    person: &Person,
    permit: FdPermit,
) -> Result<Opened, CallFault> {
    let registry = gate.node.registry.as_ref();
    let neighbour = registry.and_then(|registry| registry.neighbour(owner));
    let neighbour = neighbour.ok_or(CallFault::Moved)?;
    let client = gate.node.client.clone();
    let (person, join) = (person.clone(), forwarded(attempt));
    let (mut answer, opened) = oneshot::channel();
    gate.node.io.spawn(async move {
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

/// The socket with the owner's first word. `Moved`: the room is not there, and the client has not been told so.
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
        // An error at the door may be followed by a goodbye that says where the room is not.
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

/// None: the socket has ended.
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
