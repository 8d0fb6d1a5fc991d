//! Programs that a test puts in a place and starts there.

use std::path::Path;
use std::process::Command;

/// Makes of a file a program that can be started at once, mode 0755. A process writes it anew: what this one wrote, children that other
/// tests fork at the same moment have open until they are another program, and nothing is started that anybody has open for writing.
pub(crate) fn make_startable(path: &Path) {
    let script = r#"cp "$0" "$0.new"; chmod 755 "$0.new"; mv "$0.new" "$0""#;
    let status = Command::new("sh").args(["-ec", script]).arg(path).status().unwrap();
    assert!(status.success(), "{} is made a program: {status}", path.display());
}
