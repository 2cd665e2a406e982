//! The system calls of a connection's life: `accept4(2)`, `connect(2)`, `recv(2)`, `sendmsg(2)`, `shutdown(2)`.

use super::{cvt, cvt_long, fault};
use socket2::{Protocol, SockAddr, SockRef, Socket, Type};
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Segments handed to one `sendmsg(2)`; far below `IOV_MAX`.
pub(crate) const SEGMENTS_PER_SEND_MAX: usize = 64;

/// Takes one connection from a listener, non-blocking and close-on-exec. The peer of a unix socket has no address.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    fault::errno(fault::Site::Accept)?;
    // SAFETY: all zeros is a valid sockaddr_storage (family AF_UNSPEC).
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut len = libc::socklen_t::try_from(size_of::<libc::sockaddr_storage>()).unwrap_or(0);
    // SAFETY: `storage` is writable for `len` bytes, and the kernel writes no more.
    let fd = cvt(unsafe {
        libc::accept4(
            listener.as_raw_fd(),
            (&raw mut storage).cast(),
            &raw mut len,
            libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
        )
    })?;
    // SAFETY: a new descriptor, ours alone.
    Ok((unsafe { OwnedFd::from_raw_fd(fd) }, address_of(&storage)))
}

fn address_of(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that it is a sockaddr_in, which is smaller than the storage.
            let v4 = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in>() };
            let ip = IpAddr::V4(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)));
            Some(SocketAddr::new(ip, u16::from_be(v4.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: as above, with sockaddr_in6.
            let v6 = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in6>() };
            let ip = IpAddr::V6(Ipv6Addr::from(v6.sin6_addr.s6_addr)).to_canonical();
            Some(SocketAddr::new(ip, u16::from_be(v6.sin6_port)))
        }
        _ => None,
    }
}

/// Begins to connect, non-blocking and close-on-exec; `prepare` sets options. When the socket is writable,
/// [`connect_outcome`] says what came of it.
pub(crate) fn connect(to: &SockAddr, prepare: impl FnOnce(&Socket) -> io::Result<()>) -> io::Result<OwnedFd> {
    fault::errno(fault::Site::Connect)?;
    let protocol = (!to.is_unix()).then_some(Protocol::TCP);
    let socket = Socket::new(to.domain(), Type::STREAM.nonblocking(), protocol)?;
    prepare(&socket)?;
    match socket.connect(to) {
        // Interrupted, it goes on in the background (`connect(2)`).
        Err(error) if !matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => Err(error),
        Ok(()) | Err(_) => Ok(socket.into()),
    }
}

/// Whether a socket is connected; `false` while that is still under way.
pub(crate) fn connect_outcome(fd: BorrowedFd<'_>) -> io::Result<bool> {
    fault::errno(fault::Site::Connected)?;
    let socket = SockRef::from(&fd);
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    match socket.peer_addr() {
        // A port of the range that the system deals from can be given to who connects to it; that is no server.
        Ok(peer) if !peer.is_unix() && socket.local_addr()? == peer => {
            Err(io::Error::from_raw_os_error(libc::ECONNREFUSED))
        }
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads into `buffer`; 0 says that the peer has finished. Goes on when interrupted.
pub(crate) fn local_address(fd: BorrowedFd<'_>) -> Option<SocketAddr> {
    SockRef::from(&fd).local_addr().ok()?.as_socket()
}

pub(crate) fn recv(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: `buffer` is writable for its length.
    unsafe { recv_raw(fd, buffer.as_mut_ptr(), buffer.len()) }
}

/// Reads at most `len_max` bytes onto the end of `buffer`, which must have the room (it is not grown here).
pub(crate) fn recv_append(fd: BorrowedFd<'_>, buffer: &mut Vec<u8>, len_max: usize) -> io::Result<usize> {
    let spare = buffer.spare_capacity_mut();
    // SAFETY: the spare capacity is writable for at least that many bytes.
    let count = unsafe { recv_raw(fd, spare.as_mut_ptr().cast(), spare.len().min(len_max))? };
    // SAFETY: the kernel wrote `count` bytes behind the old length.
    unsafe { buffer.set_len(buffer.len() + count) };
    Ok(count)
}

/// # Safety
/// `at` must be writable for `room` bytes.
unsafe fn recv_raw(fd: BorrowedFd<'_>, at: *mut u8, room: usize) -> io::Result<usize> {
    let no_address = std::ptr::null_mut::<libc::c_void>();
    retry(|| {
        let len = fault::len(fault::Site::Recv, room)?;
        // SAFETY: the caller's promise, and `len <= room`; no address is asked for. Called directly because libc's
        // wrapper switches thread cancellation on and off around it, at a tenth of this program's user time.
        cvt_long(unsafe { libc::syscall(libc::SYS_recvfrom, fd.as_raw_fd(), at, len, 0, no_address, no_address) })
    })
}

/// Sends one piece. Never raises SIGPIPE; goes on when interrupted.
pub(crate) fn send(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let (no_address, flags) = (std::ptr::null::<libc::c_void>(), libc::MSG_NOSIGNAL);
    retry(|| {
        let len = fault::len(fault::Site::Send, bytes.len())?;
        // SAFETY: `bytes` is readable for `len` bytes, which is at most its length. Called directly as above.
        cvt_long(unsafe { libc::syscall(libc::SYS_sendto, fd.as_raw_fd(), bytes.as_ptr(), len, flags, no_address, 0) })
    })
}

/// Calls again what a signal interrupted.
fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Sends several pieces, at most [`SEGMENTS_PER_SEND_MAX`], with one system call.
pub(crate) fn send_vectored(fd: BorrowedFd<'_>, pieces: &mut [IoSlice<'_>]) -> io::Result<usize> {
    let [one] = pieces else { return send_message(fd, pieces) };
    send(fd, one)
}

fn send_message(fd: BorrowedFd<'_>, pieces: &mut [IoSlice<'_>]) -> io::Result<usize> {
    debug_assert!(pieces.len() <= SEGMENTS_PER_SEND_MAX);
    retry(|| {
        let most = fault::len(fault::Site::Send, usize::MAX)?;
        if most < usize::MAX {
            let first = pieces.first().map_or(&[][..], |piece| piece);
            return send(fd, &first[..first.len().min(most)]);
        }
        // SAFETY: all zeros is a valid msghdr.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        // `IoSlice` has the layout of iovec, as std promises.
        message.msg_iov = pieces.as_mut_ptr().cast();
        message.msg_iovlen = pieces.len();
        // SAFETY: `message` names `pieces.len()` readable iovecs that live through the call.
        cvt_long(unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) as libc::c_long })
    })
}

/// Says to the peer that no more comes; what it sends can still be read.
pub(crate) fn finish_writing(fd: BorrowedFd<'_>) -> io::Result<()> {
    fault::errno(fault::Site::Shutdown)?;
    // SAFETY: takes no pointer.
    cvt(unsafe { libc::shutdown(fd.as_raw_fd(), libc::SHUT_WR) })?;
    Ok(())
}

/// Bytes that wait in the socket to be read; 0 where the kernel does not tell.
pub(crate) fn unread_bytes(fd: BorrowedFd<'_>) -> usize {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD, &raw mut count) };
    if result < 0 { 0 } else { usize::try_from(count).unwrap_or(0) }
}

/// `TCP_DEFER_ACCEPT` on a listener, in whole seconds rounded up.
pub(crate) fn defer_accept(fd: BorrowedFd<'_>, time: std::time::Duration) -> io::Result<()> {
    let seconds = libc::c_int::try_from(time.as_millis().div_ceil(1000)).unwrap_or(libc::c_int::MAX);
    let len = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(0);
    let value = (&raw const seconds).cast();
    // SAFETY: `value` points to one int that lives through the call, and `len` is its size.
    cvt(unsafe { libc::setsockopt(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, value, len) })?;
    Ok(())
}
