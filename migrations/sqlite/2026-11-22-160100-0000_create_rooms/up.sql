CREATE TABLE rooms (
    id TEXT NOT NULL PRIMARY KEY CHECK (length(id) = 36),
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    -- Null only after the owner of a deleted room was deleted too.
    host_user_id TEXT CHECK (host_user_id IS NOT NULL OR deleted_at IS NOT NULL),
    settings BLOB NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('SCHEDULED', 'ACTIVE', 'COMPLETED')),
    version INTEGER NOT NULL CHECK (version > 0),
    created_at TEXT NOT NULL CHECK (created_at GLOB '????-??-??T??:??:??.???Z'),
    deleted_at TEXT CHECK (deleted_at GLOB '????-??-??T??:??:??.???Z'),
    -- The owner is a user of the same tenant.
    FOREIGN KEY (tenant_id, host_user_id) REFERENCES users (tenant_id, id)
) STRICT;

CREATE INDEX rooms_by_age ON rooms (tenant_id, created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX rooms_by_status ON rooms (tenant_id, status, created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX rooms_by_host ON rooms (tenant_id, host_user_id);

CREATE TABLE bans (
    room_id TEXT NOT NULL REFERENCES rooms (id),
    user_id TEXT NOT NULL CHECK (length(user_id) = 36),
    created_at TEXT NOT NULL CHECK (created_at GLOB '????-??-??T??:??:??.???Z'),
    PRIMARY KEY (room_id, user_id)
) STRICT;
