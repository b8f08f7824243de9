//! Policy as data: what happens to an exchange, and what is forwarded.
