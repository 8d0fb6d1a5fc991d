//! `--output`: which image or stage goes where.

use std::collections::BTreeSet;

use lapstrake::build::{Built, Engine, Options};
use lapstrake::cache::Digest;
use lapstrake::image::Sealed;
use lapstrake::input::Outside;
use lapstrake::output::{Bundle, Target, WriteError, write_bundle, write_tree};
use lapstrake::plan::{Plan, StageId};

use crate::exit::{Failure, chain};

/// What is written where.
pub(crate) struct Outputs(Vec<Output>);

struct Output {
    what: What,
    target: Target,
}

/// An image by its name, with all of its platforms, or the stage where no image is built.
enum What {
    Image(String),
    Stage(StageId),
}

/// Something that was written.
pub(crate) struct Written {
    /// The image or stage.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) target: String,
    /// The digest of the manifest or index, of an image.
    pub(crate) digest: Option<Digest>,
}

impl Outputs {
    /// Reads `[IMAGE=]KIND:PATH`.
    pub(crate) fn parse(texts: &[String], plan: &Plan) -> Result<Outputs, Failure> {
        let outputs = texts.iter().map(|text| output(text, plan)).collect::<Result<Vec<_>, Failure>>()?;
        for (index, one) in outputs.iter().enumerate() {
            if outputs.iter().take(index).any(|earlier| earlier.target == one.target) {
                return Err(Failure::usage(format!(
                    "`--output`: `{}` is named twice, and the later would replace the earlier",
                    one.target
                )));
            }
        }
        Ok(Outputs(outputs))
    }

    /// Stages whose file systems are written.
    pub(crate) fn unpacked(&self, plan: &Plan) -> BTreeSet<StageId> {
        self.0.iter().filter(|output| output.target.is_file_system()).map(|output| stage(&output.what, plan)).collect()
    }

    /// Writes all of them, in order.
    pub(crate) fn write(
        &self,
        engine: &Engine,
        plan: &Plan,
        outside: &Outside<'_>,
        options: &Options,
        built: &Built,
    ) -> Result<Vec<Written>, Failure> {
        let mut written = Vec::new();
        for Output { what, target } in &self.0 {
            let failed = |error: &WriteError| {
                let usage = matches!(error, WriteError::NotEmpty { .. } | WriteError::Mismatch { .. } | WriteError::Reference(_));
                if usage { Failure::usage(chain(error)) } else { Failure::world(chain(error)) }
            };
            let stage = stage(what, plan);
            let (name, digest) = match what {
                What::Image(name) => {
                    let Some(bundle) = bundle(built, name) else { continue };
                    (name.clone(), Some((bundle.root.descriptor.digest, bundle)))
                }
                What::Stage(_) => (built.stages.get(stage.0).map(|stage| stage.name.clone()).unwrap_or_default(), None),
            };
            let digest = match (target.is_file_system(), digest) {
                (false, Some((digest, bundle))) => {
                    write_bundle(bundle, target, outside).map_err(|error| failed(&error))?;
                    Some(digest)
                }
                (_, digest) => {
                    let Some(end) = built.stages.get(stage.0) else { continue };
                    engine
                        .with_tree(plan, outside, options, end, |tree, contents| write_tree(engine, tree, contents, target, outside))
                        .map_err(|error| Failure::new(error.failure.class(), chain(&error)))?
                        .map_err(|error| failed(&error))?;
                    digest.map(|(digest, _)| digest)
                }
            };
            written.push(Written { name, target: target.to_string(), digest });
        }
        Ok(written)
    }
}

fn output(text: &str, plan: &Plan) -> Result<Output, Failure> {
    let wrong = |reason: String| Failure::usage(format!("`--output {text}`: {reason}"));
    let mut names: Vec<&str> = plan.images.iter().map(|image| image.name.as_str()).collect();
    names.dedup();
    let translated = of_docker(text).map_err(wrong)?;
    let text = translated.as_deref().unwrap_or(text);
    let (name, place) = match text.split_once('=') {
        Some((name, place)) if !name.contains(':') && !name.contains('/') => (Some(name), place),
        Some(_) | None => (None, text),
    };
    let target: Target = place.parse().map_err(|error: lapstrake::output::InvalidTarget| {
        let plain = !place.contains(':') && place != "-";
        wrong(if plain { format!("{error}; for the file system in a directory, `-o rootfs:{place}`") } else { error.to_string() })
    })?;
    let what = match (name, names.as_slice()) {
        (Some(name), names) => match names.iter().find(|known| **known == name) {
            Some(name) => What::Image((*name).to_owned()),
            None => return Err(wrong(format!("no image `{name}` is built; there are: {}", names.join(", ")))),
        },
        (None, [only]) => What::Image((*only).to_owned()),
        (None, []) if target.is_file_system() => What::Stage(StageId(plan.stages.len().saturating_sub(1))),
        (None, []) => return Err(wrong("no image is built, only a stage; write it as rootfs:DIR or rootfs-tar:FILE".to_owned())),
        (None, names) => {
            return Err(wrong(format!(
                "several images are built; say which: {}",
                names.iter().map(|name| format!("{name}={place}")).collect::<Vec<_>>().join(", ")
            )));
        }
    };
    let platforms = |name: &str| plan.images.iter().filter(|image| image.name == name).count();
    match &what {
        What::Image(name) if platforms(name) > 1 && (target.is_file_system() || matches!(target, Target::DockerArchive { .. })) => {
            return Err(wrong(format!("`{name}` is built for several platforms, and this holds one: choose it with `--platform`")));
        }
        What::Image(_) | What::Stage(_) => {}
    }
    Ok(Output { what, target })
}

/// An image, or the index of all of its platforms.
pub(crate) fn bundle(built: &Built, name: &str) -> Option<Bundle> {
    let images: Vec<&Sealed> = built.images.iter().filter(|one| one.image.name == name).map(|one| &one.sealed).collect();
    match images.as_slice() {
        [] => None,
        [only] => Some(Bundle::of(only)),
        several => Some(Bundle::of_platforms(several)),
    }
}

/// Docker's `type=…,dest=…` in our words; `None` for what is not of this form.
fn of_docker(text: &str) -> Result<Option<String>, String> {
    if !text.starts_with("type=") && !text.contains(",type=") {
        return Ok(None);
    }
    let (mut kind, mut path, mut packed) = ("", None, true);
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("type", value)) => kind = value,
            Some(("dest" | "destination", value)) => path = Some(value),
            Some(("tar", "false")) => packed = false,
            Some(("tar", "true")) => {}
            Some(("push" | "name", _)) if matches!(kind, "image" | "registry") => {}
            Some(_) | None => return Err(format!("`{part}` is not known; expected type=oci|docker|local|tar,dest=PATH")),
        }
    }
    let kind = match kind {
        "oci" if packed => "oci-archive",
        "oci" => "oci",
        "docker" => "docker-archive",
        "local" => "rootfs",
        "tar" => "rootfs-tar",
        "image" | "registry" => return Err("an image goes to a registry with `--tag REF --push`".to_owned()),
        other => return Err(format!("`{other}` is no kind of output; there are: oci, docker, local, tar")),
    };
    match path {
        Some(path) if path != "-" => Ok(Some(format!("{kind}:{path}"))),
        Some(_) | None => Err(format!("it names no file; write `-o {kind}:PATH`")),
    }
}

fn stage(what: &What, plan: &Plan) -> StageId {
    match what {
        What::Image(name) => plan.images.iter().find(|image| image.name == *name).map_or(StageId(0), |image| image.stage),
        What::Stage(stage) => *stage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_words_for_outputs_are_ours() {
        for (text, expected) in [
            ("type=oci,dest=a.tar", Ok(Some("oci-archive:a.tar"))),
            ("type=oci,dest=a,tar=false", Ok(Some("oci:a"))),
            ("dest=a.tar,type=docker", Ok(Some("docker-archive:a.tar"))),
            ("type=local,dest=out", Ok(Some("rootfs:out"))),
            ("type=tar,dest=out.tar", Ok(Some("rootfs-tar:out.tar"))),
            ("oci:a", Ok(None)),
            ("web=oci:a", Ok(None)),
        ] {
            assert_eq!(of_docker(text), expected.map(|text| text.map(str::to_owned)), "{text}");
        }
        for text in ["type=oci", "type=tar,dest=-", "type=registry,push=true", "type=zip,dest=a", "type=oci,dest=a,compression=zstd"] {
            assert!(of_docker(text).is_err(), "{text}");
        }
    }
}
