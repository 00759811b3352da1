//! Streams: one, several at once, and one beside connections that are opened.

use std::io;

use interop_tests::lab::{Lab, Settings};

use crate::load::{self, Bulk};
use crate::over::Over;
use crate::way::{Amounts, Between, CLIENTS, Way, note, own_cpu};

/// Several.
const SEVERAL: usize = 4;

/// What streams brought; NaN is what was not tried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Carried {
    pub(crate) gbit: f64,
    /// Whether one stood still before its end; the rate is then that until there.
    pub(crate) stalls: f64,
    /// The longest time between two reads of one stream, in milliseconds.
    pub(crate) pause_ms: f64,
    /// Seconds of all processes per GB of payload, the applications' kernel work included.
    pub(crate) cpu: f64,
    /// Seconds of both daemons per GB.
    pub(crate) daemon_cpu: f64,
}

impl Carried {
    pub(crate) const NOTHING: Carried = Carried {
        gbit: f64::NAN,
        stalls: f64::NAN,
        pause_ms: f64::NAN,
        cpu: f64::NAN,
        daemon_cpu: f64::NAN,
    };
}

/// What streams do to each other, and key exchanges to a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Streams {
    pub(crate) several: Carried,
    pub(crate) alone: Carried,
    pub(crate) beside: Carried,
    /// What it was beside: connections with a full key exchange.
    pub(crate) opened_per_second: f64,
}

impl Streams {
    pub(crate) const NOTHING: Streams = Streams {
        several: Carried::NOTHING,
        alone: Carried::NOTHING,
        beside: Carried::NOTHING,
        opened_per_second: f64::NAN,
    };
}

/// One stream.
pub(crate) fn bulk(way: &Way, settings: Settings, amounts: Amounts) -> Carried {
    carried(way, settings, "bulk", |lab, over| {
        load::bulk(lab, over, 1, amounts.bulk)
    })
}

pub(crate) fn streams(way: &Way, settings: Settings, amounts: Amounts) -> Streams {
    let mut opened_per_second = f64::NAN;
    Streams {
        several: carried(way, settings, "several streams", |lab, over| {
            load::bulk(lab, over, SEVERAL, amounts.bulk)
        }),
        alone: bulk(way, settings, amounts),
        beside: carried(way, settings, "a stream beside others", |lab, over| {
            let (bulk, short) = load::beside(lab, over, CLIENTS, amounts.bulk, way.most() - 1)?;
            opened_per_second = short.per_second;
            Ok(bulk)
        }),
        opened_per_second,
    }
}

fn carried(
    way: &Way,
    settings: Settings,
    what: &str,
    load: impl FnOnce(&Lab, &Over) -> io::Result<Bulk>,
) -> Carried {
    let lab = Lab::new(settings);
    // No session is resumed, so that who connects meanwhile exchanges keys.
    let between = Between::start(way, &lab, &["-c"]).apart();
    let (before, daemons_before) = (own_cpu(), between.cpu());
    let Some(bulk) = note(way, what, load(&lab, &way.over(false))) else {
        return Carried::NOTHING;
    };
    if bulk.stalled {
        let megabytes = bulk.octets / 1_000_000;
        eprintln!("{}: {what} stalled after {megabytes} MB", way.name());
    }
    let daemons = between.cpu().saturating_sub(daemons_before).as_secs_f64();
    let own = own_cpu().saturating_sub(before).as_secs_f64();
    let gigabytes = bulk.octets as f64 / 1e9;
    Carried {
        gbit: gigabytes * 8.0 / bulk.took.as_secs_f64(),
        stalls: f64::from(u8::from(bulk.stalled)),
        pause_ms: bulk.pause.as_secs_f64() * 1e3,
        cpu: (own + daemons) / gigabytes,
        daemon_cpu: match way.has_processes() {
            true => daemons / gigabytes,
            false => f64::NAN,
        },
    }
}
