//! The smallest lf server, and the one that is benchmarked.
#![forbid(unsafe_code)]

mod echo;
mod options;

use anyhow::Context;
use echo::{Echo, Effort, Payload};
use lf_core::codec::{Len32, Line, Nshead, Raw};
use lf_core::{Address, Builder, Server, Signals, cli};
use options::{Frame, Options};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    cli::run("lf-echo", run)
}

fn run() -> anyhow::Result<u8> {
    let options: Options = cli::read("LF_ECHO")?;
    let echo = Echo {
        effort: Effort { work: Duration::from_micros(options.work_us), block: Duration::from_micros(options.block_us) },
        announce: options.announce,
    };
    let addresses = options.listen.iter().map(|text| text.parse()).collect::<Result<Vec<Address>, _>>()?;
    let builder = options.server.apply(Server::builder().name("lf-echo"))?;
    let bytes_max = options.frame_bytes_max;
    let builder = match options.frame {
        // What is echoed is what was sent, so a CR stays.
        Frame::Line => listen(builder, &options, &addresses, Line::new(bytes_max).keep_cr(), echo),
        Frame::Raw => listen(builder, &options, &addresses, Raw, echo),
        Frame::Len32 => listen(builder, &options, &addresses, Len32::new(bytes_max), echo),
        Frame::Nshead => listen(builder, &options, &addresses, Nshead::new(bytes_max), echo),
    };
    let server = builder.build()?;
    let signals = Signals::listen().context("cannot listen for signals")?;
    cli::announce(&server).context("cannot write to standard output")?;
    Ok(server.run_until(&signals, || ())?.exit_code())
}

fn listen<C: Payload + Copy>(
    mut builder: Builder,
    options: &Options,
    addresses: &[Address],
    codec: C,
    echo: Echo,
) -> Builder {
    for address in addresses {
        builder = builder.listen_with(address.clone(), options.server.listen_options(), codec, echo);
    }
    builder
}
