//! An HTTP server whose requests can take over the socket of their connection.
//! `actix_web::HttpServer` gives no access to the stream, so this module combines the same parts:
//! actix-server, the HTTP/1 dispatcher, an application.

use std::{io, net::TcpListener, time::Duration};

use actix_http::{HttpService, error::DispatchError};
use actix_server::{Server, ServerBuilder};
use actix_service::{ServiceFactoryExt, fn_service, map_config};
use actix_web::{App, dev::AppConfig, web::ServiceConfig};
use tokio::net::TcpStream;

use super::upgrade::{ClientStream, HttpStream};
use crate::{
    fd_budget::FdBudget,
    metrics::{Metrics, RefusedConnection},
};

/// Limit for an idle connection and for the head of a request, as in `actix_web::HttpServer`.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// Limit for a client to close a finished connection, as in `actix_web::HttpServer`.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Sizes of a server.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// Number of threads.
    pub workers: usize,
    /// Open HTTP connections per thread. Beyond it the thread accepts no more for a while.
    pub connections_max: usize,
    /// How long running requests may take when the server stops.
    pub shutdown_timeout_secs: u64,
}

/// Serves HTTP/1.1 on `listener` and calls `configure` once per worker. A connection beyond
/// `budget` is counted and closed at once.
///
/// # Errors
/// Fails when the listener is unusable.
pub fn serve<F>(
    listener: TcpListener,
    limits: HttpLimits,
    budget: FdBudget,
    metrics: Metrics,
    configure: F,
) -> io::Result<Server>
where
    F: Fn(&mut ServiceConfig) + Clone + Send + 'static,
{
    let builder = ServerBuilder::new()
        .disable_signals()
        .workers(limits.workers)
        .shutdown_timeout(limits.shutdown_timeout_secs)
        .max_concurrent_connections(limits.connections_max);
    let stops = builder.graceful_shutdown_signal();
    let service = move || {
        let (configure, stops) = (configure.clone(), stops.clone());
        let (budget, metrics) = (budget.clone(), metrics.clone());
        let app = App::new()
            .app_data(budget.clone())
            .configure(|app| configure(app));
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stops = stops.clone();
                async move { stops.notified().await }
            })
            .keep_alive(IDLE_TIMEOUT)
            .client_request_timeout(IDLE_TIMEOUT)
            .client_disconnect_timeout(CLOSE_TIMEOUT)
            .on_connect_ext(|stream: &HttpStream, data| {
                data.insert(stream.on_upgrade());
            })
            .h1(map_config(app, |()| AppConfig::default()));
        fn_service(move |stream: TcpStream| {
            let permit = budget.acquire();
            if permit.is_none() {
                metrics.refused_connection(RefusedConnection::Full);
            }
            async move {
                let permit =
                    permit.ok_or(DispatchError::Io(io::ErrorKind::QuotaExceeded.into()))?;
                let peer = stream.peer_addr().ok();
                Ok((HttpStream::new(ClientStream::new(stream, permit)), peer))
            }
        })
        .and_then(http)
    };
    Ok(builder.listen("http", listener, service)?.run())
}
