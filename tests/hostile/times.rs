//! Several builds at once, of one store, that get in each other's way.

use std::sync::Mutex;

use crate::hostile::rungs::project;
use crate::lab::{Lab, Ran};

const STAGE: &str = r#"
[[stages.app.steps]]
run = "mkdir -p /d; for i in 1 2 3 4 5 6 7 8; do echo $i > /d/$i; ln -f /d/$i /d/second-$i; done; chmod 0 /d/1; ln -s /nowhere /d/link"
[[stages.app.steps]]
run = "rm -rf /d; mkdir /d; echo new > /d/1; cp /bin/busybox /d/2"
mounts = [{ cache = "c", at = "/c" }]
[[stages.app.steps]]
copy = "src"
to = "/d/"
"#;

#[test]
fn builds_collections_and_checks_of_one_store_do_not_harm_each_other() {
    let lab = Lab::new();
    let path = project(&lab, STAGE);
    crate::lab::write(&path.join("src/file"), "x");
    let expected = lab.build(&path, &[]).digest().to_owned();
    let digests = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for builder in 0..3 {
            let (lab, path, digests) = (&lab, &path, &digests);
            scope.spawn(move || {
                for round in 0..4 {
                    let metadata = lab.path(&format!("metadata-{builder}-{round}.json"));
                    let mut command = lab.command(&["build", path.to_str().unwrap(), "--metadata-file", metadata.to_str().unwrap()]);
                    if (builder + round) % 2 == 0 {
                        command.arg("--no-cache");
                    }
                    let ran = Ran::of(&mut command);
                    assert_eq!(ran.code, Some(0), "{}", ran.err);
                    let said: serde_json::Value = serde_json::from_slice(&std::fs::read(metadata).unwrap()).unwrap();
                    digests.lock().unwrap().push(said["images"][0]["digest"].as_str().unwrap().to_owned());
                }
            });
        }
        let lab = &lab;
        scope.spawn(move || {
            for _ in 0..6 {
                let ran = lab.run(&["cache", "prune", "--max-size", "0"]);
                assert_eq!(ran.code, Some(0), "{ran:#?}");
                let ran = lab.run(&["cache", "verify"]);
                assert_eq!(ran.code, Some(0), "{ran:#?}");
            }
        });
    });
    let digests = digests.into_inner().unwrap();
    assert_eq!(digests, vec![expected; 12]);
    lab.verify();
}
