//! Breaks an invariant of a live room, so that it panics as it would at a bug of ours.

use actix::{Handler, Message};

use super::stage::Stage;
use crate::actor::room::RoomActor;

/// What breaks.
#[derive(Message)]
#[rtype(result = "bool")]
enum Break {
    /// The rules panic at the next event.
    Rules,
    /// The room panics when it is to tell the event with this text, outside of its rules. The
    /// answer is false if that event does not wait for its commit.
    Telling(&'static str),
}

impl Handler<Break> for RoomActor {
    type Result = bool;

    fn handle(&mut self, message: Break, _: &mut Self::Context) -> bool {
        match message {
            Break::Rules => self.host.break_rules(),
            Break::Telling(text) => return self.host.break_telling(text),
        }
        true
    }
}

impl Stage {
    /// The next event makes the rules panic.
    pub async fn break_rules(&self) {
        self.break_room(Break::Rules).await;
    }

    /// Waits for the event with this text to wait for its commit. Then telling it makes the room
    /// panic.
    pub async fn break_telling(&self, text: &'static str) {
        self.until("the event", async || {
            self.break_room(Break::Telling(text)).await
        })
        .await;
    }

    async fn break_room(&self, what: Break) -> bool {
        let room = self.rooms.directory.find(self.room_id);
        room.unwrap().send(what).await.unwrap()
    }
}
