//! Sockets of a shard: one listener per shard on a shared port, and streams
//! that an HTTP connection can drive.
//!
//! The socket options are set here, not by glommio, so that a second server on
//! the same port is refused instead of silently sharing it.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_lite::{AsyncRead, AsyncWrite};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// Bytes taken from a socket by one read.
const READ_BYTES_MAX: usize = 64 << 10;

/// Connections the kernel may hold ready for one listener.
const BACKLOG: i32 = 1024;

thread_local! {
    // Reads land here and are copied to where they are wanted: hyper's buffers
    // are uninitialised memory, which safe code cannot pass to a read.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES_MAX].into_boxed_slice());
}

/// Opens `count` listeners on one address, over which the kernel spreads new
/// connections. Port 0 picks a free port for all of them.
///
/// # Errors
/// `AddrInUse` if anybody, also another server of the same user, listens there.
pub fn listen(address: SocketAddr, count: usize) -> io::Result<Vec<std::net::TcpListener>> {
    let mut address = address;
    // A socket without SO_REUSEPORT cannot be bound beside others: it proves
    // that the address is free, and keeps port 0 from being drawn twice.
    let probe = open(address, false)?;
    address.set_port(probe.local_addr()?.port());
    if count == 1 {
        rustix::net::listen(&probe, BACKLOG)?;
        return Ok(vec![probe]);
    }
    drop(probe);
    (0..count)
        .map(|_| {
            let socket = open(address, true)?;
            rustix::net::listen(&socket, BACKLOG)?;
            Ok(socket)
        })
        .collect()
}

fn open(address: SocketAddr, reuse_port: bool) -> io::Result<std::net::TcpListener> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket: OwnedFd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, reuse_port)?;
    rustix::net::bind(&socket, &address)?;
    Ok(std::net::TcpListener::from(socket))
}

/// A listening socket on this thread's executor.
pub struct TcpListener {
    inner: glommio::net::TcpListener,
}

impl TcpListener {
    /// Takes over a socket of [`listen`].
    #[allow(unsafe_code)]
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<TcpListener> {
        listener.set_nonblocking(true)?;
        // SAFETY: the descriptor was just given up by its only owner.
        let inner = unsafe { glommio::net::TcpListener::from_raw_fd(listener.into_raw_fd()) };
        Ok(TcpListener { inner })
    }

    /// The next connection, with small packets sent at once.
    pub async fn accept(&self) -> io::Result<TcpStream> {
        let inner = self.inner.accept().await.map_err(io::Error::from)?;
        inner.set_nodelay(true).map_err(io::Error::from)?;
        Ok(TcpStream { inner })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr().map_err(io::Error::from)
    }
}

/// A connection on this thread's executor.
pub struct TcpStream {
    inner: glommio::net::TcpStream,
}

impl TcpStream {
    /// The other side's address.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.inner.peer_addr().map_err(io::Error::from)
    }
}

impl hyper::rt::Read for TcpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let len = buffer.remaining().min(scratch.len());
            match Pin::new(&mut self.inner).poll_read(cx, &mut scratch[..len]) {
                Poll::Ready(Ok(read)) => {
                    buffer.put_slice(&scratch[..read]);
                    Poll::Ready(Ok(()))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            }
        })
    }
}

impl hyper::rt::Write for TcpStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_refused_even_to_ourselves() {
        let held = listen("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let address = held[0].local_addr().unwrap();
        assert_eq!(held[1].local_addr().unwrap(), address);
        assert_eq!(
            listen(address, 2).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        assert_eq!(
            listen(address, 1).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
    }
}
