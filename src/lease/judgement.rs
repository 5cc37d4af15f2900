//! What the end of a lease means: an outage of the mirror for all, or a cut between this node and it.

use super::Deadlines;

/// What a node does that cannot tell a partition from an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartitionPolicy {
    /// Publish nothing.
    Stop,
    /// Go on without durability.
    Serve,
}

/// What another node says when it is asked whether it has the mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorAnswer {
    /// Yes, for so many milliseconds without interruption.
    Has {
        /// How long.
        for_ms: u64,
    },
    /// No.
    HasNot,
    /// Nobody listens at its address.
    Refused,
    /// No answer in time, or none that is understood.
    Silent,
}

/// What the end of the lease means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Not known yet.
    Unknown,
    /// No node has the mirror.
    Outage,
    /// Another node has it.
    CutOff,
    /// Somebody is silent, and the policy is to stop then.
    CannotTell,
}

/// Judges by the answers of all nodes of the last copy of the registry. A node counts as having the mirror only when it has had
/// it for as long as an own deadline: after an outage it comes back to some a moment earlier than to others, and rooms are
/// not taken by expiry before the longer expiry is over.
#[must_use]
pub fn judge(
    answers: &[MirrorAnswer],
    deadlines: Deadlines,
    partition: PartitionPolicy,
) -> Judgement {
    let has_mirror = |answer: &MirrorAnswer| matches!(answer, MirrorAnswer::Has { for_ms } if *for_ms >= deadlines.own_deadline_ms);
    if answers.iter().any(has_mirror) {
        return Judgement::CutOff;
    }
    if !answers.contains(&MirrorAnswer::Silent) {
        return Judgement::Outage;
    }
    match partition {
        PartitionPolicy::Stop => Judgement::CannotTell,
        PartitionPolicy::Serve => Judgement::Outage,
    }
}
