//! What a host call costs a guest: from its instruction to the next, through the
//! component interface.
//!
//! Each method of `bench/guests/border.wat` calls one host function 900 times, and one
//! calls none, which is taken off. The state is a map in memory, so that storage shows the
//! border and not the store; what is read of stable memory is what its turn has come to before, once by host calls
//! and once as applications of the Rust SDK do, which keeps blocks (`find` of apps/tape). Beside each figure is the one that ICP has published for the
//! like (dfinity/ic, rs/execution_environment/benches/system_api/SYSTEM_API.md, and the article
//! on stable memory in dfinity/portal), measured on other machines: an anchor, no rival.
//!
//! Runs on the core that the server otherwise has.

use anyhow::{Context as _, Result};

use super::inside::{Caller, host, on_the_servers_core};
use crate::figure::{Fact, Series};
use crate::run::{Found, Plan};

const BORDER: &str = include_str!("../../guests/border.wat");

/// Calls of a method per sample, each of which makes this many host calls.
const CALLS_PER_SAMPLE: u32 = 20;
const HOST_CALLS: f64 = 900.0;

/// One host function.
struct Line {
    method: &'static str,
    what: &'static str,
    /// What ICP needs for the like, in nanoseconds, if that is published. At most twice as
    /// much is wanted.
    icp: Option<f64>,
}

const LINES: [Line; 11] = [
    Line {
        method: "time",
        what: "a number (context.now)",
        icp: Some(70.0),
    },
    Line {
        method: "copy",
        what: "32 bytes in (context.id)",
        icp: Some(150.0),
    },
    Line {
        method: "line",
        what: "a log line of 32 bytes",
        icp: Some(190.0),
    },
    Line {
        method: "get1",
        what: "storage.get of 1 byte",
        icp: None,
    },
    Line {
        method: "getk",
        what: "storage.get of 1 KiB",
        icp: None,
    },
    Line {
        method: "put1",
        what: "storage.set of 1 byte",
        icp: None,
    },
    Line {
        method: "putk",
        what: "storage.set of 1 KiB",
        icp: None,
    },
    Line {
        method: "srd1",
        what: "stable.read of 1 byte",
        icp: Some(26.0),
    },
    Line {
        method: "srdk",
        what: "stable.read of 1 KiB",
        icp: Some(36.0),
    },
    Line {
        method: "swr1",
        what: "stable.write of 1 byte",
        icp: Some(39.0),
    },
    Line {
        method: "swrk",
        what: "stable.write of 1 KiB",
        icp: Some(52.0),
    },
];

/// One length of what is read with the SDK, and what ICP needs for it.
const SDK_READS: [(&str, usize, f64); 2] = [("1 byte", 1, 26.0), ("1 KiB", 1024, 36.0)];

impl Line {
    fn is_stable(&self) -> bool {
        self.what.starts_with("stable")
    }
}

/// The application.
pub(super) fn guest() -> Result<Vec<u8>> {
    guest_with("")
}

/// The application with something more in its module.
pub(super) fn guest_with(more: &str) -> Result<Vec<u8>> {
    let end = BORDER.rfind(')').context("border.wat ends")?;
    let text = format!("{}{more})", &BORDER[..end]);
    let module = wat::parse_str(&text).context("assemble border.wat")?;
    let module = corelet_build::embed_world(&module)?;
    Ok(corelet_build::component_of(&module)?)
}

pub(crate) fn border(plan: &Plan) -> Result<Found> {
    on_the_servers_core(plan, measure)
}

fn measure(plan: &Plan) -> Result<Found> {
    (plan.say)("border: single host calls");
    let component = guest()?;
    let dir = plan.scratch.join("border");
    std::fs::create_dir_all(&dir)?;
    let module = host(&dir)?.load(&component).context("load border.wat")?;
    let mut caller = Caller::new(&module)?;
    // What is read has to be there.
    for method in ["put1", "putk"] {
        caller.call(method, b"{}")?;
    }
    // A state of its own, as one in memory has one space.
    let mut stable = Caller::new(&module)?;
    for method in ["grow", "swrk"] {
        stable.call(method, b"{}")?;
    }
    let mut tape = Caller::new(&host(&dir)?.load(&plan.tape).context("load tape.wasm")?)?;
    tape.call("record", br#"{"at":99000,"text":"x"}"#)?;
    let searches = SDK_READS.map(|(_, bytes, _)| {
        let args = |places: f64| {
            let text = "y".repeat(bytes);
            format!(r#"{{"text":"{text}","at":0,"count":{places}}}"#).leak()
        };
        [args(0.0), args(HOST_CALLS)].map(|args| args.as_bytes())
    });
    let mut sdk_nanos: [Series; SDK_READS.len()] = Default::default();
    let mut nanos: [Series; LINES.len()] = Default::default();
    for _ in 0..plan.rounds {
        for _ in 0..plan.samples {
            let without = caller.sample(CALLS_PER_SAMPLE, "none", b"{}")?;
            for (line, series) in LINES.iter().zip(&mut nanos) {
                let caller = match line.is_stable() {
                    true => &mut stable,
                    false => &mut caller,
                };
                let with = caller.sample(CALLS_PER_SAMPLE, line.method, b"{}")?;
                series.push((with - without) * 1_000.0 / HOST_CALLS);
            }
            for (args, series) in searches.iter().zip(&mut sdk_nanos) {
                let [without, with] = args.map(|args| tape.sample(CALLS_PER_SAMPLE, "find", args));
                series.push((with? - without?) * 1_000.0 / HOST_CALLS);
            }
        }
    }
    let sdk_facts = SDK_READS
        .iter()
        .zip(&sdk_nanos)
        .map(|((what, _, icp), series)| {
            let name = format!("one read with the SDK: stable::read of {what}");
            against_icp(name, series, *icp)
        });
    let facts = LINES.iter().zip(&nanos).map(|(line, series)| {
        let name = format!("one host call: {}", line.what);
        match line.icp {
            None => Fact::new(
                name,
                format!(
                    "{:.0} ns ({:.0}..{:.0})",
                    series.median(),
                    series.min(),
                    series.max()
                ),
            ),
            Some(icp) => against_icp(name, series, icp),
        }
    });
    Ok(Found {
        figures: Vec::new(),
        facts: facts.chain(sdk_facts).collect(),
    })
}

fn against_icp(name: String, series: &Series, icp: f64) -> Fact {
    let name = format!("{name} (published of ICP: {icp} ns)");
    Fact::at_most(name, series, "ns", 2.0 * icp, 0)
}
