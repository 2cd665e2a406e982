//! The yardsticks: servers as small and fast as their shape allows.
//!
//! All but the push loop echo bytes, not frames, and honour `@block=US;` and `@work=US;` at the start of what a read returns.

#[expect(unsafe_code, reason = "memory that the kernel writes to")]
mod buffers;
mod floor;
mod kernel;
mod oneshot;
#[expect(unsafe_code, reason = "a descriptor that the one-shot protocol keeps open, not a borrow")]
mod peer;
mod push;
mod tokio;
#[expect(unsafe_code, reason = "entries that name memory and descriptors")]
mod uring;

use anyhow::{Context, Result};
use clap::ValueEnum;
use rustix::net::SocketFlags;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

const BACKLOG: i32 = 4096;
/// What one read takes at most.
const BUFFER_BYTES: usize = 64 * 1024;
/// After `EMFILE` and the like an acceptor waits this long: a retry at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// The shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    /// One thread, level-triggered epoll: the floor of what a request costs.
    Floor,
    /// One serving thread, EPOLLONESHOT and re-arm, batch 64, and an acceptor thread.
    Oneshot,
    /// The C original: an acceptor, 2 epoll sets of 5 workers each, all in `epoll_wait`, batch 1.
    Kernel,
    /// An ordinary tokio echo.
    Tokio,
    /// Multishot accept and receive on one ring.
    IoUring,
    /// A push server: Server-Sent Events, and one plain `send` per subscriber and message.
    PushLoop,
}

/// Serves until the process is ended.
///
/// # Errors
/// If the address cannot be bound, or the kernel refuses what the shape needs.
pub(crate) fn serve(shape: Shape, listen: SocketAddr, threads: usize) -> Result<()> {
    crate::limits::raise_descriptors();
    let listener = listen_on(listen)?;
    match shape {
        Shape::Floor => floor::serve(&listener),
        Shape::Oneshot => oneshot::serve(&listener),
        Shape::Kernel => kernel::serve(&listener),
        Shape::Tokio => tokio::serve(listener, threads),
        Shape::IoUring => uring::serve(listener),
        Shape::PushLoop => push::serve(&listener),
    }
}

/// A blocking listener; `TCP_NODELAY` is inherited by what it accepts.
fn listen_on(address: SocketAddr) -> Result<Socket> {
    let bind = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok::<_, std::io::Error>(socket)
    };
    bind().with_context(|| format!("--listen {address}: cannot listen there; give a free address, or port 0 for any"))
}

/// Says where the server is to be found. Called once it answers.
fn announce(listener: &Socket) -> Result<()> {
    let address = listener.local_addr()?.as_socket().context("the listener has no IP address")?;
    let mut out = std::io::stdout();
    writeln!(out, "listening {address}")?;
    out.flush().context("standard output")
}

/// Accepts with a blocking listener, for ever.
fn accept_each(listener: &Socket, mut each: impl FnMut(OwnedFd)) -> ! {
    loop {
        match rustix::net::accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok(socket) => each(socket),
            Err(error) => pause_after(error),
        }
    }
}

/// A failed accept is one peer's misfortune, or a lack of descriptors or memory that needs time.
fn pause_after(error: rustix::io::Errno) {
    use rustix::io::Errno;
    if matches!(error, Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) {
        std::thread::sleep(ACCEPT_PAUSE);
    }
}

/// Does what the bytes ask for besides the echo.
#[inline]
fn honour(bytes: &[u8]) {
    if bytes.first() == Some(&b'@') {
        honour_prefix(bytes);
    }
}

#[cold]
fn honour_prefix(bytes: &[u8]) {
    if let Some(time) = micros_after(bytes, b"@block=") {
        std::thread::sleep(time);
    } else if let Some(time) = micros_after(bytes, b"@work=") {
        let end = Instant::now() + time;
        while Instant::now() < end {
            std::hint::spin_loop();
        }
    }
}

fn micros_after(bytes: &[u8], name: &[u8]) -> Option<Duration> {
    let rest = bytes.strip_prefix(name)?;
    let end = rest.iter().position(|byte| *byte == b';')?;
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok().map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_ask_for_microseconds_and_nonsense_for_nothing() {
        assert_eq!(micros_after(b"@block=1500;x", b"@block="), Some(Duration::from_micros(1500)));
        assert_eq!(micros_after(b"@block=1500", b"@block="), None);
        assert_eq!(micros_after(b"@block=-1;", b"@block="), None);
        assert_eq!(micros_after(b"hello", b"@work="), None);
    }

    #[test]
    fn an_address_in_use_is_an_error_that_names_it_and_the_remedy() {
        let first = listen_on("127.0.0.1:0".parse().unwrap()).unwrap();
        let taken = first.local_addr().unwrap().as_socket().unwrap();
        let error = listen_on(taken).unwrap_err().to_string();
        assert!(error.contains(&taken.to_string()) && error.contains("port 0"), "{error}");
    }
}
