//! Memory and start-up time with many contexts that nobody calls.
//!
//! The contexts are created over HTTP by a few clients at once. Memory is taken
//! from `/proc/PID/status` three times: with a single context, right after the
//! last one was created, and after a restart. `RssAnon` is what the process has
//! allocated; `RssFile` is mostly LMDB's map, pages that the kernel may drop at
//! any time.

use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow};
use serde_json::json;

use crate::figure::Fact;
use crate::run::{Found, Plan};
use crate::subject::{Kind, Subject, call_body};

/// Clients that create contexts at the same time, so that commits are shared.
const CLIENTS: usize = 32;

/// Resident memory in KiB.
#[derive(Clone, Copy)]
struct Resident {
    anon: u64,
    file: u64,
}

impl Resident {
    fn of(subject: &Subject) -> Result<Self> {
        Ok(Self {
            anon: subject.status("RssAnon")?,
            file: subject.status("RssFile")?,
        })
    }

    fn show_per_context(self, before: Self, contexts: usize) -> String {
        let per_context =
            |now: u64, before: u64| now.saturating_sub(before) as f64 * 1024.0 / contexts as f64;
        format!(
            "{:.0} bytes allocated, {:.0} bytes of mapped file ({:.1} and {:.1} MiB in all)",
            per_context(self.anon, before.anon),
            per_context(self.file, before.file),
            self.anon as f64 / 1024.0,
            self.file as f64 / 1024.0
        )
    }
}

pub(crate) fn idle_contexts(plan: &Plan) -> Result<Found> {
    let data = plan.scratch.join("idle");
    let start = || Subject::start(Kind::Corelet, &plan.programs, &data, &[]);
    // Installing compiles, and the compiler's memory would hide what contexts
    // take: so the empty server that the others are held against is a new one.
    let subject = start()?;
    let application = subject.install(&plan.kv)?;
    let one = subject.create_context(&application)?;
    subject.stop()?;
    let subject = start()?;
    let start_up_empty = subject.start_up();
    subject.call(&call_body(&one, "get", &json!({ "key": "k" })))?;
    let before = Resident::of(&subject)?;

    (plan.say)(&format!("idle: creating {} contexts", plan.contexts));
    let started = Instant::now();
    create(plan, &subject, &application)?;
    let creation = started.elapsed();
    let after = Resident::of(&subject)?;
    subject.stop()?;

    (plan.say)("idle: starting again with all of them");
    let subject = start()?;
    let start_up = subject.start_up();
    let started = Instant::now();
    subject.call(&call_body(&one, "get", &json!({ "key": "k" })))?;
    let first_call = started.elapsed();
    let restarted = Resident::of(&subject)?;
    subject.stop()?;

    let count = plan.contexts;
    let facts = vec![
        Fact::new(
            format!("creating {count} contexts"),
            format!(
                "{:.1} s, {:.0}/s",
                creation.as_secs_f64(),
                count as f64 / creation.as_secs_f64()
            ),
        ),
        Fact::new(
            "memory per context just created",
            after.show_per_context(before, count),
        ),
        Fact::new(
            "memory per idle context after a restart",
            restarted.show_per_context(before, count),
        ),
        Fact::new(
            "start-up until ready",
            format!(
                "{:.0} ms with {count} contexts, {:.0} ms with one",
                millis(start_up),
                millis(start_up_empty)
            ),
        ),
        Fact::new(
            "first call after the restart",
            format!("{:.1} ms", millis(first_call)),
        ),
    ];
    Ok(Found {
        figures: Vec::new(),
        facts,
    })
}

fn create(plan: &Plan, subject: &Subject, application: &str) -> Result<()> {
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let share = plan.contexts / CLIENTS + usize::from(client < plan.contexts % CLIENTS);
                scope.spawn(move || subject.create_contexts(application, share))
            })
            .collect();
        for client in clients {
            client
                .join()
                .map_err(|_| anyhow!("a creating client panicked"))??;
        }
        Ok(())
    })
}

fn millis(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
