//! Sends commits to Redis.

use redis::{Cmd, Value};

use super::{RedisMirror, fault, same_fault, scripts};
use crate::mirror::{Commit, CommitOutcome, MirrorFault};

impl RedisMirror {
    /// Sends commits. A commit without changes runs the short check script first.
    pub(super) async fn send_commits(
        &self,
        commits: &[Commit],
    ) -> Vec<Result<CommitOutcome, MirrorFault>> {
        let ttl = self.options.ttl;
        let calls = commits
            .iter()
            .map(|commit| match commit.changes.is_empty() {
                true => scripts::check(commit, ttl),
                false => scripts::commit(commit, ttl),
            });
        let mut answers = self.run_commits(calls.collect()).await;
        let unclear: Vec<usize> = (0..answers.len())
            .filter(|index| matches!(&answers[*index], Ok(answer) if scripts::is_unclear(answer)))
            .collect();
        if !unclear.is_empty() {
            let calls = unclear
                .iter()
                .map(|&index| scripts::commit(&commits[index], ttl));
            let again = self.run_commits(calls.collect()).await;
            for (index, answer) in unclear.into_iter().zip(again) {
                answers[index] = answer;
            }
        }
        answers
            .into_iter()
            .map(|answer| scripts::commit_outcome(answer?))
            .collect()
    }

    /// Runs scripts that return an outcome. A write that too few replicas have is a fault.
    async fn run_commits(&self, calls: Vec<Cmd>) -> Vec<Result<Value, MirrorFault>> {
        let (count, needed) = (calls.len(), self.options.wait_replicas);
        if needed == 0 {
            return match self.client.run(calls).await {
                Ok(answers) => answers
                    .into_iter()
                    .map(|answer| answer.map_err(fault))
                    .collect(),
                Err(fault) => same_fault(count, &fault),
            };
        }
        let patience = self.options.wait_replicas_timeout;
        match self.client.run_replicated(calls, needed, patience).await {
            Ok(answers) => answers
                .into_iter()
                .map(|answer| {
                    let value = answer.value.map_err(fault)?;
                    match scripts::is_ok(&value) && answer.copies < needed {
                        true => Err(MirrorFault(format!(
                            "{} of {needed} replicas have it",
                            answer.copies
                        ))),
                        false => Ok(value),
                    }
                })
                .collect(),
            Err(fault) => same_fault(count, &fault),
        }
    }
}
