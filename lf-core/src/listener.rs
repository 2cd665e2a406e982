//! Where a server listens: addresses, options that connections inherit, and the socket itself.

use crate::error::Error;
use crate::sys::{inherited, limits};
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};
use std::fmt;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// Where to listen. Parsed from `HOST:PORT`, `[V6]:PORT`, `:PORT` (every address), `unix:/PATH`, `unix:@NAME` (abstract)
/// or `fd:N` (the N-th socket, from 0, that the service manager passed).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP over IPv4 or IPv6; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// A unix socket in the file system; it is removed when the server stops.
    Unix(PathBuf),
    /// A unix socket in the abstract namespace.
    Abstract(String),
    /// A listening socket passed by the service manager (`LISTEN_FDS`).
    Inherited(usize),
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(input: &str) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Address { input: input.to_owned(), reason };
        if let Some(name) = input.strip_prefix("unix:@") {
            return if name.is_empty() {
                Err(wrong("the name is empty".into()))
            } else {
                Ok(Self::Abstract(name.into()))
            };
        }
        if let Some(path) = input.strip_prefix("unix:") {
            return if path.is_empty() { Err(wrong("the path is empty".into())) } else { Ok(Self::Unix(path.into())) };
        }
        if let Some(index) = input.strip_prefix("fd:") {
            return index.parse().map(Self::Inherited).map_err(|error| wrong(format!("{index:?}: {error}")));
        }
        if let Some(port) = input.strip_prefix(':') {
            let port = port.parse().map_err(|error| wrong(format!("port {port:?}: {error}")))?;
            return Ok(Self::Tcp(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))));
        }
        let mut resolved = input.to_socket_addrs().map_err(|error| wrong(error.to_string()))?;
        resolved.next().map(Self::Tcp).ok_or_else(|| wrong("the name has no address".into()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Abstract(name) => write!(f, "unix:@{name}"),
            Self::Inherited(index) => write!(f, "fd:{index}"),
        }
    }
}

/// Options of a listener. They are set once, on the listening socket, and its connections inherit them.
#[derive(Clone, Copy, Debug)]
pub struct ListenOptions {
    /// The listen queue, in connections; the kernel clamps it to `net.core.somaxconn`.
    pub backlog: u32,
    /// `TCP_NODELAY`: small answers go out at once.
    pub nodelay: bool,
    /// `SO_KEEPALIVE`: after this long without traffic, the kernel asks whether the peer is still there.
    pub keepalive: Option<Duration>,
    /// `SO_REUSEPORT`: several processes may listen on the same port.
    pub reuse_port: bool,
    /// `TCP_DEFER_ACCEPT`: a connection is accepted when its first bytes are there, or after this long.
    pub defer_accept: Option<Duration>,
    /// `TCP_USER_TIMEOUT`: a peer that vanished without a farewell is found when it was sent something and acknowledges
    /// none of it, or has room for none of it, for this long ([`CloseReason::System`](crate::CloseReason)); it takes
    /// precedence over the probes of `keepalive`. From a millisecond to 24 days; clamped. `None` leaves it to the
    /// system, which by default tries for a quarter of an hour (`net.ipv4.tcp_retries2`). See `tcp(7)`, RFC 5482.
    pub user_timeout: Option<Duration>,
    /// `SO_SNDBUF` of TCP connections in bytes, of which the kernel makes twice as many, up to `net.core.wmem_max`: what it
    /// holds of output for a peer that does not read. `None` leaves it to `net.ipv4.tcp_wmem`, by which it grows to
    /// megabytes.
    pub send_buffer: Option<usize>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            backlog: 4096,
            nodelay: true,
            keepalive: None,
            reuse_port: false,
            defer_accept: None,
            user_timeout: None,
            send_buffer: None,
        }
    }
}

/// The kernel counts milliseconds, and takes none for "not set".
const USER_TIMEOUT_MIN: Duration = Duration::from_millis(1);
/// It counts them in an `int`.
const USER_TIMEOUT_MAX: Duration = Duration::from_millis(i32::MAX as u64);

/// A bound, listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Socket,
    address: Address,
    /// Made by us, to be removed by us.
    path: Option<PathBuf>,
}

impl Listener {
    pub(crate) fn open(address: &Address, options: &ListenOptions) -> Result<Self, Error> {
        let fail = |source| Error::Listen { address: address.to_string(), source };
        let backlog = match address {
            Address::Inherited(_) => 0,
            Address::Tcp(_) | Address::Unix(_) | Address::Abstract(_) => clamp_backlog(address, options.backlog),
        };
        let (socket, path) = match address {
            Address::Tcp(at) => (open_tcp(*at, options, backlog).map_err(fail)?, None),
            Address::Unix(path) => (open_unix(path, backlog).map_err(fail)?, Some(path.clone())),
            Address::Abstract(name) => (open_abstract(name, backlog).map_err(fail)?, None),
            Address::Inherited(index) => (adopt(*index, options).map_err(fail)?, None),
        };
        socket.set_nonblocking(true).map_err(fail)?;
        let address = socket.local_addr().ok().and_then(|at| at.as_socket()).map_or(address.clone(), Address::Tcp);
        Ok(Self { socket, address, path })
    }

    /// Where it listens; the port is the real one.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn clamp_backlog(address: &Address, wanted: u32) -> i32 {
    let clamped = limits::somaxconn().map_or(wanted, |most| wanted.min(most));
    if clamped < wanted {
        tracing::warn!(
            %address,
            "the listen queue of {wanted} is clamped to {clamped}; raise net.core.somaxconn for the rest"
        );
    }
    i32::try_from(clamped).unwrap_or(i32::MAX)
}

fn open_tcp(at: SocketAddr, options: &ListenOptions, backlog: i32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if at.is_ipv6() {
        // `[::]` means every address, of either family.
        socket.set_only_v6(!at.ip().is_unspecified())?;
    }
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    set_inherited(&socket, options)?;
    socket.bind(&at.into())?;
    socket.listen(backlog)?;
    Ok(socket)
}

/// Who is silent for `time` is asked, and after four questions without an answer is gone.
pub(crate) fn keepalive_of(time: Duration) -> TcpKeepalive {
    let probes = TcpKeepalive::new().with_time(time);
    probes.with_interval((time / 4).max(Duration::from_secs(1))).with_retries(4)
}

fn set_inherited(socket: &Socket, options: &ListenOptions) -> io::Result<()> {
    socket.set_tcp_nodelay(options.nodelay)?;
    if let Some(time) = options.keepalive {
        socket.set_tcp_keepalive(&keepalive_of(time))?;
    }
    if let Some(bytes) = options.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(time) = options.defer_accept {
        crate::sys::socket::defer_accept(socket.as_fd(), time)?;
    }
    if let Some(time) = options.user_timeout {
        socket.set_tcp_user_timeout(Some(time.clamp(USER_TIMEOUT_MIN, USER_TIMEOUT_MAX)))?;
    }
    Ok(())
}

fn open_unix(path: &Path, backlog: i32) -> io::Result<Socket> {
    let address = SockAddr::unix(path)?;
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        remove_if_dead(path, &address)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&address)?;
    socket.listen(backlog)?;
    Ok(socket)
}

/// A socket file that nobody listens on was left by a server that was killed.
fn remove_if_dead(path: &Path, address: &SockAddr) -> io::Result<()> {
    match Socket::new(Domain::UNIX, Type::STREAM, None)?.connect(address) {
        Ok(()) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another server listens there")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(error) => Err(error),
    }
}

fn open_abstract(name: &str, backlog: i32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(format!("\0{name}"))?)?;
    socket.listen(backlog)?;
    Ok(socket)
}

fn adopt(index: usize, options: &ListenOptions) -> io::Result<Socket> {
    let Some(fd) = inherited::take(index) else {
        let text = format!(
            "the service manager passed {} sockets to this process, and each can be taken once (LISTEN_FDS, LISTEN_PID)",
            inherited::count()
        );
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    };
    let socket = Socket::from(fd);
    if !socket.is_listener()? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the passed socket does not listen"));
    }
    if socket.domain()? != Domain::UNIX {
        set_inherited(&socket, options)?;
    }
    Ok(socket)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_alike() {
        for text in ["127.0.0.1:80", "[::1]:80", "unix:/run/x.sock", "unix:@name", "fd:2"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!(":81".parse::<Address>().unwrap().to_string(), "[::]:81");
    }

    #[test]
    fn what_is_no_address_is_named_with_the_forms_that_are() {
        for text in ["", "unix:", "unix:@", "fd:x", ":x", "nonsense", "127.0.0.1:99999"] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")) && error.contains("HOST:PORT"), "{error}");
        }
    }

    #[test]
    fn a_connection_inherits_its_send_buffer_and_its_keepalive() {
        let options = ListenOptions {
            send_buffer: Some(32 << 10),
            keepalive: Some(Duration::from_secs(40)),
            ..ListenOptions::default()
        };
        let listener = Listener::open(&"127.0.0.1:0".parse().unwrap(), &options).unwrap();
        let Address::Tcp(at) = listener.address else { panic!("{:?}", listener.address) };
        let _peer = std::net::TcpStream::connect(at).unwrap();
        let accepted = Socket::from(crate::sys::socket::accept(listener.socket.as_fd()).unwrap().0);
        // The kernel doubles it, for what it keeps beside the bytes.
        assert_eq!(accepted.send_buffer_size().unwrap(), 64 << 10);
        assert!(accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_keepalive_interval().unwrap(), Duration::from_secs(10));
    }

    #[test]
    fn a_connection_inherits_the_user_timeout_within_what_the_kernel_takes() {
        let ms = Duration::from_millis;
        let (least, most) = (ms(1), ms(i32::MAX.try_into().unwrap()));
        for (asked, kept) in [
            (None, None),
            (Some(ms(5000)), Some(ms(5000))),
            (Some(Duration::from_nanos(1)), Some(least)),
            (Some(Duration::MAX), Some(most)),
        ] {
            let options = ListenOptions { user_timeout: asked, ..ListenOptions::default() };
            let listener = Listener::open(&"127.0.0.1:0".parse().unwrap(), &options).unwrap();
            let Address::Tcp(at) = *listener.address() else { panic!("it listens on TCP") };
            listener.socket.set_nonblocking(false).unwrap();
            let _client = std::net::TcpStream::connect(at).unwrap();
            let (accepted, _) = crate::sys::socket::accept(listener.as_fd()).unwrap();
            assert_eq!(Socket::from(accepted).tcp_user_timeout().unwrap(), kept, "{asked:?}");
        }
    }

    #[test]
    fn a_dead_socket_file_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let address = Address::Unix(path.clone());
        let listener = Listener::open(&address, &ListenOptions::default()).unwrap();
        let error = Listener::open(&address, &ListenOptions::default()).unwrap_err().to_string();
        assert!(error.contains("another server listens there"), "{error}");
        drop(listener);
        assert!(!path.exists());
    }
}
