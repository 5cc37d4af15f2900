//! Errors of a client below the level of messages. Each ends the connection.

use thiserror::Error;

use crate::protocol::{GoodbyeReason, Refusal};

/// A violation of RFC 6455 or of a size limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Violation {
    /// A frame or message over the limit, or one in too many fragments.
    #[error("frame or message over the limit")]
    TooLarge,
    /// A reserved bit is set though no extension was negotiated (section 5.2).
    #[error("reserved bit set")]
    ReservedBit,
    /// An undefined operation code (section 5.2).
    #[error("unknown operation code")]
    UnknownOpcode,
    /// A frame without a mask (section 5.1).
    #[error("unmasked frame")]
    Unmasked,
    /// A fragmented control frame, or one of more than 125 bytes (section 5.5).
    #[error("control frame fragmented or too long")]
    BadControl,
    /// A length with its highest bit set (section 5.2).
    #[error("length out of range")]
    BadLength,
    /// A continuation without a first fragment, or a new message inside another (section 5.4).
    #[error("fragments out of order")]
    BadFragment,
    /// The codec refused the frame for another reason.
    #[error("refused by the codec")]
    Codec,
    /// A text message that is not UTF-8 (section 8.1).
    #[error("text is not UTF-8")]
    InvalidText,
}

impl Violation {
    /// The reason for which the connection ends.
    #[must_use]
    pub const fn reason(self) -> GoodbyeReason {
        match self {
            Self::TooLarge => GoodbyeReason::TooLarge,
            Self::InvalidText => GoodbyeReason::InvalidText,
            Self::ReservedBit
            | Self::UnknownOpcode
            | Self::Unmasked
            | Self::BadControl
            | Self::BadLength
            | Self::BadFragment
            | Self::Codec => GoodbyeReason::ProtocolError,
        }
    }
}

impl From<Violation> for Refusal {
    fn from(violation: Violation) -> Self {
        Self::new(violation.reason(), violation.to_string())
    }
}
