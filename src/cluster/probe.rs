//! Whether a process listens at another node's address. Silence, or a name that does not resolve,
//! proves nothing.

use std::{net::ToSocketAddrs, time::Duration};

use tokio::{net::TcpStream, time::timeout};
use url::Url;

/// Wait between the two attempts which show that nobody listens.
const REFUSED_TWICE: Duration = Duration::from_millis(50);
/// Longest wait for the name and the connection.
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
    let look_up = tokio::task::spawn_blocking(move || {
        (host.as_str(), port).to_socket_addrs().map(Vec::from_iter)
    });
    let connect = async {
        let Ok(Ok(addresses)) = look_up.await else {
            return false;
        };
        match TcpStream::connect(addresses.as_slice()).await {
            Ok(_) => false,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        }
    };
    timeout(PATIENCE, connect).await.unwrap_or(false)
}
