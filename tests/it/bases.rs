//! Bases of several layers.

use crate::lab::{Built, Lab};
use crate::real::RealRegistry;

/// One base that another begins with. The second has a layer twice, takes away what is below, and needs directories that only those say.
fn bases(low: &str, high: &str) -> String {
    format!(
        r#"
spec = 1
[stages.low]
from = "tar:base.tar"
steps = [
    {{ run = "mkdir -p /etc/one && chmod 700 /etc/one && echo one > /etc/one/file" }},
    {{ run = "echo two > /etc/two" }},
]
[stages.high]
from = "stage:low"
steps = [
    {{ run = "rm -r /etc/one && mkdir /etc/one && chown 5:6 /etc/one" }},
    {{ run = "echo three > /etc/two" }},
    {{ run = "echo two > /etc/two" }},
    {{ run = "grep two /etc/two" }},
]
[images.high]
stage = "high"
tags = ["{high}"]
[images.low]
stage = "low"
tags = ["{low}"]
"#
    )
}

/// A registry with both bases, the tag of the high one, and how they were built: the high one first.
struct World {
    _registry: RealRegistry,
    high: String,
    built: Built,
}

impl World {
    fn new() -> World {
        let registry = RealRegistry::start("", &[]);
        let [low, high] = ["low", "high"].map(|name| format!("{}/team/base:{name}", registry.address));
        let lab = Lab::new();
        let built = lab.build(&lab.project(&bases(&low, &high), &[]), &["--push"]);
        World { _registry: registry, high, built }
    }
}

#[test]
fn commands_run_on_a_base_that_has_a_layer_twice() {
    let world = World::new();
    let layers = world.built.layers();
    assert_eq!((layers.len(), layers[2]), (6, layers[5]));
    let lab = Lab::new();
    let spec = format!(
        "spec = 1\nstages.app = {{ from = \"{}\", steps = [{{ run = \"grep two /etc/two\" }}] }}\nimages.app = {{ stage = \"app\" }}\n",
        world.high
    );
    let built = lab.build(&lab.project(&spec, &[]), &[]);
    assert_eq!(built.layers(), layers);
}
