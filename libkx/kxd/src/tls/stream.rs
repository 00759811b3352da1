//! A TLS connection on a tokio socket, without a context pointer and so without `unsafe`.
//!
//! OpenSSL is given a [`Transport`] whose `Read` and `Write` are tokio's `try_read` and `try_write`:
//! they answer `WouldBlock` at once, and [`TlsStream`] then waits for the readiness that OpenSSL asks
//! for. So no waker has to travel through the library.

use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use openssl::ssl::{self, ErrorCode, Ssl, SslRef, SslStream};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// How many of a connection's first octets are kept: enough to tell what speaks to us.
const FIRST_OCTETS: usize = 5;

/// The content type octet of a TLS handshake record (RFC 8446, 5.1).
const CONTENT_TYPE_HANDSHAKE: u8 = 22;

/// The socket as OpenSSL sees it: non-blocking, and deaf to what is not TLS.
#[derive(Debug)]
pub struct Transport {
    tcp: TcpStream,
    first: [u8; FIRST_OCTETS],
    seen: u8,
    not_tls: bool,
}

impl Transport {
    fn new(tcp: TcpStream) -> Self {
        Transport {
            tcp,
            first: [0; FIRST_OCTETS],
            seen: 0,
            not_tls: false,
        }
    }

    /// The first octets the peer sent, at most five.
    pub fn first_octets(&self) -> &[u8] {
        self.first.get(..usize::from(self.seen)).unwrap_or_default()
    }

    /// The socket below, for an answer in the clear and for its addresses.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// A read that gave less than there was room for has emptied the socket: tokio may wait for the
    /// next event without another read that says so. (An event that came meanwhile is not lost: the
    /// readiness that is cleared here is that of before the read.)
    fn note_drained(&self) {
        let _ = self.tcp.try_io(Interest::READABLE, || -> io::Result<()> {
            Err(io::ErrorKind::WouldBlock.into())
        });
    }

    fn note_first(&mut self, bytes: &[u8]) {
        for &b in bytes {
            let Some(slot) = self.first.get_mut(usize::from(self.seen)) else {
                break;
            };
            *slot = b;
            self.seen += 1;
        }
        self.not_tls = self.first[0] != CONTENT_TYPE_HANDSHAKE;
    }
}

impl Read for Transport {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.tcp.try_read(buf)?;
        if n > 0 && n < buf.len() {
            self.note_drained();
        }
        if usize::from(self.seen) < FIRST_OCTETS {
            let got = buf.get(..n).unwrap_or_default().to_vec();
            self.note_first(&got);
        }
        if self.not_tls && n > 0 {
            // OpenSSL must not answer with an alert of its own: what the peer gets is decided by
            // the listener (kxd spec 4.1, "Plain HTTP on the port").
            return Err(io::Error::new(io::ErrorKind::InvalidData, NotTls));
        }
        Ok(n)
    }
}

impl Write for Transport {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.not_tls {
            return Ok(buf.len());
        }
        self.tcp.try_write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The first octets are not those of a TLS record.
#[derive(Debug, thiserror::Error)]
#[error("tls: first record does not look like a TLS handshake")]
pub struct NotTls;

/// A server side TLS connection.
#[derive(Debug)]
pub struct TlsStream {
    inner: SslStream<Transport>,
}

/// What OpenSSL said, turned into "wait" or a result.
enum Want {
    Read,
    Write,
}

impl TlsStream {
    /// Wraps a connected socket; nothing is sent or read yet.
    ///
    /// # Errors
    /// When OpenSSL has no memory for the connection.
    pub fn new(ssl: Ssl, tcp: TcpStream) -> Result<Self, openssl::error::ErrorStack> {
        Ok(TlsStream {
            inner: SslStream::new(ssl, Transport::new(tcp))?,
        })
    }

    /// Runs the handshake as the server. No time limit: the caller sets one.
    ///
    /// # Errors
    /// OpenSSL's error; [`Self::transport`] still tells the first octets and reaches the socket.
    pub async fn accept(&mut self) -> Result<(), ssl::Error> {
        poll_fn(|cx| {
            loop {
                match self.inner.accept() {
                    Ok(()) => return Poll::Ready(Ok(())),
                    Err(e) => {
                        let Some(want) = want_of(&e) else {
                            return Poll::Ready(Err(e));
                        };
                        if ready!(self.poll_socket(cx, &want)).is_err() {
                            return Poll::Ready(Err(e));
                        }
                    }
                }
            }
        })
        .await
    }

    /// The connection's TLS state: version, ALPN, certificates.
    pub fn ssl(&self) -> &SslRef {
        self.inner.ssl()
    }

    /// The socket below.
    pub fn transport(&self) -> &Transport {
        self.inner.get_ref()
    }

    fn poll_socket(&self, cx: &mut Context<'_>, want: &Want) -> Poll<io::Result<()>> {
        let tcp = self.inner.get_ref().tcp();
        match want {
            Want::Read => tcp.poll_read_ready(cx),
            Want::Write => tcp.poll_write_ready(cx),
        }
    }

    /// Reads decrypted octets into `buf`; 0 is the end (with or without close_notify).
    pub fn poll_read_slice(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        ready!(poll_turn(cx));
        loop {
            match self.inner.ssl_read(buf) {
                Ok(n) => return Poll::Ready(Ok(n)),
                Err(e) => match want_of(&e) {
                    Some(want) => ready!(self.poll_socket(cx, &want))?,
                    None => return Poll::Ready(end_or_error(e).map(|()| 0)),
                },
            }
        }
    }

    /// Encrypts and sends from `buf`; tells how many octets were taken.
    pub fn poll_write_slice(
        &mut self,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(poll_turn(cx));
        loop {
            match self.inner.ssl_write(buf) {
                Ok(n) => return Poll::Ready(Ok(n)),
                Err(e) => match want_of(&e) {
                    Some(want) => ready!(self.poll_socket(cx, &want))?,
                    None => {
                        return Poll::Ready(
                            end_or_error(e).and(Err(io::ErrorKind::BrokenPipe.into())),
                        );
                    }
                },
            }
        }
    }

    /// Sends close_notify if the socket takes it at once, then closes the sending side.
    pub fn close(&mut self) {
        // The peer may be gone already; there is nobody left to tell about it.
        let _ = self.inner.shutdown();
        let _ = rustix::net::shutdown(self.inner.get_ref().tcp(), rustix::net::Shutdown::Write);
    }
}

/// Takes one unit of the task's budget; when that is used up the other tasks of the worker have their
/// turn first. Tokio's own sockets do this, but only where they wait: a peer that sends faster than it
/// is read (a flood of HTTP/2 PINGs, say) would never make us wait, and nobody else would be served.
fn poll_turn(cx: &mut Context<'_>) -> Poll<()> {
    pin!(tokio::task::coop::consume_budget()).poll(cx)
}

fn want_of(e: &ssl::Error) -> Option<Want> {
    match e.code() {
        ErrorCode::WANT_READ => Some(Want::Read),
        ErrorCode::WANT_WRITE => Some(Want::Write),
        _ => None,
    }
}

/// A peer that closes without close_notify is at its end like one that sends it: HTTP has its own
/// lengths, and the original takes both alike.
fn end_or_error(e: ssl::Error) -> io::Result<()> {
    match e.code() {
        ErrorCode::ZERO_RETURN => Ok(()),
        ErrorCode::SYSCALL if e.io_error().is_none() => Ok(()),
        _ => match e.into_io_error() {
            Ok(io_error) => Err(io_error),
            Err(e) if e.ssl_error().is_some_and(unexpected_eof) => Ok(()),
            Err(e) => Err(io::Error::other(e)),
        },
    }
}

fn unexpected_eof(stack: &openssl::error::ErrorStack) -> bool {
    stack
        .errors()
        .iter()
        .any(|e| e.reason().is_some_and(|r| r.contains("unexpected eof")))
}

impl AsyncRead for TlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let n = ready!(self.poll_read_slice(cx, buf.initialize_unfilled()))?;
        buf.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_slice(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close();
        Poll::Ready(Ok(()))
    }
}
