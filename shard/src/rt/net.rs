//! Sockets of a shard: one listener per shard on a shared port, and streams
//! that an HTTP connection can drive. When they are ready is known in `ready.rs`,
//! when they send in `outbox.rs`.
//!
//! The socket options are set here, so that a second server on the same port is
//! refused instead of silently sharing it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, Shutdown, SocketFlags, SocketType, accept_with, recv, shutdown,
    sockopt,
};

use super::outbox::Link;
use super::ready::Watched;

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
    socket: Watched,
}

impl TcpListener {
    /// Takes over a socket of [`listen`].
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<TcpListener> {
        listener.set_nonblocking(true)?;
        let socket = Watched::new(listener.into())?;
        Ok(TcpListener { socket })
    }

    /// The next connection, with small packets sent at once.
    pub async fn accept(&self) -> io::Result<TcpStream> {
        let incoming = &self.socket.readiness().reading;
        loop {
            poll_fn(|cx| incoming.poll_ready(cx)).await;
            match accept_with(&self.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(socket) => {
                    sockopt::set_tcp_nodelay(&socket, true)?;
                    return TcpStream::new(socket);
                }
                Err(Errno::AGAIN) => incoming.exhausted(),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A connection on this thread's executor. What is written to it leaves in one
/// go with what others write: see `outbox.rs`.
pub struct TcpStream {
    link: Rc<Link>,
}

impl TcpStream {
    fn new(socket: OwnedFd) -> io::Result<TcpStream> {
        let link = Rc::new(Link::new(Watched::new(socket)?));
        Ok(TcpStream { link })
    }

    /// Waits until all that was written is the kernel's to deliver.
    pub fn poll_sent(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link.poll_sent(cx)
    }
}

impl hyper::rt::Read for TcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.link.check_whole()?;
        let socket = self.link.socket();
        SCRATCH.with_borrow_mut(|scratch| {
            let room = buffer.remaining().min(scratch.len());
            loop {
                ready!(socket.readiness().reading.poll_ready(cx));
                match recv(socket, &mut scratch[..room], RecvFlags::DONTWAIT) {
                    Ok((read, _)) => {
                        if (1..room).contains(&read) {
                            socket.readiness().drained();
                        }
                        buffer.put_slice(&scratch[..read]);
                        return Poll::Ready(Ok(()));
                    }
                    Err(Errno::AGAIN) => socket.readiness().reading.exhausted(),
                    Err(Errno::INTR) => {}
                    Err(error) => return Poll::Ready(Err(error.into())),
                }
            }
        })
    }
}

impl hyper::rt::Write for TcpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.link.poll_write(cx, bytes)
    }

    /// Ready when nothing is left to do here: what is in the outbox leaves by itself.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.link.is_leaving() {
            return Poll::Ready(Ok(()));
        }
        self.link.poll_sent(cx)
    }

    /// Sends what is left, then closes our half.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.link.poll_sent(cx))?;
        Poll::Ready(shutdown(self.link.socket(), Shutdown::Write).map_err(io::Error::from))
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::io::{Read as _, Write as _};
    use std::sync::mpsc;
    use std::thread;

    use hyper::rt::{Read as _, ReadBuf, Write as _};

    use super::*;
    use crate::rt;

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

    /// Runs both ends of one connection: ours on an executor, the client on a thread.
    fn connected(
        ours: impl AsyncFnOnce(TcpStream) + 'static,
        client: impl FnOnce(std::net::TcpStream) + Send + 'static,
    ) {
        let listener = listen("127.0.0.1:0".parse().unwrap(), 1).unwrap().remove(0);
        let address = listener.local_addr().unwrap();
        let talk = move || client(std::net::TcpStream::connect(address).unwrap());
        let client = thread::Builder::new().name("client".to_owned());
        let client = client.spawn(talk).unwrap();
        rt::run("test", &rt::ExecutorConfig::default(), async move || {
            let listener = TcpListener::from_std(listener).unwrap();
            ours(listener.accept().await.unwrap()).await;
        })
        .expect("an executor can start here");
        client.join().unwrap();
    }

    async fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
        let mut left = bytes;
        while !left.is_empty() {
            let written = poll_fn(|cx| Pin::new(&mut *stream).poll_write(cx, left)).await?;
            left = &left[written..];
        }
        poll_fn(|cx| Pin::new(&mut *stream).poll_flush(cx)).await
    }

    async fn read(stream: &mut TcpStream) -> io::Result<usize> {
        let mut space = [0; 64];
        let mut buffer = ReadBuf::new(&mut space);
        poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, buffer.unfilled())).await?;
        Ok(buffer.filled().len())
    }

    async fn close(stream: &mut TcpStream) {
        poll_fn(|cx| Pin::new(&mut *stream).poll_shutdown(cx))
            .await
            .unwrap();
    }

    #[test]
    fn a_client_that_reads_late_gets_every_byte_in_order() {
        const PIECES: u32 = 1_000_000;
        const LARGE: usize = 250_000;
        let (full, is_full) = mpsc::channel();
        connected(
            async move |mut stream| {
                // Far more than any socket takes, in pieces small and large.
                for piece in 0..PIECES {
                    let bytes = piece.to_le_bytes();
                    let writing = poll_fn(|cx| {
                        let polled = Pin::new(&mut stream).poll_write(cx, &bytes);
                        if polled.is_pending() {
                            // Only now does the client begin to read.
                            let _ = full.send(());
                        }
                        polled
                    });
                    assert_eq!(writing.await.unwrap(), bytes.len());
                    if piece % 50_000 == 0 {
                        let large: Vec<u8> = piece.to_le_bytes().repeat(LARGE);
                        let writing = write(&mut stream, &large);
                        let mut writing = std::pin::pin!(writing);
                        poll_fn(|cx| {
                            let polled = writing.as_mut().poll(cx);
                            if polled.is_pending() {
                                let _ = full.send(());
                            }
                            polled
                        })
                        .await
                        .unwrap();
                    }
                }
                close(&mut stream).await;
            },
            move |mut client| {
                is_full.recv().unwrap();
                let mut got = Vec::new();
                client.read_to_end(&mut got).unwrap();
                let numbers = got
                    .chunks_exact(4)
                    .map(|bytes| u32::from_le_bytes(bytes.try_into().unwrap()));
                let expected = (0..PIECES).flat_map(|piece| {
                    std::iter::repeat_n(piece, if piece % 50_000 == 0 { LARGE + 1 } else { 1 })
                });
                assert!(numbers.eq(expected));
            },
        );
    }

    #[test]
    fn an_answer_leaves_while_its_task_goes_on_waiting() {
        converse();
    }

    #[test]
    fn a_second_executor_of_a_thread_serves_its_sockets_too() {
        converse();
        converse();
    }

    fn converse() {
        connected(
            async |mut stream| {
                // Several questions and answers, so that each wait is for something new.
                while read(&mut stream).await.unwrap() > 0 {
                    write(&mut stream, b"answer").await.unwrap();
                }
                close(&mut stream).await;
            },
            |mut client| {
                for _ in 0..3 {
                    client.write_all(b"question").unwrap();
                    let mut answer = [0; 6];
                    client.read_exact(&mut answer).unwrap();
                    assert_eq!(&answer, b"answer");
                }
                client.shutdown(std::net::Shutdown::Write).unwrap();
                assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
            },
        );
    }

    #[test]
    fn what_a_client_sent_before_it_closed_is_read_and_then_its_end() {
        let (gone, is_gone) = mpsc::channel();
        connected(
            async move |mut stream| {
                is_gone.recv().unwrap();
                assert_eq!(read(&mut stream).await.unwrap(), 4);
                assert_eq!(read(&mut stream).await.unwrap(), 0);
            },
            move |mut client| {
                client.write_all(b"last").unwrap();
                drop(client);
                gone.send(()).unwrap();
            },
        );
    }

    #[test]
    fn writing_to_a_client_that_has_gone_fails() {
        connected(
            async |mut stream| {
                // The first bytes draw the reset, later ones meet it.
                while write(&mut stream, &[0; 1000]).await.is_ok() {
                    rt::breathe().await;
                }
            },
            drop,
        );
    }
}
