//! Frames and messages as clients send them.

/// A client's messages, by name.
pub const MESSAGES: [(&str, &str); 4] = [
    (
        "JoinRoom",
        r#"{"type":"JoinRoom","id":1,"roomId":"0b1d3c5e-7f90-4a2b-8c4d-6e8f0a1b2c3d","token":"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIwIn0.c2lnbmF0dXJl"}"#,
    ),
    (
        "UpdateState",
        r#"{"type":"UpdateState","id":7,"isMuted":true}"#,
    ),
    (
        "SendMessage",
        r#"{"type":"SendMessage","id":8,"text":"a message of the length that messages have"}"#,
    ),
    (
        "SendIceCandidate",
        r#"{"type":"SendIceCandidate","id":9,"targetUserId":"0b1d3c5e-7f90-4a2b-8c4d-6e8f0a1b2c3d","candidate":{"candidate":"candidate:1 1 UDP 2130706431 192.0.2.1 54400 typ host","sdpMid":"0","sdpMLineIndex":0}}"#,
    ),
];

/// One masked text frame of up to 125 bytes.
pub fn frame(text: &str) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let length = u8::try_from(text.len()).expect("a short text");
    assert!(length <= 125, "a short text");
    let mut bytes = vec![0x81, 0x80 | length];
    bytes.extend(mask);
    bytes.extend(
        text.bytes()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}
