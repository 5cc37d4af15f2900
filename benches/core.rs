//! The cost of single functions on the path of a command: frame reader, decoder, rules, encoder.
//!
//! `cargo bench --bench core`; names of groups select, as in `cargo bench --bench core -- room`.
//! What commits cost is in `mirror_commit`.

#[path = "core/frames.rs"]
mod frames;
#[path = "core/meeting.rs"]
mod meeting;

use std::hint::black_box;

use bytes::Bytes;
use callboard::{
    ids::{Seq, Timestamp, UserId},
    protocol::{Event, Notice, StateChange, decode},
    ws::{FrameReader, MESSAGE_BYTES_MAX},
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use uuid::Uuid;

use self::{
    frames::{MESSAGES, frame},
    meeting::Meeting,
};

/// People in the rooms.
const SIZES: [u32; 3] = [5, 50, 500];
/// Longest chat text, as by default.
const TEXT_BYTES_MAX: usize = 4096;
/// Frames that arrive in one read.
const FRAMES: [usize; 2] = [1, 100];

criterion_group!(benches, room, decoder, encoder, reader);
criterion_main!(benches);

/// The rules, and what a commit takes from them.
fn room(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("room");
    for size in SIZES {
        let mut meeting = Meeting::of(size);
        group.bench_function(BenchmarkId::new("state change", size), |bencher| {
            bencher.iter(|| (meeting.change_state(1), meeting.take_changes()));
        });
        let mut meeting = Meeting::of(size);
        group.bench_function(BenchmarkId::new("message", size), |bencher| {
            bencher.iter(|| (meeting.say(1), meeting.take_changes()));
        });
        let mut meeting = Meeting::of(size);
        group.bench_function(BenchmarkId::new("join and leave", size), |bencher| {
            bencher.iter(|| {
                (
                    meeting.join(size),
                    meeting.leave(size),
                    meeting.take_changes(),
                )
            });
        });
    }
    group.finish();
}

fn decoder(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for (name, text) in MESSAGES {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| decode(black_box(text), TEXT_BYTES_MAX));
        });
    }
    group.finish();
}

fn encoder(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    let user_id = UserId(Uuid::from_u128(1));
    let changed = Event::StateChanged {
        user_id,
        by_user_id: None,
        change: StateChange {
            is_muted: Some(true),
            ..StateChange::default()
        },
        is_away: None,
    };
    let received = Event::MessageReceived {
        source_user_id: Some(user_id),
        text: "a message of the length that messages have",
        sent_at: Timestamp(1_790_000_000_000),
    };
    for (name, event) in [("StateChanged", changed), ("MessageReceived", received)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(&event).encode(Seq(42)));
        });
    }
    let ack = Notice::Ack {
        id: 7,
        seq: Seq(42),
    };
    group.bench_function("Ack", |bencher| {
        bencher.iter(|| black_box(&ack).encode(true))
    });
    for size in SIZES {
        let joined = Meeting::joined_notice(size);
        group.bench_function(BenchmarkId::new("RoomJoined", size), |bencher| {
            bencher.iter(|| black_box(&joined).encode(true));
        });
    }
    group.finish();
}

fn reader(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frames");
    for count in FRAMES {
        let bytes = Bytes::from(frame(MESSAGES[1].1).repeat(count));
        group.throughput(Throughput::Elements(count as u64));
        group.bench_with_input(
            BenchmarkId::new("reader", count),
            &bytes,
            |bencher, bytes| bencher.iter(|| read_all(black_box(bytes))),
        );
    }
    group.finish();
}

/// How many frames there are.
fn read_all(mut bytes: &[u8]) -> usize {
    let mut reader = FrameReader::new(MESSAGE_BYTES_MAX);
    let mut count = 0;
    while let Some(frame) = reader.read(&mut bytes).expect("good frames") {
        black_box(frame);
        count += 1;
    }
    count
}
