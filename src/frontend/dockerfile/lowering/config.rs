//! CMD, ENTRYPOINT, LABEL and their like: what stands in the config of an image and nowhere else.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Lowering;
use super::phrase::Phrase;
use super::run::verbatim;
use super::stage::InProgress;
use crate::diagnostic::{Diagnostic, Span};
use crate::frontend::dockerfile::diagnostics as say;
use crate::frontend::dockerfile::go;
use crate::frontend::dockerfile::instruction::{Check, CommandLine, Pair, Timing};
use crate::frontend::dockerfile::located::Located;
use crate::spec::words::{is_signal, parse_ports};
use crate::spec::{Healthcheck, HealthcheckTest, Setting, Spanned, Template, Text, Verb};

/// A text in terms of the environment of the stage's root; or why it cannot be said so, which matters only where an image has it.
pub(super) type Settled = Result<Text, Box<Diagnostic>>;

/// What instructions say of the config, from the root of a stage to the place where it has come.
#[derive(Debug, Clone, Default)]
pub(in crate::frontend::dockerfile) struct Config {
    pub(in crate::frontend::dockerfile) entrypoint: Option<Spanned<Vec<Text>>>,
    pub(in crate::frontend::dockerfile) cmd: Option<Spanned<Vec<Text>>>,
    pub(super) expose: Vec<Settled>,
    pub(super) volumes: Vec<Settled>,
    pub(super) labels: BTreeMap<String, Settled>,
    pub(in crate::frontend::dockerfile) healthcheck: Option<Spanned<Healthcheck>>,
    pub(super) stop_signal: Option<Settled>,
    pub(in crate::frontend::dockerfile) author: Option<Text>,
}

/// An entry of the history and nothing else.
fn note(stage: &mut InProgress, history: Phrase, span: Span) {
    stage.push(Verb::Setting(Setting::History(history.at(span))), None, span);
}

impl Lowering<'_> {
    fn words(stage: &InProgress, command: &CommandLine, span: Span) -> (Spanned<Vec<Text>>, String) {
        match command {
            CommandLine::Exec(words) => {
                let texts = words.iter().map(verbatim).collect();
                (Spanned::new(texts, span), go::quoted(words.iter().map(Located::as_str)))
            }
            CommandLine::Shell(text) => {
                let texts = stage.shell_texts(span).into_iter().chain([verbatim(text)]).collect();
                let shell = stage.shell_words();
                (Spanned::new(texts, span), go::quoted(shell.iter().map(String::as_str).chain([text.as_str()])))
            }
        }
    }

    pub(super) fn cmd(&mut self, stage: &mut InProgress, command: &CommandLine, span: Span) {
        let (words, quoted) = Self::words(stage, command, span);
        stage.config.cmd = Some(words);
        stage.has_cmd = true;
        note(stage, Phrase::new("CMD ").text(&quoted), span);
    }

    pub(super) fn entrypoint(&mut self, stage: &mut InProgress, command: &CommandLine, span: Span) {
        let (words, quoted) = Self::words(stage, command, span);
        stage.config.entrypoint = Some(words);
        if !stage.has_cmd {
            // What the base runs is for the base's entrypoint.
            stage.config.cmd = Some(Spanned::new(Vec::new(), span));
        }
        note(stage, Phrase::new("ENTRYPOINT ").text(&quoted), span);
    }

    pub(super) fn label(&mut self, stage: &mut InProgress, pairs: &[Pair], span: Span) {
        let mut history = Phrase::new("LABEL");
        for pair in pairs {
            let Some(name) = self.key(stage, &pair.name, "a label") else { continue };
            let Some(both) = self.both(stage, &pair.value) else { continue };
            history = history.text(&format!(" {name}=")).template(&both.here);
            let place = both.here.span;
            stage.config.labels.insert(name, both.deep.map(|template| Spanned::new(template, place)));
        }
        note(stage, history, span);
    }

    pub(super) fn expose(&mut self, stage: &mut InProgress, ports: &[Located], span: Span) {
        let mut ports: Vec<&Located> = ports.iter().collect();
        ports.sort_by_key(|port| port.as_str());
        let mut history = Vec::new();
        for port in ports {
            let Some(both) = self.both(stage, port) else { continue };
            let place = both.here.span;
            let Some(literal) = both.deep.as_ref().ok().and_then(Template::as_literal) else {
                history.push(both.here.value);
                let settled = both.deep.map(|template| Spanned::new(template, place));
                stage.config.expose.push(settled);
                continue;
            };
            for word in literal.split_whitespace() {
                let Some((text, ports)) = exposed(word) else {
                    let message = format!("`{word}` is not a port: expected a number or a range, and `/tcp`, `/udp` or `/sctp` if need be");
                    self.report(say::syntax(place, message));
                    continue;
                };
                history.extend(ports.into_iter().map(Template::literal));
                stage.config.expose.push(Ok(super::from::literal(&text, place)));
            }
        }
        note(stage, listed("EXPOSE", &history), span);
    }

    pub(super) fn volume(&mut self, stage: &mut InProgress, paths: &[Located], span: Span) {
        let mut history = Vec::new();
        for path in paths {
            self.warn_of_shell(path);
            let Some(both) = self.both(stage, path) else { continue };
            let place = both.here.span;
            if let Some(literal) = both.deep.as_ref().ok().and_then(Template::as_literal)
                && !literal.starts_with('/')
            {
                if literal.is_empty() {
                    self.report(say::syntax(place, "the path of a volume is empty"));
                    continue;
                }
                self.report(say::relative_volume(place, literal));
            }
            history.push(both.here.value);
            stage.config.volumes.push(both.deep.map(|template| Spanned::new(template, place)));
        }
        note(stage, listed("VOLUME", &history), span);
    }

    pub(super) fn stop_signal(&mut self, stage: &mut InProgress, signal: &Located, span: Span) {
        let Some(both) = self.both(stage, signal) else { return };
        let place = both.here.span;
        let settled = match both.deep.as_ref().ok().and_then(Template::as_literal) {
            None => both.deep.map(|template| Spanned::new(template, place)),
            Some(literal) => {
                let upper = literal.to_ascii_uppercase();
                let full = format!("SIG{}", upper.strip_prefix("SIG").unwrap_or(&upper));
                let known = |signal: &String| is_signal(signal) && (!signal.starts_with("SIG") || is_known_signal(signal));
                match [literal.to_owned(), full].into_iter().find(known) {
                    Some(signal) => Ok(super::from::literal(&signal, place)),
                    None => {
                        self.report(say::syntax(place, format!("`{literal}` is not a signal: expected such as `SIGTERM` or `15`")));
                        return;
                    }
                }
            }
        };
        stage.config.stop_signal = Some(settled);
        note(stage, Phrase::new("STOPSIGNAL").word(&both.here), span);
    }

    pub(super) fn healthcheck(&mut self, stage: &mut InProgress, check: &Check, span: Span) {
        let mut healthcheck = Healthcheck {
            test: Spanned::new(HealthcheckTest::Off, span),
            interval: None,
            timeout: None,
            start_period: None,
            start_interval: None,
            retries: None,
        };
        let mut nanoseconds = [0u64; 4];
        let mut tries = 0;
        let mut said = "NONE".to_owned();
        if let Check::Command { command, timings, retries } = check {
            let (test, words) = match command {
                CommandLine::Exec(words) => {
                    let texts = words.iter().map(verbatim).collect();
                    let words = words.iter().map(Located::as_str).collect::<Vec<_>>().join(" ");
                    (HealthcheckTest::Exec(texts), format!("CMD {words}"))
                }
                CommandLine::Shell(text) => (HealthcheckTest::Script(verbatim(text)), format!("CMD-SHELL {}", text.as_str())),
            };
            healthcheck.test = Spanned::new(test, span);
            said = words;
            for (timing, text) in timings {
                let (place, flag, slot) = match timing {
                    Timing::Interval => (&mut healthcheck.interval, "interval", 0),
                    Timing::Timeout => (&mut healthcheck.timeout, "timeout", 1),
                    Timing::StartPeriod => (&mut healthcheck.start_period, "start-period", 2),
                    Timing::StartInterval => (&mut healthcheck.start_interval, "start-interval", 3),
                };
                match go::duration(text.as_str()) {
                    Some(0) => {}
                    Some(found) if found >= 1_000_000 => {
                        *place = Some(Spanned::new(Duration::from_nanos(found), text.whole()));
                        nanoseconds[slot] = found;
                    }
                    Some(_) => self.report(say::bad_flag(text.whole(), flag, "it is at least `1ms`, or `0` for the usual")),
                    None => self.report(say::bad_flag(text.whole(), flag, "expected numbers with units, such as `30s` or `1m30s`")),
                }
            }
            if let Some(text) = retries {
                match text.as_str().parse::<u32>().ok().filter(|count| i32::try_from(*count).is_ok()) {
                    Some(0) => {}
                    Some(count) => {
                        healthcheck.retries = Some(Spanned::new(count, text.whole()));
                        tries = count;
                    }
                    None => self.report(say::bad_flag(text.whole(), "retries", "expected a number")),
                }
            }
        }
        let [interval, timeout, period, start] = nanoseconds.map(go::write_duration);
        let history = format!(
            "HEALTHCHECK {{Test:[{said}] Interval:{interval} Timeout:{timeout} StartPeriod:{period} StartInterval:{start} Retries:{tries}}}"
        );
        stage.config.healthcheck = Some(Spanned::new(healthcheck, span));
        note(stage, Phrase::new(&history), span);
    }

    pub(super) fn maintainer(&mut self, stage: &mut InProgress, name: &Located, span: Span) {
        stage.config.author = Some(verbatim(name));
        note(stage, Phrase::new("MAINTAINER ").text(name.as_str()), span);
    }
}

/// The signals that Docker knows by name, without `SIG`; beside them there are those from `RTMIN` to `RTMAX`.
const SIGNALS: [&str; 34] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL", "PROF", "PWR", "QUIT",
    "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "UNUSED", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU",
];

fn is_known_signal(signal: &str) -> bool {
    let bare = signal.strip_prefix("SIG").unwrap_or(signal);
    SIGNALS.contains(&bare) || bare == "XFSZ" || bare.starts_with("RTM")
}

/// `EXPOSE [80/tcp 443/tcp]`.
fn listed(keyword: &str, words: &[Template]) -> Phrase {
    let mut phrase = Phrase::new(keyword).text(" [");
    for (place, word) in words.iter().enumerate() {
        phrase = phrase.text(if place == 0 { "" } else { " " }).template(word);
    }
    phrase.text("]")
}

/// A port or a range as a spec has it, with the ports that it is. What may stand before colons says where a host would listen, which is
/// nothing to an image.
fn exposed(word: &str) -> Option<(String, Vec<String>)> {
    let word = word.rsplit(':').next().unwrap_or(word).to_ascii_lowercase();
    let word = word.strip_suffix('/').unwrap_or(&word);
    let ports = parse_ports(word)?;
    Some((word.to_owned(), ports))
}
