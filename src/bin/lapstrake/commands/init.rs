//! `lapstrake init`: a spec to begin with.

use std::io::Write;

use lapstrake::spec::STOCK;

use crate::args;
use crate::exit::{Failure, print};

pub(crate) fn init(arguments: &args::Init) -> Result<(), Failure> {
    let list = || STOCK.iter().map(|stock| format!("  {:<18} {}\n", stock.name, stock.purpose())).collect::<String>();
    let Some(name) = &arguments.name else {
        return print(&format!("specs to begin with:\n{}", list()));
    };
    let Some(stock) = STOCK.iter().find(|stock| stock.name == name) else {
        return Err(Failure::usage(format!("there is no stock spec `{name}`; there are:\n{}", list())));
    };
    let path = &arguments.output;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    match file.and_then(|mut file| file.write_all(stock.text.as_bytes())) {
        Ok(()) => print(&format!("wrote {}; build it with `lapstrake build`\n", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(Failure::usage(format!("`{}` is there already and stays as it is; name another with `--output`", path.display())))
        }
        Err(error) => Err(Failure::world(format!("cannot write `{}`: {error}", path.display()))),
    }
}
