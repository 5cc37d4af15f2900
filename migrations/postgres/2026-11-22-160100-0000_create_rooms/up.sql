CREATE TABLE rooms (
    id UUID PRIMARY KEY,
    tenant_id UUID NOT NULL REFERENCES tenants (id),
    -- Null only after the owner of a deleted room was deleted too.
    host_user_id UUID CHECK (host_user_id IS NOT NULL OR deleted_at IS NOT NULL),
    settings JSONB NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('SCHEDULED', 'ACTIVE', 'COMPLETED')),
    version BIGINT NOT NULL CHECK (version > 0),
    created_at TIMESTAMPTZ NOT NULL,
    deleted_at TIMESTAMPTZ,
    -- The owner is a user of the same tenant.
    FOREIGN KEY (tenant_id, host_user_id) REFERENCES users (tenant_id, id)
);

CREATE INDEX rooms_by_age ON rooms (tenant_id, created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX rooms_by_status ON rooms (tenant_id, status, created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX rooms_by_host ON rooms (tenant_id, host_user_id);

CREATE TABLE bans (
    room_id UUID NOT NULL REFERENCES rooms (id),
    user_id UUID NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (room_id, user_id)
);
