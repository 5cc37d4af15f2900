CREATE TABLE sessions (
    id UUID PRIMARY KEY,
    room_id UUID NOT NULL REFERENCES rooms (id),
    start_time TIMESTAMPTZ NOT NULL,
    end_time TIMESTAMPTZ CHECK (end_time >= start_time),
    end_reason TEXT CHECK (end_reason IN ('empty', 'ended', 'max_duration', 'deleted', 'failed', 'lost')),
    recording_url TEXT,
    last_seen_at TIMESTAMPTZ NOT NULL CHECK (last_seen_at >= start_time),
    CHECK ((end_time IS NULL) = (end_reason IS NULL))
);

CREATE INDEX sessions_by_age ON sessions (room_id, start_time, id);
CREATE INDEX sessions_open ON sessions (id) WHERE end_time IS NULL;
CREATE INDEX sessions_open_of_room ON sessions (room_id) WHERE end_time IS NULL;

CREATE TABLE attendances (
    id UUID PRIMARY KEY,
    session_id UUID NOT NULL REFERENCES sessions (id),
    -- No foreign key: guests have no row.
    user_id UUID NOT NULL,
    display_name TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('host', 'attendee')),
    joined_at TIMESTAMPTZ NOT NULL,
    left_at TIMESTAMPTZ NOT NULL CHECK (left_at >= joined_at),
    leave_reason TEXT NOT NULL
        CHECK (leave_reason IN ('left', 'timeout', 'removed', 'banned', 'superseded', 'ended'))
);

CREATE INDEX attendances_by_session ON attendances (session_id, joined_at, id);
CREATE INDEX attendances_by_user ON attendances (user_id);
