//! The command line of lapstrake. Data goes to standard output, everything else to standard error.

mod agent;
mod args;
mod caches;
mod checkout;
mod commands;
mod compose;
mod debug;
mod exit;
mod foreign;
mod given;
mod keys;
mod language;
mod lints;
mod load;
mod machine;
mod memory;
mod outputs;
mod overlay;
mod progress;
mod project;
mod prompt;
mod registries;
mod remote;
mod render;
mod screen;
mod settings;
mod source;
mod terminal;
mod text;

use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Command};
use exit::Failure;
use machine::Machine;
use settings::Surroundings;

fn main() -> ExitCode {
    memory::return_large_pieces();
    exit::at_a_panic(exit::Voice::Plain);
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            if let Some(instead) = foreign_option(&error) {
                exit::report(&Failure::usage(instead), Machine::new(Surroundings::read(), None).voice);
                return ExitCode::from(2);
            }
            // Help and version are no errors and go to standard output; clap knows which is which.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let progress = match &arguments.command {
        Command::Build(build) if build.habits.quiet => Some(args::Progress::Quiet),
        Command::Build(build) => Some(build.progress),
        Command::Run(run) => Some(run.progress),
        Command::Check(_)
        | Command::Plan(_)
        | Command::Convert(_)
        | Command::Lock(_)
        | Command::Why(_)
        | Command::Pull(_)
        | Command::Push(_)
        | Command::Copy(_)
        | Command::Rebase(_)
        | Command::Inspect(_)
        | Command::Tree(_)
        | Command::Diff(_)
        | Command::Login(_)
        | Command::Logout(_)
        | Command::Ls(_)
        | Command::Cache(_)
        | Command::Doctor(_)
        | Command::Init(_)
        | Command::Explain(_)
        | Command::Schema
        | Command::Completions { .. } => None,
    };
    let machine = Machine::new(Surroundings::read().with_logins_of(arguments.authfile), progress);
    exit::at_a_panic(machine.voice);
    let result = match arguments.command {
        Command::Build(build) => commands::build::build(&machine, &build),
        // Its codes are those of the command that it runs.
        Command::Run(run) => return commands::run::run(&machine, &run),
        Command::Check(check) => commands::check::check(&machine, &check),
        Command::Plan(plan) => commands::plan::plan(&machine, &plan),
        Command::Convert(convert) => commands::convert::convert(&machine, &convert),
        Command::Lock(lock) => commands::lock::lock(&machine, &lock),
        Command::Why(why) => commands::why::why(&machine, &why),
        Command::Pull(pull) => commands::copy::pull(&machine, &pull),
        Command::Push(push) => commands::copy::push(&machine, &push),
        Command::Copy(copy) => commands::copy::copy(&machine, &copy),
        Command::Rebase(rebase) => commands::rebase::rebase(&machine, &rebase),
        Command::Inspect(inspect) => commands::inspect::inspect(&machine, &inspect),
        Command::Tree(tree) => commands::tree::tree(&machine, &tree),
        Command::Diff(diff) => commands::tree::diff(&machine, &diff),
        Command::Login(login) => commands::login::login(&machine, &login),
        Command::Logout(logout) => commands::login::logout(&machine, &logout),
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

/// What to do instead, where the mistake is an option that other builders have.
fn foreign_option(error: &clap::Error) -> Option<String> {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let named = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(named)) => named,
        _ => return None,
    };
    matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::InvalidValue | ErrorKind::NoEquals)
        .then(|| foreign::instead_of(named))?
}
