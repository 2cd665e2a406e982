//! The smallest lf server, and the one that is benchmarked.
#![forbid(unsafe_code)]

mod echo;
mod options;

use anyhow::Context;
use echo::{Echo, Effort, Payload};
use lf_core::codec::{Len32, Line, Nshead, Raw};
use lf_core::{Address, Builder, Deal, ListenOptions, Promotion, Rebalance, Server, Timeouts, Trigger};
use options::{Frame, Options};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("LF_LOG").unwrap_or_else(|_| "info".into());
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            if let Some(usage) = error.downcast_ref::<clap::Error>() {
                usage.exit();
            }
            eprintln!("lf-echo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<u8> {
    let options = Options::read()?;
    let echo = Echo {
        effort: Effort { work: Duration::from_micros(options.work_us), block: Duration::from_micros(options.block_us) },
        announce: options.announce,
    };
    let addresses = options.listen.iter().map(|text| text.parse()).collect::<Result<Vec<Address>, _>>()?;
    let builder = settings(&options)?;
    let bytes_max = options.frame_bytes_max;
    let builder = match options.frame {
        // What is echoed is what was sent, so a CR stays.
        Frame::Line => listen(builder, &options, &addresses, Line::new(bytes_max).keep_cr(), echo),
        Frame::Raw => listen(builder, &options, &addresses, Raw, echo),
        Frame::Len32 => listen(builder, &options, &addresses, Len32::new(bytes_max), echo),
        Frame::Nshead => listen(builder, &options, &addresses, Nshead::new(bytes_max), echo),
    };
    let server = builder.build()?;
    announce(&server).context("cannot write to standard output")?;
    Ok(server.run()?.exit_code())
}

/// Says where the server listens, a line each, for people and for scripts that wait for it.
fn announce(server: &Server) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for address in server.addresses() {
        writeln!(out, "listening {address}")?;
    }
    if let Some(address) = server.admin_address() {
        writeln!(out, "admin {address}")?;
    }
    out.flush()
}

fn some(time: Duration) -> Option<Duration> {
    (!time.is_zero()).then_some(time)
}

fn settings(options: &Options) -> anyhow::Result<Builder> {
    let mut builder = Server::builder()
        .name("lf-echo")
        .workers(options.workers)
        .workers_max(options.workers_max.max(options.workers))
        .pin(options.pin)
        .tick(options.tick)
        .batch_events(options.batch)
        .drain_timeout(options.drain)
        .promotion(match options.promotion {
            options::Promotion::Adaptive => Promotion::Adaptive,
            options::Promotion::Kernel => Promotion::Kernel,
        })
        .trigger(match options.trigger {
            options::Trigger::Oneshot => Trigger::OneShot,
            options::Trigger::Edge => Trigger::Edge,
        })
        .deal(match options.deal {
            options::Deal::RoundRobin => Deal::RoundRobin,
            options::Deal::Least => Deal::LeastConnections,
            options::Deal::P2c => Deal::PowerOfTwo,
        })
        .timeouts(Timeouts {
            first_byte: some(options.first_byte),
            frame: some(options.frame_time),
            idle: some(options.idle),
            write_stall: some(options.write_stall),
        });
    if options.rebalance > 0 {
        builder = builder.rebalance(Rebalance::Margin { percent: options.rebalance });
    }
    if let Some(groups) = options.groups {
        builder = builder.groups(groups);
    }
    if let Some(count) = options.max_connections {
        builder = builder.max_connections(count);
    }
    if let Some(count) = options.max_per_address {
        builder = builder.max_per_address(count);
    }
    if let Some(rate) = options.accept_rate {
        builder = builder.accepts_per_second(rate);
    }
    if let Some(address) = &options.admin {
        builder = builder.admin(address.parse()?);
    }
    Ok(builder)
}

fn listen<C: Payload + Copy>(
    mut builder: Builder,
    options: &Options,
    addresses: &[Address],
    codec: C,
    echo: Echo,
) -> Builder {
    let listen_options = ListenOptions {
        backlog: options.backlog,
        reuse_port: options.reuse_port,
        defer_accept: some(options.defer_accept),
        ..ListenOptions::default()
    };
    for address in addresses {
        builder = builder.listen_with(address.clone(), listen_options, codec, echo);
    }
    builder
}
