//! `corelet doctor`: can this machine run the server?

use super::args::{Global, SettingsArgs};
use super::failure::{Exit, Failure};
use super::output::Out;
use super::settings;
use crate::preflight::Weight;
use crate::serve;

pub(super) fn run(args: &SettingsArgs, global: &Global, out: &Out) -> Result<(), Failure> {
    let (config, _) = settings::load(args, global, "doctor")?;
    let shards = serve::shards_of(&config, &global.data_dir);
    let findings = serve::examine(&config, &global.data_dir, shards, true);
    let rows = findings.iter().map(|finding| {
        let weight = match finding.weight {
            Weight::Good => "good",
            Weight::Warning => "warning",
            Weight::Blocker => "BLOCKER",
        };
        vec![
            finding.what.to_owned(),
            weight.to_owned(),
            finding.found.clone(),
            finding.advice.clone(),
        ]
    });
    out.rows(&["what", "is", "found", "what to do"], rows, &findings)?;
    if findings
        .iter()
        .any(|finding| finding.weight == Weight::Blocker)
    {
        return Err(Failure::new(
            Exit::Failed,
            "this machine cannot run the server yet",
        ));
    }
    Ok(())
}
