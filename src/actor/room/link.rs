//! The room's end of one connection: writes an outbox straight into its socket, and finds clients
//! that do not read.

use std::{sync::Arc, time::Duration};

use actix::{Addr, Message, Recipient};
use url::Url;

use super::RoomActor;
use crate::{
    host::{Closing, Outbox},
    protocol::GoodbyeReason,
    ws::{DisconnectCause, LinkLimits, Outgoing, Socket},
};

/// How long a peer may take to close after the goodbye.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// The last word to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseNotice {
    /// Decides action and close code.
    pub reason: GoodbyeReason,
    /// Where the room continues: a complete signal URL.
    pub url: Option<Url>,
}

impl From<GoodbyeReason> for CloseNotice {
    fn from(reason: GoodbyeReason) -> Self {
        Self { reason, url: None }
    }
}

/// What a room tells the actor of a connection. What it tells the client goes straight into the
/// socket.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub enum RoomNews {
    /// The room continues in another actor: commands go there from now on.
    Moved(Addr<RoomActor>),
    /// Say this and close.
    Goodbye(CloseNotice),
}

/// The result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// The kernel has all of it.
    Taken,
    /// Some of it waits.
    Behind,
    /// It was the last one.
    Closing(Closing),
}

/// The room's handle of one connection.
#[derive(Debug)]
pub struct Link {
    pub(super) actor: Recipient<RoomNews>,
    /// Shared with the connection.
    pub socket: Arc<Socket>,
    /// The next write ends with a ping.
    pub(super) wants_ping: bool,
}

impl Link {
    /// The link to a connection with this actor.
    #[must_use]
    pub fn new(actor: Recipient<RoomNews>, socket: Arc<Socket>) -> Self {
        Self {
            actor,
            socket,
            wants_ping: false,
        }
    }

    /// Tells the connection which actor runs its room now.
    pub(super) fn move_to(&self, room: Addr<RoomActor>) {
        self.actor.do_send(RoomNews::Moved(room));
    }
}

/// Whether a relay may be added. Relays get half of the bound, so that nobody can be evicted by a
/// flood of them: they are sent at most once, unlike the room's own events.
pub(super) fn has_room_for_relay(outbox: &Outbox<Link>, bytes: usize, limits: LinkLimits) -> bool {
    let waiting = outbox.connection.socket.waiting_bytes() + outbox.frame_bytes();
    waiting + bytes <= limits.outgoing_bytes_max / 2
}

/// Writes what is in an outbox in one piece, and checks whether the client reads.
pub(super) fn flush(
    outbox: &mut Outbox<Link>,
    limits: LinkLimits,
) -> Result<Flushed, DisconnectCause> {
    let (link, frames) = outbox.start_write();
    let frames = frames.iter().map(|frame| Outgoing::Text(frame));
    let ping = link.wants_ping.then_some(Outgoing::Ping);
    let waiting = link.socket.deliver(frames.chain(ping), limits)?;
    link.wants_ping = false;
    outbox.clear();
    Ok(match outbox.closing() {
        Some(closing) => Flushed::Closing(closing),
        None if waiting == 0 => Flushed::Taken,
        None => Flushed::Behind,
    })
}

#[cfg(test)]
mod tests {
    use actix::{Actor, Context, Handler};
    use bytestring::ByteString;
    use tokio::{
        io::AsyncReadExt,
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::{fd_budget::FdBudget, ids::Timestamp, ws::ClientStream};

    const LIMITS: LinkLimits = LinkLimits {
        slow_ms: 1_000,
        outgoing_bytes_max: 64 * 1024,
    };

    /// A connection's actor that ignores its room.
    struct Deaf;

    impl Actor for Deaf {
        type Context = Context<Self>;
    }

    impl Handler<RoomNews> for Deaf {
        type Result = ();

        fn handle(&mut self, _: RoomNews, _: &mut Self::Context) {}
    }

    async fn outbox() -> (Outbox<Link>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let permit = FdBudget::new(1).acquire().unwrap();
        let socket = Socket::new(ClientStream::new(stream, permit), Timestamp(0));
        let link = Link::new(Deaf.start().recipient(), socket);
        (Outbox::new(link), client)
    }

    #[actix_web::test]
    async fn frames_and_one_ping_are_written_in_order() {
        let (mut outbox, mut client) = outbox().await;
        outbox.push(ByteString::from_static("one"));
        outbox.push(ByteString::from_static("two"));
        outbox.connection.wants_ping = true;
        assert_eq!(flush(&mut outbox, LIMITS), Ok(Flushed::Taken));
        outbox.connection.wants_ping = true;
        assert_eq!(flush(&mut outbox, LIMITS), Ok(Flushed::Taken));
        // RFC 6455 section 5.2: two texts and a ping, and another ping.
        let expected = b"\x81\x03one\x81\x03two\x89\0\x89\0";
        let mut bytes = vec![0; expected.len()];
        client.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes, expected);
    }

    #[actix_web::test]
    async fn first_goodbye_counts_and_what_is_cleared_is_not_written() {
        let (mut outbox, mut client) = outbox().await;
        outbox.push(ByteString::from_static("one"));
        outbox.clear();
        let removed = Closing::from(GoodbyeReason::Removed);
        outbox.close(removed);
        outbox.close(Closing::from(GoodbyeReason::Moved));
        assert!(outbox.is_closing());
        assert_eq!(flush(&mut outbox, LIMITS), Ok(Flushed::Closing(removed)));
        outbox.connection.socket.cut();
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes, b"");
    }
}
