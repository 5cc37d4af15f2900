// @generated automatically by Diesel CLI.

diesel::table! {
    use crate::store::sql_types::*;

    api_keys (id) {
        id -> Uuid,
        tenant_id -> Uuid,
        name -> Text,
        scope -> Text,
        secret_hash -> Bytea,
        sealed_secret -> Bytea,
        created_at -> Timestamptz,
        revoked_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    use crate::store::sql_types::*;

    attendances (id) {
        id -> Uuid,
        session_id -> Uuid,
        user_id -> Uuid,
        display_name -> Text,
        role -> Text,
        joined_at -> Timestamptz,
        left_at -> Timestamptz,
        leave_reason -> Text,
    }
}

diesel::table! {
    use crate::store::sql_types::*;

    bans (room_id, user_id) {
        room_id -> Uuid,
        user_id -> Uuid,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    use crate::store::sql_types::*;

    database_identity (id) {
        id -> Int4,
        database_id -> Uuid,
    }
}

diesel::table! {
    use crate::store::sql_types::*;

    rooms (id) {
        id -> Uuid,
        tenant_id -> Uuid,
        host_user_id -> Nullable<Uuid>,
        settings -> Jsonb,
        status -> Text,
        version -> Int8,
        created_at -> Timestamptz,
        deleted_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    use crate::store::sql_types::*;

    sessions (id) {
        id -> Uuid,
        room_id -> Uuid,
        start_time -> Timestamptz,
        end_time -> Nullable<Timestamptz>,
        end_reason -> Nullable<Text>,
        recording_url -> Nullable<Text>,
        last_seen_at -> Timestamptz,
    }
}

diesel::table! {
    use crate::store::sql_types::*;

    tenants (id) {
        id -> Uuid,
        name -> Text,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    use crate::store::sql_types::*;

    users (id) {
        id -> Uuid,
        tenant_id -> Uuid,
        email -> Text,
        display_name -> Text,
        created_at -> Timestamptz,
    }
}

diesel::joinable!(api_keys -> tenants (tenant_id));
diesel::joinable!(attendances -> sessions (session_id));
diesel::joinable!(bans -> rooms (room_id));
diesel::joinable!(rooms -> tenants (tenant_id));
diesel::joinable!(sessions -> rooms (room_id));
diesel::joinable!(users -> tenants (tenant_id));

diesel::allow_tables_to_appear_in_same_query!(
    api_keys,
    attendances,
    bans,
    database_identity,
    rooms,
    sessions,
    tenants,
    users,
);
