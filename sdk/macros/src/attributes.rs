//! The attributes that an author may put on a method: ours, and those of Rust
//! that cannot change what the method is.

use syn::spanned::Spanned;
use syn::{Attribute, Error, Expr, ExprLit, Lit, Meta};

/// What a method is marked as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mark {
    Query,
    Update,
    Init,
    Handler,
    Migrate,
    BeforeUpgrade,
    AfterUpgrade,
    Inspect,
    Stop,
    LowMemory,
}

impl Mark {
    /// Whether it marks what the server tells of by itself, at moments of a context's life.
    pub(crate) fn is_hook(self) -> bool {
        match self {
            Mark::Migrate
            | Mark::BeforeUpgrade
            | Mark::AfterUpgrade
            | Mark::Inspect
            | Mark::Stop
            | Mark::LowMemory => true,
            Mark::Query | Mark::Update | Mark::Init | Mark::Handler => false,
        }
    }

    /// Whether what it marks may write.
    pub(crate) fn may_write(self) -> bool {
        !matches!(self, Mark::Query | Mark::Inspect | Mark::LowMemory)
    }

    fn of(attribute: &Attribute) -> Option<Mark> {
        let name = attribute.path().get_ident()?.to_string();
        match name.as_str() {
            "query" => Some(Mark::Query),
            "update" => Some(Mark::Update),
            "init" => Some(Mark::Init),
            "handler" => Some(Mark::Handler),
            "migrate" => Some(Mark::Migrate),
            "before_upgrade" => Some(Mark::BeforeUpgrade),
            "after_upgrade" => Some(Mark::AfterUpgrade),
            "inspect" => Some(Mark::Inspect),
            "stop" => Some(Mark::Stop),
            "low_memory" => Some(Mark::LowMemory),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Mark::Query => "query",
            Mark::Update => "update",
            Mark::Init => "init",
            Mark::Handler => "handler",
            Mark::Migrate => "migrate",
            Mark::BeforeUpgrade => "before_upgrade",
            Mark::AfterUpgrade => "after_upgrade",
            Mark::Inspect => "inspect",
            Mark::Stop => "stop",
            Mark::LowMemory => "low_memory",
        }
    }
}

/// Attributes that may stand beside ours.
const HARMLESS: [&str; 13] = [
    "allow",
    "cold",
    "deny",
    "deprecated",
    "doc",
    "expect",
    "forbid",
    "inline",
    "must_use",
    "track_caller",
    "warn",
    "clippy",
    "rustfmt",
];

/// Takes our marks out of `attributes` and returns the one there is.
pub(crate) fn take_mark(attributes: &mut Vec<Attribute>) -> syn::Result<Option<Mark>> {
    let mut found: Option<Mark> = None;
    let mut problem: Option<Error> = None;
    let mut report = |error: Error| match &mut problem {
        Some(problem) => problem.combine(error),
        None => problem = Some(error),
    };
    attributes.retain(|attribute| {
        let Some(mark) = Mark::of(attribute) else {
            return true;
        };
        if !matches!(attribute.meta, Meta::Path(_)) {
            let message = format!("`#[{}]` takes no arguments", mark.name());
            report(Error::new(attribute.span(), message));
        }
        if let Some(first) = found {
            let message = format!(
                "a method has one mark, but this one is `#[{}]` and `#[{}]`",
                first.name(),
                mark.name()
            );
            report(Error::new(attribute.span(), message));
        }
        found = Some(mark);
        false
    });
    for attribute in attributes.iter() {
        if let Some(error) = refusal(attribute, found) {
            report(error);
        }
    }
    match problem {
        Some(problem) => Err(problem),
        None => Ok(found),
    }
}

fn refusal(attribute: &Attribute, mark: Option<Mark>) -> Option<Error> {
    let path = attribute.path();
    let first = path.segments.first()?.ident.to_string();
    if HARMLESS.contains(&first.as_str()) {
        return None;
    }
    if first == "cfg" || first == "cfg_attr" {
        // An unmarked method may come and go; a marked one is in the description.
        mark?;
        let message = "a method cannot depend on `cfg`: put the condition inside it";
        return Some(Error::new(attribute.span(), message));
    }
    if path.segments.len() > 1 && mark.is_none() {
        return None;
    }
    let written = path
        .segments
        .iter()
        .map(|segment| segment.ident.to_string())
        .collect::<Vec<_>>()
        .join("::");
    let message = format!(
        "unknown attribute `#[{written}]`: methods are marked `#[query]`, `#[update]` or `#[init]`"
    );
    Some(Error::new(attribute.span(), message))
}

/// The doc comment among `attributes`, one line per line, without the space
/// that usually follows `///`.
pub(crate) fn doc(attributes: &[Attribute]) -> String {
    let mut doc = String::new();
    for attribute in attributes {
        if !attribute.path().is_ident("doc") {
            continue;
        }
        if let Meta::NameValue(pair) = &attribute.meta
            && let Expr::Lit(ExprLit {
                lit: Lit::Str(line),
                ..
            }) = &pair.value
        {
            let line = line.value();
            doc.push_str(line.strip_prefix(' ').unwrap_or(&line));
            doc.push('\n');
        }
    }
    doc.truncate(doc.trim_end().len());
    doc
}
