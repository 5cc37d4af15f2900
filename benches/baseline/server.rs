//! The baseline: what actix-web and actix-web-actors need at least to hand a message to the members
//! of a room.
//!
//! One actor per connection, and a room's members in a list that the one worker's thread shares:
//! with an actor per room a delivery was measured to cost 3 to 12 % more. No rules, no JSON, no
//! mirror, no token: the first message of a client is its join, answered by a text made beforehand;
//! the bytes of any later message go as they came, not copied, to every member of its room.

use std::{any::Any, cell::RefCell, collections::HashMap, rc::Rc, time::Duration};

use actix::{
    Actor, ActorContext, Addr, AsyncContext, Handler, Message, Recipient, Running, StreamHandler,
};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, dev::Extensions, web};
use actix_web_actors::ws::{Message as Frame, ProtocolError, WebsocketContext, WsResponseBuilder};
use bytestring::ByteString;
use callboard::protocol::SUB_PROTOCOL;

/// Answer to a first message.
const JOINED: ByteString = ByteString::from_static(r#"{"type":"RoomJoined","id":1,"seq":1}"#);
/// What callboard's connections have by default.
pub const PING_INTERVAL: Duration = Duration::from_secs(15);
/// Capacity of mailboxes, as callboard's connections have; a flood is not what is measured here.
const MAILBOX: usize = 16;

/// The mailboxes of a room's members.
type Room = Rc<RefCell<HashMap<Addr<Connection>, Recipient<Deliver>>>>;
/// The rooms of the worker's thread; kept when empty, as few as the load names.
type Rooms = Rc<RefCell<HashMap<String, Room>>>;

/// Serves on a port of 127.0.0.1 until killed.
pub fn serve(port: u16) -> std::io::Result<()> {
    actix_web::rt::System::new().block_on(async move {
        HttpServer::new(|| {
            App::new()
                .app_data(Rooms::default())
                .route("/v1/rooms/{room}/signal", web::get().to(signal))
        })
        .workers(1)
        .on_connect(no_delay)
        .bind(("127.0.0.1", port))?
        .run()
        .await
    })
}

/// As callboard does: Nagle's algorithm would meet delayed acknowledgements.
fn no_delay(connection: &dyn Any, _: &mut Extensions) {
    if let Some(stream) = connection.downcast_ref::<actix_web::rt::net::TcpStream>() {
        // Without it the figures are worse, nothing else.
        let _ = stream.set_nodelay(true);
    }
}

/// The upgrade to a WebSocket.
async fn signal(
    request: HttpRequest,
    payload: web::Payload,
    name: web::Path<String>,
) -> actix_web::Result<HttpResponse> {
    let rooms = request.app_data::<Rooms>().expect("every request has it");
    let room = rooms
        .borrow_mut()
        .entry(name.into_inner())
        .or_default()
        .clone();
    let connection = Connection {
        room,
        is_joined: false,
    };
    WsResponseBuilder::new(connection, &request, payload)
        .protocols(&[SUB_PROTOCOL])
        .start()
}

/// A frame for a member, shared by all who get it.
#[derive(Message)]
#[rtype(result = "()")]
struct Deliver(ByteString);

/// One WebSocket.
struct Connection {
    /// The room of its path.
    room: Room,
    /// Whether the first message came.
    is_joined: bool,
}

impl Connection {
    fn publish(&self, text: &ByteString) {
        for member in self.room.borrow().values() {
            member.do_send(Deliver(text.clone()));
        }
    }
}

impl Actor for Connection {
    type Context = WebsocketContext<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX);
        context.run_interval(PING_INTERVAL, |_, context| context.ping(b""));
    }

    fn stopping(&mut self, context: &mut Self::Context) -> Running {
        self.room.borrow_mut().remove(&context.address());
        Running::Stop
    }
}

impl Handler<Deliver> for Connection {
    type Result = ();

    fn handle(&mut self, Deliver(text): Deliver, context: &mut Self::Context) {
        context.text(text);
    }
}

impl StreamHandler<Result<Frame, ProtocolError>> for Connection {
    fn handle(&mut self, item: Result<Frame, ProtocolError>, context: &mut Self::Context) {
        match item {
            Ok(Frame::Text(text)) if self.is_joined => self.publish(&text),
            Ok(Frame::Text(_)) => {
                self.is_joined = true;
                let member = context.address();
                let mailbox = member.clone().recipient();
                self.room.borrow_mut().insert(member, mailbox);
                context.text(JOINED);
            }
            Ok(Frame::Ping(bytes)) => context.pong(&bytes),
            Ok(Frame::Pong(_) | Frame::Binary(_) | Frame::Continuation(_) | Frame::Nop) => {}
            Ok(Frame::Close(reason)) => {
                context.close(reason);
                context.stop();
            }
            Err(_) => context.stop(),
        }
    }
}
