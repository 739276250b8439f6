//! A connection's socket with an ear: it tells the [`Watch`] when bytes come in
//! and when the answer is out. The stream is shared with the connection task, which
//! still needs it after hyper is done: to close it so that the last answer arrives.
//! hyper's own answers stop here, as they say nothing: see [`Socket::is_refused`].

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use corelet_shard::rt::TcpStream;
use hyper::rt::{Read, ReadBufCursor, Write};

use super::watch::{Phase, Watch};

/// A stream that hyper drives and the connection task keeps a hand on.
#[derive(Clone)]
pub(super) struct Socket {
    stream: Rc<RefCell<TcpStream>>,
    watch: Rc<Watch>,
    refused: Rc<Cell<bool>>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, watch: Rc<Watch>) -> Socket {
        Socket {
            stream: Rc::new(RefCell::new(stream)),
            watch,
            refused: Rc::default(),
        }
    }
}

impl Read for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, buffer);
        if let Poll::Ready(Ok(())) = polled {
            self.watch.heard();
        }
        polled
    }
}

impl Write for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_own_word(bytes) {
            self.refused.set(true);
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut *self.stream.borrow_mut()).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut *self.stream.borrow_mut()).poll_flush(cx);
        if let Poll::Ready(Ok(())) = polled {
            self.watch.flushed();
        }
        polled
    }

    /// Only hyper asks for this, behind the last answer. Closing is left to the
    /// connection task, which first reads what the client still sends: see
    /// `connection.rs`.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.borrow().poll_sent(cx)
    }
}

impl Socket {
    /// Whether hyper has refused what came, as it is no request. What it said to that, a
    /// status and no body, was kept back: the connection task says it in our words.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.get()
    }

    /// Whether these bytes are a refusal of hyper's own: all of an answer, without a body,
    /// where nobody has been asked for one. An answer of ours is under way until it is out,
    /// and what is left of a body in JSON does not look like that. If hyper refuses while the
    /// end of an answer is not out yet, its own words go with that.
    fn is_own_word(&self, bytes: &[u8]) -> bool {
        matches!(self.watch.phase(), Phase::Idle | Phase::Head)
            && bytes.starts_with(b"HTTP/1.")
            && bytes.get(8..10) == Some(b" 4")
            && bytes.ends_with(b"\r\n\r\n")
    }

    /// Sends what was said, then closes our half.
    pub(super) fn poll_close(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_shutdown(cx)
    }

    /// Reads and forgets; the number of bytes, 0 at the client's end.
    pub(super) fn poll_discard(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [0; 4096];
        let mut buffer = hyper::rt::ReadBuf::new(&mut space);
        let polled = Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, buffer.unfilled());
        polled.map_ok(|()| buffer.filled().len())
    }

    /// Takes a few bytes to be sent before the end.
    pub(super) fn poll_say(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_write(cx, bytes)
    }
}
