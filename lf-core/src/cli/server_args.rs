//! The options that every server has.

use crate::config::{Deal, Promotion, Rebalance, Timeouts, Trigger};
use crate::error::Error;
use crate::listener::ListenOptions;
use crate::server::Builder;
use humantime::parse_duration;
use std::time::Duration;

/// The options of a server, to be flattened into a program's own: how it works, and how its listeners do. Where it
/// listens, what it serves and what it is called are the program's matter.
#[derive(Clone, Debug, clap::Args)]
pub struct ServerArgs {
    /// Groups, each an epoll set with its workers [default: one per core]
    #[arg(long, value_name = "N")]
    pub groups: Option<usize>,
    /// Workers that a group starts with
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub workers: usize,
    /// Workers that a group may grow to while handlers block
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub workers_max: usize,
    /// Who waits for events
    #[arg(long, value_enum, default_value = "adaptive")]
    pub promotion: Promotion,
    /// How epoll is asked
    #[arg(long, value_enum, default_value = "oneshot")]
    pub trigger: Trigger,
    /// Who gets a new connection
    #[arg(long, value_enum, default_value = "round-robin")]
    pub deal: Deal,
    /// Moves connections out of a group that has this many percent more than the least loaded one; 0 = off
    #[arg(long, value_name = "PERCENT", default_value_t = 0)]
    pub rebalance: u32,
    /// Pins the workers of group N to core N
    #[arg(long)]
    pub pin: bool,
    /// How long a leader may be stuck before a follower is promoted (100us to 1s)
    #[arg(long, value_name = "TIME", default_value = "1ms", value_parser = parse_duration)]
    pub tick: Duration,
    /// Events taken from epoll at a time
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub batch: usize,
    /// Where the pages /status /metrics /connections /healthz are; a loopback address or a unix socket [default: nowhere]
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<String>,
    /// Connections at most [default: what the descriptor limit allows]
    #[arg(long, value_name = "N")]
    pub max_connections: Option<usize>,
    /// Connections of one address at most [default: no limit]
    #[arg(long, value_name = "N")]
    pub max_per_address: Option<usize>,
    /// Connections accepted per second at most [default: no limit]
    #[arg(long, value_name = "N")]
    pub accept_rate: Option<u32>,
    /// Listen queue, in connections
    #[arg(long, value_name = "N", default_value_t = 4096)]
    pub backlog: u32,
    /// Lets several processes listen on the same port (SO_REUSEPORT)
    #[arg(long)]
    pub reuse_port: bool,
    /// Accepts a connection when its first bytes are there, or after this long (TCP_DEFER_ACCEPT); 0s = at once
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    pub defer_accept: Duration,
    /// Closes a connection whose peer acknowledges nothing of what it was sent for this long (TCP_USER_TIMEOUT); 0s =
    /// when the system gives up
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    pub user_timeout: Duration,
    /// Bytes that the kernel holds for a peer that does not read (SO_SNDBUF: it makes twice as many, up to
    /// net.core.wmem_max); 0 = as many as it likes (net.ipv4.tcp_wmem)
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub send_buffer: usize,
    /// Closes a connection that sent nothing yet; 0s = never
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub first_byte: Duration,
    /// Closes a connection whose message takes longer than this to come in; 0s = never
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub frame_time: Duration,
    /// Closes a connection without traffic; 0s = never
    #[arg(long, value_name = "TIME", default_value = "300s", value_parser = parse_duration)]
    pub idle: Duration,
    /// Closes a connection that takes none of its answers; 0s = never
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub write_stall: Duration,
    /// How long connections get to finish after SIGTERM or SIGINT
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub drain: Duration,
}

/// On the command line, no time is never.
fn some(time: Duration) -> Option<Duration> {
    (!time.is_zero()).then_some(time)
}

impl ServerArgs {
    /// Gives a server these settings. Whether they are in range, [`Builder::build`] says.
    ///
    /// # Errors
    /// If the address of the admin pages is none.
    pub fn apply(&self, builder: Builder) -> Result<Builder, Error> {
        let mut builder = builder
            .workers(self.workers)
            .workers_max(self.workers_max.max(self.workers))
            .promotion(self.promotion)
            .trigger(self.trigger)
            .deal(self.deal)
            .pin(self.pin)
            .tick(self.tick)
            .batch_events(self.batch)
            .timeouts(self.timeouts())
            .drain_timeout(self.drain);
        if self.rebalance > 0 {
            builder = builder.rebalance(Rebalance::Margin { percent: self.rebalance });
        }
        if let Some(groups) = self.groups {
            builder = builder.groups(groups);
        }
        if let Some(count) = self.max_connections {
            builder = builder.max_connections(count);
        }
        if let Some(count) = self.max_per_address {
            builder = builder.max_per_address(count);
        }
        if let Some(rate) = self.accept_rate {
            builder = builder.accepts_per_second(rate);
        }
        if let Some(address) = &self.admin {
            builder = builder.admin(address.parse()?);
        }
        Ok(builder)
    }

    /// The deadlines of connections.
    #[must_use]
    pub fn timeouts(&self) -> Timeouts {
        Timeouts {
            first_byte: some(self.first_byte),
            frame: some(self.frame_time),
            idle: some(self.idle),
            write_stall: some(self.write_stall),
        }
    }

    /// The options of a listener.
    #[must_use]
    pub fn listen_options(&self) -> ListenOptions {
        ListenOptions {
            backlog: self.backlog,
            reuse_port: self.reuse_port,
            defer_accept: some(self.defer_accept),
            user_timeout: some(self.user_timeout),
            send_buffer: (self.send_buffer > 0).then_some(self.send_buffer),
            ..ListenOptions::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Line;
    use crate::config::Config;
    use crate::handler::{Context, Handler, Outcome};
    use crate::peer::Peer;
    use crate::server::Server;
    use clap::{Args, FromArgMatches};

    fn parse(arguments: &[&str]) -> ServerArgs {
        let command = ServerArgs::augment_args(clap::Command::new("lf-test").no_binary_name(true));
        ServerArgs::from_arg_matches(&command.get_matches_from(arguments)).unwrap()
    }

    struct Nothing;

    impl Handler<Line> for Nothing {
        type State = ();

        fn open(&self, _peer: &Peer) {}

        fn frame(&self, _cx: &mut Context<'_, Line, ()>, _line: &[u8]) -> Outcome {
            Ok(())
        }
    }

    fn build(arguments: &[&str]) -> Result<Server, Error> {
        let server = parse(arguments);
        let builder = server.apply(Server::builder().groups(1))?;
        builder.listen_with("127.0.0.1:0".parse()?, server.listen_options(), Line::default(), Nothing).build()
    }

    #[test]
    fn without_options_a_server_is_what_the_builder_makes_it() {
        let (args, config) = (parse(&[]), Config::default());
        assert_eq!(args.groups, None);
        assert_eq!(
            (args.workers, args.workers_max, args.batch),
            (config.workers, config.workers_max, config.batch_events)
        );
        assert_eq!((args.promotion, args.trigger, args.deal), (config.promotion, config.trigger, config.deal));
        assert_eq!((args.pin, args.tick, args.drain), (config.pin, config.tick, config.drain));
        assert_eq!((args.rebalance, config.rebalance), (0, Rebalance::Off));
        assert_eq!((args.max_connections, args.max_per_address, args.accept_rate), (None, None, None));
        assert_eq!(format!("{:?}", args.timeouts()), format!("{:?}", config.timeouts));
        assert_eq!(format!("{:?}", args.listen_options()), format!("{:?}", ListenOptions::default()));
    }

    #[test]
    fn no_time_is_never() {
        let args = parse(&["--first-byte=0s", "--frame-time=0s", "--idle=0s", "--write-stall=0s"]);
        let Timeouts { first_byte, frame, idle, write_stall } = args.timeouts();
        assert_eq!([first_byte, frame, idle, write_stall], [None; 4]);
    }

    #[test]
    fn a_listener_gets_its_options() {
        let args =
            parse(&["--backlog=7", "--reuse-port", "--defer-accept=2s", "--user-timeout=1m", "--send-buffer=65536"]);
        let options = args.listen_options();
        assert_eq!((options.backlog, options.reuse_port), (7, true));
        assert_eq!(options.defer_accept, Some(Duration::from_secs(2)));
        assert_eq!(options.user_timeout, Some(Duration::from_secs(60)));
        assert_eq!(options.send_buffer, Some(65536));
    }

    #[test]
    fn a_server_gets_its_options() {
        // What is out of range shows where it arrives.
        for (arguments, setting) in [
            (&["--groups=0"][..], "groups = 0"),
            (&["--workers=0"], "workers = 0"),
            (&["--workers-max=2000"], "workers_max = 2000"),
            (&["--batch=0"], "batch_events = 0"),
            (&["--tick=1us"], "tick (microseconds) = 1"),
            (&["--rebalance=20000"], "rebalance.margin = 20000"),
            (&["--rebalance=20", "--promotion=kernel"], "Promotion::Adaptive"),
            (&["--max-connections=0"], "max_connections = 0"),
            (&["--max-per-address=0"], "max_per_address = 0"),
            (&["--accept-rate=0"], "accepts_per_second = 0"),
            (&["--first-byte=9999d"], "first_byte"),
            (&["--frame-time=9999d"], "frame"),
            (&["--idle=9999d"], "idle"),
            (&["--write-stall=9999d"], "write_stall"),
            (&["--admin=nonsense"], "HOST:PORT"),
            (&["--admin=0.0.0.0:0"], "loopback"),
        ] {
            let Err(error) = build(arguments) else { panic!("{arguments:?} was taken") };
            assert!(error.to_string().contains(setting), "{arguments:?}: {error}");
        }
        // More workers than the default limit raise it.
        let server = build(&["--workers=65", "--admin=127.0.0.1:0", "--max-connections=99"]).unwrap();
        assert!(server.admin_address().is_some());
        assert_eq!(server.max_connections(), 99);
    }
}
