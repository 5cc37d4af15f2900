//! The `type` of a client's message.

/// What a client's message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageType {
    /// The first message of a connection.
    JoinRoom,
    /// Own state.
    UpdateState,
    /// Relay to one.
    SendOffer,
    /// Relay to one.
    SendAnswer,
    /// Relay to one.
    SendIceCandidate,
    /// Chat.
    SendMessage,
    /// By hosts.
    MuteParticipant,
    /// By hosts.
    RemoveParticipant,
    /// By hosts.
    AdmitParticipant,
    /// By hosts.
    DenyParticipant,
    /// By hosts.
    SetRole,
    /// By hosts.
    LockRoom,
    /// By hosts.
    StartRecording,
    /// By hosts.
    StopRecording,
    /// By hosts.
    EndRoom,
    /// Leave.
    LeaveRoom,
    /// A sign of life from a client that cannot see pings.
    KeepAlive,
}

impl MessageType {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::JoinRoom,
        Self::UpdateState,
        Self::SendOffer,
        Self::SendAnswer,
        Self::SendIceCandidate,
        Self::SendMessage,
        Self::MuteParticipant,
        Self::RemoveParticipant,
        Self::AdmitParticipant,
        Self::DenyParticipant,
        Self::SetRole,
        Self::LockRoom,
        Self::StartRecording,
        Self::StopRecording,
        Self::EndRoom,
        Self::LeaveRoom,
        Self::KeepAlive,
    ];

    /// As on the wire; a label of metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::JoinRoom => "JoinRoom",
            Self::UpdateState => "UpdateState",
            Self::SendOffer => "SendOffer",
            Self::SendAnswer => "SendAnswer",
            Self::SendIceCandidate => "SendIceCandidate",
            Self::SendMessage => "SendMessage",
            Self::MuteParticipant => "MuteParticipant",
            Self::RemoveParticipant => "RemoveParticipant",
            Self::AdmitParticipant => "AdmitParticipant",
            Self::DenyParticipant => "DenyParticipant",
            Self::SetRole => "SetRole",
            Self::LockRoom => "LockRoom",
            Self::StartRecording => "StartRecording",
            Self::StopRecording => "StopRecording",
            Self::EndRoom => "EndRoom",
            Self::LeaveRoom => "LeaveRoom",
            Self::KeepAlive => "KeepAlive",
        }
    }

    /// The type of that name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}
