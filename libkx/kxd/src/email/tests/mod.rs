//! The recorded dialogues of the original against ours, byte for byte, and live servers.

mod live;
mod machine;
mod scripted_server;
mod vectors;
