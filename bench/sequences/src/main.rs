//! Sequence libraries side by side. `README.md` says how to run it and what
//! came out; `store/decisions/0009-sequence-library.md` what follows from it.
//!
//! Start at `replica.rs`, then the adapters in `libraries/`.

mod determinism;
mod libraries;
mod measure;
mod memory;
mod random;
mod replica;
mod robustness;
mod traces;

use measure::Figures;
use replica::{Edit, Kind, Replica};
use std::collections::BTreeMap;

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

/// What this program does with each library.
trait Visit {
    fn visit<R: Replica>(&mut self);
}

fn each(visitor: &mut impl Visit) {
    #[cfg(feature = "loro")]
    visitor.visit::<libraries::loro::Loro>();
    #[cfg(feature = "yrs")]
    visitor.visit::<libraries::yrs::Yrs>();
    #[cfg(feature = "automerge")]
    visitor.visit::<libraries::automerge::Merge>();
    #[cfg(feature = "diamond")]
    visitor.visit::<libraries::diamond::Diamond>();
    #[cfg(feature = "own")]
    visitor.visit::<libraries::own::Own>();
    #[cfg(feature = "cola")]
    visitor.visit::<libraries::cola::Cola>();
}

/// Time and size, by library.
struct Measure {
    edits: Vec<Edit>,
    all: BTreeMap<&'static str, Figures>,
}

impl Visit for Measure {
    fn visit<R: Replica>(&mut self) {
        if !asked_for(R::NAME) {
            return;
        }
        let figures = self.all.entry(R::NAME).or_default();
        eprintln!("{}: paper", R::NAME);
        measure::paper::<R>(&self.edits, figures);
        if R::LISTS {
            eprintln!("{}: list", R::NAME);
            measure::long_list::<R>(figures);
        }
        eprintln!("{}: branches", R::NAME);
        measure::branches::<R>(1_000, figures);
        measure::branches::<R>(10_000, figures);
    }
}

struct Converge(usize);

impl Visit for Converge {
    fn visit<R: Replica>(&mut self) {
        for kind in kinds::<R>() {
            println!(
                "{} {kind:?}: {:?}",
                R::NAME,
                determinism::check::<R>(kind, self.0)
            );
        }
    }
}

struct Lies(usize);

impl Visit for Lies {
    fn visit<R: Replica>(&mut self) {
        for kind in kinds::<R>() {
            println!(
                "{} {kind:?}: {:?}",
                R::NAME,
                robustness::count(R::NAME, kind, self.0)
            );
        }
    }
}

struct Lie<'a> {
    library: &'a str,
    kind: Kind,
    from: usize,
    to: usize,
}

impl Visit for Lie<'_> {
    fn visit<R: Replica>(&mut self) {
        if R::NAME == self.library {
            robustness::lie::<R>(self.kind, self.from, self.to);
        }
    }
}

/// `LIBRARIES=loro,yrs` leaves the others out.
fn asked_for(name: &str) -> bool {
    std::env::var("LIBRARIES").map_or(true, |names| names.split(',').any(|n| n == name))
}

fn kinds<R: Replica>() -> Vec<Kind> {
    if R::LISTS {
        vec![Kind::Text, Kind::List]
    } else {
        vec![Kind::Text]
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse().expect("a number");
    match arguments[..] {
        ["measure", rounds, edits] => {
            let mut edits_all = traces::paper();
            edits_all.truncate(number(edits));
            println!("{} edits of the paper", edits_all.len());
            let mut measure = Measure {
                edits: edits_all,
                all: BTreeMap::new(),
            };
            for _ in 0..number(rounds) {
                each(&mut measure);
            }
            print(measure.all);
        }
        ["converge", runs] => each(&mut Converge(number(runs))),
        ["lies", cases] => each(&mut Lies(number(cases))),
        ["lie", library, kind, from, to] => {
            let kind = if kind == "List" {
                Kind::List
            } else {
                Kind::Text
            };
            each(&mut Lie {
                library,
                kind,
                from: number(from),
                to: number(to),
            });
        }
        _ => eprintln!("measure ROUNDS EDITS | converge RUNS | lies CASES"),
    }
}

/// A table: the median, and the least and greatest of the rounds.
fn print(all: BTreeMap<&'static str, Figures>) {
    let mut names: Vec<&str> = all.values().flat_map(|f| f.keys().copied()).collect();
    names.sort_unstable();
    names.dedup();
    println!(
        "| | {} |",
        all.keys().copied().collect::<Vec<_>>().join(" | ")
    );
    println!("|---|{}", "---:|".repeat(all.len()));
    for name in names {
        let cells: Vec<String> = all
            .values()
            .map(|figures| match figures.get(name) {
                None => "-".into(),
                Some(values) => {
                    let mut values = values.clone();
                    let median = measure::middle(&mut values);
                    let (least, greatest) = (values[0], values[values.len() - 1]);
                    if greatest - least < median * 0.1 {
                        format!("{median:.3}")
                    } else {
                        format!("{median:.3} ({least:.3}..{greatest:.3})")
                    }
                }
            })
            .collect();
        println!("| {name} | {} |", cells.join(" | "));
    }
}
