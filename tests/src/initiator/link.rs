//! PDUs over a socket.

use san_iscsi::wire::digest::Digests;
use san_iscsi::wire::frame::{whole, Framer, Sink, Step};
use san_iscsi::wire::{Bhs, Request};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// The longest that a target may be silent while it owes an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A PDU of the target.
#[derive(Debug, Clone)]
pub struct Pdu {
    /// Its header.
    pub bhs: Bhs,
    /// Its data segment.
    pub data: Vec<u8>,
}

impl Pdu {
    /// Its operation code.
    #[must_use]
    pub fn opcode(&self) -> u8 {
        self.bhs[0] & 0x3f
    }
}

/// The connection is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// The target has closed it.
    Closed,
    /// Nothing came for too long.
    Silent,
}

/// A connection.
pub struct Link {
    stream: TcpStream,
    framer: Framer,
    digests: Digests,
    have: Vec<u8>,
    head: Option<Bhs>,
}

impl Link {
    /// Connects to a port of this machine.
    ///
    /// # Panics
    /// When nobody listens.
    #[must_use]
    pub fn connect(port: u16) -> Link {
        Link::connect_from(Ipv4Addr::LOCALHOST, port).expect("the portal listens")
    }

    /// Connects from an address of this machine: 127.0.0.0/8 has many.
    ///
    /// # Errors
    /// Nobody listens.
    ///
    /// # Panics
    /// When there is no socket to be had.
    pub fn connect_from(source: Ipv4Addr, port: u16) -> io::Result<Link> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4()?;
            socket.bind(SocketAddr::from((source, 0)))?;
            socket.connect(to).await?.into_std()
        })?;
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let (digests, framer) = (Digests::default(), Framer::new(1 << 24));
        Ok(Link { stream, framer, digests, have: Vec::new(), head: None })
    }

    /// How long the target may be silent from now on.
    ///
    /// # Panics
    /// When the time is zero.
    pub fn set_patience(&mut self, time: Duration) {
        self.stream.set_read_timeout(Some(time)).expect("a time that is not zero");
    }

    /// What was negotiated, in force from the next PDU on.
    pub fn negotiated(&mut self, digests: Digests) {
        self.digests = digests;
        self.framer.negotiated(digests, 1 << 24);
    }

    /// A request's bytes as they go over this connection.
    #[must_use]
    pub fn encode(&self, request: &Request, data: &[u8]) -> Vec<u8> {
        let (bhs, ahs) = request.emit();
        whole(bhs, &ahs, data, self.digests)
    }

    /// Sends a request. A connection that the target has closed is noticed by whoever receives.
    pub fn send(&mut self, request: &Request, data: &[u8]) {
        let bytes = self.encode(request, data);
        self.send_raw(&bytes);
    }

    /// Sends bytes.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Says that nothing more will be sent.
    pub fn close_sending(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The next PDU.
    ///
    /// # Errors
    /// The target has closed the connection, or is silent.
    ///
    /// # Panics
    /// When what it sends is no PDU.
    pub fn receive(&mut self) -> Result<Pdu, Gone> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let mut input = &self.have[..];
            let step = self.framer.feed(&mut input).expect("the target's framing is right");
            let used = self.have.len() - input.len();
            self.have.drain(..used);
            match step {
                Step::Head(head) => {
                    self.head = Some(head.bhs);
                    self.framer.start_body(Sink::Text(Vec::new()));
                    continue;
                }
                Step::Body(Sink::Text(data), intact) => {
                    assert!(intact, "the target's digests are right");
                    let bhs = self.head.take().expect("a header came first");
                    return Ok(Pdu { bhs, data });
                }
                Step::Body(..) => unreachable!("all data is gathered as text"),
                Step::More => {}
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(Gone::Closed),
                Ok(n) => self.have.extend_from_slice(&buffer[..n]),
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Err(Gone::Silent);
                }
                Err(_) => return Err(Gone::Closed),
            }
        }
    }
}
