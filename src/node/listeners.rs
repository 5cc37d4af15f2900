//! The listeners for clients, other nodes and operators.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use actix_web::{dev::ServerHandle, web};
use anyhow::Context;

use super::workers;
use crate::{
    actor::{JoinService, RoomThreads},
    config::Config,
    fd_budget::FdBudget,
    http::{self, AppState},
    mirror::writer::MirrorWriter,
    ws::{self, listener::HttpLimits},
};

/// How long open requests may take when the node stops.
const REQUESTS_PATIENCE_SECS: u64 = 5;
/// Open connections of the operators' listener, which has files of its own: it answers when clients
/// have taken all of theirs.
pub(super) const ADMIN_CONNECTIONS_MAX: usize = 64;

/// Binds an address.
///
/// # Errors
/// Fails when the address is in use or not available.
pub(super) fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))
}

/// The listener of clients.
pub(super) fn serve(
    config: &Config,
    listener: TcpListener,
    budget: FdBudget,
    state: web::Data<AppState>,
    joins: Arc<JoinService>,
    writer: &MirrorWriter,
    threads: RoomThreads,
) -> anyhow::Result<ServerHandle> {
    let writer = writer.clone();
    let metrics = state.metrics.clone();
    let limits = HttpLimits {
        workers: workers(config),
        connections_max: config.limits.connections_max,
        shutdown_timeout_secs: REQUESTS_PATIENCE_SECS,
    };
    let server = ws::listener::serve(listener, limits, budget, metrics, move |app| {
        threads.join(&writer);
        http::configure(app, state.clone(), &joins);
    })?;
    let handle = server.handle();
    actix_web::rt::spawn(server);
    Ok(handle)
}

/// The listener of operators: health and metrics without a key.
pub(super) fn serve_admin(
    listener: TcpListener,
    state: web::Data<AppState>,
) -> anyhow::Result<ServerHandle> {
    let limits = HttpLimits {
        workers: 1,
        // Those beyond are closed, not kept waiting.
        connections_max: 2 * ADMIN_CONNECTIONS_MAX,
        shutdown_timeout_secs: REQUESTS_PATIENCE_SECS,
    };
    let budget = FdBudget::new(ADMIN_CONNECTIONS_MAX);
    let metrics = state.metrics.clone();
    let server = ws::listener::serve(listener, limits, budget, metrics, move |app| {
        http::configure_admin(app, state.clone());
    })?;
    let handle = server.handle();
    actix_web::rt::spawn(server);
    Ok(handle)
}
