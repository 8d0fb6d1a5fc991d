//! The command line of lapstrake. Data goes to standard output, everything else to standard error.

mod args;
mod commands;
mod exit;
mod machine;
mod outputs;
mod progress;
mod project;
mod render;
mod settings;

use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Command};
use exit::Failure;
use machine::Machine;
use settings::Surroundings;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors and go to standard output; clap knows which is which.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let progress = if let Command::Build(build) = &arguments.command { Some(build.progress) } else { None };
    let machine = Machine::new(Surroundings::read(), progress);
    let result = match arguments.command {
        Command::Build(build) => commands::build::build(&machine, &build),
        Command::Check(project) => commands::check::check(&machine, &project),
        Command::Plan(plan) => commands::plan::plan(&machine, &plan),
        Command::Lock(lock) => commands::lock::lock(&machine, &lock),
        Command::Why(why) => commands::why::why(&machine, &why),
        Command::Push(push) => commands::push::push(&machine, &push),
        Command::Inspect(inspect) => commands::inspect::inspect(&machine, &inspect),
        Command::Ls(ls) => commands::ls::ls(&machine, &ls),
        Command::Cache(cache) => commands::cache::cache(&machine, &cache),
        Command::Doctor(doctor) => commands::doctor::doctor(&machine, &doctor),
        Command::Init(init) => commands::init::init(&init),
        Command::Explain(explain) => commands::explain::explain(&explain),
        Command::Schema => commands::explain::schema(),
        Command::Completions { shell } => commands::explain::completions(shell),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Whatever a stopped command says of itself, it was the user who stopped it.
            let failure = if machine.is_cancelled() { Failure::cancelled() } else { failure };
            exit::report(&failure, machine.voice);
            failure.exit_code()
        }
    }
}
