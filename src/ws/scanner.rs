//! Reads WebSocket frame headers as they arrive and judges each frame before its payload (RFC 6455 section 5.2). Keeps a
//! few numbers, no bytes.

use super::violation::Violation;

/// Longest payload of a control frame (section 5.5).
const CONTROL_BYTES_MAX: u8 = 125;
/// Marks a 16-bit length.
const LENGTH_16: u8 = 126;
/// Marks a 64-bit length.
const LENGTH_64: u8 = 127;
/// Bytes of a masking key.
const MASK_BYTES: u8 = 4;

/// Which byte of a frame comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// FIN, reserved bits, operation code.
    First,
    /// Mask bit, short length.
    Second { is_control: bool },
    /// Extended length, most significant byte first.
    Length { bytes_left: u8, value: u64 },
    /// Masking key.
    Mask { bytes_left: u8, payload: u64 },
    /// Payload.
    Payload { bytes_left: u64 },
    /// Nothing after a violation is looked at.
    Refused(Violation),
}

/// How far one step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// So many bytes belong to the current frame.
    pub bytes: usize,
    /// The frame ends with them.
    pub ends_frame: bool,
}

/// Judges the frames of one client. The verdict does not depend on how the bytes are cut into chunks.
#[derive(Clone, Debug)]
pub struct FrameScanner {
    payload_bytes_max: u64,
    phase: Phase,
}

impl FrameScanner {
    /// Refuses frames with a longer payload.
    #[must_use]
    pub const fn new(payload_bytes_max: u64) -> Self {
        Self {
            payload_bytes_max,
            phase: Phase::First,
        }
    }

    /// Takes in all of `bytes`.
    ///
    /// # Errors
    /// The first [`Violation`], as soon as the header shows it; from then on always the same one.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let step = self.step(rest)?;
            rest = &rest[step.bytes..];
        }
        Ok(())
    }

    /// Takes in `bytes` up to the end of the current frame at most; at least one byte unless there is none.
    ///
    /// # Errors
    /// As [`scan`](Self::scan). Of `bytes`, those of earlier calls aside, only header bytes of the refused frame were seen.
    pub fn step(&mut self, bytes: &[u8]) -> Result<Step, Violation> {
        let mut used = 0;
        while let Some(&byte) = bytes.get(used) {
            let here = (bytes.len() - used) as u64;
            let (next, taken) = match self.phase {
                Phase::First => (first(byte), 1),
                Phase::Second { is_control } => (self.second(byte, is_control), 1),
                Phase::Length { bytes_left, value } => (self.length(byte, bytes_left, value), 1),
                Phase::Mask {
                    bytes_left: 1,
                    payload,
                } => (
                    Phase::Payload {
                        bytes_left: payload,
                    },
                    1,
                ),
                Phase::Mask {
                    bytes_left,
                    payload,
                } => (
                    Phase::Mask {
                        bytes_left: bytes_left - 1,
                        payload,
                    },
                    1,
                ),
                Phase::Payload { bytes_left } => {
                    let taken = bytes_left.min(here);
                    (
                        Phase::Payload {
                            bytes_left: bytes_left - taken,
                        },
                        taken as usize,
                    )
                }
                Phase::Refused(violation) => return Err(violation),
            };
            self.phase = next;
            used += taken;
            if let Phase::Refused(violation) = next {
                return Err(violation);
            }
            if next == (Phase::Payload { bytes_left: 0 }) {
                self.phase = Phase::First;
                return Ok(Step {
                    bytes: used,
                    ends_frame: true,
                });
            }
        }
        Ok(Step {
            bytes: used,
            ends_frame: false,
        })
    }

    fn second(&self, byte: u8, is_control: bool) -> Phase {
        let is_masked = byte & 0x80 != 0;
        let length = byte & 0x7F;
        if !is_masked {
            return Phase::Refused(Violation::Unmasked);
        }
        if is_control && length > CONTROL_BYTES_MAX {
            return Phase::Refused(Violation::BadControl);
        }
        match length {
            LENGTH_16 => Phase::Length {
                bytes_left: 2,
                value: 0,
            },
            LENGTH_64 => Phase::Length {
                bytes_left: 8,
                value: 0,
            },
            short => self.announced(u64::from(short)),
        }
    }

    /// A length in more bytes than it needs is let pass, as the codec does: it does no harm.
    fn length(&self, byte: u8, bytes_left: u8, value: u64) -> Phase {
        if bytes_left == 8 && byte & 0x80 != 0 {
            return Phase::Refused(Violation::BadLength);
        }
        let value = value << 8 | u64::from(byte);
        match bytes_left {
            1 => self.announced(value),
            more => Phase::Length {
                bytes_left: more - 1,
                value,
            },
        }
    }

    /// The whole length is known: the earliest point at which a frame can be refused for its size.
    fn announced(&self, payload: u64) -> Phase {
        if payload > self.payload_bytes_max {
            return Phase::Refused(Violation::TooLarge);
        }
        Phase::Mask {
            bytes_left: MASK_BYTES,
            payload,
        }
    }
}

/// The first byte of a frame. Whether fragments are in order is judged where they are joined.
fn first(byte: u8) -> Phase {
    let is_final = byte & 0x80 != 0;
    if byte & 0x70 != 0 {
        return Phase::Refused(Violation::ReservedBit);
    }
    match byte & 0x0F {
        0x0..=0x2 => Phase::Second { is_control: false },
        0x8..=0xA if is_final => Phase::Second { is_control: true },
        0x8..=0xA => Phase::Refused(Violation::BadControl),
        _ => Phase::Refused(Violation::UnknownOpcode),
    }
}
