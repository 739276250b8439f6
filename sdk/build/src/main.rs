//! `corelet-build`: builds applications before there is a `corelet` binary that
//! could. The work is the library's; here are only the arguments and the lines.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use corelet_build::{Request, Toolchain};

const USAGE: &str = "usage: corelet-build [--out DIR] [--quiet] CRATE_DIR...";

/// Exit code for wrong arguments, as most tools have it.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let mut crates: Vec<PathBuf> = Vec::new();
    let mut out_dir = None;
    let mut quiet = false;
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--help" | "-h") => {
                println!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            Some("--quiet" | "-q") => quiet = true,
            Some("--out") => match arguments.next() {
                Some(dir) => out_dir = Some(PathBuf::from(dir)),
                None => return usage("--out needs a directory"),
            },
            Some(option) if option.starts_with('-') => {
                return usage(&format!("there is no option {option}"));
            }
            _ => crates.push(argument.into()),
        }
    }
    if crates.is_empty() {
        return usage("nothing to build");
    }
    match build(crates, out_dir, quiet) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("corelet-build: {error}");
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                eprint!(": {cause}");
                source = cause.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

fn build(
    crates: Vec<PathBuf>,
    out_dir: Option<PathBuf>,
    quiet: bool,
) -> Result<(), corelet_build::BuildError> {
    let toolchain = Toolchain::find()?;
    eprintln!("guests are built by {toolchain}");
    for dir in crates {
        let request = Request {
            out_dir: out_dir.clone(),
            quiet,
            ..Request::new(dir)
        };
        let built = corelet_build::build(&request, &toolchain)?;
        println!(
            "{} ({} KiB, {:.1} s)",
            built.path.display(),
            built.bytes.div_ceil(1024),
            built.duration.as_secs_f64()
        );
    }
    Ok(())
}

fn usage(problem: &str) -> ExitCode {
    eprintln!("corelet-build: {problem}\n{USAGE}");
    ExitCode::from(EXIT_USAGE)
}
