-- Ids are hyphenated lower-case UUIDs, times RFC 3339 with milliseconds and Z: both sort as text like on PostgreSQL.

-- Tells databases apart: nodes that use different ones refuse each other.
CREATE TABLE database_identity (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    database_id TEXT NOT NULL CHECK (length(database_id) = 36)
) STRICT;

INSERT INTO database_identity (id, database_id)
SELECT 1, substr(hex, 1, 8) || '-' || substr(hex, 9, 4) || '-4' || substr(hex, 14, 3) || '-a' || substr(hex, 18, 3)
    || '-' || substr(hex, 21, 12)
FROM (SELECT lower(hex(randomblob(16))) AS hex);

CREATE TABLE tenants (
    id TEXT NOT NULL PRIMARY KEY CHECK (length(id) = 36),
    name TEXT NOT NULL,
    created_at TEXT NOT NULL CHECK (created_at GLOB '????-??-??T??:??:??.???Z')
) STRICT;

CREATE INDEX tenants_by_age ON tenants (created_at, id);

INSERT INTO tenants (id, name, created_at)
VALUES ('00000000-0000-0000-0000-000000000001', 'default', strftime('%Y-%m-%dT%H:%M:%fZ', 'now'));

CREATE TABLE users (
    id TEXT NOT NULL PRIMARY KEY CHECK (length(id) = 36),
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    -- Lower-case: unique without regard to case. lower() folds ASCII only.
    email TEXT NOT NULL CHECK (email = lower(email)),
    display_name TEXT NOT NULL,
    created_at TEXT NOT NULL CHECK (created_at GLOB '????-??-??T??:??:??.???Z'),
    UNIQUE (tenant_id, email),
    UNIQUE (tenant_id, id)
) STRICT;

CREATE INDEX users_by_age ON users (tenant_id, created_at, id);

CREATE TABLE api_keys (
    id TEXT NOT NULL PRIMARY KEY CHECK (length(id) = 36),
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    name TEXT NOT NULL,
    scope TEXT NOT NULL CHECK (scope IN ('tenant', 'operator')),
    secret_hash BLOB NOT NULL CHECK (length(secret_hash) = 32),
    sealed_secret BLOB NOT NULL,
    created_at TEXT NOT NULL CHECK (created_at GLOB '????-??-??T??:??:??.???Z'),
    revoked_at TEXT CHECK (revoked_at GLOB '????-??-??T??:??:??.???Z')
) STRICT;

CREATE INDEX api_keys_by_age ON api_keys (tenant_id, created_at, id);
