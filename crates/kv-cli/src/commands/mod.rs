//! One module for each command.

mod check;
mod delete;
mod get;
mod list;
mod put;
mod teardown;
mod usage;
mod watch;

use crate::args::{Args, Command};
use crate::exit::Failure;

/// Does what the arguments say.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let Args { global, command } = args;
    match command {
        Command::Put(put) => put::run(&global, put).await,
        Command::Get(get) => get::run(&global, get).await,
        Command::Delete(delete) => delete::run(&global, delete).await,
        Command::List(list) => list::run(&global, list).await,
        Command::Teardown(teardown) => teardown::run(&global, teardown).await,
        Command::Watch(watch) => watch::run(&global, watch).await,
        Command::Usage(usage) => usage::run(&global, usage).await,
        Command::Check(check) => check::run(&global, check).await,
    }
}
