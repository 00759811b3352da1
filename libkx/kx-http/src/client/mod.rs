//! The client's side of HTTP/1.1: one GET and its answer (kxd spec 8).
