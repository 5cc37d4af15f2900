//! Clients that do not read, and the end of a connection.

use super::*;

#[test]
fn what_a_client_does_not_read_waits_in_order_and_is_counted() {
    let running = start();
    let mut client = running.client();
    let socket = running.socket();
    assert_eq!(
        (socket.waiting_bytes(), socket.stuck_for()),
        (0, Duration::ZERO)
    );
    let text = "x".repeat(60_000);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    let mut sent = 0;
    while socket.waiting_bytes() < 200_000 {
        let message = format!("{sent} {text}");
        socket
            .send([Outgoing::Text(&message), Outgoing::Ping])
            .unwrap();
        sent += 1;
        assert!(sent < 10_000);
    }
    std::thread::sleep(Duration::from_millis(50));
    assert!(socket.stuck_for() >= Duration::from_millis(50));
    socket
        .send([Outgoing::Close(None), Outgoing::Text("too late")])
        .unwrap();
    socket.send([Outgoing::Text("too late")]).unwrap();
    for number in 0..sent {
        let expected = format!("{number} {text}").into_bytes();
        assert_eq!(receive(&mut client), (TEXT, expected));
        assert_eq!(receive(&mut client), (PING, Vec::new()));
    }
    assert_eq!(receive(&mut client), (CLOSE, Vec::new()));
    runtime.block_on(async {
        tokio::time::timeout(DEADLINE, socket.drained())
            .await
            .unwrap();
    });
    assert_eq!(
        (socket.waiting_bytes(), socket.stuck_for()),
        (0, Duration::ZERO)
    );
    running.stop();
}

#[test]
fn one_piece_may_be_larger_than_what_may_wait_beside_it() {
    let running = start();
    let _client = running.client();
    let socket = running.socket();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    let (state, event) = ("x".repeat(16 << 20), "x".repeat(100_000));
    socket.send([Outgoing::Text(&state)]).unwrap();
    assert!(socket.waiting_bytes() > 1 << 20);
    assert_eq!(socket.backlog_bytes(), 0);
    let mut sent = 0;
    // Meanwhile the kernel may have taken some of the first.
    while socket.backlog_bytes() == 0 {
        socket.send([Outgoing::Text(&event)]).unwrap();
        sent += 1;
        assert!(sent < 160);
    }
    assert!(socket.backlog_bytes() <= sent * (event.len() + 10));
    socket.cut();
    assert_eq!(socket.backlog_bytes(), 0);
    running.stop();
}

#[test]
fn client_that_is_too_far_behind_is_delivered_nothing_more() {
    let running = start();
    let _client = running.client();
    let socket = running.socket();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    let patient = |outgoing_bytes_max| LinkLimits {
        slow_ms: 3_600_000,
        outgoing_bytes_max,
    };
    let text = "x".repeat(60_000);
    let mut sent = 0;
    let refused = loop {
        let backlog = socket.backlog_bytes();
        match socket.deliver([Outgoing::Text(&text)], patient(200_000)) {
            Ok(_) => sent += 1,
            Err(why) => break (why, backlog > 200_000, socket.waiting_bytes()),
        }
        assert!(sent < 10_000);
    };
    let (why, is_beyond, waiting_bytes) = refused;
    assert_eq!(why, DisconnectCause::Backlog);
    assert!(is_beyond && waiting_bytes > 200_000);
    // At the bound is not beyond it.
    let backlog = socket.backlog_bytes();
    assert_eq!(socket.check_lag(patient(backlog)), Ok(()));
    assert_eq!(
        socket.check_lag(patient(backlog - 1)),
        Err(DisconnectCause::Backlog)
    );
    std::thread::sleep(Duration::from_millis(50));
    let hasty = LinkLimits {
        slow_ms: 50,
        outgoing_bytes_max: usize::MAX,
    };
    assert_eq!(socket.check_lag(hasty), Err(DisconnectCause::Slow));
    assert_eq!(
        socket.deliver([Outgoing::Ping], hasty),
        Err(DisconnectCause::Slow)
    );
    socket.cut();
    // A closed socket is not evicted a second time.
    assert_eq!(socket.check_lag(hasty), Ok(()));
    assert_eq!(
        socket.deliver([Outgoing::Ping], hasty),
        Err(DisconnectCause::Closed)
    );
    running.stop();
}

#[test]
fn last_words_to_a_slow_client_are_written_before_the_end() {
    let running = start();
    let mut client = running.client();
    let socket = running.socket();
    let text = "x".repeat(60_000);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    let mut sent = 0;
    while socket.waiting_bytes() == 0 {
        socket.send([Outgoing::Text(&text)]).unwrap();
        sent += 1;
    }
    socket.finish(DEADLINE);
    for _ in 0..sent {
        assert_eq!(receive(&mut client).1.len(), text.len());
    }
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    running.stop();
}

#[test]
fn client_that_does_not_read_is_cut_from_outside() {
    let running = start();
    let mut client = running.client();
    let socket = running.socket();
    let chunk = frame(TEXT, &vec![b'x'; 60_000]);
    let mut sent = 0;
    while socket.waiting_bytes() == 0 {
        client.write_all(&chunk).unwrap();
        sent += 1;
        assert!(sent < 10_000);
    }
    assert!(running.stopped.try_recv().is_err());
    socket.cut();
    socket.cut();
    running
        .stopped
        .recv_timeout(DEADLINE)
        .expect("the reader sees the end");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(DEADLINE, socket.drained())
            .await
            .unwrap();
        assert_eq!(socket.send([Outgoing::Ping]), Err(SocketClosed));
    });
    running.stop();
}

#[test]
fn handle_that_outlives_its_connection_keeps_the_client_from_nothing() {
    let running = start();
    let mut client = running.client();
    client.write_all(&frame(CLOSE, &[0x03, 0xE8])).unwrap();
    assert_eq!(receive(&mut client).0, CLOSE);
    // The end of the stream arrives though the test still holds the handle.
    let socket = running.socket();
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    socket.cut();
    running.stop();
}
