#!/usr/bin/env python3
"""A whole meeting against a running callboard: two people, one mute, one end, one row of history.

    pip install websockets
    cargo run --release -- serve            # in another terminal
    python examples/meeting.py              # reads the key from data/api-key

Everything that README promises is checked; the exit code is 0 only when all of it was so.
"""

import argparse
import asyncio
import json
import os
import pathlib
import sys
import time
import urllib.request
import uuid

import websockets

# Longest wait for one answer, and for the history to be in SQL.
ANSWER_SECONDS = 10
HISTORY_SECONDS = 20


class Api:
    """The HTTP API, as a tenant's backend uses it."""

    def __init__(self, url, key):
        self.url = url.rstrip("/")
        self.key = key

    def call(self, method, path, body=None):
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
            return json.load(answer)


class Person:
    """Somebody in the meeting: one WebSocket and the last `seq` seen on it."""

    def __init__(self, name, socket):
        self.name = name
        self.socket = socket
        self.seq = 0
        self.next_id = 1

    async def say(self, kind, **fields):
        command = {"type": kind, "id": self.next_id, **fields}
        self.next_id += 1
        await self.socket.send(json.dumps(command))

    async def hear(self, kind):
        """The next message of a type; every event on the way must be the one after the last."""
        while True:
            message = json.loads(await asyncio.wait_for(self.socket.recv(), ANSWER_SECONDS))
            print(f"{self.name:>5} <- {json.dumps(message)[:150]}")
            if message["type"] == "RoomJoined":
                self.seq = message["seq"]
            elif message["type"] not in ("Ack", "KeepAlive") and "seq" in message:
                check(message["seq"] == self.seq + 1, f"{self.name} sees consecutive seq")
                self.seq = message["seq"]
            if message["type"] == kind:
                return message
            check(message["type"] != "Error", f"{self.name} is not refused: {message}")

    async def join(self, room_id, token):
        await self.say("JoinRoom", roomId=room_id, token=token)
        return await self.hear("RoomJoined")


def check(condition, what):
    if not condition:
        raise AssertionError(what)


async def meet(api):
    unique = uuid.uuid4().hex[:8]
    users = {}
    for name in ("Alice", "Bob"):
        email = f"{name.lower()}.{unique}@example.org"
        users[name] = api.call("POST", "/v1/users", {"email": email, "displayName": name})["id"]
    room = api.call("POST", "/v1/rooms", {"hostUserId": users["Alice"], "settings": {}})
    room_id = room["roomId"]
    joins = {
        name: api.call("POST", f"/v1/rooms/{room_id}/join", {"userId": user})
        for name, user in users.items()
    }

    async with (
        websockets.connect(joins["Alice"]["signalUrl"], subprotocols=["callboard.v1+json"]) as one,
        websockets.connect(joins["Bob"]["signalUrl"], subprotocols=["callboard.v1+json"]) as other,
    ):
        alice, bob = Person("Alice", one), Person("Bob", other)
        await alice.join(room_id, joins["Alice"]["token"])
        joined = await bob.join(room_id, joins["Bob"]["token"])
        check(len(joined["participants"]) == 2, "Bob sees two participants")
        await alice.hear("ParticipantJoined")

        is_muted = not joined["self"]["isMuted"]
        await bob.say("UpdateState", isMuted=is_muted)
        changes = [await person.hear("StateChanged") for person in (alice, bob)]
        check(changes[0] == changes[1], "both see the same event")
        check(changes[0]["seq"] == joined["seq"] + 1, "it is the one after the join")
        check(changes[0]["isMuted"] == is_muted, "it says what Bob did")

        await alice.say("EndRoom")
        for person in (alice, bob):
            await person.hear("RoomEnded")
            goodbye = await person.hear("Goodbye")
            check(goodbye["action"] == "stop", "the meeting is over")

    return room_id, users


def history(api, room_id):
    """The one session of the room, once it is closed in SQL."""
    deadline = time.monotonic() + HISTORY_SECONDS
    while True:
        sessions = api.call("GET", f"/v1/rooms/{room_id}/sessions")["items"]
        if sessions and all(session["endTime"] for session in sessions):
            break
        check(time.monotonic() < deadline, "the session is closed in SQL")
        time.sleep(0.1)
    check(len(sessions) == 1, "there is one session")
    return api.call("GET", f"/v1/sessions/{sessions[0]['id']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="where callboard listens")
    parser.add_argument("--key-file", default="data/api-key", help="file with the API key")
    arguments = parser.parse_args()
    key = os.environ.get("CALLBOARD_API_KEY")
    key = key or pathlib.Path(arguments.key_file).read_text(encoding="utf-8").strip()
    api = Api(arguments.url, key)
    room_id, users = asyncio.run(meet(api))
    session = history(api, room_id)
    print(json.dumps(session, indent=2))
    check(session["startTime"] < session["endTime"], "it has a start and an end")
    check(session["endReason"] == "ended", "the host ended it")
    attended = {attendance["userId"] for attendance in session["attendances"]}
    check(len(session["attendances"]) == 2 and attended == set(users.values()), "both attended")
    print("the meeting went as promised")


if __name__ == "__main__":
    try:
        main()
    except (AssertionError, OSError, asyncio.TimeoutError, websockets.WebSocketException) as fault:
        sys.exit(f"not as promised: {fault!r}")
