//! [`Watch`]: a descriptor in `select!`. One thread of the process waits for all watched descriptors.

#[cfg(target_os = "linux")]
mod epoll;
mod interest;
#[cfg(any(not(target_os = "linux"), test))]
mod poll;
mod service;
pub(crate) mod signal;

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use crossbeam_channel::Receiver;

pub use interest::Interest;

use service::Service;
use signal::Signal;

/// Lets a thread wait in `select!` for a descriptor, for example a TCP socket, beside its channels.
///
/// All watches of the process share one thread, `sp-ready`. It starts with the first watch, and is joined when the last
/// one is dropped. A descriptor can have one watch at a time. The descriptor should be in non-blocking mode.
///
/// A bridge between a WebSocket and a TCP service, in the one thread of the handler. Neither direction waits for the
/// other one:
///
/// ```
/// use std::io::{ErrorKind, Read, Write};
/// use std::net::TcpStream;
///
/// use standpipe::crossbeam_channel::select;
/// use standpipe::{Bytes, Connection, Interest, Message, TryRecvError, TrySendError, Watch};
///
/// fn bridge(
///     conn: &mut Connection,
///     mut tcp: &TcpStream,
/// ) -> standpipe::HandlerResult {
///     tcp.set_nonblocking(true)?;
///     let mut watch = Watch::new(tcp)?;
///     let outbox = conn.outbox();
///     let mut to_tcp = Bytes::new(); // What the service has not accepted yet.
///     let mut to_client = None; // A message that the queue had no room for.
///     let mut buffer = [0; 16 << 10];
///     while conn.is_open() {
///         if to_tcp.is_empty() {
///             match conn.try_recv() {
///                 Ok(Some(message)) => to_tcp = message.into_bytes(),
///                 Ok(None) => break,
///                 Err(TryRecvError::Empty) => {}
///                 Err(error) => return Err(error.into()),
///             }
///         }
///         if !to_tcp.is_empty() {
///             match tcp.write(&to_tcp) {
///                 Ok(written) => drop(to_tcp.split_to(written)),
///                 Err(error) if error.kind() == ErrorKind::WouldBlock => {}
///                 Err(error) => return Err(error.into()),
///             }
///         }
///         if to_client.is_none() {
///             match tcp.read(&mut buffer) {
///                 Ok(0) => break,
///                 Ok(read) => to_client = Some(Message::from(&buffer[..read])),
///                 Err(error) if error.kind() == ErrorKind::WouldBlock => {}
///                 Err(error) => return Err(error.into()),
///             }
///         }
///         if let Some(message) = to_client.take() {
///             match outbox.try_send(message) {
///                 Ok(()) => {}
///                 Err(TrySendError::Full(message)) => to_client = Some(message),
///                 Err(TrySendError::Closed(_)) => break,
///             }
///         }
///         // Each side is waited for only as far as the other one accepts something.
///         let client = conn.ready(Interest { read: to_tcp.is_empty(), write: to_client.is_some() })?;
///         let service = watch.ready(Interest { read: to_client.is_none(), write: !to_tcp.is_empty() })?;
///         select! {
///             recv(client) -> _ => {}
///             recv(service) -> _ => {}
///         }
///     }
///     Ok(())
/// }
/// # let _: fn(&mut Connection, &TcpStream) -> _ = bridge;
/// ```
#[must_use = "a watch that is dropped wakes nobody"]
pub struct Watch<F: AsFd> {
    descriptor: F,
    id: u64,
    signal: Arc<Signal>,
    receiver: Receiver<()>,
    service: Arc<Service>,
}

impl<F: AsFd> Watch<F> {
    /// Returns a watch of `descriptor`, which may be borrowed, or be in an [`Arc`]. It must stay the same descriptor.
    ///
    /// ```
    /// use std::net::TcpListener;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let watch = standpipe::Watch::new(&listener)?;
    /// # drop(watch);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Fails if the descriptor is watched already or cannot be waited for, as a file, and if the kernel has no room for
    /// the thread or for another descriptor.
    pub fn new(descriptor: F) -> io::Result<Watch<F>> {
        let service = Service::running()?;
        let (signal, receiver) = Signal::new();
        let signal = Arc::new(signal);
        let id = service.add(descriptor.as_fd(), Arc::clone(&signal))?;
        Ok(Watch {
            descriptor,
            id,
            signal,
            receiver,
            service,
        })
    }

    /// Returns a channel that has a message when the descriptor is ready for what `interest` names, or has failed.
    ///
    /// Call this method before each wait. What is ready already makes the channel ready too, so no event is lost. A
    /// message may be out of date, so the descriptor may refuse all the same.
    ///
    /// ```
    /// use std::io::Write;
    /// use std::os::unix::net::UnixStream;
    ///
    /// use standpipe::crossbeam_channel::{bounded, select};
    /// use standpipe::{Interest, Watch};
    ///
    /// let (mut here, there) = UnixStream::pair()?;
    /// let mut watch = Watch::new(&there)?;
    /// let (_work, more_work) = bounded::<u32>(1);
    /// here.write_all(b"x")?;
    /// select! {
    ///     recv(watch.ready(Interest::READ)?) -> _ => println!("`there` has bytes"),
    ///     recv(more_work) -> work => println!("work: {work:?}"),
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// The error of the kernel.
    pub fn ready(&mut self, interest: Interest) -> io::Result<&Receiver<()>> {
        self.signal.clear();
        self.arm(interest)?;
        Ok(&self.receiver)
    }

    /// Returns the descriptor.
    ///
    /// ```
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (here, _there) = UnixStream::pair()?;
    /// let watch = standpipe::Watch::new(here)?;
    /// watch.get_ref().set_nonblocking(true)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn get_ref(&self) -> &F {
        &self.descriptor
    }

    /// Makes the thread wait for the descriptor, unless it does so already.
    pub(crate) fn arm(&self, interest: Interest) -> io::Result<()> {
        if self.signal.is_armed_for(interest) {
            return Ok(());
        }
        // Stored first, because the thread may find the descriptor ready immediately.
        self.signal.set_armed(interest);
        let armed = self.service.arm(self.id, self.descriptor.as_fd(), interest);
        armed.inspect_err(|_| self.signal.disarm())
    }

    pub(crate) fn signal(&self) -> &Arc<Signal> {
        &self.signal
    }

    pub(crate) fn receiver(&self) -> &Receiver<()> {
        &self.receiver
    }
}

impl<F: AsFd> Drop for Watch<F> {
    fn drop(&mut self) {
        self.service.remove(self.id, self.descriptor.as_fd());
    }
}

impl<F: AsFd> fmt::Debug for Watch<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("descriptor", &self.descriptor.as_fd())
            .finish_non_exhaustive()
    }
}
