//! What a commit costs: its latency alone and at a fixed rate, and the CPU it takes here and in
//! Redis.
//!
//! `cargo bench --bench mirror_commit -- --seconds 2 --rooms 1000` starts a redis-server of its
//! own. Commits go through the [`MirrorWriter`] as those of a node do. Each load of Redis is
//! followed by a baseline: as many calls of a script that does nothing, in pipelines of the size
//! that the writer's batches had. Own CPU is that of this whole process, so the rows of the mirror
//! in memory say how much of it is the writer and the load itself.

#[path = "mirror_commit/baseline.rs"]
mod baseline;
#[path = "mirror_commit/cpu.rs"]
mod cpu;
#[path = "mirror_commit/load.rs"]
mod load;
#[path = "../tests/common/redis.rs"]
mod redis_server;
#[path = "mirror_commit/rooms.rs"]
mod rooms;
#[path = "mirror_commit/table.rs"]
mod table;

use std::{sync::Arc, time::Duration};

use callboard::mirror::{
    RoomMirror,
    memory::MemoryMirror,
    redis::{RedisMirror, RedisOptions},
    sqlite::{SqliteMirror, SqliteSync},
};
use clap::Parser;
use tokio::runtime::Runtime;

use self::{
    load::{Load, Offer},
    redis_server::RedisServer,
    table::Row,
};

/// As many as a node has for its I/O.
const IO_THREADS: usize = 2;
/// Offered commits a second.
const RATES: [u64; 2] = [5_000, 20_000];
/// How long each load lasts when only its working is tested.
const TEST_DURATION: Duration = Duration::from_millis(100);
/// How many rooms there are then, at most.
const TEST_ROOMS_MAX: usize = 50;

/// What a commit costs, by mirror and by load.
#[derive(Parser)]
struct Arguments {
    /// How long each load lasts.
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    seconds: f64,
    /// How many rooms write.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    rooms: u64,
    /// Measure. `cargo bench` says so, `cargo test --benches` does not.
    #[arg(long)]
    bench: bool,
    /// Measure nothing, only show that it works.
    #[arg(long)]
    test: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("0.1 to 600 seconds".to_owned()),
    }
}

/// How long and how wide every load is.
#[derive(Clone, Copy)]
struct Size {
    duration: Duration,
    rooms: usize,
}

impl Arguments {
    fn size(&self) -> Size {
        let rooms = usize::try_from(self.rooms).expect("within its range");
        if self.test || !self.bench {
            return Size {
                duration: TEST_DURATION,
                rooms: rooms.min(TEST_ROOMS_MAX),
            };
        }
        Size {
            duration: Duration::from_secs_f64(self.seconds),
            rooms,
        }
    }
}

fn main() {
    let size = Arguments::parse().size();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(IO_THREADS)
        .enable_all()
        .build()
        .expect("a runtime");
    table::print_head(size.rooms, size.duration);

    let server = RedisServer::start();
    let redis = runtime.block_on(RedisMirror::connect(&RedisOptions::new(server.url())));
    let redis = Arc::new(redis.expect("our own server"));
    run("Redis", redis, size, &runtime, Some(&server));

    let directory = tempfile::tempdir().expect("a temporary directory");
    for (name, sync) in [
        ("SQLite", SqliteSync::Normal),
        ("SQLite, full sync", SqliteSync::Full),
    ] {
        let file = directory.path().join(format!("{sync:?}.db"));
        let sqlite = Arc::new(SqliteMirror::open(file, sync).expect("a new file"));
        run(name, sqlite, size, &runtime, None);
    }
    run(
        "memory",
        Arc::new(MemoryMirror::new()),
        size,
        &runtime,
        None,
    );
}

/// All loads on one mirror, a row each.
fn run(
    name: &str,
    mirror: Arc<dyn RoomMirror>,
    size: Size,
    runtime: &Runtime,
    server: Option<&RedisServer>,
) {
    let load = Load::new(mirror, size.rooms, runtime);
    let offers = std::iter::once(Offer::Alone).chain(RATES.map(Offer::Rate));
    for offer in offers {
        let figures = load.measure(offer, size.duration, server);
        Row {
            mirror: name,
            load: offer.to_string(),
            figures: &figures,
        }
        .print();
        if let Some(server) = server {
            let baseline = baseline::measure(server, &figures, runtime);
            Row {
                mirror: "  baseline",
                load: "script that does nothing".to_owned(),
                figures: &baseline,
            }
            .print();
        }
    }
}
