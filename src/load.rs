//! The load tool: many clients against a running server. It measures and checks the promises.
//!
//! The load is open-loop: a seeded plan schedules every command, and every latency counts from the
//! scheduled time, so that a slow server does not slow the load down. [`run`] returns the report.

mod api;
mod churn;
pub mod client;
mod clients;
mod command;
mod commits;
mod context;
mod drive;
mod html;
mod machine;
mod mark;
mod messages;
mod meter;
mod options;
mod pacer;
mod person;
mod plan;
mod report;
mod settle;
mod setup;
mod socket;
mod table;
mod ticket;
mod violations;

use thiserror::Error;

pub use commits::Commits;
pub use html::page;
pub use machine::{ServerUse, cpu_secs, rss_kib};
pub use meter::{Latency, Second};
pub use options::{Options, OptionsError, Profile};
pub use report::{Commands, Connections, Deliveries, Generator, Joins, Report, Resumes, Sessions};
pub use table::table;

/// Why a run returns no report.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The options contradict each other.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The rooms could not be prepared.
    #[error("preparing the rooms: {0}")]
    Setup(String),
    /// The machine lacks a resource.
    #[error("{0}")]
    Machine(String),
}

impl From<api::ApiFault> for LoadError {
    fn from(fault: api::ApiFault) -> Self {
        Self::Setup(fault.to_string())
    }
}

/// Runs the load and waits for its end. Ctrl-C ends the measured window early.
///
/// # Errors
///
/// Fails when the run could not start. Violations of the server are in the report.
pub fn run(options: Options) -> Result<Report, LoadError> {
    options.check()?;
    machine::make_room_for(options.connections()).map_err(LoadError::Machine)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(options.threads)
        .enable_all()
        .build()
        .map_err(|error| LoadError::Machine(error.to_string()))?;
    runtime.block_on(Box::pin(drive::drive(options)))
}
