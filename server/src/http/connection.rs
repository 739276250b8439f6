//! One connection from its first byte to its last: hyper drives the protocol,
//! the watch bounds its time, and the end is such that the last answer arrives.
//! Here is said, too, what is said without a request: that one was none, came too
//! slowly, or had no place. What a request means is in `request.rs`.

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
use super::socket::Socket;
use super::watch::{Order, Phase, Tick, Watch};
use super::{reply, request};
use crate::config::Http;
use crate::refusal::{Code, Refusal};

/// How long a client may take our last word, and may go on sending after it.
const LINGER: Duration = Duration::from_secs(1);
/// How much it may send in that time.
const LINGER_BYTES_MAX: usize = 256 << 10;

/// How hyper's part ended.
enum End {
    /// The exchange is over, for good or for bad; answers are out.
    Over,
    /// What came is no request.
    NoRequest(hyper::Error),
    /// The sweep had enough.
    Cut,
}

/// Serves one connection to its end.
pub(super) async fn run(stream: rt::TcpStream, watch: Rc<Watch>, front: &Rc<Front>) {
    let socket = Socket::new(stream, Rc::clone(&watch));
    let http = &front.facts.config.http;
    let refusal = match speak(&socket, &watch, front).await {
        End::Over => return part(&socket).await,
        End::NoRequest(error) => no_request(&error, http),
        End::Cut if watch.phase() == Phase::Head => too_slow(http),
        End::Cut => return,
    };
    front.stats().count_request(refusal.code.entry().status);
    front
        .stats()
        .count_limit(refusal.refused().limit.as_deref());
    say(&socket, &refusal).await;
    part(&socket).await;
}

/// Tells a client that there is no room for it.
pub(super) async fn turn_away(stream: rt::TcpStream, clock: Rc<Cell<Tick>>, http: &Http) {
    let socket = Socket::new(stream, Rc::new(Watch::new(clock)));
    let (limit, max) = ("http.connections_max", http.connections_max);
    let message = format!("there are {limit} = {max} connections on this shard already");
    let refusal = Refusal::new(Code::Unavailable, message);
    say(&socket, &refusal.with("limit", limit).with("max", max)).await;
    part(&socket).await;
}

fn no_request(error: &hyper::Error, http: &Http) -> Refusal {
    if error.is_parse_too_large() {
        let (bytes, count) = (http.header_bytes_max.0, http.headers_max);
        let message = format!(
            "the request's line and headers have more than http.header_bytes_max = {bytes} bytes, or are more than http.headers_max = {count}"
        );
        return Refusal::new(Code::HeadTooLarge, message);
    }
    let message = format!("this is no request as HTTP/1.1 has them: {error}");
    Refusal::new(Code::BrokenHead, message)
}

fn too_slow(http: &Http) -> Refusal {
    let (limit, max) = ("http.header_timeout", http.header_timeout.as_millis());
    let max = u64::try_from(max).unwrap_or(u64::MAX);
    let message = format!("the headers did not arrive within {limit} = {max} ms");
    let refusal = Refusal::new(Code::TooSlow, message);
    refusal.with("limit", limit).with("max", max)
}

async fn speak(socket: &Socket, watch: &Rc<Watch>, front: &Rc<Front>) -> End {
    let http = &front.facts.config.http;
    let service = service_fn(|request| request::answer(front, watch, request));
    let mut connection = pin!(
        http1::Builder::new()
            // A client may close its half behind its request and still get its answer.
            .half_close(true)
            .max_buf_size(http.header_bytes_max.as_usize())
            .max_headers(http.headers_max as usize)
            .serve_connection(socket.clone(), service)
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
        connection.as_mut().poll(cx).map(|ended| match ended {
            Err(error) if socket.is_refused() => End::NoRequest(error),
            _ => End::Over,
        })
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
async fn say(socket: &Socket, refusal: &Refusal) {
    let bytes = reply::last_word(refusal);
    let _ = poll_fn(|cx| Poll::Ready(socket.poll_say(cx, &bytes))).await;
}
