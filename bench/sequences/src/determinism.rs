//! Replicas that edit apart and hear of each other in random causal order must
//! end alike; whether their saved bytes do is noted.

use crate::random::Random;
use crate::replica::{Kind, Replica};
use crate::traces;

/// What came out of many runs.
#[derive(Default, Debug)]
pub struct Outcome {
    pub runs: usize,
    pub same_content: usize,
    pub same_saved: usize,
    /// Saved again after a load: the same bytes on all replicas.
    pub same_after_load: usize,
}

/// `runs` times: three replicas, 120 steps of an edit or a delivery.
pub fn check<R: Replica>(kind: Kind, runs: usize) -> Outcome {
    let mut outcome = Outcome::default();
    for run in 0..runs {
        let mut random = Random(run as u64 * 7919 + 3);
        let mut replicas: Vec<R> = (1..=3).map(|peer| R::new(kind, peer)).collect();
        // Every update with what its author had seen; what each replica has seen.
        let mut updates: Vec<(Vec<u8>, Vec<bool>)> = Vec::new();
        let mut seen: Vec<Vec<bool>> = vec![Vec::new(); 3];
        let step = |r: usize,
                    deliver: bool,
                    replicas: &mut Vec<R>,
                    updates: &mut Vec<(Vec<u8>, Vec<bool>)>,
                    seen: &mut Vec<Vec<bool>>,
                    random: &mut Random|
         -> bool {
            for s in seen.iter_mut() {
                s.resize(updates.len(), false);
            }
            if deliver {
                let ready: Vec<usize> = (0..updates.len())
                    .filter(|&u| {
                        !seen[r][u]
                            && updates[u]
                                .1
                                .iter()
                                .enumerate()
                                .all(|(i, &had)| !had || seen[r][i])
                    })
                    .collect();
                if ready.is_empty() {
                    return false;
                }
                let u = ready[random.below(ready.len())];
                replicas[r]
                    .apply(&updates[u].0)
                    .expect("valid, and in causal order");
                seen[r][u] = true;
            } else {
                let count = 1 + random.below(3);
                let mut len = replicas[r].len();
                let edits: Vec<_> = (0..count)
                    .map(|_| {
                        let edit = traces::edit(random, kind, len);
                        len = len - edit.delete
                            + match &edit.insert {
                                crate::replica::Insert::Text(t) => t.len(),
                                crate::replica::Insert::Values(v) => v.len(),
                            };
                        edit
                    })
                    .collect();
                let update = replicas[r].edit(&edits);
                let mut had = seen[r].clone();
                had.resize(updates.len(), false);
                updates.push((update, had));
                seen[r].resize(updates.len(), false);
                *seen[r].last_mut().expect("just grown") = true;
            }
            true
        };
        for _ in 0..120 {
            let (r, deliver) = (random.below(3), random.below(2) == 0);
            step(
                r,
                deliver,
                &mut replicas,
                &mut updates,
                &mut seen,
                &mut random,
            );
        }
        for r in 0..3 {
            while step(r, true, &mut replicas, &mut updates, &mut seen, &mut random) {}
        }
        outcome.runs += 1;
        let same = |all: Vec<Vec<u8>>| usize::from(all.windows(2).all(|w| w[0] == w[1]));
        outcome.same_content += same(replicas.iter().map(R::content).collect());
        let saved: Vec<Vec<u8>> = replicas.iter_mut().map(R::save).collect();
        outcome.same_after_load += same(
            saved
                .iter()
                .map(|s| R::load(kind, 9, s).expect("what was saved").save())
                .collect(),
        );
        outcome.same_saved += same(saved);
    }
    outcome
}
