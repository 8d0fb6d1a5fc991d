//! The digests of a spec of every step kind, pinned. With `UPDATE=1` in the environment they are written anew.

use std::path::Path;

use serde_json::{Value, json};

use crate::lab::Lab;
use crate::project;

#[test]
fn manifests_configs_and_layers_of_every_step_kind_are_as_they_were() {
    assert_eq!(std::env::consts::ARCH, "x86_64", "the digests are of configs for linux/amd64");
    let _web = project::whole_web();
    let lab = Lab::new();
    let directory = lab.path("project");
    project::whole(&directory);
    let built = lab.build(&directory, &["--created", "1700000000"]);
    let images: Vec<Value> = built
        .images()
        .iter()
        .map(|image| {
            let mut image = image.clone();
            let config = image["config"].as_str().unwrap().to_owned();
            let bytes = std::fs::read(lab.store().join("blobs").join(config.replace(':', "/"))).unwrap();
            let contents: Value = serde_json::from_slice(&bytes).unwrap();
            image["config"] = json!({ "digest": config, "contents": contents });
            image
        })
        .collect();
    let found = format!("{:#}\n", Value::from(images));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/every-step.json");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "digests have changed; if that is meant, run with UPDATE=1 and say why:\n{found}");
}
