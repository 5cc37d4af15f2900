CREATE TABLE sessions (
    id TEXT NOT NULL PRIMARY KEY CHECK (length(id) = 36),
    room_id TEXT NOT NULL REFERENCES rooms (id),
    start_time TEXT NOT NULL CHECK (start_time GLOB '????-??-??T??:??:??.???Z'),
    end_time TEXT CHECK (end_time GLOB '????-??-??T??:??:??.???Z' AND end_time >= start_time),
    end_reason TEXT CHECK (end_reason IN ('empty', 'ended', 'max_duration', 'deleted', 'failed', 'lost')),
    recording_url TEXT,
    last_seen_at TEXT NOT NULL
        CHECK (last_seen_at GLOB '????-??-??T??:??:??.???Z' AND last_seen_at >= start_time),
    CHECK ((end_time IS NULL) = (end_reason IS NULL))
) STRICT;

CREATE INDEX sessions_by_age ON sessions (room_id, start_time, id);
CREATE INDEX sessions_open ON sessions (id) WHERE end_time IS NULL;
CREATE INDEX sessions_open_of_room ON sessions (room_id) WHERE end_time IS NULL;

CREATE TABLE attendances (
    id TEXT NOT NULL PRIMARY KEY CHECK (length(id) = 36),
    session_id TEXT NOT NULL REFERENCES sessions (id),
    -- No foreign key: guests have no row.
    user_id TEXT NOT NULL CHECK (length(user_id) = 36),
    display_name TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('host', 'attendee')),
    joined_at TEXT NOT NULL CHECK (joined_at GLOB '????-??-??T??:??:??.???Z'),
    left_at TEXT NOT NULL CHECK (left_at GLOB '????-??-??T??:??:??.???Z' AND left_at >= joined_at),
    leave_reason TEXT NOT NULL
        CHECK (leave_reason IN ('left', 'timeout', 'removed', 'banned', 'superseded', 'ended'))
) STRICT;

CREATE INDEX attendances_by_session ON attendances (session_id, joined_at, id);
CREATE INDEX attendances_by_user ON attendances (user_id);
