//! Plan and options → what will be needed of each step's files, so that nothing is written twice or in vain.

use std::collections::{BTreeMap, BTreeSet};

use super::execute::Wanted;
use super::layers::Unpack;
use crate::image::Reference;
use crate::layer::Profile;
use crate::plan::{Base, Compression, Plan, StageId, StepId, StepKind, TreeSource};

/// What a layer is packed for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ForImage {
    /// The image of its stage, else the first that has it.
    pub(super) name: String,
    /// How that image packs it.
    pub(super) profile: Profile,
    /// The tags of all images that have it so.
    pub(super) tags: Vec<Reference>,
}

/// What is needed of every step.
pub(super) struct Needs {
    /// Stages whose whole file system is needed as directories.
    directories: BTreeSet<StageId>,
    /// What the layers of stages are packed for, where images have them.
    images: BTreeMap<StageId, ForImage>,
    /// For each stage, the place after its last command.
    after_runs: BTreeMap<StageId, usize>,
}

impl Needs {
    /// `unpacked` are stages that are written out as directories in the end.
    pub(super) fn of(plan: &Plan, unpacked: &BTreeSet<StageId>) -> Needs {
        let mut directories = unpacked.clone();
        let mut after_runs = BTreeMap::new();
        let mut bases = BTreeMap::new();
        for (index, stage) in plan.stages.iter().enumerate() {
            let id = StageId(index);
            let last_run = stage.steps.iter().rposition(|step| matches!(step.kind, StepKind::Run(_)));
            after_runs.insert(id, last_run.map_or(0, |last| last + 1));
            if let Base::Stage(base) = stage.base {
                bases.insert(id, base);
            }
            for source in stage.steps.iter().flat_map(|step| step.kind.trees()) {
                if let TreeSource::Stage(source) = source {
                    directories.insert(*source);
                }
            }
        }
        // What is needed of a stage is needed of the one it stands on. Later stages come first.
        for index in (0..plan.stages.len()).rev() {
            let id = StageId(index);
            let Some(base) = bases.get(&id) else { continue };
            if directories.contains(&id) || after_runs.get(&id).is_some_and(|after| *after > 0) {
                directories.insert(*base);
            }
        }
        let mut images: BTreeMap<StageId, ForImage> = BTreeMap::new();
        // An image of its own decides how a stage is packed, else the first that stands on it.
        for image in &plan.images {
            let first = || ForImage { name: image.name.clone(), profile: profile(image.compression), tags: Vec::new() };
            images.entry(image.stage).or_insert_with(first);
        }
        for image in &plan.images {
            let profile = profile(image.compression);
            let mut below = Some(image.stage);
            while let Some(id) = below {
                let first = images.entry(id).or_insert_with(|| ForImage { name: image.name.clone(), profile, tags: Vec::new() });
                if first.profile == profile {
                    first.tags.extend(image.tags.iter().cloned());
                }
                below = bases.get(&id).copied();
            }
        }
        Needs { directories, images, after_runs }
    }

    /// What is needed of base layers that have to be read.
    pub(super) fn unpack(&self) -> Unpack {
        let files = !self.directories.is_empty() || self.after_runs.values().any(|after| *after > 0);
        if files { Unpack::Directory } else { Unpack::Difference }
    }

    /// What is needed of one step.
    pub(super) fn step(&self, step: StepId) -> Wanted<'_> {
        let before_a_run = self.after_runs.get(&step.stage).is_some_and(|after| step.step < *after);
        Wanted { directory: before_a_run || self.directories.contains(&step.stage), image: self.images.get(&step.stage) }
    }
}

/// The profile that a way of storing layers stands for.
pub(super) fn profile(compression: Compression) -> Profile {
    match compression {
        Compression::Gzip => Profile::Gzip1,
        Compression::GzipSingle => Profile::GzipSingle1,
        Compression::Zstd => Profile::Zstd1,
        Compression::None => Profile::Plain,
    }
}
