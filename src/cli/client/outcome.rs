//! [`End`]: how the connection of one client ended; and [`label`], the prefix of the lines that it prints.

use crate::cli::args::ClientArgs;

/// How a client's connection ended.
pub(super) enum End {
    /// The server closed the connection, or answered our Close.
    Closed {
        /// `None` for a Close without a code.
        code: Option<u16>,
        description: String,
    },
    /// The client received the messages it waited for, and closed the connection.
    CountReached,
}

/// Returns the prefix of a client's lines. It is empty if there is only one client.
pub(super) fn label(args: &ClientArgs, n: usize) -> String {
    if args.clients == 1 {
        String::new()
    } else {
        format!("{n}: ")
    }
}
