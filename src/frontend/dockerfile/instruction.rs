//! One logical line in, one instruction out, or everything that is wrong with it. Variables are still in the words.

use super::diagnostics as say;
use super::flags::Flags;
use super::heredoc::Heredoc;
use super::lines::Line;
use super::located::Located;
use super::split::{self, Json, Split};
use crate::diagnostic::{Diagnostic, Span};

/// An instruction and its place.
#[derive(Debug, Clone)]
pub(super) struct Instruction {
    /// What it says.
    pub(super) kind: Kind,
    /// The keyword.
    pub(super) keyword: Span,
    /// All of the logical line.
    pub(super) span: Span,
}

/// What an instruction says.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// FROM.
    From(From),
    /// ARG.
    Arg(Vec<ArgPair>),
    /// ENV.
    Env(Vec<Pair>),
    /// LABEL.
    Label(Vec<Pair>),
    /// RUN.
    Run(Run),
    /// CMD.
    Cmd(CommandLine),
    /// ENTRYPOINT.
    Entrypoint(CommandLine),
    /// SHELL.
    Shell(Vec<Located>),
    /// COPY, and ADD.
    Copy(Copy),
    /// WORKDIR.
    Workdir(Located),
    /// USER.
    User(Located),
    /// EXPOSE.
    Expose(Vec<Located>),
    /// VOLUME.
    Volume(Vec<Located>),
    /// STOPSIGNAL.
    StopSignal(Located),
    /// HEALTHCHECK.
    Healthcheck(Check),
    /// ONBUILD.
    OnBuild(Box<Trigger>),
    /// MAINTAINER.
    Maintainer(Located),
}

/// The start of a stage.
#[derive(Debug, Clone)]
pub(super) struct From {
    pub(super) base: Located,
    pub(super) name: Option<Located>,
    pub(super) platform: Option<Located>,
}

/// A name, and what it is worth when nobody says.
#[derive(Debug, Clone)]
pub(super) struct ArgPair {
    pub(super) name: Located,
    pub(super) default: Option<Located>,
}

/// A name and its value.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) name: Located,
    pub(super) value: Located,
}

/// The two forms of a command.
#[derive(Debug, Clone)]
pub(super) enum CommandLine {
    /// For the shell.
    Shell(Located),
    /// A program and its arguments.
    Exec(Vec<Located>),
}

/// RUN.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) command: CommandLine,
    /// What stands behind each `--mount=`.
    pub(super) mounts: Vec<Located>,
    pub(super) network: Option<Located>,
    pub(super) heredocs: Vec<Heredoc>,
}

/// COPY or ADD.
#[derive(Debug, Clone)]
pub(super) struct Copy {
    pub(super) keyword: CopyKeyword,
    pub(super) sources: Vec<Located>,
    pub(super) heredocs: Vec<Heredoc>,
    pub(super) destination: Located,
    pub(super) from: Option<Located>,
    pub(super) chown: Option<Located>,
    pub(super) chmod: Option<Located>,
    pub(super) exclude: Vec<Located>,
    pub(super) parents: bool,
    pub(super) checksum: Option<Located>,
    pub(super) keep_git_dir: Option<bool>,
    pub(super) unpack: Option<bool>,
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CopyKeyword {
    Copy,
    Add,
}

/// HEALTHCHECK.
#[derive(Debug, Clone)]
pub(super) enum Check {
    /// Nothing, not even the base's.
    None,
    /// This.
    Command { command: CommandLine, timings: Vec<(Timing, Located)>, retries: Option<Located> },
}

/// The options of HEALTHCHECK that are durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timing {
    Interval,
    Timeout,
    StartPeriod,
    StartInterval,
}

/// What ONBUILD keeps.
#[derive(Debug, Clone)]
pub(super) struct Trigger {
    /// The text of the instruction, here-documents at its end.
    pub(super) text: Located,
    /// The instruction itself.
    pub(super) instruction: Instruction,
}

/// The keywords, sorted.
const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Reads a line; `None` where what is wrong with it was reported.
pub(super) fn read(line: &Line, escape: char, report: &mut dyn FnMut(Diagnostic)) -> Option<Instruction> {
    let Split { keyword, flags, rest } = split::split(&line.text);
    let upper = keyword.as_str().to_ascii_uppercase();
    let Some(known) = KEYWORDS.into_iter().find(|known| *known == upper) else {
        report(say::unknown_instruction(keyword.whole(), keyword.as_str(), &KEYWORDS));
        return None;
    };
    let flags = Flags::new(known, flags);
    let mut reader = Reader { keyword: known, place: keyword.whole(), rest, escape, line, report };
    let kind = reader.kind(flags)?;
    Some(Instruction { kind, keyword: keyword.whole(), span: line.text.whole() })
}

struct Reader<'r> {
    keyword: &'static str,
    place: Span,
    rest: Located,
    escape: char,
    line: &'r Line,
    report: &'r mut dyn FnMut(Diagnostic),
}

impl Reader<'_> {
    fn kind(&mut self, mut flags: Flags) -> Option<Kind> {
        // What flags say is read before what is wrong with them is reported, so that every one that is known counts as such.
        let kind = match self.keyword {
            "FROM" => self.from(&mut flags),
            "RUN" => self.run(&mut flags),
            "COPY" => self.copy(CopyKeyword::Copy, &mut flags),
            "ADD" => self.copy(CopyKeyword::Add, &mut flags),
            "HEALTHCHECK" => self.healthcheck(&mut flags),
            "ARG" => self.arg(),
            "ENV" => self.pairs().map(Kind::Env),
            "LABEL" => self.pairs().map(Kind::Label),
            "CMD" => self.command().map(Kind::Cmd),
            "ENTRYPOINT" => self.command().map(Kind::Entrypoint),
            "SHELL" => self.shell(),
            "WORKDIR" => self.one("a path").map(Kind::Workdir),
            "USER" => self.one("a user").map(Kind::User),
            "STOPSIGNAL" => self.one("a signal").map(Kind::StopSignal),
            "MAINTAINER" => self.one("a name").map(Kind::Maintainer),
            "EXPOSE" => self.several("a port").map(Kind::Expose),
            "VOLUME" => self.list("a path").map(Kind::Volume),
            _ => self.onbuild(),
        };
        flags.finish(self.report);
        kind
    }

    fn wrong<T>(&mut self, span: Span, message: String) -> Option<T> {
        (self.report)(say::syntax(span, message));
        None
    }

    fn needs<T>(&mut self, what: &str) -> Option<T> {
        self.wrong(self.place, format!("{} needs {what}", self.keyword))
    }

    fn one(&mut self, what: &str) -> Option<Located> {
        if self.rest.is_empty() {
            return self.needs(what);
        }
        Some(self.rest.clone())
    }

    fn several(&mut self, what: &str) -> Option<Vec<Located>> {
        let words = split::blanks(&self.rest);
        if words.is_empty() {
            return self.needs(what);
        }
        Some(words)
    }

    /// Words, or a JSON array.
    fn list(&mut self, what: &str) -> Option<Vec<Located>> {
        match self.json()? {
            Some(words) if words.is_empty() => self.needs(what),
            Some(words) => Some(words),
            None => self.several(what),
        }
    }

    /// The JSON form, if it is one.
    fn json(&mut self) -> Option<Option<Vec<Located>>> {
        match split::json(&self.rest) {
            Json::Strings(strings) => Some(Some(strings)),
            Json::NotStrings => self.wrong(self.rest.whole(), "a JSON form must hold nothing but strings".to_owned()),
            Json::None => {
                if split::looks_like_json(self.rest.as_str()) {
                    (self.report)(say::json_form(self.rest.whole(), self.keyword));
                }
                Some(None)
            }
        }
    }

    fn command(&mut self) -> Option<CommandLine> {
        Some(match self.json()? {
            Some(words) => CommandLine::Exec(words),
            None if self.rest.is_empty() => return self.needs("a command"),
            None => CommandLine::Shell(self.rest.clone()),
        })
    }

    fn from(&mut self, flags: &mut Flags) -> Option<Kind> {
        let platform = flags.value("platform", self.report);
        let words = split::blanks(&self.rest);
        let (base, name) = match words.as_slice() {
            [base] => (base.clone(), None),
            [base, word, name] if word.as_str().eq_ignore_ascii_case("as") => (base.clone(), Some(name.clone())),
            [] => return self.needs("an image, a stage or `scratch`"),
            [_, behind @ ..] => {
                let place = behind.first().map_or(self.place, Located::whole);
                return self.wrong(place, "expected the end of the line, or `AS` and a name for the stage".to_owned());
            }
        };
        if let Some(name) = &name {
            let text = name.as_str().to_ascii_lowercase();
            let good = text.starts_with(|first: char| first.is_ascii_lowercase())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
            if !good || text.len() > 100 {
                let message = format!(
                    "`{}` cannot be the name of a stage: expected letters, digits, `-`, `_` and `.`, a letter first",
                    name.as_str()
                );
                return self.wrong(name.whole(), message);
            }
        }
        Some(Kind::From(From { base, name, platform }))
    }

    fn run(&mut self, flags: &mut Flags) -> Option<Kind> {
        let mounts = flags.values("mount", self.report);
        let network = flags.value("network", self.report);
        for flag in ["security", "device"] {
            let Some(value) = flags.value(flag, self.report) else { continue };
            if flag != "security" || value.as_str() != "sandbox" {
                let message = format!("`--{flag}={}` gives a step what no sandbox here can give", value.as_str());
                (self.report)(say::cannot_express(value.whole(), message));
            }
        }
        let command = self.command()?;
        if let CommandLine::Exec(words) = &command
            && words.is_empty()
        {
            return self.needs("a command");
        }
        Some(Kind::Run(Run { command, mounts, network, heredocs: self.line.heredocs.clone() }))
    }

    fn copy(&mut self, keyword: CopyKeyword, flags: &mut Flags) -> Option<Kind> {
        let chown = flags.value("chown", self.report);
        let chmod = flags.value("chmod", self.report);
        let exclude = flags.values("exclude", self.report);
        // How layers are put together changes nothing of what is in them.
        let _ = flags.switch("link", self.report);
        let (mut from, mut parents, mut checksum, mut keep_git_dir, mut unpack) = (None, None, None, None, None);
        match keyword {
            CopyKeyword::Copy => {
                from = flags.value("from", self.report);
                parents = flags.switch("parents", self.report);
            }
            CopyKeyword::Add => {
                checksum = flags.value("checksum", self.report);
                keep_git_dir = flags.switch("keep-git-dir", self.report);
                unpack = flags.switch("unpack", self.report);
            }
        }
        let mut words = self.list("a source and a destination")?;
        let destination = words.pop()?;
        if words.is_empty() {
            return self.wrong(destination.whole(), format!("{} needs a destination after the source", self.keyword));
        }
        let heredocs = self.line.heredocs.clone();
        if !heredocs.is_empty() && super::heredoc::parse(&destination).is_some() {
            return self.wrong(destination.whole(), "a here-document cannot be the destination".to_owned());
        }
        if !heredocs.is_empty() {
            words.retain(|word| !heredocs.iter().any(|heredoc| overlap(heredoc.span, word.whole())));
        }
        Some(Kind::Copy(Copy {
            keyword,
            sources: words,
            heredocs,
            destination,
            from,
            chown,
            chmod,
            exclude,
            parents: parents.unwrap_or(false),
            checksum,
            keep_git_dir,
            unpack,
        }))
    }

    fn arg(&mut self) -> Option<Kind> {
        let words = split::shell_words(&self.rest, self.escape);
        if words.is_empty() {
            return self.needs("a name");
        }
        let mut pairs = Vec::new();
        for word in words {
            let (name, default) = match word.as_str().find('=') {
                Some(equals) => (word.slice(0..equals), Some(word.slice(equals + 1..word.as_str().len()))),
                None => (word.clone(), None),
            };
            if name.is_empty() {
                return self.wrong(word.whole(), "expected a name before `=`".to_owned());
            }
            pairs.push(ArgPair { name, default });
        }
        Some(Kind::Arg(pairs))
    }

    /// `NAME=VALUE …`, or the old `NAME VALUE`.
    fn pairs(&mut self) -> Option<Vec<Pair>> {
        let words = split::shell_words(&self.rest, self.escape);
        let Some(first) = words.first() else { return self.needs("a name and a value") };
        if !first.as_str().contains('=') {
            let text = self.rest.as_str();
            let Some(end) = text.find(split::is_blank) else {
                return self.wrong(first.whole(), format!("expected `=` and a value after `{}`", first.as_str()));
            };
            let value = self.rest.slice(end..text.len()).trimmed();
            let name = self.rest.slice(0..end);
            (self.report)(say::legacy_pair(self.rest.whole(), self.keyword, name.as_str()));
            return Some(vec![Pair { name, value }]);
        }
        let mut pairs = Vec::new();
        let mut good = true;
        for word in words {
            match word.as_str().find('=') {
                Some(0) => good = self.wrong(word.whole(), "expected a name before `=`".to_owned()).unwrap_or(false),
                Some(equals) => pairs.push(Pair { name: word.slice(0..equals), value: word.slice(equals + 1..word.as_str().len()) }),
                None => {
                    let message = format!("expected `=` in `{}`; a value with spaces stands in quotes", word.as_str());
                    good = self.wrong(word.whole(), message).unwrap_or(false);
                }
            }
        }
        good.then_some(pairs)
    }

    fn shell(&mut self) -> Option<Kind> {
        match self.json()? {
            Some(words) if words.is_empty() => self.needs("a program"),
            Some(words) => Some(Kind::Shell(words)),
            None => self.wrong(self.rest.whole(), "SHELL needs the JSON form, such as `SHELL [\"/bin/bash\", \"-c\"]`".to_owned()),
        }
    }

    fn healthcheck(&mut self, flags: &mut Flags) -> Option<Kind> {
        let timings: Vec<(Timing, Located)> = [
            (Timing::Interval, "interval"),
            (Timing::Timeout, "timeout"),
            (Timing::StartPeriod, "start-period"),
            (Timing::StartInterval, "start-interval"),
        ]
        .into_iter()
        .filter_map(|(timing, flag)| flags.value(flag, self.report).map(|value| (timing, value)))
        .collect();
        let retries = flags.value("retries", self.report);
        let text = self.rest.as_str();
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let word = self.rest.slice(0..end);
        let behind = self.rest.slice(end..text.len()).trimmed();
        match word.as_str().to_ascii_uppercase().as_str() {
            "NONE" if behind.is_empty() => Some(Kind::Healthcheck(Check::None)),
            "NONE" => self.wrong(behind.whole(), "HEALTHCHECK NONE takes nothing more".to_owned()),
            "CMD" => {
                if behind.is_empty() {
                    return self.wrong(word.whole(), "HEALTHCHECK CMD needs a command".to_owned());
                }
                let whole = std::mem::replace(&mut self.rest, behind);
                let command = self.command();
                self.rest = whole;
                let command = command?;
                if matches!(&command, CommandLine::Exec(words) if words.is_empty()) {
                    return self.wrong(word.whole(), "HEALTHCHECK CMD needs a command".to_owned());
                }
                Some(Kind::Healthcheck(Check::Command { command, timings, retries }))
            }
            "" => self.needs("`CMD` or `NONE`"),
            other => self.wrong(word.whole(), format!("HEALTHCHECK takes `CMD` or `NONE`, not `{other}`")),
        }
    }

    fn onbuild(&mut self) -> Option<Kind> {
        if self.rest.is_empty() {
            return self.needs("an instruction");
        }
        let inner = split::split(&self.rest);
        let keyword = inner.keyword.as_str().to_ascii_uppercase();
        if matches!(keyword.as_str(), "ONBUILD" | "FROM" | "MAINTAINER") {
            return self.wrong(inner.keyword.whole(), format!("ONBUILD cannot keep {keyword}"));
        }
        let line = Line { text: self.rest.clone(), heredocs: self.line.heredocs.clone() };
        let instruction = read(&line, self.escape, self.report)?;
        let mut text = self.rest.clone();
        for heredoc in &line.heredocs {
            // The line ends are not where they stand, but what follows is.
            text = Located::fixed(format!("{}\n{}{}", text.as_str(), heredoc.body.as_str(), heredoc.name), text.whole());
        }
        Some(Kind::OnBuild(Box::new(Trigger { text, instruction })))
    }
}

/// Whether two places share a byte.
fn overlap(first: Span, second: Span) -> bool {
    first.source == second.source && first.start < second.end && second.start < first.end
}
