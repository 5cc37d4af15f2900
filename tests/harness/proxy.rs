//! The proxy before a backend: forwards, cuts, loses answers, delays, and heals.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::common::proxy::{Cut, Proxy};

/// Longest wait for an answer that must come.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long is waited for an answer that must not come.
const SILENCE: Duration = Duration::from_millis(150);

/// Answers every chunk with itself.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = socket.split();
                tokio::io::copy(&mut reader, &mut writer).await
            });
        }
    });
    address
}

async fn connect(proxy: &Proxy) -> TcpStream {
    let address = (Ipv4Addr::LOCALHOST, proxy.port());
    TcpStream::connect(address).await.unwrap()
}

/// Returns the answer. None if nothing comes back.
async fn ask(socket: &mut TcpStream, patience: Duration) -> Option<std::io::Result<usize>> {
    // A reset connection shows at the read.
    let _ = socket.write_all(b"hello").await;
    read(socket, patience).await
}

async fn read(socket: &mut TcpStream, patience: Duration) -> Option<std::io::Result<usize>> {
    let mut chunk = [0; 64];
    timeout(patience, socket.read(&mut chunk)).await.ok()
}

fn is_end(read: &Option<std::io::Result<usize>>) -> bool {
    matches!(read, Some(Err(_) | Ok(0)))
}

#[tokio::test]
async fn it_forwards() {
    let proxy = Proxy::start(echo().await).await;
    let mut socket = connect(&proxy).await;
    assert_eq!(ask(&mut socket, PATIENCE).await.unwrap().unwrap(), 5);
}

#[tokio::test]
async fn a_refusing_cut_ends_open_and_new_connections() {
    let proxy = Proxy::start(echo().await).await;
    let mut open = connect(&proxy).await;
    assert_eq!(ask(&mut open, PATIENCE).await.unwrap().unwrap(), 5);
    proxy.cut(Cut::Refuse);
    assert!(is_end(&read(&mut open, PATIENCE).await));
    let mut new = connect(&proxy).await;
    assert!(is_end(&ask(&mut new, PATIENCE).await));
    proxy.heal();
    let mut healed = connect(&proxy).await;
    assert_eq!(ask(&mut healed, PATIENCE).await.unwrap().unwrap(), 5);
}

#[tokio::test]
async fn a_black_hole_keeps_connections_and_delivers_when_healed() {
    let proxy = Proxy::start(echo().await).await;
    let mut open = connect(&proxy).await;
    assert_eq!(ask(&mut open, PATIENCE).await.unwrap().unwrap(), 5);
    proxy.cut(Cut::Silent);
    let mut new = connect(&proxy).await;
    assert!(ask(&mut open, SILENCE).await.is_none());
    assert!(ask(&mut new, SILENCE).await.is_none());
    proxy.heal();
    assert_eq!(read(&mut open, PATIENCE).await.unwrap().unwrap(), 5);
    assert_eq!(read(&mut new, PATIENCE).await.unwrap().unwrap(), 5);
}

#[tokio::test]
async fn lost_answers_never_come_and_cost_the_connection() {
    let proxy = Proxy::start(echo().await).await;
    let mut socket = connect(&proxy).await;
    proxy.lose_answers();
    assert!(ask(&mut socket, SILENCE).await.is_none());
    proxy.heal();
    assert!(is_end(&read(&mut socket, PATIENCE).await));
}

#[tokio::test]
async fn a_delay_is_paid_in_both_directions() {
    let proxy = Proxy::start(echo().await).await;
    let mut socket = connect(&proxy).await;
    proxy.delay(Duration::from_millis(50));
    let asked = Instant::now();
    assert_eq!(ask(&mut socket, PATIENCE).await.unwrap().unwrap(), 5);
    assert!(asked.elapsed() >= Duration::from_millis(100));
}
