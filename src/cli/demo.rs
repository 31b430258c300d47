//! `webhookd demo`
use super::Stage;
use super::failure::{Failure, Outcome};
use clap::Args;
/// Demo
#[derive(Debug, Args)]
#[command(after_help = "  webhookd demo")]
pub(super) struct DemoArgs {
    /// once
    #[arg(long)]
    once: bool,
}
pub(super) fn run(_args: &DemoArgs, _stage: &mut Stage) -> Outcome {
    Err(Failure::failed("x"))
}
