//! A plan → text for people, and JSON for programs. Both are complete: two plans that differ in anything that is built differ here.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::label::one_line;
use super::{
    Access, ArchiveSource, Base, BaseImage, CacheAccess, Compression, Context, Copy, Download, Extract, Fetch, Format, Git, GitDirectory,
    Image, Link, LinkKind, MakeDirectory, Missing, ModeRule, Mount, MountKind, Network, Newlines, Plan, Remove, Run, Sharing, Stage,
    StageId, Step, StepKind, Submodules, TreeSource, Write,
};

/// The version of the JSON form.
const JSON_VERSION: u32 = 1;

impl Plan {
    /// For people: each stage with its steps and what they are done with, then each image.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for stage in &self.stages {
            line(&mut text, 0, &format!("stage {} for {}", stage.name, stage.platform));
            line(&mut text, 1, &format!("from {}", self.base_name(&stage.base)));
            for (index, step) in stage.steps.iter().enumerate() {
                line(&mut text, 1, &format!("{}. {}", index + 1, step.label));
                if one_line(&step.history) != step.label {
                    line(&mut text, 3, &format!("history {}", json!(step.history)));
                }
                details(&mut text, 3, &self.step_json(&step.kind));
            }
            text.push('\n');
        }
        for image in &self.images {
            line(&mut text, 0, &format!("image {} for {}", image.name, image.platform));
            details(&mut text, 1, &self.image_json(image));
            text.push('\n');
        }
        for (name, context) in &self.context_places {
            line(&mut text, 0, &self.tree_name(&TreeSource::Context(name.clone())));
            details(&mut text, 1, &context_json(context));
            text.push('\n');
        }
        line(&mut text, 0, &format!("epoch {}", self.epoch));
        text
    }

    /// For programs. `version` is that of this form.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let Plan { epoch, stages, images, context_places } = self;
        let stages: Vec<Value> = stages.iter().map(|stage| self.stage_json(stage)).collect();
        let images: Vec<Value> = images
            .iter()
            .map(|image| {
                let mut value = self.image_json(image);
                value.insert("name".to_owned(), json!(image.name));
                value.insert("platform".to_owned(), json!(image.platform.to_string()));
                Value::from_iter(value)
            })
            .collect();
        let mut plan = json!({ "version": JSON_VERSION, "epoch": epoch, "stages": stages, "images": images });
        if let Value::Object(plan) = &mut plan
            && !context_places.is_empty()
        {
            let contexts = context_places.iter().map(|(name, context)| (name.clone(), Value::from_iter(context_json(context))));
            plan.insert("contexts".to_owned(), contexts.collect());
        }
        plan
    }

    fn stage_json(&self, stage: &Stage) -> Value {
        let Stage { name, platform, base, base_span: _, steps } = stage;
        let steps: Vec<Value> = steps
            .iter()
            .map(|step| {
                let Step { span: _, label, history, kind } = step;
                let mut value = self.step_json(kind);
                value.insert("verb".to_owned(), json!(verb(kind)));
                value.insert("label".to_owned(), json!(label));
                value.insert("history".to_owned(), json!(history));
                Value::from_iter(value)
            })
            .collect();
        json!({ "name": name, "platform": platform.to_string(), "from": self.base_name(base), "steps": steps })
    }

    fn step_json(&self, kind: &StepKind) -> Details {
        match kind {
            StepKind::Run(run) => self.run_json(run),
            StepKind::Copy(Copy { from, sources, to, owner, mode, exclude, parents, unpack, newlines, missing }) => only([
                ("from", json!(self.tree_name(from))),
                ("sources", json!(sources)),
                ("to", json!(to)),
                ("owner", json!(owner)),
                ("mode", mode_json(mode)),
                ("exclude", json!(exclude)),
                ("parents", if *parents { json!(true) } else { Value::Null }),
                ("unpack", if *unpack { json!(true) } else { Value::Null }),
                ("newlines", if *newlines == Newlines::Lf { json!("lf") } else { Value::Null }),
                ("missing", if *missing == Missing::Ignore { json!("ignore") } else { Value::Null }),
            ]),
            StepKind::Write(Write { path, content, owner, mode, name }) => only([
                ("path", json!(path)),
                ("content", json!(String::from_utf8_lossy(content))),
                ("owner", json!(owner)),
                ("mode", octal(*mode)),
                ("name", json!(name)),
            ]),
            StepKind::MakeDirectory(MakeDirectory { paths, owner, owner_of_new, mode }) => only([
                ("paths", json!(paths)),
                ("owner", json!(owner)),
                ("owner_of_new", json!(owner_of_new)),
                ("mode", mode.map_or(Value::Null, octal)),
            ]),
            StepKind::Link(Link { path, target, kind }) => {
                let kind = match kind {
                    LinkKind::Symbolic => Value::Null,
                    LinkKind::Hard => json!(true),
                };
                only([("path", json!(path)), ("target", json!(target)), ("hard", kind)])
            }
            StepKind::Remove(Remove { paths, missing }) => {
                let missing = match missing {
                    Missing::Fail => Value::Null,
                    Missing::Ignore => json!("ignore"),
                };
                only([("paths", json!(paths)), ("missing", missing)])
            }
            StepKind::Extract(Extract { from, to, strip, owner, mode }) => {
                let (from, path, digest) = match from {
                    ArchiveSource::File { from, path } => (self.tree_name(from), json!(path), Value::Null),
                    ArchiveSource::Url(Download { url, digest }) => (url.clone(), Value::Null, json!(digest.to_string())),
                };
                only([
                    ("from", json!(from)),
                    ("path", path),
                    ("digest", digest),
                    ("to", json!(to)),
                    ("strip", if *strip == 0 { Value::Null } else { json!(strip) }),
                    ("owner", json!(owner)),
                    ("mode", mode_json(mode)),
                ])
            }
            StepKind::Fetch(Fetch { download: Download { url, digest }, to, owner, mode }) => only([
                ("url", json!(url)),
                ("digest", json!(digest.to_string())),
                ("to", json!(to)),
                ("owner", json!(owner)),
                ("mode", octal(*mode)),
            ]),
            StepKind::Setting => Details::new(),
        }
    }

    fn run_json(&self, run: &Run) -> Details {
        let Run { argv, env, workdir, user, network, mounts, discard, timeout, refresh } = run;
        let network = match network {
            Network::Off => Value::Null,
            Network::Host => json!(true),
        };
        let mounts: Vec<Value> = mounts.iter().map(|mount| self.mount_json(mount)).collect();
        only([
            ("argv", json!(argv)),
            ("env", json!(env)),
            ("workdir", json!(workdir)),
            ("user", json!(user)),
            ("network", network),
            ("mounts", json!(mounts)),
            ("discard", json!(discard)),
            ("timeout", seconds(*timeout)),
            ("refresh", seconds(*refresh)),
        ])
    }

    fn mount_json(&self, mount: &Mount) -> Value {
        let Mount { at, span: _, kind } = mount;
        let optional = |required: bool| if required { Value::Null } else { json!(false) };
        let fields = match kind {
            MountKind::Cache { id, sharing, owner, mode, first, access } => {
                let sharing = match sharing {
                    Sharing::Shared => Value::Null,
                    Sharing::Private => json!("private"),
                    Sharing::Locked => json!("locked"),
                };
                let writable = match access {
                    CacheAccess::Kept => Value::Null,
                    CacheAccess::ReadOnly => json!(false),
                };
                let from = first.as_ref().map_or(Value::Null, |first| json!(self.tree_name(&first.source)));
                let path = first.as_ref().map_or(Value::Null, |first| json!(first.path));
                only([
                    ("at", json!(at)),
                    ("cache", json!(id)),
                    ("sharing", sharing),
                    ("owner", json!(owner)),
                    ("mode", mode.map_or(Value::Null, octal)),
                    ("from", from),
                    ("path", path),
                    ("writable", writable),
                ])
            }
            MountKind::From { source, path, access } => {
                let access = match access {
                    Access::ReadOnly => Value::Null,
                    Access::Discarded => json!(true),
                };
                only([("at", json!(at)), ("from", json!(self.tree_name(source))), ("path", json!(path)), ("writable", access)])
            }
            MountKind::Secret { id, owner, mode, required } => only([
                ("at", json!(at)),
                ("secret", json!(id)),
                ("owner", json!(owner)),
                ("mode", octal(*mode)),
                ("required", optional(*required)),
            ]),
            MountKind::SecretEnv { id, required } => only([("env", json!(at)), ("secret", json!(id)), ("required", optional(*required))]),
            MountKind::Ssh { id, owner, mode, required } => only([
                ("at", json!(at)),
                ("ssh", json!(id)),
                ("owner", json!(owner)),
                ("mode", octal(*mode)),
                ("required", optional(*required)),
            ]),
            MountKind::Tmpfs { size } => only([("tmpfs", json!(at)), ("size", json!(size))]),
        };
        Value::from_iter(fields)
    }

    /// Everything about an image but its name and platform.
    fn image_json(&self, image: &Image) -> Details {
        let Image { name: _, span: _, stage, platform: _, config, author, config_extra, annotations, tags, format, compression } = image;
        let format = match format {
            Format::Oci => "oci",
            Format::Docker => "docker",
        };
        let compression = match compression {
            Compression::Gzip => "gzip",
            Compression::GzipSingle => "gzip-single",
            Compression::Zstd => "zstd",
            Compression::None => "none",
        };
        // The config is plain data with text keys, so that it always has a JSON form.
        let config = serde_json::to_value(config).unwrap_or(Value::Null);
        only([
            ("stage", json!(self.stage_name(*stage))),
            ("config", config),
            ("author", json!(author)),
            ("extra", json!(config_extra)),
            ("annotations", json!(annotations)),
            ("tags", json!(tags.iter().map(ToString::to_string).collect::<Vec<_>>())),
            ("format", json!(format)),
            ("compression", json!(compression)),
        ])
    }

    fn base_name(&self, base: &Base) -> String {
        match base {
            Base::Scratch => "scratch".to_owned(),
            Base::Stage(stage) => self.stage_name(*stage),
            Base::Image(image) => image_name(image),
        }
    }

    fn tree_name(&self, tree: &TreeSource) -> String {
        match tree {
            TreeSource::Context(name) if name.is_empty() => "context".to_owned(),
            TreeSource::Context(name) => format!("context:{name}"),
            TreeSource::Stage(stage) => self.stage_name(*stage),
            TreeSource::Image(image) => image_name(image),
            TreeSource::Git(git) => git_name(git),
        }
    }

    /// The platform is named only where the stage is there for several.
    fn stage_name(&self, id: StageId) -> String {
        let Some(stage) = self.stages.get(id.0) else {
            return format!("stage {}", id.0);
        };
        let alone = self.stages.iter().filter(|other| other.name == stage.name).count() == 1;
        if alone { format!("stage:{}", stage.name) } else { format!("stage:{} for {}", stage.name, stage.platform) }
    }
}

fn context_json(context: &Context) -> Details {
    let Context { path, ignore } = context;
    only([("path", json!(path)), ("ignore", json!(ignore))])
}

fn image_name(image: &BaseImage) -> String {
    let BaseImage { source, digest } = image;
    format!("{source} = {digest}")
}

fn git_name(git: &Git) -> String {
    // What it was asked for by is of no account once the commit is known.
    let Git { url, reference: _, commit, submodules, git_directory } = git;
    let submodules = match submodules {
        Submodules::Fetched => "",
        Submodules::Empty => " without submodules",
    };
    let git_directory = match git_directory {
        GitDirectory::Kept => " with .git",
        GitDirectory::Dropped => "",
    };
    format!("{url} = {}{submodules}{git_directory}", commit.as_str())
}

fn verb(kind: &StepKind) -> &'static str {
    match kind {
        StepKind::Run(_) => "run",
        StepKind::Copy(Copy { from: TreeSource::Git(_), .. }) => "fetch",
        StepKind::Copy(_) => "copy",
        StepKind::Write(_) => "write",
        StepKind::MakeDirectory(_) => "mkdir",
        StepKind::Link(_) => "link",
        StepKind::Remove(_) => "remove",
        StepKind::Extract(_) => "extract",
        StepKind::Fetch(_) => "fetch",
        StepKind::Setting => "setting",
    }
}

type Details = BTreeMap<String, Value>;

/// The fields that say something: not those that are null or hold nothing.
fn only<const N: usize>(fields: [(&str, Value); N]) -> Details {
    let says = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    };
    fields.into_iter().filter(|(_, value)| says(value)).map(|(name, value)| (name.to_owned(), value)).collect()
}

fn octal(mode: u16) -> Value {
    json!(format!("{mode:04o}"))
}

fn mode_json(mode: &ModeRule) -> Value {
    match mode {
        ModeRule::Normal => Value::Null,
        ModeRule::Keep => json!("keep"),
        ModeRule::Set(mode) => octal(*mode),
        ModeRule::Exactly(mode) => json!(format!("={mode:04o}")),
        ModeRule::Symbolic(changes) => json!(changes.to_string()),
    }
}

fn seconds(duration: Option<Duration>) -> Value {
    duration.map_or(Value::Null, |duration| json!(duration.as_secs_f64()))
}

fn line(text: &mut String, depth: usize, words: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{:1$}{words}", "", depth * 2);
}

fn details(text: &mut String, depth: usize, fields: &Details) {
    for (name, value) in fields {
        match value {
            Value::String(word) if !word.is_empty() && !word.chars().any(|c| c.is_control() || c.is_whitespace()) => {
                line(text, depth, &format!("{name} {word}"));
            }
            Value::Object(fields) if name != "extra" => {
                line(text, depth, name);
                details(text, depth + 1, &fields.iter().map(|(name, value)| (name.clone(), value.clone())).collect());
            }
            Value::Array(items) if items.iter().any(|item| item.is_object()) => {
                line(text, depth, name);
                for item in items {
                    line(text, depth + 1, &item.to_string());
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                line(text, depth, &format!("{name} {value}"));
            }
        }
    }
}
