//! `lf-bench`: drives echo and push servers over sockets and says what a request or a delivery costs them.

#![deny(unsafe_code)]

mod account;
mod cli;
mod comet;
mod compare;
mod figures;
mod flood;
mod footprint;
mod graph;
mod http;
mod limits;
mod load;
mod lua;
mod machine;
mod memory;
mod msggen;
mod nchan;
mod nginx;
mod nshead;
mod pin;
mod progress;
mod publish;
mod random;
mod reference;
mod report;
mod servers;
mod stats;
mod table;
mod tour;
mod wire;

use anyhow::Result;
use clap::Parser;
use cli::{Cli, CometArgs, Command, FloodArgs, HttpArgs, LoadArgs, MsggenArgs, NsheadArgs, ServeArgs, TourArgs};
use load::{Mode, Outcome};
use progress::Progress;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lf-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Some(Command::Long(load)) => measure(&load, Mode::Long),
        Some(Command::Short { load, short }) => measure(&load, Mode::Short(short.close)),
        Some(Command::Mixed { load, mixed }) => measure(&load, mixed.mode()),
        Some(Command::Rate { load, rate }) => measure(&load, Mode::Rate(cli::checked_rate(rate)?)),
        Some(Command::Http(args)) => browse(&args),
        Some(Command::Nshead(args)) => call(&args),
        Some(Command::Serve(args)) => serve(&args).map(|()| ExitCode::SUCCESS),
        Some(Command::Compare(args)) if args.figures => {
            figures::run(&args, cli.lf_echo.as_deref()).map(|_| ExitCode::SUCCESS)
        }
        Some(Command::Compare(args)) if args.push.comet => {
            let all = comet::compare::run(&args, cli.lf_comet.as_deref())?;
            let mut rounds = all.iter().flat_map(|found| &found.series).flat_map(|series| &series.rounds);
            Ok(code(rounds.all(comet::Outcome::is_clean)))
        }
        Some(Command::Compare(args)) if args.lua.lua => {
            lua::run(&args, cli.lf_echo.as_deref(), cli.lf_lua.as_deref()).map(code)
        }
        Some(Command::Compare(args)) => {
            let all = compare::run(&args, cli.lf_echo.as_deref())?;
            Ok(verdict(all.iter().flat_map(|series| &series.rounds)))
        }
        Some(Command::Flood(args)) => run_flood(&args),
        Some(Command::Comet(args)) => push(&args),
        Some(Command::Msggen(args)) => generate(&args),
        Some(Command::Graph(args)) => graph::run(&args).map(|()| ExitCode::SUCCESS),
        Some(Command::Memory(args)) => memory::run(&args).map(|()| ExitCode::SUCCESS),
        Some(Command::Tour(args)) => visit(&args, cli.lf_echo.as_deref()),
        None => visit(&TourArgs::default(), cli.lf_echo.as_deref()),
    }
}

/// One run against a server that is there already.
fn measure(args: &LoadArgs, mode: Mode) -> Result<ExitCode> {
    let plan = args.shape.plan(args.target.clone(), mode, args.server_pid);
    let progress = Progress::new(Progress::steps_of(plan.duration), args.output.quiet);
    let outcome = load::echo(&plan, args.shape.frame, &progress)?;
    drop(progress);
    if args.output.json {
        println!("{}", serde_json::to_string_pretty(&outcome)?);
    } else {
        println!("{}", table::of_outcome(&outcome));
    }
    Ok(verdict([&outcome]))
}

fn browse(args: &HttpArgs) -> Result<ExitCode> {
    let progress = Progress::new(Progress::steps_of(args.course.duration), args.output.quiet);
    let found = http::run(args, &progress)?;
    drop(progress);
    show(&found, args.output.json, http::Found::describe)?;
    Ok(code(found.is_clean()))
}

fn call(args: &NsheadArgs) -> Result<ExitCode> {
    let progress = Progress::new(Progress::steps_of(args.course.duration), args.output.quiet);
    let found = nshead::run(args, &progress)?;
    drop(progress);
    show(&found, args.output.json, nshead::Found::describe)?;
    Ok(code(found.is_clean()))
}

/// Failure if a single answer was not what had been sent.
fn verdict<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>) -> ExitCode {
    let mismatches: u64 = outcomes.into_iter().map(|outcome| outcome.errors.mismatch).sum();
    if mismatches == 0 {
        return ExitCode::SUCCESS;
    }
    eprintln!("lf-bench: {mismatches} answers were not what had been sent");
    ExitCode::FAILURE
}

fn visit(args: &TourArgs, lf_echo: Option<&Path>) -> Result<ExitCode> {
    let findings = tour::run(args, lf_echo)?;
    Ok(verdict(findings.stops.iter().flat_map(|stop| &stop.series).flat_map(|series| &series.rounds)))
}

fn run_flood(args: &FloodArgs) -> Result<ExitCode> {
    let progress = Progress::new(u64::from(args.connections), args.output.quiet);
    let outcome = flood::run(args, &progress)?;
    drop(progress);
    if args.output.json {
        println!("{}", serde_json::to_string_pretty(&outcome)?);
    } else {
        println!("{}", table::of_flood(&outcome, args.server_pid.is_some()));
    }
    Ok(code(outcome.is_clean()))
}

/// One run against a push server that is there already.
fn push(args: &CometArgs) -> Result<ExitCode> {
    let plan = args.plan()?;
    let progress = Progress::new(Progress::steps_of(plan.duration), args.output.quiet);
    let outcome = comet::run(&plan, &progress)?;
    drop(progress);
    show(&outcome, args.output.json, comet::Outcome::describe)?;
    Ok(code(outcome.is_clean()))
}

fn generate(args: &MsggenArgs) -> Result<ExitCode> {
    let progress = Progress::new(Progress::steps_of(args.duration), args.output.quiet);
    let generated = msggen::run(args, &progress)?;
    drop(progress);
    show(&generated, args.output.json, msggen::Generated::describe)?;
    Ok(code(generated.is_clean()))
}

fn show<T: serde::Serialize>(found: &T, json: bool, describe: impl Fn(&T) -> String) -> Result<()> {
    let text = if json { serde_json::to_string_pretty(found)? } else { describe(found) };
    println!("{text}");
    Ok(())
}

fn code(is_clean: bool) -> ExitCode {
    if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn serve(args: &ServeArgs) -> Result<()> {
    if args.die_with_parent {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    }
    reference::serve(args.shape, args.listen, args.threads)
}
