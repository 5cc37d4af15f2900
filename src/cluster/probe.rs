//! Whether somebody listens at another node's address. Silence or a name that does not resolve are no proof of anything.

use std::{net::ToSocketAddrs, time::Duration};

use tokio::{net::TcpStream, time::timeout};
use url::Url;

/// Between the two attempts that show that nobody listens.
const REFUSED_TWICE: Duration = Duration::from_millis(50);
/// Longest wait for a connection that may be refused.
const PATIENCE: Duration = Duration::from_millis(500);

/// Whether the address refuses connections, twice.
pub(super) async fn refuses_twice(url: &Url) -> bool {
    if !refuses(url).await {
        return false;
    }
    tokio::time::sleep(REFUSED_TWICE).await;
    refuses(url).await
}

async fn refuses(url: &Url) -> bool {
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return false;
    };
    let host = host.trim_matches(['[', ']']).to_owned();
    let addresses = tokio::task::spawn_blocking(move || {
        (host.as_str(), port).to_socket_addrs().map(Vec::from_iter)
    })
    .await;
    let Ok(Ok(addresses)) = addresses else {
        return false;
    };
    match timeout(PATIENCE, TcpStream::connect(addresses.as_slice())).await {
        Ok(Err(error)) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        Ok(Ok(_)) | Err(_) => false,
    }
}
