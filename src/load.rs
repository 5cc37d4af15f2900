//! The load tool: simulates rooms full of people against a running server, measures, and checks the promises meanwhile.
//!
//! The load is open-loop: a seeded plan says who does what when, and every latency counts from the due time, so that a slow
//! server cannot make its own figures better. [`run`] blocks until the report is there.

mod api;
mod breach;
mod churn;
mod command;
mod commits;
mod crew;
mod drive;
mod fold;
mod frame;
mod html;
mod inbox;
mod machine;
mod meter;
mod options;
mod pacer;
mod person;
mod plan;
mod report;
mod settle;
mod setup;
mod socket;
mod stage;
mod table;
mod ticket;

use thiserror::Error;

pub use commits::Commits;
pub use html::page;
pub use machine::{ServerUse, cpu_secs, rss_kib};
pub use meter::{Latency, Second};
pub use options::{Options, OptionsError, Profile};
pub use report::{Commands, Connections, Deliveries, Generator, Joins, Report, Resumes, Sessions};
pub use table::table;

/// Why a run brought no report.
#[derive(Debug, Error)]
pub enum LoadError {
    /// What was asked cannot be done.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The house could not be prepared.
    #[error("preparing the rooms: {0}")]
    Setup(String),
    /// The machine does not give what is needed.
    #[error("{0}")]
    Machine(String),
}

impl From<api::ApiFault> for LoadError {
    fn from(fault: api::ApiFault) -> Self {
        Self::Setup(fault.to_string())
    }
}

/// Runs the load and waits for its end; Ctrl-C ends the window early.
///
/// # Errors
///
/// [`LoadError`] when it could not begin. What the server did wrong is in the report.
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
