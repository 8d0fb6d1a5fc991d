//! Every table of the language with its keys. Reader, schema and reference are made from this.

use super::field::{Field, Grammar, Kind, Need, Table};

const fn required(name: &'static str, kind: Kind, doc: &'static str) -> Field {
    Field { name, kind, need: Need::Required, doc }
}

const fn optional(name: &'static str, kind: Kind, doc: &'static str) -> Field {
    Field { name, kind, need: Need::Optional, doc }
}

const OWNER: Kind = Kind::Text(Grammar::Owner);
const TO: Kind = Kind::Text(Grammar::Destination);
const FREE: Kind = Kind::Text(Grammar::Free);
const HISTORY: &str = "What the image's history says of it. Default: the verb and what it does.";

pub(super) const SHARING: &[&str] = &["shared", "private", "locked"];
pub(super) const NEWLINES: &[&str] = &["keep", "lf"];
pub(super) const MISSING: &[&str] = &["fail", "ignore"];
pub(super) const ON_BUILD: &[&str] = &["run", "keep"];
pub(super) const FORMAT: &[&str] = &["oci", "docker"];
pub(super) const COMPRESSION: &[&str] = &["gzip", "gzip-single", "zstd", "none"];

pub(super) static SPEC: Table = Table {
    name: "spec",
    called: "a spec",
    doc: "The whole file.",
    fields: &[
        required("spec", Kind::Version, "The version of the language: `1`."),
        optional(
            "epoch",
            Kind::DateTime,
            "The time of everything that is made, and `SOURCE_DATE_EPOCH` of every `run`. Default `1980-01-02T00:00:00Z`.",
        ),
        optional("context", Kind::Plain, "The directory of the default context, relative to the spec's. Default `.`."),
        optional(
            "ignore",
            Kind::Plain,
            "The ignore file of the default context, relative to the spec. Default: the context's `.lapstrakeignore`, else its `.dockerignore`.",
        ),
        optional("contexts", Kind::Contexts, "Further contexts, by name, unless the caller gives another with `--context NAME=DIR`."),
        optional("args", Kind::Arguments, "What a caller may set with `--arg NAME=VALUE`."),
        required("stages", Kind::Tables(&STAGE), "The stages, by name."),
        optional("images", Kind::Tables(&IMAGE), "The images, by name."),
    ],
};

pub(super) static ARGUMENT: Table = Table {
    name: "argument",
    called: "an argument",
    doc: "Something that a caller may set. A bare string is short for a table with that `default`.",
    fields: &[
        optional(
            "default",
            Kind::Plain,
            "Its value when the caller says nothing, taken as it is. Without one the caller must say something, unless it is `optional`.",
        ),
        optional("optional", Kind::Flag, "Whether it can be left without a value. Default `false`."),
        optional("choices", Kind::Plains, "The values it may have. Default: any."),
        optional("help", Kind::Plain, "What it is for."),
    ],
};

pub(super) static CONTEXT: Table = Table {
    name: "context",
    called: "a context",
    doc: "A directory that files are copied from. A bare string is short for a table with that `path`.",
    fields: &[
        required("path", Kind::Plain, "Its directory, relative to the spec's."),
        optional(
            "ignore",
            Kind::Plain,
            "Its ignore file, relative to the spec. Default: the context's `.lapstrakeignore`, else its `.dockerignore`.",
        ),
    ],
};

pub(super) static STAGE: Table = Table {
    name: "stage",
    called: "a stage",
    doc: "A file system and its settings, made by steps on top of a base.",
    fields: &[
        required(
            "from",
            Kind::Text(Grammar::Base),
            "What it starts from: an image, `scratch`, `stage:NAME`, `oci:PATH[:TAG]` or `tar:PATH`.",
        ),
        optional(
            "platform",
            Kind::Text(Grammar::StagePlatform),
            "What it is built for: the platform of the image, of the machine that builds, or this one. Default `target`.",
        ),
        optional(
            "onbuild",
            Kind::Word(ON_BUILD),
            "Whether the base's `ONBUILD` instructions are carried out before its own steps, or stay in the config. Default `keep`.",
        ),
        optional("env", Kind::Env, "Variables added to the base's environment; `false` takes one away."),
        optional(
            "workdir",
            Kind::TextOrFalse(Grammar::Destination),
            "The working directory; made when a step needs it. `false` takes the base's away. Default: the base's, else `/`.",
        ),
        optional(
            "user",
            Kind::TextOrFalse(Grammar::Owner),
            "Who runs its commands; `false` takes the base's away. Default: the base's, else `0:0`.",
        ),
        optional(
            "shell",
            Kind::Texts(Grammar::Free),
            "What the script of a `run` is given to; `[]` takes the base's away. Default: the base's, else `[\"/bin/sh\", \"-ec\"]`.",
        ),
        optional("steps", Kind::AnyOf(STEPS), "What is done, in order."),
    ],
};

/// The tables of steps; the first key of each is its verb.
pub(super) static STEPS: &[&Table] =
    &[&RUN, &COPY, &WRITE, &FETCH, &EXTRACT, &LINK, &MKDIR, &REMOVE, &ENV_STEP, &WORKDIR_STEP, &USER_STEP, &SHELL_STEP, &HISTORY_STEP];

pub(super) static RUN: Table = Table {
    name: "run",
    called: "a `run` step",
    doc: "Runs a command.",
    fields: &[
        required("run", Kind::TextOrTexts(Grammar::Free), "A string is a script for the shell; an array is a program and its arguments."),
        optional("env", Kind::Env, "Variables for this step alone; `false` takes one away."),
        optional("workdir", TO, "The working directory of this step alone."),
        optional("user", OWNER, "The user of this step alone."),
        optional("shell", Kind::Texts(Grammar::Free), "The shell of this step alone; `[]` is the default one."),
        optional("network", Kind::Flag, "Whether it sees the builder's network. Default `false`."),
        optional("mounts", Kind::AnyOf(MOUNTS), "What it sees while it runs and is in no layer."),
        optional("discard", Kind::Texts(Grammar::Pattern), "Paths to drop from its result: logs and caches that differ every time."),
        optional("timeout", Kind::Duration, "How long it may take. Default: for ever."),
        optional("refresh", Kind::Duration, "How old its result may be before it is run again. Default: any age."),
        optional("history", FREE, HISTORY),
    ],
};

pub(super) static COPY: Table = Table {
    name: "copy",
    called: "a `copy` step",
    doc: "Copies files.",
    fields: &[
        required(
            "copy",
            Kind::TextOrTexts(Grammar::SourcePath),
            "Paths and patterns in the source. Of a directory, what is in it is copied.",
        ),
        required("to", TO, "Where to. A trailing slash, or several sources, mean \"into\"."),
        optional(
            "from",
            Kind::Text(Grammar::Source),
            "`context`, `context:NAME`, `stage:NAME`, `image:REFERENCE`, `oci:PATH[:TAG]` or `tar:PATH`. Default `context`.",
        ),
        optional("owner", OWNER, "The owner of everything copied. Default: `0:0` from a context, else kept."),
        optional(
            "mode",
            Kind::CopyMode,
            "Modes of files; directories get the execute bits that go with them. `=` in front: of directories too. Symbolic: changes. `keep` keeps them. Default: `0644` or `0755` by the execute bit from a context, else kept.",
        ),
        optional("exclude", Kind::Texts(Grammar::Pattern), "Patterns of what is left out, relative to the source's root."),
        optional("parents", Kind::Flag, "Whether the sources' parent directories are kept. Default `false`."),
        optional(
            "unpack",
            Kind::Flag,
            "Whether each source that is a tar archive, also gzip, bzip2, xz or zstd, is unpacked into `to`, with its own owners and modes; a `mode` is for the others. Default `false`.",
        ),
        optional("newlines", Kind::Word(NEWLINES), "`lf` turns CR LF into LF. Default `keep`."),
        optional(
            "missing",
            Kind::Word(MISSING),
            "What happens where there are patterns alone and none matches anything: nothing, or the step fails. Default `fail`.",
        ),
        optional("history", FREE, HISTORY),
    ],
};

pub(super) static WRITE: Table = Table {
    name: "write",
    called: "a `write` step",
    doc: "Writes a file whose text stands in the spec.",
    fields: &[
        required("write", TO, "The file."),
        required("content", Kind::Text(Grammar::Content), "Its text."),
        optional("owner", OWNER, "Its owner. Default `0:0`."),
        optional("mode", Kind::Mode, "Its mode. Default `0644`."),
        optional("name", FREE, "What it is called if `write` turns out to be a directory. Default: it must be none."),
        optional("history", FREE, HISTORY),
    ],
};

pub(super) static FETCH: Table = Table {
    name: "fetch",
    called: "a `fetch` step",
    doc: "Downloads a file, or the files of a git repository.",
    fields: &[
        required(
            "fetch",
            Kind::Text(Grammar::Fetch),
            "`https://…`, `http://…`, or a git repository as `git+https://…`, `git+http://…`, `git+ssh://…`, `git+git://…` or `git+file://…`.",
        ),
        required("to", TO, "Where to. A trailing slash means \"into\", under the last name in the address."),
        optional("sha256", Kind::Sha256, "What the bytes must be. Default: what `lapstrake.lock` says."),
        optional(
            "ref",
            Kind::Text(Grammar::Outside),
            "With git: a branch or tag, or a commit in full. Default: the repository's own `HEAD`.",
        ),
        optional("commit", Kind::Commit, "With git: which commit. Default: what `lapstrake.lock` says."),
        optional("path", Kind::Text(Grammar::SourcePath), "With git: which directory or file of it. Default: all."),
        optional("submodules", Kind::Flag, "With git: whether its submodules are fetched too. Default `true`."),
        optional("keep_git", Kind::Flag, "With git: whether there is a `.git`. Not with `path`. Default `false`."),
        optional(
            "check_ref",
            Kind::Flag,
            "With git: whether it is an error that `ref` is by now another commit than `commit`. Default `false`: `commit` counts.",
        ),
        optional("owner", OWNER, "Its owner. Default `0:0`."),
        optional("mode", Kind::Mode, "Its mode. Default `0644`. Not with git."),
        optional("history", FREE, HISTORY),
    ],
};

pub(super) static EXTRACT: Table = Table {
    name: "extract",
    called: "an `extract` step",
    doc: "Unpacks an archive: tar, tar.gz, tar.bz2, tar.xz, tar.zst or zip, told apart by its first bytes.",
    fields: &[
        required("extract", Kind::Text(Grammar::Archive), "The archive: a path in the source, or `https://…` or `http://…`."),
        required("to", TO, "The directory to unpack into."),
        optional("from", Kind::Text(Grammar::Source), "Where the archive is, as in `copy`. Default `context`. Not with an address."),
        optional("sha256", Kind::Sha256, "With an address: what the bytes must be. Default: what `lapstrake.lock` says."),
        optional("strip", Kind::Number(1000), "How many leading names are dropped from each path. Default `0`."),
        optional("owner", OWNER, "The owner of everything in it. Default `0:0`."),
        optional("mode", Kind::CopyMode, "As in `copy`. Default: `0644` or `0755` by the execute bit."),
        optional("history", FREE, HISTORY),
    ],
};

pub(super) static LINK: Table = Table {
    name: "link",
    called: "a `link` step",
    doc: "Makes a link.",
    fields: &[
        required("link", TO, "Where the link is."),
        required("target", Kind::Text(Grammar::Free), "Where it points: as written for a symbolic link, a path for a hard one."),
        optional("hard", Kind::Flag, "Whether it is a second name of a file, not a symbolic link. Default `false`."),
        optional("history", FREE, HISTORY),
    ],
};

pub(super) static MKDIR: Table = Table {
    name: "mkdir",
    called: "a `mkdir` step",
    doc: "Makes directories and their missing parents.",
    fields: &[
        required("mkdir", Kind::TextOrTexts(Grammar::Destination), "The directories."),
        optional("owner", OWNER, "The owner of those named. Default: that of one that exists, else `0:0`."),
        optional("mode", Kind::Mode, "The mode of those named. Default: that of one that exists, else `0755`."),
        optional("history", FREE, HISTORY),
    ],
};

pub(super) static REMOVE: Table = Table {
    name: "remove",
    called: "a `remove` step",
    doc: "Removes files, and directories with all that is in them.",
    fields: &[
        required("remove", Kind::TextOrTexts(Grammar::Destination), "Paths and patterns."),
        optional("missing", Kind::Word(MISSING), "What to do when nothing is there. Default `fail`."),
        optional("history", FREE, HISTORY),
    ],
};

pub(super) static ENV_STEP: Table = Table {
    name: "env",
    called: "an `env` step",
    doc: "Changes the environment from here on.",
    fields: &[required("env", Kind::Env, "Variables to add; `false` takes one away."), optional("history", FREE, HISTORY)],
};

pub(super) static WORKDIR_STEP: Table = Table {
    name: "workdir",
    called: "a `workdir` step",
    doc: "Changes the working directory from here on.",
    fields: &[
        required("workdir", TO, "Absolute, or relative to the one before."),
        optional("owner", OWNER, "The owner of the directories that are made. Default `0:0`."),
        optional("history", FREE, HISTORY),
    ],
};

pub(super) static USER_STEP: Table = Table {
    name: "user",
    called: "a `user` step",
    doc: "Changes the user from here on.",
    fields: &[required("user", OWNER, "Who runs commands."), optional("history", FREE, HISTORY)],
};

pub(super) static SHELL_STEP: Table = Table {
    name: "shell",
    called: "a `shell` step",
    doc: "Changes the shell from here on.",
    fields: &[
        required("shell", Kind::Texts(Grammar::Free), "What scripts are given to; `[]` is the default one."),
        optional("history", FREE, HISTORY),
    ],
};

pub(super) static HISTORY_STEP: Table = Table {
    name: "history",
    called: "a `history` step",
    doc: "Adds to the image's history, and changes nothing else.",
    fields: &[required("history", FREE, "What it says.")],
};

/// The tables of mounts; the first key of each is its kind.
pub(super) static MOUNTS: &[&Table] = &[&CACHE_MOUNT, &FROM_MOUNT, &SECRET_MOUNT, &SSH_MOUNT, &TMPFS_MOUNT];

pub(super) static CACHE_MOUNT: Table = Table {
    name: "cache",
    called: "a `cache` mount",
    doc: "A directory that stays from build to build.",
    fields: &[
        required("cache", Kind::Text(Grammar::Free), "Its name."),
        required("at", TO, "Where."),
        optional(
            "sharing",
            Kind::Word(SHARING),
            "Whether several steps may use it at a time, each gets one of its own, or they take turns. Default `shared`.",
        ),
        optional("owner", OWNER, "Its owner; of another owner it is another cache. Default `0:0`."),
        optional("mode", Kind::Mode, "Its mode; of another mode it is another cache. Default `0755`."),
        optional(
            "from",
            Kind::Text(Grammar::Source),
            "Where what is in it when it is made comes from, as in `copy`; of other first contents it is another cache. Default: nothing is.",
        ),
        optional("path", Kind::Text(Grammar::SourcePath), "Which path there. Default: all of it."),
        optional("writable", Kind::Flag, "Whether the step may write. Default `true`."),
    ],
};

pub(super) static FROM_MOUNT: Table = Table {
    name: "from",
    called: "a `from` mount",
    doc: "Files from elsewhere.",
    fields: &[
        required("from", Kind::Text(Grammar::Source), "From where, as in `copy`."),
        required("at", TO, "Where."),
        optional("path", Kind::Text(Grammar::SourcePath), "Which path there. Default: all of it."),
        optional("writable", Kind::Flag, "Whether the step may write; what it writes is thrown away. Default `false`."),
    ],
};

pub(super) static SECRET_MOUNT: Table = Table {
    name: "secret",
    called: "a `secret` mount",
    doc: "A secret that the caller gives with `--secret`, as a file or as a variable.",
    fields: &[
        required("secret", Kind::Name("a secret"), "Its name."),
        optional("at", TO, "Where. Default `/run/secrets/NAME`."),
        optional("env", Kind::Variable, "The variable to put it in, instead of a file."),
        optional("owner", OWNER, "The file's owner. Default `0:0`."),
        optional("mode", Kind::Mode, "The file's mode. Default `0400`."),
        optional("required", Kind::Flag, "Whether the step needs it. Default `true`."),
    ],
};

pub(super) static SSH_MOUNT: Table = Table {
    name: "ssh",
    called: "an `ssh` mount",
    doc: "The socket of an SSH agent that the caller gives with `--ssh`.",
    fields: &[
        required("ssh", Kind::Name("an agent"), "Its name, usually `default`."),
        optional("at", TO, "Where. Default: a place of the builder's choice, in `SSH_AUTH_SOCK`."),
        optional("owner", OWNER, "The socket's owner. Default: the user of the step."),
        optional("mode", Kind::Mode, "The socket's mode. Default `0600`."),
        optional("required", Kind::Flag, "Whether the step needs it. Default `true`."),
    ],
};

pub(super) static TMPFS_MOUNT: Table = Table {
    name: "tmpfs",
    called: "a `tmpfs` mount",
    doc: "An empty file system in memory.",
    fields: &[
        required("tmpfs", Kind::True, "`true`."),
        required("at", TO, "Where."),
        optional("size", Kind::Size, "Its size, such as `64MiB`. Default: half of the memory."),
    ],
};

pub(super) static IMAGE: Table = Table {
    name: "image",
    called: "an image",
    doc: "A stage's file system with what is to be known for running it. What is not set is the stage's.",
    fields: &[
        required("stage", Kind::Name("a stage"), "Whose file system it has."),
        optional("tags", Kind::Texts(Grammar::Tag), "Where `--push` pushes it."),
        optional(
            "platforms",
            Kind::Platforms,
            "What it is built for; several make an index. Default: the platform of the machine that builds.",
        ),
        optional("entrypoint", Kind::Texts(Grammar::Free), "The program and its first arguments; `[]` clears it."),
        optional(
            "cmd",
            Kind::Texts(Grammar::Free),
            "More arguments, or the program where there is no entrypoint; `[]` clears it. Setting `entrypoint` alone clears the `cmd` of the base.",
        ),
        optional("env", Kind::Env, "Variables added to the stage's; `false` takes one away."),
        optional("workdir", Kind::TextOrFalse(Grammar::Destination), "The working directory; `false` takes it away."),
        optional("user", Kind::TextOrFalse(Grammar::Owner), "Who runs the program; `false` takes it away."),
        optional(
            "expose",
            Kind::Texts(Grammar::Port),
            "Ports, instead of the base's; `[]` clears them, `\"...\"` in front keeps the base's.",
        ),
        optional(
            "volumes",
            Kind::Texts(Grammar::Volume),
            "Paths that get a volume, instead of the base's; `[]` clears them, `\"...\"` in front keeps the base's.",
        ),
        optional("labels", Kind::Labels, "Labels added to the base's; `false` takes one away."),
        optional("annotations", Kind::Annotations, "Remarks on the manifest."),
        optional("healthcheck", Kind::TableOrFalse(&HEALTHCHECK), "How to tell whether it is well; `false` takes the base's away."),
        optional("stop_signal", Kind::TextOrFalse(Grammar::Signal), "The signal that asks it to end; `false` takes the base's away."),
        optional("shell", Kind::Texts(Grammar::Free), "The shell that is noted in the image; `[]` clears it."),
        optional("author", Kind::Text(Grammar::Free), "Who made it."),
        optional(
            "onbuild",
            Kind::PlainList,
            "Docker's `ONBUILD` instructions for whoever builds on it, instead of the base's; `[]` clears them.",
        ),
        optional("format", Kind::Word(FORMAT), "The family of media types. Default `oci`."),
        optional(
            "compression",
            Kind::Word(COMPRESSION),
            "How its own layers are stored; `gzip-single` is for readers that stop after a file's first gzip member, and slower. Default `gzip`.",
        ),
    ],
};

pub(super) static HEALTHCHECK: Table = Table {
    name: "healthcheck",
    called: "a healthcheck",
    doc: "How to tell whether a container is well. Replaces the base's as a whole.",
    fields: &[
        required("test", Kind::Texts(Grammar::Free), "`[\"CMD\", PROGRAM, …]`, `[\"CMD-SHELL\", SCRIPT]` or `[\"NONE\"]`."),
        optional("interval", Kind::Duration, "Time between two checks."),
        optional("timeout", Kind::Duration, "Time that one check may take."),
        optional("start_period", Kind::Duration, "Time at the start in which failures do not count."),
        optional("start_interval", Kind::Duration, "Time between checks during the start."),
        optional("retries", Kind::Number(u32::MAX), "Failures in a row that make it unhealthy."),
    ],
};

/// Every table, in the order of the reference.
pub(super) static ALL: &[&Table] = &[
    &SPEC,
    &ARGUMENT,
    &CONTEXT,
    &STAGE,
    &RUN,
    &CACHE_MOUNT,
    &FROM_MOUNT,
    &SECRET_MOUNT,
    &SSH_MOUNT,
    &TMPFS_MOUNT,
    &COPY,
    &WRITE,
    &FETCH,
    &EXTRACT,
    &LINK,
    &MKDIR,
    &REMOVE,
    &ENV_STEP,
    &WORKDIR_STEP,
    &USER_STEP,
    &SHELL_STEP,
    &HISTORY_STEP,
    &IMAGE,
    &HEALTHCHECK,
];
