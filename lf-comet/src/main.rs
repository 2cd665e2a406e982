//! The push server as a program.

#![forbid(unsafe_code)]

mod options;

use anyhow::{Context, bail, ensure};
use lf_comet::names::Names;
use lf_comet::subscriptions::Subscriptions;
use lf_comet::{Auth, Control, ControlOptions, Hub, HubOptions, Origins, Public, Sampler, Slow, Stats};
use lf_core::codec::http::{Http, Limits};
use lf_core::codec::websocket;
use lf_core::{Address, ListenOptions, OutputLimits, Server, Signals, Timeouts, cli};
use options::{Command, Options};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// What a subscriber may say in a WebSocket message; nobody listens.
const SOCKET_MESSAGE_BYTES: usize = 4096;
/// Beside what waits for a subscriber, a message and a page have to fit into its queue.
const OUTPUT_BYTES_SPARE: usize = 1 << 20;
/// How many times as long a message may be on its way: seven bytes for a line feed, as a field of an event.
const ENCODED_MAX: usize = 7;
/// The longest list that the control listener answers with.
const CONTROL_OUTPUT_BYTES: usize = 64 << 20;
/// Who connects to the control listener and says nothing takes a place there.
const CONTROL_FIRST_BYTE: Duration = Duration::from_secs(10);
/// Bodies of the control listener are read in pieces and have no end: each line has its limit.
const BODY_BYTES_MAX: u64 = u64::MAX;
/// The shortest and the longest that the kernel takes (`TCP_KEEPIDLE`).
const KEEPALIVE_MIN: Duration = Duration::from_secs(1);
const KEEPALIVE_MAX: Duration = Duration::from_secs(32_767);

fn main() -> ExitCode {
    cli::run("lf-comet", run)
}

fn run() -> anyhow::Result<u8> {
    let options: Options = cli::read("LF_COMET")?;
    // A fan-out takes 16 bytes a recipient, for as long as it lasts.
    lf_core::return_big_buffers();
    match options.command {
        Some(Command::Load(args)) => lf_comet::load::run(&args).map(|()| 0),
        None => serve(&options),
    }
}

fn addresses(texts: &[String]) -> anyhow::Result<Vec<Address>> {
    Ok(texts.iter().map(|text| text.parse()).collect::<Result<_, _>>()?)
}

fn is_open(addresses: &[Address]) -> bool {
    addresses.iter().any(|address| match address {
        Address::Tcp(at) => !at.ip().is_loopback(),
        Address::Unix(_) | Address::Abstract(_) => false,
        // Nobody knows where it was bound.
        Address::Inherited(_) => true,
    })
}

fn control_token(options: &Options, open: bool) -> anyhow::Result<Option<String>> {
    let Some(path) = &options.control_token else {
        ensure!(
            !open,
            "--control {}: off loopback anybody could send: give --control-token FILE, or listen on a loopback address or a unix socket",
            options.control.join(" "),
        );
        return Ok(None);
    };
    let text = std::fs::read_to_string(path).with_context(|| format!("--control-token {}", path.display()))?;
    let token = text.trim();
    if token.len() < 16 {
        bail!("--control-token {}: give at least 16 characters, e.g. from `openssl rand -hex 16`", path.display());
    }
    Ok(Some(token.to_owned()))
}

fn hub(options: &Options) -> anyhow::Result<Arc<Hub>> {
    let names = Arc::new(Names::default());
    let subscriptions = if options.store.as_os_str() == "none" {
        Subscriptions::in_memory(Arc::clone(&names))
    } else {
        Subscriptions::open(&options.store, Arc::clone(&names))?
    };
    let hub_options = HubOptions {
        history: options.subscribers.history(),
        fanout: options.sending.fanout(options.subscribers.public().queue_bytes),
        disconnects: options.subscribers.public().slow == Slow::Disconnect,
    };
    Ok(Arc::new(Hub::new(names, subscriptions, &hub_options, Arc::new(Stats::default()))))
}

fn public_server(options: &Options, hub: &Arc<Hub>) -> anyhow::Result<Server> {
    let auth = options.auth_key.as_deref().map_or(Ok(Auth::none()), Auth::from_file)?;
    if !auth.is_on() {
        tracing::warn!("anyone may listen to any id: --auth-key asks subscribers for tokens");
    }
    let public = options.subscribers.public();
    let encoded_bytes = options.message_bytes.saturating_mul(ENCODED_MAX);
    let queue_bytes = public.queue_bytes.saturating_add(encoded_bytes).saturating_add(OUTPUT_BYTES_SPARE);
    let output = OutputLimits {
        // Reading goes on whatever waits: it is what is sent that is bounded, by message.
        high: queue_bytes,
        low: queue_bytes / 2,
        max: queue_bytes,
        total_max: public.queue_total_bytes.saturating_mul(2),
    };
    let mut builder = options.server.apply(Server::builder().name("lf-comet"))?.output_limits(output);
    let codec = Http::new(Limits { body_bytes: 0, ..Limits::default() })
        .websocket(websocket::Limits::new(SOCKET_MESSAGE_BYTES));
    let origins = Origins::new(&options.allow_origin)?;
    let handler = Public::new(Arc::clone(hub), public, auth, origins);
    // Not every transport has heartbeats: where nothing comes for twice as long, the kernel asks whether the peer is there.
    let keepalive =
        (!public.heartbeat.is_zero()).then(|| public.heartbeat.saturating_mul(2).clamp(KEEPALIVE_MIN, KEEPALIVE_MAX));
    let listen = ListenOptions { keepalive, ..options.server.listen_options() };
    for address in addresses(&options.listen)? {
        builder = builder.listen_with(address, listen, codec, handler.clone());
    }
    Ok(builder.build()?)
}

fn serve(options: &Options) -> anyhow::Result<u8> {
    let (heartbeat, idle) = (options.subscribers.public().heartbeat, options.server.idle);
    ensure!(
        heartbeat.is_zero() || idle.is_zero() || heartbeat < idle,
        "--heartbeat {heartbeat:?} is not shorter than --idle {idle:?}: quiet WebSockets would end; raise --idle",
    );
    let control_addresses = addresses(&options.control)?;
    let token = control_token(options, is_open(&control_addresses))?;
    let hub = hub(options)?;
    let server = public_server(options, &hub)?;
    hub.attach(server.remote());
    let sampler = Sampler::new(Arc::clone(&hub), server.remote());
    let control_options = ControlOptions { message_bytes: options.message_bytes, token };
    let control = Control::new(Arc::clone(&hub), server.remote(), Arc::clone(&sampler), control_options);
    let mut builder = Server::builder()
        .name("control")
        .groups(1)
        .max_connections(1024)
        .timeouts(Timeouts { first_byte: Some(CONTROL_FIRST_BYTE), ..Timeouts::default() })
        .output_limits(OutputLimits { max: CONTROL_OUTPUT_BYTES, ..OutputLimits::default() });
    for address in control_addresses {
        let codec = Http::new(Limits { body_bytes: BODY_BYTES_MAX, ..Limits::default() });
        builder = builder.listen(address, codec, control.clone());
    }
    let control = builder.build()?;
    // Before anybody can know that there is something to be ended.
    let signals = Signals::listen().context("cannot listen for signals")?;
    cli::announce(&server).context("cannot write to standard output")?;
    for address in control.addresses() {
        println!("control {address}");
    }
    let threads = hub.start()?;
    sampler.start()?;
    let control = control.start()?;
    // Half of the time is for what was published, the other half for who gets it.
    let last_orders = || hub.close(options.server.drain / 2);
    let ended = server.run_until(&signals, last_orders)?;
    // It answered to the end: that the server drains is seen there.
    let _ = control.stop();
    hub.stop();
    for thread in threads {
        let _ = thread.join();
    }
    Ok(ended.exit_code())
}
