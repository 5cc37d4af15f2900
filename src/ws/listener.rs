//! An HTTP server whose requests can take their connection's socket over. `actix_web::HttpServer` gives no hold on the stream, so
//! this puts the same parts together: actix-server, the HTTP/1 dispatcher, an application.

use std::{io, net::TcpListener, time::Duration};

use actix_http::{HttpService, error::DispatchError};
use actix_server::{Server, ServerBuilder};
use actix_service::{ServiceFactoryExt, fn_service, map_config};
use actix_web::{App, dev::AppConfig, web::ServiceConfig};
use tokio::net::TcpStream;

use super::upgrade::HttpStream;
use crate::{
    files::ConnectionFiles,
    metrics::{Metrics, RefusedConnection},
};

/// How long a connection without requests, or the head of one, may take; as `actix_web::HttpServer` has it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client may take to close a connection that is over; as there.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Sizes of a server.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// Threads.
    pub workers: usize,
    /// Open HTTP connections of each of them.
    pub connections_max: usize,
    /// How long requests under way may take when the server stops.
    pub shutdown_timeout_secs: u64,
}

/// Serves HTTP/1.1 on `listener`; `configure` is called once in each worker. A connection for which `files` has none is closed at
/// once, and counted.
///
/// # Errors
/// When the listener cannot be used.
pub fn serve<F>(
    listener: TcpListener,
    limits: HttpLimits,
    files: ConnectionFiles,
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
        let app = App::new().configure(|app| configure(app));
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stops = stops.clone();
                async move { stops.notified().await }
            })
            .keep_alive(IDLE_TIMEOUT)
            .client_request_timeout(IDLE_TIMEOUT)
            .client_disconnect_timeout(CLOSE_TIMEOUT)
            .on_connect_ext({
                let files = files.clone();
                move |stream: &HttpStream, data| {
                    data.insert(stream.on_upgrade());
                    data.insert(files.clone());
                }
            })
            .h1(map_config(app, |()| AppConfig::default()));
        let (files, metrics) = (files.clone(), metrics.clone());
        fn_service(move |stream: TcpStream| {
            let file = files.take();
            if file.is_none() {
                metrics.refused_connection(RefusedConnection::Full);
            }
            async move {
                let file = file.ok_or(DispatchError::Io(io::ErrorKind::QuotaExceeded.into()))?;
                let peer = stream.peer_addr().ok();
                Ok((HttpStream::new(stream, file), peer))
            }
        })
        .and_then(http)
    };
    Ok(builder.listen("http", listener, service)?.run())
}
