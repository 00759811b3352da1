//! The data phase by itself: two flows joined by hand-made segments, one test for each rule of
//! tcpcrypt-datapath 2.8 and each oddity of tcpcrypt spec 4.5 and 5.1.

mod bench;
mod closing;
mod frames;
mod host;
mod hostile;
mod inward;
mod last_step;
mod loss;
mod original;
mod outward;
mod path;
mod standard;
