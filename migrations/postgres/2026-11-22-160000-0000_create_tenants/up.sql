-- Tells databases apart: nodes that use different ones refuse each other.
CREATE TABLE database_identity (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    database_id UUID NOT NULL
);

INSERT INTO database_identity (id, database_id) VALUES (1, gen_random_uuid());

CREATE TABLE tenants (
    id UUID PRIMARY KEY,
    name TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);

CREATE INDEX tenants_by_age ON tenants (created_at, id);

INSERT INTO tenants (id, name, created_at)
VALUES ('00000000-0000-0000-0000-000000000001', 'default', date_trunc('milliseconds', now()));

CREATE TABLE users (
    id UUID PRIMARY KEY,
    tenant_id UUID NOT NULL REFERENCES tenants (id),
    -- Lower-case: unique without regard to case. "C" folds ASCII only, the same on every server.
    email TEXT NOT NULL CHECK (email = lower(email COLLATE "C")),
    display_name TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    UNIQUE (tenant_id, email),
    UNIQUE (tenant_id, id)
);

CREATE INDEX users_by_age ON users (tenant_id, created_at, id);

CREATE TABLE api_keys (
    id UUID PRIMARY KEY,
    tenant_id UUID NOT NULL REFERENCES tenants (id),
    name TEXT NOT NULL,
    scope TEXT NOT NULL CHECK (scope IN ('tenant', 'operator')),
    secret_hash BYTEA NOT NULL CHECK (octet_length(secret_hash) = 32),
    sealed_secret BYTEA NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    revoked_at TIMESTAMPTZ
);

CREATE INDEX api_keys_by_age ON api_keys (tenant_id, created_at, id);
