//! Digests that never change. `UPDATE=1` writes the file anew; a difference in it is a line under "Digest changes".

use super::sample::everything;
use crate::layer::{LAYER_FORMAT, Profile};

#[test]
#[expect(clippy::disallowed_methods, reason = "whoever changes a format asks for new digests by a variable")]
fn digests_are_those_of_the_first_release() {
    let sample = everything();
    let mut found = format!("difference {}\n", sample.difference.fingerprint());
    for profile in Profile::ALL {
        let (_, packed) = sample.pack(profile);
        found.push_str(&format!(
            "format {LAYER_FORMAT} profile {profile} diff id {} digest {} size {}\n",
            packed.diff_id, packed.digest, packed.size
        ));
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/layers.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(file, &found).unwrap();
    }
    assert_eq!(std::fs::read_to_string(file).unwrap(), found);
}
