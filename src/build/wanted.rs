//! Plan and options → what will be needed of each step's files, so that nothing is written twice or in vain.

use std::collections::{BTreeMap, BTreeSet};

use super::execute::Wanted;
use super::layers::Unpack;
use crate::image::Reference;
use crate::layer::Profile;
use crate::plan::{Base, Compression, Plan, StageId, StepId, StepKind, TreeSource};

/// What is needed of every step.
pub(super) struct Needs {
    /// Stages whose whole file system is needed as directories.
    directories: BTreeSet<StageId>,
    /// Stages that end in an image, with the profile of the first such image.
    images: BTreeMap<StageId, Profile>,
    /// The tags of the images that stages end in, where they are in that profile.
    tags: BTreeMap<StageId, Vec<Reference>>,
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
        let mut images = BTreeMap::new();
        for image in &plan.images {
            images.entry(image.stage).or_insert_with(|| profile(image.compression));
        }
        for index in (0..plan.stages.len()).rev() {
            let id = StageId(index);
            let Some(base) = bases.get(&id) else { continue };
            if directories.contains(&id) || after_runs.get(&id).is_some_and(|after| *after > 0) {
                directories.insert(*base);
            }
            if let Some(profile) = images.get(&id).copied() {
                images.entry(*base).or_insert(profile);
            }
        }
        let mut tags: BTreeMap<StageId, Vec<Reference>> = BTreeMap::new();
        for image in &plan.images {
            let mut below = Some(image.stage);
            while let Some(id) = below {
                if images.get(&id) == Some(&profile(image.compression)) {
                    tags.entry(id).or_default().extend(image.tags.iter().cloned());
                }
                below = bases.get(&id).copied();
            }
        }
        Needs { directories, images, tags, after_runs }
    }

    /// What is needed of base layers that have to be read.
    pub(super) fn unpack(&self) -> Unpack {
        let files = !self.directories.is_empty() || self.after_runs.values().any(|after| *after > 0);
        if files { Unpack::Directory } else { Unpack::Difference }
    }

    /// What is needed of one step.
    pub(super) fn step(&self, step: StepId) -> Wanted<'_> {
        let before_a_run = self.after_runs.get(&step.stage).is_some_and(|after| step.step < *after);
        Wanted {
            directory: before_a_run || self.directories.contains(&step.stage),
            blob: self.images.get(&step.stage).copied(),
            tags: self.tags.get(&step.stage).map(Vec::as_slice).unwrap_or_default(),
        }
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
