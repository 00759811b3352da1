//! What our tools cost beside the card: their own processor time, against the time in which they wait for the card
//! behind pcscd.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use interop_tests::smart_card::SmartCardReader;

use super::{Outcome, PIN};

/// How often each command runs.
const RUNS: u32 = 20;
/// A clock tick of /proc, in milliseconds.
const TICK_MS: f64 = 10.0;

/// What a command took, milliseconds each time.
struct Cost {
    wall: f64,
    own: f64,
}

/// Prints the table, if there is a reader.
pub(super) fn table(bin: &Path) -> Outcome<()> {
    let Some(mut reader) = SmartCardReader::start("tools beside the card") else {
        return Ok(());
    };
    reader.insert("card", &[]);
    let pin = std::str::from_utf8(PIN)?;
    let initialize = ["--initialize", "--so-pin", "3537363231383830", "--pin", pin];
    reader.must("sc-hsm-tool", &initialize);
    // The reader's commands run elsewhere.
    let bin = std::path::absolute(bin)?;
    let ours = |name: &str| bin.join(name).to_string_lossy().into_owned();
    let (kx_hsm, kx_tool) = (ours("kx-hsm"), ours("kx-sc-hsm-tool"));
    let make = "key generate --type ec:secp256r1 --id 1 --pin 648219 --yes";
    let delete = "key delete --id 1 --pin 648219 --yes";
    let rows = [
        ("kx-hsm status", &*kx_hsm, vec!["status"]),
        ("kx-hsm key list", &kx_hsm, vec!["key list"]),
        (
            "kx-hsm key generate, key delete",
            &kx_hsm,
            vec![make, delete],
        ),
        ("kx-sc-hsm-tool", &kx_tool, vec![""]),
        ("OpenSC's sc-hsm-tool", "sc-hsm-tool", vec![""]),
    ];
    println!(
        "| through pcscd | whole (ms) | the tool's own processor time (ms) | beside the card |"
    );
    println!("| --- | ---: | ---: | ---: |");
    for (name, program, commands) in rows {
        let Cost { wall, own } = cost(&reader, program, &commands)?;
        let beside = 100.0 * own / (wall - own);
        println!("| {name} | {wall:.1} | {own:.1} | {beside:.1} % |");
    }
    Ok(())
}

fn cost(reader: &SmartCardReader, program: &str, commands: &[&str]) -> Outcome<Cost> {
    let (before, began) = (children_ms()?, Instant::now());
    for _ in 0..RUNS {
        for command in commands {
            let words: Vec<&str> = command.split_whitespace().collect();
            let mut child = reader.command(program, &words);
            let status = child
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()?;
            if !status.success() {
                return Err(format!("{program} {command}: {status}").into());
            }
        }
    }
    let runs = f64::from(RUNS);
    Ok(Cost {
        wall: began.elapsed().as_secs_f64() * 1000.0 / runs,
        own: (children_ms()? - before) / runs,
    })
}

/// Processor time of all children that have ended: neither pcscd nor the card.
fn children_ms() -> Outcome<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or("/proc/self/stat")?;
    // cutime and cstime, the 16th and 17th of all.
    let times = fields.split_whitespace().skip(13).take(2);
    let ticks: f64 = times.filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks * TICK_MS)
}
