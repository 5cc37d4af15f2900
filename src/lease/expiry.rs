//! Why a lease expired: the mirror is away for all nodes, or this node is cut off from it.

use super::Deadlines;

/// What a node does if it cannot tell a partition from an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartitionPolicy {
    /// Publish nothing.
    Stop,
    /// Continue without durability.
    Serve,
}

/// Another node's answer to whether it has the mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorAnswer {
    /// Yes.
    Has {
        /// How long without interruption.
        for_ms: u64,
    },
    /// No.
    HasNot,
    /// Nobody listens at its address.
    Refused,
    /// No answer in time, or one that is not understood.
    Silent,
}

/// Why a lease expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiryCause {
    /// Not known yet.
    Unknown,
    /// No node has the mirror.
    Outage,
    /// Another node has it.
    CutOff,
    /// A node is silent, and the policy is to stop then.
    CannotTell,
}

/// Determines the cause from the answers of all nodes of the last copy of the registry.
///
/// A node counts as having the mirror only if it has had it for an own deadline. After an outage
/// the mirror comes back to some nodes earlier than to others, and no node takes rooms over before
/// the longer expiry.
#[must_use]
pub fn diagnose(
    answers: &[MirrorAnswer],
    deadlines: Deadlines,
    partition: PartitionPolicy,
) -> ExpiryCause {
    let has_mirror = |answer: &MirrorAnswer| matches!(answer, MirrorAnswer::Has { for_ms } if *for_ms >= deadlines.own_deadline_ms);
    if answers.iter().any(has_mirror) {
        return ExpiryCause::CutOff;
    }
    if !answers.contains(&MirrorAnswer::Silent) {
        return ExpiryCause::Outage;
    }
    match partition {
        PartitionPolicy::Stop => ExpiryCause::CannotTell,
        PartitionPolicy::Serve => ExpiryCause::Outage,
    }
}
