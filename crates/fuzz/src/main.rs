//! Hostile input for the parsers of model calls: `cargo run --release -p fuzz -- TARGET|all --seconds N`.
//!
//! Takes the fixtures of `crates/llm` as its corpus, changes them at random, and runs each target on the result. A
//! target that panics, takes too long or breaks a promise ends the run with the seed and the input in a file. Random
//! numbers come from the seed alone, so that `--seed S --from I` begins at the same input again; while a target runs,
//! `TARGET.running` says where it is, for the case that the whole process is lost.
//!
//! Runs on stable Rust and is not guided by coverage: the mutator knows JSON and event streams instead.

mod corpus;
mod mutate;
mod targets;

use anyhow::{Context, bail};
use mutate::Rng;
use std::{
    fs, panic,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use targets::Target;

/// The most time that one input may take.
const SLOW: Duration = Duration::from_secs(2);
/// How often the place is written down.
const NOTE_EVERY: u64 = 200;
const USAGE: &str = "usage: fuzz TARGET|all [--seconds N] [--seed S] [--from I] [--input FILE] [--out DIR]";

struct Args {
    target: String,
    seconds: u64,
    seed: u64,
    from: u64,
    input: Option<PathBuf>,
    out: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let args = parse(std::env::args().skip(1))?;
    let all = targets::all();
    let chosen: Vec<&Target> = all.iter().filter(|t| args.target == "all" || t.name() == args.target).collect();
    if chosen.is_empty() {
        let names: Vec<String> = all.iter().map(Target::name).collect();
        bail!("no target {}; there are: all {}", args.target, names.join(" "));
    }
    fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
    // The panic is reported with its input; the hook's text would stand far from it.
    panic::set_hook(Box::new(|_| {}));
    let share = Duration::from_secs(args.seconds) / u32::try_from(chosen.len()).unwrap_or(1);
    for target in chosen {
        match &args.input {
            Some(file) => {
                let input = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
                attempt(target, &input, 1).map_err(|e| anyhow::anyhow!("{}: {e}", target.name()))?;
            }
            None => run(target, &args, share)?,
        }
    }
    Ok(())
}

fn parse(mut given: impl Iterator<Item = String>) -> anyhow::Result<Args> {
    let seed = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(1, |t| t.as_secs());
    let target = given.next().filter(|t| !t.starts_with('-')).context(USAGE)?;
    let out = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/fuzz");
    let mut args = Args { target, seconds: 60, seed, from: 0, input: None, out };
    while let Some(name) = given.next() {
        let value = given.next().with_context(|| format!("{name} has no value\n{USAGE}"))?;
        match name.as_str() {
            "--seconds" => args.seconds = value.parse()?,
            "--seed" => args.seed = value.parse()?,
            "--from" => args.from = value.parse()?,
            "--input" => args.input = Some(value.into()),
            "--out" => args.out = value.into(),
            _ => bail!("unknown option {name}\n{USAGE}"),
        }
    }
    Ok(args)
}

fn run(target: &Target, args: &Args, share: Duration) -> anyhow::Result<()> {
    let corpus = corpus::of(target)?;
    let note = args.out.join(format!("{}.running", target.name()));
    let began = Instant::now();
    let mut at = args.from;
    while began.elapsed() < share {
        if at.is_multiple_of(NOTE_EVERY) {
            fs::write(&note, format!("--seed {} --from {at}\n", args.seed))?;
        }
        let mut rng = Rng::new(args.seed, at);
        let input = mutate::mutate(&corpus, &mut rng);
        if let Err(what) = attempt(target, &input, rng.next()) {
            let file = args.out.join(format!("{}-{}-{at}.input", target.name(), args.seed));
            fs::write(&file, &input)?;
            bail!(
                "{}: {what}\nseed:  --seed {} --from {at}\ninput: {}\nagain: cargo run --release -p fuzz -- {} --input {}",
                target.name(),
                args.seed,
                shown(&file),
                target.name(),
                shown(&file),
            );
        }
        at += 1;
    }
    fs::remove_file(&note)?;
    println!("{:<24} {:>9} inputs, seed {}", target.name(), at - args.from, args.seed);
    Ok(())
}

fn shown(file: &Path) -> String {
    file.canonicalize().unwrap_or_else(|_| file.to_owned()).display().to_string()
}

/// Runs a target on an input; `split` decides where a stream is cut into pieces.
fn attempt(target: &Target, input: &[u8], split: u64) -> Result<(), String> {
    let began = Instant::now();
    let outcome = panic::catch_unwind(|| target.run(input, split)).map_err(|cause| {
        let text = cause.downcast_ref::<String>().cloned();
        text.or_else(|| cause.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_else(|| "panicked".into())
    })?;
    outcome?;
    let took = began.elapsed();
    if took > SLOW { Err(format!("took {took:?}")) } else { Ok(()) }
}
