//! The baseline under the figures of Redis: calls of a script that does nothing.

use std::time::Instant;

use redis::{Client, Pipeline, Value, aio::MultiplexedConnection, cmd};
use tokio::runtime::Runtime;

use crate::{
    cpu::Cpu,
    redis_server::RedisServer,
    table::{Figures, latencies},
};

const SCRIPT: &str = "return { 'ok' }";

/// As many calls as there were commits, in pipelines as large as the batches were, one pipeline at
/// a time.
pub fn measure(server: &RedisServer, like: &Figures, runtime: &Runtime) -> Figures {
    let size = (like.batch.round() as usize).max(1);
    let pipelines = like.count / size as u64;
    let url = server.url();
    let before = Cpu::read(Some(server));
    let begun = Instant::now();
    // On a thread of the runtime, as the calls of the mirror are.
    let calls = runtime.spawn(async move {
        let client = Client::open(url).expect("a valid URL");
        let connection = client.get_multiplexed_async_connection().await;
        let mut connection = connection.expect("our own server");
        run(&mut connection, size, pipelines).await
    });
    let latencies = runtime.block_on(calls).expect("no panic");
    let seconds = begun.elapsed().as_secs_f64();
    let count = pipelines * size as u64;
    let (own_us, redis_us) = before.each_us(Cpu::read(Some(server)), count);
    Figures {
        count,
        per_second: count as f64 / seconds,
        latencies,
        batch: size as f64,
        own_us,
        redis_us,
    }
}

async fn run(
    connection: &mut MultiplexedConnection,
    size: usize,
    pipelines: u64,
) -> hdrhistogram::Histogram<u64> {
    let mut load = cmd("SCRIPT");
    load.arg("LOAD").arg(SCRIPT);
    let hash: String = load.query_async(connection).await.expect("a valid script");
    let mut latencies = latencies();
    for _ in 0..pipelines {
        let begun = Instant::now();
        let mut pipeline = Pipeline::with_capacity(size);
        for _ in 0..size {
            pipeline.cmd("EVALSHA").arg(&hash).arg(0);
        }
        let answers: Vec<Value> = pipeline.query_async(connection).await.expect("answers");
        assert_eq!(answers.len(), size);
        latencies.saturating_record(begun.elapsed().as_micros() as u64);
    }
    latencies
}
