//! The built-in origin of `ringress --demo`.

/// Starts the origin.
///
/// # Errors
/// It cannot listen.
pub fn start() -> std::io::Result<std::net::SocketAddr> {
    Err(std::io::Error::other("not here yet"))
}

/// Prints what to try.
pub fn print_banner(_proxy: std::net::SocketAddr) {}
