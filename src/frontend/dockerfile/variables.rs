//! The variables that are seen at one place of a stage: what ARG and ENV set, the last of them counts, and what the base may bring.

use std::collections::BTreeMap;

use super::value::{Inexpressible, Value, each_env};
use crate::spec::words::is_variable;
use crate::spec::{Piece, Reference, Referent, Spanned, Template};

/// What a step's PATH is where the base says nothing: Docker's.
pub(super) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a stage started from, all stages between left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    /// Nothing: no variable but the ones of this file.
    Scratch,
    /// An image, whose variables are not known.
    Image,
}

/// The variables at one place.
#[derive(Debug, Clone)]
pub(super) struct Variables {
    root: Root,
    known: BTreeMap<String, Known>,
    /// When each was last written by ENV, since the root.
    written: BTreeMap<String, u32>,
    now: u32,
    /// The names of all ARGs, in the order of their first, as the history lists them.
    pub(super) arguments: Vec<String>,
}

#[derive(Debug, Clone, Default)]
struct Known {
    /// Set by ENV; with what it is in terms of the root's environment, where that can be said.
    env: Option<Option<Value>>,
    /// Set by ARG after that.
    arg: Option<Bound>,
}

/// A value, and what must hold for it to be the same later.
#[derive(Debug, Clone)]
struct Bound {
    /// In terms of the environment when it was set.
    here: Value,
    at: u32,
    /// In terms of the root's environment, where that can be said.
    deep: Option<Value>,
}

impl Variables {
    /// Those of a stage that starts from an image or from nothing.
    pub(super) fn new(root: Root) -> Variables {
        Variables { root, known: BTreeMap::new(), written: BTreeMap::new(), now: 0, arguments: Vec::new() }
    }

    /// Those that a stage begins with that starts where this one ends: what is in the image's environment counts again.
    pub(super) fn of_child(&self) -> Variables {
        let mut child = self.clone();
        for (name, known) in &mut child.known {
            if known.env.is_some() {
                known.arg = None;
            } else if let (Root::Image, Some(bound)) = (self.root, &mut known.arg) {
                let behind = |value: &Value| Value::Maybe(Referent::Env(name.clone()), Box::new(value.clone()));
                let wrapped = matches!(&bound.here, Value::Maybe(Referent::Env(first), _) if first == name);
                if !wrapped {
                    bound.here = behind(&bound.here);
                    bound.deep = bound.deep.as_ref().map(behind);
                }
            }
        }
        child
    }

    pub(super) const fn root(&self) -> Root {
        self.root
    }

    /// Whether ARG or ENV has set it, or tried to.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.known.contains_key(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.known.keys().map(String::as_str)
    }

    /// What a variable is worth here, in terms of the environment here.
    pub(super) fn here(&self, name: &str) -> Result<Value, Inexpressible> {
        match self.known.get(name) {
            Some(Known { arg: Some(bound), .. }) => self.still(name, bound),
            Some(Known { env: Some(_), arg: None }) => Ok(Value::Of(Referent::Env(name.to_owned()))),
            Some(Known { env: None, arg: None }) | None => Ok(self.of_root(name)),
        }
    }

    /// What a variable is worth here, in terms of the environment that the stage's root has.
    pub(super) fn deep(&self, name: &str) -> Result<Value, Inexpressible> {
        let unknown = || Inexpressible::Because("what it is worth depends on too much that came before".to_owned());
        match self.known.get(name) {
            Some(Known { arg: Some(bound), .. }) => bound.deep.clone().ok_or_else(unknown),
            Some(Known { env: Some(deep), arg: None }) => deep.clone().ok_or_else(unknown),
            Some(Known { env: None, arg: None }) | None => Ok(self.of_root(name)),
        }
    }

    fn of_root(&self, name: &str) -> Value {
        match self.root {
            Root::Image if name == "PATH" => Value::Of(Referent::Env(name.to_owned())),
            Root::Image if is_variable(name) => Value::Maybe(Referent::Env(name.to_owned()), Box::new(Value::Unset)),
            Root::Image | Root::Scratch => Value::Unset,
        }
    }

    fn still(&self, name: &str, bound: &Bound) -> Result<Value, Inexpressible> {
        let mut good = true;
        bound.here.each_env(&mut |env| good &= self.written.get(env).is_none_or(|when| *when <= bound.at));
        if good {
            return Ok(bound.here.clone());
        }
        match &bound.deep {
            Some(deep) if self.never_written(deep) => Ok(deep.clone()),
            Some(_) | None => {
                let why = format!("`{name}` was made from a variable of the base image that has been changed since");
                Err(Inexpressible::Because(why))
            }
        }
    }

    fn never_written(&self, value: &Value) -> bool {
        let mut good = true;
        value.each_env(&mut |env| good &= !self.written.contains_key(env));
        good
    }

    /// Whether a template in terms of the root's environment says the same here: nothing that it refers to was written since.
    pub(super) fn is_of_root(&self, template: &Template) -> bool {
        let mut good = true;
        each_env(template, &mut |env| good &= !self.written.contains_key(env));
        good
    }

    /// Whether a template that was made at a time says the same here.
    pub(super) fn is_unchanged(&self, template: &Template, at: u32) -> bool {
        let mut good = true;
        each_env(template, &mut |env| good &= self.written.get(env).is_none_or(|when| *when <= at));
        good
    }

    /// How often ENV has written so far.
    pub(super) const fn now(&self) -> u32 {
        self.now
    }

    /// ENV sets it.
    pub(super) fn set_env(&mut self, name: &str, deep: Option<Template>) {
        self.now += 1;
        self.written.insert(name.to_owned(), self.now);
        self.known.insert(name.to_owned(), Known { env: Some(deep.map(Value::Text)), arg: None });
    }

    /// ARG declares it, and sets it where there is a value.
    pub(super) fn set_arg(&mut self, name: &str, here: Value, deep: Option<Value>) {
        if !self.arguments.iter().any(|known| known == name) {
            self.arguments.push(name.to_owned());
        }
        let bound = Bound { here, at: self.now, deep };
        self.known.entry(name.to_owned()).or_default().arg = Some(bound);
    }

    /// What ARG adds to the environment of a RUN, by name.
    pub(super) fn of_run(&self) -> Vec<(String, Result<Value, Inexpressible>)> {
        let args = self.known.iter().filter(|(name, known)| known.arg.is_some() && !NOT_IN_RUN.contains(&name.as_str()));
        args.map(|(name, _)| (name.clone(), self.here(name))).collect()
    }
}

/// ARGs that no RUN sees.
const NOT_IN_RUN: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// A reference as a template of its own.
pub(super) fn reference(referent: Referent, span: crate::diagnostic::Span) -> Template {
    Template::new([Piece::Reference(Spanned::new(Reference::to(referent), span))])
}
