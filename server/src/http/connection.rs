//! One connection from its first byte to its last: hyper drives the protocol,
//! the watch bounds its time, and the end is such that the last answer arrives.
//! What a request means is in `request.rs`.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use corelet_shard::rt;
use hyper::server::conn::http1;
use hyper::service::service_fn;

use super::door::Front;
use super::request;
use super::socket::Socket;
use super::watch::{Order, Phase, Tick, Watch};

/// How long a client may take our last word, and may go on sending after it.
const LINGER: Duration = Duration::from_secs(1);
/// How much it may send in that time.
const LINGER_BYTES_MAX: usize = 256 << 10;

const TOO_SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// How hyper's part ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The exchange is over, for good or for bad; answers are out.
    Over,
    /// The sweep had enough.
    Cut,
}

/// Serves one connection to its end.
pub(super) async fn run(stream: rt::TcpStream, watch: Rc<Watch>, front: &Rc<Front>) {
    let socket = Socket::new(stream, Rc::clone(&watch));
    let end = speak(socket.clone(), &watch, front).await;
    match end {
        End::Over => part(&socket).await,
        End::Cut if watch.phase() == Phase::Head => {
            say(&socket, TOO_SLOW).await;
            part(&socket).await;
        }
        End::Cut => {}
    }
}

/// Tells a client that there is no room for it.
pub(super) async fn turn_away(stream: rt::TcpStream, clock: Rc<Cell<Tick>>) {
    let socket = Socket::new(stream, Rc::new(Watch::new(clock)));
    say(&socket, TOO_MANY).await;
    part(&socket).await;
}

async fn speak(socket: Socket, watch: &Rc<Watch>, front: &Rc<Front>) -> End {
    let http = &front.facts.config.http;
    let service = service_fn(|request| request::answer(front, watch, request));
    let mut connection = pin!(
        http1::Builder::new()
            // A client may close its half behind its request and still get its answer.
            .half_close(true)
            .max_buf_size(http.header_bytes_max.as_usize())
            .max_headers(http.headers_max as usize)
            .serve_connection(socket, service)
    );
    let mut finishing = false;
    poll_fn(|cx| {
        watch.remember(cx.waker());
        match watch.order() {
            Order::Close => return Poll::Ready(End::Cut),
            Order::Finish if !finishing => {
                finishing = true;
                connection.as_mut().graceful_shutdown();
            }
            // A late body is refused where it is read.
            Order::Finish | Order::RefuseBody | Order::None => {}
        }
        connection.as_mut().poll(cx).map(|_| End::Over)
    })
    .await
}

/// Closes our half and reads on for a moment: closing a socket with unread
/// bytes in it resets the connection, and the answer would be lost with it.
async fn part(socket: &Socket) {
    let closing = rt::timeout(LINGER, poll_fn(|cx| socket.poll_close(cx)));
    if !matches!(closing.await, Some(Ok(()))) {
        return;
    }
    let mut left = LINGER_BYTES_MAX;
    let drained = poll_fn(|cx| {
        while let Poll::Ready(read) = socket.poll_discard(cx) {
            match read {
                Ok(1..) if left > 0 => left = left.saturating_sub(read.unwrap_or(0)),
                _ => return Poll::Ready(()),
            }
        }
        Poll::Pending
    });
    let _ = rt::timeout(LINGER, drained).await;
}

/// Says one last thing. A socket without room for so little is waited for where
/// it is closed.
async fn say(socket: &Socket, bytes: &[u8]) {
    let _ = poll_fn(|cx| Poll::Ready(socket.poll_say(cx, bytes))).await;
}
