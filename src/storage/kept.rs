//! Connections of the HTTP client to remote stores, looked at once for each request.
//!
//! The client asks a connection whether it is still open when it puts it away and when it takes it out again,
//! three system calls each time. Whatever the first look can find, bytes that nobody asked for or an end, is
//! still there at the second, and nothing is sent in between.

use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, DefaultConnector, NextTimeout, Transport,
};

/// Makes connections.
#[derive(Debug, Default)]
pub struct Connections(DefaultConnector);

impl Connector for Connections {
    type Out = Kept;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<()>,
    ) -> Result<Option<Kept>, ureq::Error> {
        let opened = self.0.connect(details, chained)?;
        Ok(opened.map(|transport| Kept { transport, used: false }))
    }
}

/// A connection.
#[derive(Debug)]
pub struct Kept {
    transport: Box<dyn Transport>,
    /// Whether anything went over it since it was last asked about: then it is about to be put away.
    used: bool,
}

impl Transport for Kept {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.transport.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.used = true;
        self.transport.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.used = true;
        self.transport.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        std::mem::take(&mut self.used) || self.transport.is_open()
    }

    fn is_tls(&self) -> bool {
        self.transport.is_tls()
    }
}
