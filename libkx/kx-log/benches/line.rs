//! What a line of the log costs, the system call included.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::time::Duration;

use criterion::Criterion;
use kx_log::golog::{GoLog, Source, Target};
use kx_log::goquote::{escape_control, quote};

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(40)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let source = Source::new("kxd.go", 142);

    let mut group = criterion.benchmark_group("kx-log");
    let log = GoLog::open(&Target::File("/dev/null".into())).expect("/dev/null");
    group.bench_function("line to /dev/null", |b| {
        b.iter(|| {
            log.line(
                source,
                format_args!(
                    "{} {} Allowing request to {}",
                    black_box("127.0.0.1:40000"),
                    black_box("/v1/host/disk"),
                    black_box("(0x3045022100 CN=client.example,O=Example)"),
                ),
            );
        });
    });
    let path = b"/v1/host/disk with \x1b[31m colours and \xff octets";
    group.bench_function("quote", |b| b.iter(|| quote(black_box(path))));
    group.bench_function("escape control characters", |b| {
        b.iter(|| escape_control(black_box(path)).len())
    });
    group.finish();
    criterion.final_summary();
}
