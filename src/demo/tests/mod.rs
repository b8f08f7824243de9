//! Goal: each endpoint answers as documented, to a client that speaks raw bytes over a real socket.
//! Method: an origin of its own per test, a client with a deadline on every read, no sleeps.

mod client;
mod connections;
mod plain;
mod streams;
mod table;
mod uploads;
mod websocket;
