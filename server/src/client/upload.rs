//! A content on its way to the server, and the connection that it goes over: a server that
//! refuses it stops reading and says why, which is only heard by who goes on to the answer
//! although nothing can be sent any more. Start at [`agent`].

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ureq::Agent;
use ureq::config::Config;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, DefaultConnector, NextTimeout, Transport,
};

/// Whether the server has stopped reading.
#[derive(Clone, Debug, Default)]
pub(super) struct IsDeaf(Arc<AtomicBool>);

impl IsDeaf {
    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What sends one content, and goes on to the answer when the server stops reading.
pub(super) fn agent(config: Config, is_deaf: IsDeaf) -> Agent {
    let connector = DefaultConnector::default().chain(Listening(is_deaf));
    Agent::with_parts(config, connector, DefaultResolver::default())
}

/// A content, until its end or until nobody reads it any more.
pub(super) struct Content<R> {
    pub(super) reader: R,
    /// Bytes that are left of it, if that is known: so many have to be handed out.
    pub(super) left: Option<u64>,
    pub(super) is_deaf: IsDeaf,
}

impl<R: Read> Read for Content<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let max = self.left.unwrap_or(u64::MAX).min(buffer.len() as u64);
        let buffer = &mut buffer[..usize::try_from(max).unwrap_or(usize::MAX)];
        let read = match (self.is_deaf.get(), self.left) {
            (false, _) => self.reader.read(buffer)?,
            (true, None) => 0,
            // They go nowhere, and the request ends with them.
            (true, Some(_)) => buffer.len(),
        };
        if let Some(left) = &mut self.left {
            *left -= read as u64;
            if read == 0 && *left > 0 {
                let why = "it has become shorter while it was being sent";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
            }
        }
        Ok(read)
    }
}

#[derive(Debug)]
struct Listening(IsDeaf);

impl<In: Transport> Connector<In> for Listening {
    type Out = Connection<In>;

    fn connect(
        &self,
        _: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Connection<In>>, ureq::Error> {
        let is_deaf = self.0.clone();
        Ok(chained.map(|inner| Connection { inner, is_deaf }))
    }
}

#[derive(Debug)]
struct Connection<T> {
    inner: T,
    is_deaf: IsDeaf,
}

impl<T: Transport> Transport for Connection<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        if self.is_deaf.get() {
            return Ok(());
        }
        match self.inner.transmit_output(amount, timeout) {
            Err(ureq::Error::Io(error)) if has_stopped_reading(&error) => {
                self.is_deaf.0.store(true, Ordering::Relaxed);
                Ok(())
            }
            sent => sent,
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        !self.is_deaf.get() && self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

fn has_stopped_reading(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}
