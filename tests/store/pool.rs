//! A connection is asked whether it still works only when it has been idle for a while.

use std::time::Duration;

use callboard::store::{DEFAULT_TENANT, Store, StoreOptions};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{sleep, timeout},
};

use crate::{World, server};

/// Longer than a connection is trusted without being asked.
const IDLE: Duration = Duration::from_millis(1_200);

/// Forwards connections to the server until told to let those that are there hang.
struct Proxy {
    port: u16,
    hang: watch::Sender<u32>,
}

impl Proxy {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (hang, hangs) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut hangs = hangs.clone();
                hangs.mark_unchanged();
                tokio::spawn(async move {
                    let mut upstream = TcpStream::connect(server_address()).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut upstream) => {}
                        Ok(()) = hangs.changed() => std::future::pending().await,
                    }
                });
            }
        });
        Self { port, hang }
    }

    fn url(&self, database: &str) -> String {
        let url = server().url(database);
        url.replace(&server_address(), &format!("127.0.0.1:{}", self.port))
    }

    fn hang(&self) {
        self.hang.send_modify(|count| *count += 1);
    }
}

fn server_address() -> String {
    let url = server().url("postgres");
    let host = url.split('@').nth(1).unwrap();
    host.split('/').next().unwrap().to_owned()
}

async fn store(url: String) -> Store {
    let options = StoreOptions {
        url,
        pool_size: 1,
        timeout: Duration::from_secs(4),
    };
    Store::open(&options).await.unwrap()
}

#[tokio::test]
async fn idle_connection_that_hangs_is_replaced_within_the_call() {
    let database = server().create_database();
    drop(World::open(server().url(&database), None).await);
    let proxy = Proxy::start().await;
    let store = store(proxy.url(&database)).await;
    assert!(store.tenant(DEFAULT_TENANT).await.unwrap().is_some());
    proxy.hang();
    sleep(IDLE).await;
    assert!(store.tenant(DEFAULT_TENANT).await.unwrap().is_some());
}

#[tokio::test]
async fn idle_connection_that_was_cut_is_replaced_within_the_call() {
    let database = server().create_database();
    let world = World::open(server().url(&database), None).await;
    assert!(world.store.tenant(DEFAULT_TENANT).await.unwrap().is_some());
    server().cut_connections(&database);
    sleep(IDLE).await;
    assert!(world.store.tenant(DEFAULT_TENANT).await.unwrap().is_some());
}

#[tokio::test]
async fn connection_in_use_answers_calls_without_being_asked_first() {
    const CALLS: i64 = 500;
    let database = server().create_database();
    drop(World::open(server().url(&database), None).await);
    let committed = || {
        let count =
            format!("SELECT xact_commit FROM pg_stat_database WHERE datname = '{database}'");
        server()
            .sql("postgres", &count)
            .trim()
            .parse::<i64>()
            .unwrap()
    };
    let store = store(server().url(&database)).await;
    store.tenant(DEFAULT_TENANT).await.unwrap();
    let before = committed();
    for _ in 0..CALLS {
        store.tenant(DEFAULT_TENANT).await.unwrap();
    }
    // The server counts what a connection did when it ends at the latest.
    drop(store);
    let counted = async {
        while committed() < before + CALLS {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(30), counted).await.unwrap();
    let count = committed() - before;
    assert!(
        count < CALLS * 3 / 2,
        "{count} transactions for {CALLS} calls"
    );
}
