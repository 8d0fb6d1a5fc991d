//! Events → what a person or program reads while a build runs. Everything goes to standard error.

mod json;
mod live;
mod plain;

use std::io::IsTerminal;
use std::sync::Arc;

use lapstrake::event::{EventSink, Silent};

use crate::args::Progress;
use crate::settings::Surroundings;

/// Where events go, chosen by the option and by whether standard error is a terminal.
pub(crate) fn sink(progress: Progress, surroundings: &Surroundings) -> Arc<dyn EventSink> {
    match progress {
        Progress::Json => Arc::new(json::Json::new()),
        Progress::Plain => Arc::new(plain::Plain::new()),
        Progress::Quiet => Arc::new(Silent),
        Progress::Tty if std::io::stderr().is_terminal() => Arc::new(live::Live::new(surroundings.colour)),
        Progress::Auto if std::io::stderr().is_terminal() && !surroundings.ci => Arc::new(live::Live::new(surroundings.colour)),
        Progress::Auto | Progress::Tty => Arc::new(plain::Plain::new()),
    }
}

/// A size as people read it.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}
