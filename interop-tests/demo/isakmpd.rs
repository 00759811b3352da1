//! isakmpd: two gateways agree on keys for the tunnel between their networks; then one has the wrong secret.

use std::error::Error;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use interop_tests::isakmpd::daemon::{Daemon, Setup, Site};
use interop_tests::isakmpd::implementation::Implementation;
use interop_tests::isakmpd::missing;
use interop_tests::isakmpd::network::Network;
use interop_tests::peers::on_path;
use interop_tests::program::run_command;
use interop_tests::subject::workspace;

use crate::show::{answer, command, meaning, skipped, step, title};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How both are started.
const START: &str = "isakmpd -d -n -K -v -L &";
/// Longest wait for what takes milliseconds.
const LIMIT: Duration = Duration::from_secs(20);

/// The whole story.
pub(crate) fn run(bin: &Path) -> Outcome<()> {
    title(
        "isakmpd negotiates keys for IPsec tunnels (IKEv1), with the isakmpd.conf that sites have.",
    );
    if let Some(why) = missing() {
        skipped(&format!("{why}: not shown here"));
        return Ok(());
    }
    let ours = Implementation {
        isakmpd: bin.canonicalize()?.join("isakmpd"),
        original: false,
    };
    if !ours.isakmpd.is_file() {
        return Err("isakmpd is not built".into());
    }
    let network = Network::cable();
    network.left.script("ip addr add 192.0.2.1/24 dev wire");
    network.right.script("ip addr add 192.0.2.2/24 dev wire");
    let good = sample("east.conf")?;
    let setup = |conf: String| Setup::new(conf).option("-L");

    step(
        1,
        "Two gateways on a cable, each with a network behind it. East's isakmpd.conf, a section a line:",
    );
    answer(&one_line_each(&good));
    command("isakmpd --check");
    let done =
        Site::new(&network.left, &setup(good.clone())).run(&network.left, &ours, &["--check"]);
    let said = done.stdout_text() + &done.stderr_text();
    answer(&findings_and_connection(&said));
    if done.rc != 0 || !said.contains("connection east-west") {
        return Err("--check does not accept the configuration".into());
    }
    meaning(
        "what the file means to the daemon, and which of today's peers would refuse it, with the line",
    );

    step(
        2,
        "The daemon on both, west first (-n: keys go to no kernel, -K: no policy, -L: packets are kept).",
    );
    command(START);
    let west = Daemon::start(&network.right, &ours, &setup(sample("west.conf")?));
    let mut east = Daemon::start(&network.left, &ours, &setup(good.clone()));
    for (name, daemon) in [("east", &east), ("west", &west)] {
        for text in ["starting", "phase 1 done", "quick mode done"].map(|t| format!("isakmpd: {t}"))
        {
            logged(name, daemon, 0, &text)?;
        }
    }
    meaning("each knows who the other is, and they have keys for a tunnel");

    step(3, "What east has, asked at its FIFO.");
    command("echo S >/var/run/isakmpd.fifo; cat /var/run/isakmpd.result");
    let sas = east.result("S");
    answer(&sas);
    let there = west.result("S");
    let mut spis = sas.lines().filter_map(|l| l.strip_prefix("SPI ")?.get(3..));
    if spis.clone().count() != 2 || !spis.all(|spi| there.contains(spi)) {
        return Err("west has other SPIs than east".into());
    }
    meaning(
        "one SA for the daemons' own messages and one for the tunnel; west shows the same SPIs",
    );

    step(
        4,
        "What east has kept of it. From the fifth message on all was encrypted on the cable.",
    );
    packets(&east.site().run_dir())?;
    meaning("who they are, and for which networks: in clear for the administrator only");

    step(5, "East is told to end.");
    command("echo Q >/var/run/isakmpd.fifo");
    let mark = west.mark();
    if east.quit() != 0 {
        return Err("east did not end well".into());
    }
    logged("west", &west, mark, "made us delete live SA west-east")?;
    logged("west", &west, mark, "made us delete live SA peer-east")?;
    drop(east);
    if west.count(1) + west.count(2) != 0 {
        return Err("west still has an SA".into());
    }
    meaning("it said so (DELETE), and west has nothing left either");

    step(6, "East comes back with a typing error in its secret.");
    let bad = good.replace("secret-1", "secret-7");
    command("sed -i s/secret-1/secret-7/ /etc/isakmpd/isakmpd.conf");
    command(START);
    let mark = west.mark();
    let east = Daemon::start(&network.left, &ours, &setup(bad));
    found(&west, mark, "dropped message from 192.0.2.1 port 500")?;
    for text in west.texts_since(mark) {
        answer(&format!("west: {text}"));
    }
    if west.count(1) + west.count(2) + east.count(1) + east.count(2) != 0 {
        return Err("there are SAs with the wrong secret".into());
    }
    meaning("another secret makes other keys: to west this is noise, and there is no SA");
    Ok(())
}

/// The configurations that are shipped as examples.
fn sample(file: &str) -> Outcome<String> {
    let dir = workspace().join("isakmpd-compat/isakmpd/samples/east-west");
    Ok(fs::read_to_string(dir.join(file))?)
}

/// A configuration without comments, with each section on a line.
pub(crate) fn one_line_each(conf: &str) -> String {
    let mut text = String::new();
    for line in conf
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
    {
        let gap = if line.starts_with('[') { "\n" } else { "  " };
        let words: Vec<&str> = line.split_whitespace().collect();
        text += &format!("{gap}{}", words.join(" "));
    }
    text.trim_start().to_owned()
}

/// The beginning and the end of what `--check` says.
fn findings_and_connection(said: &str) -> String {
    let (findings, effective) = said.split_once("\npeer ").unwrap_or((said, ""));
    let connection = effective
        .find("\nconnection ")
        .and_then(|at| effective.get(at..));
    format!("{findings}\n...{}", connection.unwrap_or_default())
}

/// Waits for a line of a log.
fn found(daemon: &Daemon, mark: usize, text: &str) -> Outcome<String> {
    let line = daemon.wait_within(mark, text, LIMIT);
    line.ok_or_else(|| format!("nothing logged of \"{text}\": {:#?}", daemon.lines()).into())
}

/// Waits for a line of a log and shows it.
fn logged(name: &str, daemon: &Daemon, mark: usize, text: &str) -> Outcome<()> {
    let line = found(daemon, mark, text)?;
    answer(&format!("{name}: {line}"));
    Ok(())
}

/// Shows the capture in `dir`, and demands both exchanges in it, the second one readable.
fn packets(dir: &Path) -> Outcome<()> {
    let texts = if on_path("tshark") {
        let details = "tshark -r isakmpd.pcap -Y frame.number==7 -O isakmp | grep -E 'Payload:|Attribute|Identification D'";
        [shell(dir, "tshark -r isakmpd.pcap"), shell(dir, details)].concat()
    } else {
        answer("no tshark here, so this demo's own reading of isakmpd.pcap:");
        let text = listing(&fs::read(dir.join("isakmpd.pcap"))?).ok_or("a broken capture")?;
        answer(&text);
        text
    };
    let count = |word: &str| texts.matches(word).count();
    // tshark names the networks, the list above has a payload ID.
    let readable = texts.contains("10.1.0.0/255.255.0.0") || texts.contains("HASH SA NONCE KE ID");
    if count("Main Mode") == 6 && count("Quick Mode") == 3 && readable {
        Ok(())
    } else {
        Err("the capture does not show both exchanges".into())
    }
}

/// Shows a command line and what it prints.
fn shell(dir: &Path, line: &str) -> String {
    command(line);
    let mut shell = std::process::Command::new("sh");
    let text = run_command(shell.args(["-c", line]).current_dir(dir)).stdout_text();
    answer(&text);
    text
}

/// Each message of a capture: from, to, exchange, payloads.
fn listing(pcap: &[u8]) -> Option<String> {
    let mut text = String::new();
    let mut rest = pcap.get(24..)?;
    while !rest.is_empty() {
        let length = u32::from_ne_bytes(rest.get(8..12)?.try_into().ok()?);
        let (packet, next) = rest
            .get(16..)?
            .split_at_checked(usize::try_from(length).ok()?)?;
        rest = next;
        // After the family: IP without options, UDP, ISAKMP.
        let address = |at: usize| {
            let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
            Some(Ipv4Addr::from(octets))
        };
        let message = packet.get(32..)?;
        let exchange = match message.get(18)? {
            2 => "Main Mode".to_owned(),
            32 => "Quick Mode".to_owned(),
            other => format!("exchange {other}"),
        };
        let payloads = payloads(message)?.join(" ");
        let (from, to) = (address(16)?, address(20)?);
        text += &format!("{from} -> {to}  {exchange}: {payloads}\n");
    }
    Some(text)
}

/// The names of a message's payloads (RFC 2408 section 3.1); several in a row of one kind once.
fn payloads(message: &[u8]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let (mut kind, mut at) = (*message.get(16)?, 28);
    while kind != 0 {
        names.push(match kind {
            1 => "SA".to_owned(),
            4 => "KE".to_owned(),
            5 => "ID".to_owned(),
            8 => "HASH".to_owned(),
            10 => "NONCE".to_owned(),
            11 => "NOTIFY".to_owned(),
            13 => "VENDOR".to_owned(),
            20 => "NAT-D".to_owned(),
            other => format!("payload {other}"),
        });
        let header = message.get(at..at + 4)?;
        kind = *header.first()?;
        at += usize::from(u16::from_be_bytes(header.get(2..4)?.try_into().ok()?)).max(4);
    }
    names.dedup();
    Some(names)
}
