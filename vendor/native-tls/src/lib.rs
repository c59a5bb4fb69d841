//! The interface of `native-tls` as far as sqlx names it, without any TLS in it.
//!
//! The embedded durable engine switches on sqlx's `runtime-tokio-native-tls`, which would link OpenSSL into the
//! program although the engine only opens a SQLite file. Here every use is an error, and what exists only after a
//! handshake (a stream, a half-made handshake) cannot be made: those types have no values.

use std::{
    convert::Infallible,
    fmt,
    io::{self, Read, Write},
    marker::PhantomData,
};

/// The only error there is.
#[derive(Debug)]
pub struct Error;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this program has no TLS for database connections")
    }
}

impl std::error::Error for Error {}

/// Why a handshake did not succeed.
#[derive(Debug)]
pub enum HandshakeError<S> {
    /// It failed.
    Failure(Error),
    /// It waits for the other side; this never happens.
    WouldBlock(MidHandshakeTlsStream<S>),
}

/// A handshake under way; has no values.
#[derive(Debug)]
pub struct MidHandshakeTlsStream<S>(Infallible, PhantomData<S>);

impl<S> MidHandshakeTlsStream<S> {
    /// The stream below.
    pub fn get_mut(&mut self) -> &mut S {
        match self.0 {}
    }

    /// Goes on with it.
    pub fn handshake(self) -> Result<TlsStream<S>, HandshakeError<S>> {
        match self.0 {}
    }
}

/// An encrypted stream; has no values.
#[derive(Debug)]
pub struct TlsStream<S>(Infallible, PhantomData<S>);

impl<S> TlsStream<S> {
    /// The stream below.
    pub fn get_mut(&mut self) -> &mut S {
        match self.0 {}
    }

    /// Ends it.
    pub fn shutdown(&mut self) -> io::Result<()> {
        match self.0 {}
    }
}

impl<S> Read for TlsStream<S> {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }
}

impl<S> Write for TlsStream<S> {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        match self.0 {}
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0 {}
    }
}

/// A certificate; has no values.
#[derive(Debug)]
pub struct Certificate(Infallible);

impl Certificate {
    /// Always an error.
    pub fn from_pem(_: &[u8]) -> Result<Self, Error> {
        Err(Error)
    }
}

/// A key with its certificate; has no values.
#[derive(Debug)]
pub struct Identity(Infallible);

impl Identity {
    /// Always an error.
    pub fn from_pkcs8(_: &[u8], _: &[u8]) -> Result<Self, Error> {
        Err(Error)
    }
}

/// Makes connections; has no values.
#[derive(Debug)]
pub struct TlsConnector(Infallible);

impl TlsConnector {
    /// Settings of a connector.
    pub fn builder() -> TlsConnectorBuilder {
        TlsConnectorBuilder(())
    }

    /// Makes a connection.
    pub fn connect<S: Read + Write>(&self, _: &str, _: S) -> Result<TlsStream<S>, HandshakeError<S>> {
        match self.0 {}
    }
}

/// Settings of a connector.
#[derive(Debug)]
pub struct TlsConnectorBuilder(());

impl TlsConnectorBuilder {
    /// Has no effect.
    pub fn danger_accept_invalid_certs(&mut self, _: bool) -> &mut Self {
        self
    }

    /// Has no effect.
    pub fn danger_accept_invalid_hostnames(&mut self, _: bool) -> &mut Self {
        self
    }

    /// Cannot be called: there is no certificate.
    pub fn add_root_certificate(&mut self, certificate: Certificate) -> &mut Self {
        match certificate.0 {}
    }

    /// Cannot be called: there is no identity.
    pub fn identity(&mut self, identity: Identity) -> &mut Self {
        match identity.0 {}
    }

    /// Always an error.
    pub fn build(&self) -> Result<TlsConnector, Error> {
        Err(Error)
    }
}
