//! `lapstrake explain`, `schema` and `completions`: what the program knows of itself.

use clap::CommandFactory;
use lapstrake::diagnostic::{codes, nearest, page};

use crate::args;
use crate::exit::{Failure, print};

pub(crate) fn explain(arguments: &args::Explain) -> Result<(), Failure> {
    let Some(code) = &arguments.code else {
        return print(&codes().map(|code| format!("{code}\n")).collect::<String>());
    };
    match page(code) {
        Some(text) => print(text),
        None => Err(Failure::usage(match nearest(code, codes()) {
            Some(near) => format!("there is no code `{code}`; did you mean `{near}`?"),
            None => format!("there is no code `{code}`; `lapstrake explain` lists all"),
        })),
    }
}

pub(crate) fn schema() -> Result<(), Failure> {
    print(&format!("{:#}\n", lapstrake::spec::schema()))
}

pub(crate) fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::Arguments::command(), "lapstrake", &mut script);
    print(&String::from_utf8_lossy(&script))
}
