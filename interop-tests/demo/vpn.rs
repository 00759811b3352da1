//! `make demo-vpn`: two gateways with isakmpd, two hosts behind them that know nothing of it, and a kernel with IPsec.
//! Few kernels of test machines have that, so everything happens in a machine of its own (`interop-tests/kernel-vm`).

use std::error::Error;
use std::fs;
use std::io::IsTerminal;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use interop_tests::isakmpd::daemon::{Daemon, Setup};
use interop_tests::isakmpd::gateways::{ESP_IN_UDP, Gateways, Tap};
use interop_tests::isakmpd::implementation::Implementation;
use interop_tests::isakmpd::ipsec::{State, policies, states};
use interop_tests::isakmpd::network::Network;
use interop_tests::isakmpd::process::Process;
use interop_tests::isakmpd::with_kernel::load_modules;
use interop_tests::lab::host::Host;
use interop_tests::machine;
use interop_tests::peers::on_path;
use interop_tests::program::Guarded;
use interop_tests::program::collect;
use interop_tests::subject::workspace;
use interop_tests::wait;

use crate::isakmpd::one_line_each;
use crate::show::{answer, command, meaning, step, title};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Longest wait for something; this processor is emulated.
const LIMIT: Duration = Duration::from_secs(90);
/// The whole demo.
const WHOLE: Duration = Duration::from_secs(900);
/// What pings and iperf3 look like without a tunnel, and within one.
const CLEAR: &str = "net 192.168.0.0/16";
const ESP: &str = "esp";

/// The whole story.
pub(crate) fn run(bin: &Path) -> Outcome<()> {
    if !machine::is_inside() {
        return in_a_machine(bin);
    }
    let ours = Implementation {
        isakmpd: bin.canonicalize()?.join("isakmpd"),
        original: false,
    };
    if !ours.isakmpd.is_file() {
        return Err("isakmpd is not built".into());
    }
    load_modules();
    at_a_cable(&ours)?;
    behind_a_router(&ours)
}

fn in_a_machine(bin: &Path) -> Outcome<()> {
    title(
        "isakmpd makes a tunnel between two networks. The kernel encrypts, isakmpd tells it how.",
    );
    let lacking = ["tcpdump", "iperf3", "ping", "ip"]
        .into_iter()
        .find(|p| !on_path(p));
    let lacking = lacking
        .map(|program| format!("no {program}"))
        .or_else(machine::missing);
    if let Some(why) = lacking {
        return Err(format!("{why} (as root, interop-tests/peers.sh installs it)").into());
    }
    println!(
        "A machine with a stock kernel starts; its processor is emulated, so all takes its time.\n"
    );
    let mut command = machine::command(&workspace(), WHOLE);
    command.args(["-M", "2048", "--", "env"]);
    if !std::io::stdout().is_terminal() {
        command.arg("NO_COLOR=1");
    }
    command.arg(std::env::current_exe()?);
    command.arg(std::path::absolute(bin)?).arg("vpn");
    let status = command.stdout(Stdio::inherit()).status()?;
    if status.success() {
        Ok(())
    } else {
        Err("see above".into())
    }
}

/// A configuration of the samples, with this laboratory's addresses.
fn sample(file: &str, general: &str, addresses: [&str; 2]) -> Outcome<String> {
    let dir = workspace().join("isakmpd-compat/isakmpd/samples");
    let mut text = fs::read_to_string(dir.join(file))?;
    for (sample, ours) in [
        ("192.0.2.1", addresses[0]),
        ("192.0.2.2", addresses[1]),
        ("10.1.0.0", "192.168.101.0"),
        ("10.2.0.0", "192.168.102.0"),
        ("255.255.0.0", "255.255.255.0"),
    ] {
        text = text.replace(sample, ours);
    }
    if !text.contains("[General]") {
        text = format!("[General]\n\n{text}");
    }
    Ok(text.replace("[General]\n", &format!("[General]\n{general}")))
}

/// Starts isakmpd on a gateway, with the kernel and without a policy.
fn start(host: &Host, ours: &Implementation, conf: &str) -> Daemon {
    Daemon::start(host, ours, &Setup::new(conf).with_kernel())
}

/// Waits for a line of a log and shows it.
fn logged(name: &str, daemon: &Daemon, mark: usize, text: &str) -> Outcome<()> {
    let line = daemon.wait_within(mark, text, LIMIT);
    let line =
        line.ok_or_else(|| format!("{name} does not log \"{text}\": {:#?}", daemon.lines()))?;
    answer(&format!("{name}: {line}"));
    Ok(())
}

/// Waits until something holds.
fn until(what: &str, mut holds: impl FnMut() -> bool) -> Outcome<()> {
    wait::until(LIMIT, || holds().then_some(())).ok_or_else(|| format!("never: {what}").into())
}

/// A kernel's SAs and policies, without keys.
fn kernel(name: &str, host: &Host) -> Outcome<Vec<State>> {
    command(&format!("ip xfrm state; ip xfrm policy      # on {name}"));
    let found = states(host);
    for State {
        sa,
        mode,
        encapsulation,
        ..
    } in &found
    {
        let algorithms = [&sa.cipher, &sa.hash].map(|a| match a {
            Some((name, octets)) => format!("{name} {} bits", octets * 8),
            None => "-".to_owned(),
        });
        let udp = encapsulation.map_or(String::new(), |(from, to)| {
            format!(", in UDP {from} > {to}")
        });
        answer(&format!(
            "{} > {}  {} spi {:08x} {mode}, {}{udp}",
            sa.src,
            sa.dst,
            sa.protocol,
            sa.spi,
            algorithms.join(", ")
        ));
    }
    for policy in policies(host) {
        let (way, through) = (&policy.direction, policy.templates.join(", "));
        answer(&format!(
            "{} > {}  {way}: {through}",
            policy.src, policy.dst
        ));
    }
    Ok(found)
}

/// What a command on a host prints, and its exit status is 0.
fn shell(host: &Host, line: &str) -> Outcome<String> {
    let mut shell = host.command("sh");
    shell.args(["-c", line]);
    shell
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let done = collect(Guarded(shell.spawn()?), LIMIT);
    let text = done.stdout_text();
    if done.rc == 0 {
        Ok(text)
    } else {
        Err(format!("{line}: {text}{}", done.stderr_text()).into())
    }
}

/// Pings from the host behind east to the one behind west: shows the summary.
fn ping(gateways: &Gateways, options: &str) -> Outcome<()> {
    let line = format!("ping {options} 192.168.102.2");
    command(&format!("{line}      # on the host behind east"));
    let text = shell(&gateways.left, &format!("{line} -n -q"))?;
    let summary = text
        .lines()
        .find(|l| l.contains("packet loss"))
        .unwrap_or(&text);
    answer(summary);
    if summary.contains(" 0% packet loss") {
        Ok(())
    } else {
        Err("packets were lost".into())
    }
}

/// As many octets as go through in two seconds.
fn iperf(gateways: &Gateways) -> Outcome<()> {
    let server = Process::start(gateways.right.command("iperf3").args(["-s", "-1"]));
    until("iperf3 listens", || {
        gateways.right.output("ss -ltn").contains(":5201")
    })?;
    let line = "iperf3 -c 192.168.102.2 -t 2";
    command(&format!("{line}      # on the host behind east"));
    let text = shell(&gateways.left, line)?;
    drop(server);
    let summary = text.lines().find(|l| l.contains("receiver"));
    let summary = summary.ok_or("iperf3 says nothing")?;
    answer(&summary.split_whitespace().collect::<Vec<&str>>().join(" "));
    Ok(())
}

/// What went over the cable since the taps were there: nothing in clear.
fn only(taps: &[Tap; 2], filter: &str) -> Outcome<()> {
    until("the taps show packets", || {
        taps.iter().all(|tap| tap.lines(filter).len() >= 3)
    })?;
    command("tcpdump -Q out -i wire      # on both gateways, what they send to each other");
    for (name, tap) in ["east", "west"].into_iter().zip(taps) {
        let found = tap.lines(filter);
        answer(found.first().map_or("", String::as_str));
        let (found, clear) = (found.len(), tap.lines(CLEAR).len());
        answer(&format!(
            "... {name}: {found} packets of ESP, {clear} in clear"
        ));
        if clear != 0 {
            return Err("packets went in clear".into());
        }
    }
    Ok(())
}

fn tapped(gateways: &Gateways) -> [Tap; 2] {
    [&gateways.network.left, &gateways.network.right].map(Tap::on)
}

fn spis(states: &[State]) -> Vec<u32> {
    states.iter().map(|state| state.sa.spi).collect()
}

fn is_empty(host: &Host) -> bool {
    states(host).is_empty() && policies(host).is_empty()
}

fn at_a_cable(ours: &Implementation) -> Outcome<()> {
    let gateways = Gateways::new(Network::cable());
    let (east, west) = (&gateways.network.left, &gateways.network.right);

    step(
        1,
        "Two networks, a gateway for each, the world between the gateways.",
    );
    answer("host 192.168.101.2 -- east 10.77.0.1 ======== 10.77.0.2 west -- 192.168.102.2 host");
    let tap = Tap::on(east);
    ping(&gateways, "-c 3 -i 0.2")?;
    until("the tap shows it", || tap.lines("icmp").len() >= 3)?;
    command("tcpdump -Q out -i wire      # on east");
    answer(tap.lines("icmp").first().map_or("", String::as_str));
    drop(tap);
    meaning("without a tunnel the world reads everything");

    step(
        2,
        "East's isakmpd.conf, a section a line. Keys of the tunnel live 30 seconds here, so that one sees them change.",
    );
    let general =
        "DPD-check-interval= 5\nCheck-interval= 5\nDefault-phase-2-lifetime= 30,10:86400\n";
    let conf = |file| sample(file, general, ["10.77.0.1", "10.77.0.2"]);
    let (east_conf, west_conf) = (conf("east-west/east.conf")?, conf("east-west/west.conf")?);
    answer(&one_line_each(&east_conf));
    command("isakmpd -d -K -v &      # on west, then on east");
    let mut west_daemon = start(west, ours, &west_conf);
    let east_daemon = start(east, ours, &east_conf);
    for (name, daemon) in [("east", &east_daemon), ("west", &west_daemon)] {
        for text in ["phase 1 done", "quick mode done"].map(|t| format!("isakmpd: {t}")) {
            logged(name, daemon, 0, &text)?;
        }
    }
    meaning("each knows who the other is, and they have keys for the tunnel");

    step(3, "What isakmpd has put into the kernel.");
    until("east's kernel has a tunnel", || {
        states(east).len() == 2 && states(west).len() == 2
    })?;
    let first = kernel("east", east)?;
    if policies(east).len() != 3 {
        return Err("these are not the tunnel's policies".into());
    }
    meaning("one SA each way, and that packets between the networks have to take them");

    step(
        4,
        "The hosts behind talk again; nothing was changed on them.",
    );
    let taps = tapped(&gateways);
    ping(&gateways, "-c 5 -i 0.2")?;
    iperf(&gateways)?;
    only(&taps, ESP)?;
    drop(taps);
    meaning("every packet was ESP on the wire, in both directions");

    step(
        5,
        "Keys change while packets go: 20 a second for 40 seconds.",
    );
    let taps = tapped(&gateways);
    ping(&gateways, "-i 0.05 -w 40")?;
    let now = kernel("east", east)?;
    if spis(&now).iter().all(|spi| spis(&first).contains(spi)) {
        return Err("the keys have not changed".into());
    }
    only(&taps, ESP)?;
    drop(taps);
    meaning("other SPIs, so other keys; no packet was lost and none was sent in clear");

    step(
        6,
        "West's isakmpd is killed (kill -9). East asks from time to time whether west is there.",
    );
    command("kill -9 ...      # on west");
    let mark = east_daemon.mark();
    west_daemon.kill();
    drop(west_daemon);
    until("east's kernel has no tunnel", || {
        east_daemon.count(1) == 0 && is_empty(east)
    })?;
    for line in east_daemon
        .texts_since(mark)
        .iter()
        .filter(|l| l.contains("dpd"))
    {
        answer(&format!("east: {line}"));
    }
    kernel("east", east)?;
    answer("(nothing)");
    meaning("no answer: east has given up what it had with west");

    step(
        7,
        "West comes back; what its kernel still had of the life before is cleared first. East is to keep the tunnel up.",
    );
    command("isakmpd -d -K -v &      # on west");
    let mark = east_daemon.mark();
    let before = spis(&states(west));
    let west_daemon = start(west, ours, &west_conf);
    if spis(&states(west)).iter().any(|spi| before.contains(spi)) {
        return Err("west's kernel still has SAs of the life before".into());
    }
    logged("east", &east_daemon, mark, "isakmpd: quick mode done")?;
    until("both have it", || {
        states(east).len() == 2 && states(west).len() == 2
    })?;
    ping(&gateways, "-c 5 -i 0.2")?;
    meaning("the tunnel is there again");

    step(8, "Both are told to end.");
    end([(east, east_daemon), (west, west_daemon)])?;
    for (name, host) in [("east", east), ("west", west)] {
        kernel(name, host)?;
        answer("(nothing)");
    }
    meaning("no SA and no policy is left in either kernel");
    Ok(())
}

/// Both daemons end, and leave nothing.
fn end(hosts: [(&Host, Daemon); 2]) -> Outcome<()> {
    command("echo Q >/var/run/isakmpd.fifo      # on both");
    let [east, west] = hosts.map(|(host, mut daemon)| (host, daemon.quit()));
    if east.1 != 0 || west.1 != 0 {
        return Err("one of them did not end well".into());
    }
    until("no kernel has anything left", || {
        is_empty(east.0) && is_empty(west.0)
    })
}

fn behind_a_router(ours: &Implementation) -> Outcome<()> {
    let gateways = Gateways::new(Network::masqueraded());
    let (east, west) = (&gateways.network.left, &gateways.network.right);

    step(
        9,
        "The same with east behind a router that translates addresses and ports (NAT).",
    );
    answer(
        "host 192.168.101.2 -- east 10.78.0.2 -- 10.78.0.1 router 10.79.0.1 ==== 10.79.0.2 west -- 192.168.102.2 host",
    );
    let conf = |file| sample(file, "", ["10.78.0.2", "10.79.0.2"]);
    let (inside, outside) = (
        conf("nat-traversal/inside.conf")?,
        conf("nat-traversal/outside.conf")?,
    );
    command("isakmpd -d -K -v &      # on west, then on east");
    let west_daemon = start(west, ours, &outside);
    let east_daemon = start(east, ours, &inside);
    logged("west", &west_daemon, 0, "isakmpd: phase 1 done")?;
    logged("west", &west_daemon, 0, "isakmpd: quick mode done")?;
    until("both have it", || {
        states(east).len() == 2 && states(west).len() == 2
    })?;
    let found = kernel("west", west)?;
    if found.iter().any(|state| state.encapsulation.is_none()) {
        return Err("this would not pass the router".into());
    }
    meaning("west knows east by the router's address and port, and ESP travels in UDP");

    step(10, "The hosts behind talk.");
    let taps = tapped(&gateways);
    ping(&gateways, "-c 5 -i 0.2")?;
    iperf(&gateways)?;
    only(&taps, ESP_IN_UDP)?;
    drop(taps);
    meaning("ESP in UDP all the way, nothing in clear");

    step(11, "Both are told to end.");
    end([(east, east_daemon), (west, west_daemon)])?;
    meaning("no SA and no policy is left in either kernel");
    Ok(())
}
