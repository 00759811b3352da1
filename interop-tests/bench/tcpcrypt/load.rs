//! The applications: streams of octets, many short connections, many silent ones.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use interop_tests::lab::applications::exchange;
use interop_tests::lab::{Lab, PORT};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use crate::apart::{self, Side};
use crate::over::{Over, Stream};

/// Longest wait of an application for anything.
const PATIENCE: Duration = Duration::from_secs(5);
/// After this a stream stands still: longer than TCP waits before it repeats something for the first time.
const STANDSTILL: Duration = Duration::from_millis(400);
/// After this the transfer under loss has failed.
const LOSSY_PATIENCE: Duration = Duration::from_secs(20);
/// What the lossy transfer carries.
pub(crate) const LOSSY: u64 = 20_000_000;

/// Short connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Short {
    pub(crate) count: usize,
    pub(crate) per_second: f64,
    /// From connect to the answer's last octet, in microseconds.
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

fn patient(stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)
}

/// One stream, or several at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bulk {
    /// Octets delivered.
    pub(crate) octets: u64,
    /// How long that took from the first to the last.
    pub(crate) took: Duration,
    /// The longest time in which one of them brought nothing.
    pub(crate) pause: Duration,
    /// One stood still for [`STANDSTILL`] before its end.
    pub(crate) stalled: bool,
}

/// What a receiver saw of its stream.
struct Received {
    octets: u64,
    /// When the first octets came, and the last.
    times: Option<(Instant, Instant)>,
    pause: Duration,
    stalled: bool,
}

/// Both ends of one connection.
fn ends(lab: &Lab, over: &Over) -> io::Result<(Stream, Stream)> {
    let (near, far) = lab.connection(PORT)?;
    std::thread::scope(|scope| {
        let near = scope.spawn(|| over.client(near));
        let far = over.server(far)?;
        let near = near.join().map_err(|_| io::ErrorKind::Other)?;
        Ok((near?, far))
    })
}

/// `count` connections that send from client to server for `time`, all at once.
pub(crate) fn bulk(lab: &Lab, over: &Over, count: usize, time: Duration) -> io::Result<Bulk> {
    let streams = (0..count).map(|_| ends_that_spoke(lab, over));
    carry(streams.collect::<io::Result<_>>()?, time)
}

/// One such stream, and beside it, for the same time, what [`short`] does.
pub(crate) fn beside(
    lab: &Lab,
    over: &Over,
    clients: usize,
    time: Duration,
    most: usize,
) -> io::Result<(Bulk, Short)> {
    let stream = ends_that_spoke(lab, over)?;
    std::thread::scope(|scope| {
        let short = scope.spawn(|| short(lab, over, clients, time, most));
        let bulk = carry(vec![stream], time);
        let short = short.join().map_err(|_| io::ErrorKind::Other)?;
        Ok((bulk?, short?))
    })
}

/// Both ends of a connection whose key exchange is over.
fn ends_that_spoke(lab: &Lab, over: &Over) -> io::Result<(Stream, Stream)> {
    let (mut near, mut far) = ends(lab, over)?;
    near.write_all(b"go")?;
    far.read_exact(&mut [0; 2])?;
    near.tcp().set_write_timeout(Some(STANDSTILL))?;
    far.tcp().set_read_timeout(Some(STANDSTILL))?;
    Ok((near, far))
}

fn carry(streams: Vec<(Stream, Stream)>, time: Duration) -> io::Result<Bulk> {
    let received = std::thread::scope(|scope| {
        let receivers: Vec<_> = streams
            .into_iter()
            .map(|(near, far)| {
                scope.spawn(move || send(near, time));
                scope.spawn(move || receive(far, time))
            })
            .collect();
        let joined = receivers.into_iter().map(|thread| thread.join());
        joined.collect::<Result<Vec<_>, _>>()
    });
    let received = received.map_err(|_| io::ErrorKind::Other)?;
    let times = || received.iter().filter_map(|one| one.times);
    let began = times().map(|(first, _)| first).min();
    let ended = times().map(|(_, last)| last).max();
    let took = ended.zip(began).map(|(ended, began)| ended - began);
    let pause = received.iter().map(|one| one.pause).max();
    Ok(Bulk {
        octets: received.iter().map(|one| one.octets).sum(),
        took: took.unwrap_or_default(),
        pause: pause.unwrap_or_default(),
        stalled: received.iter().any(|one| one.stalled),
    })
}

fn send(mut near: Stream, time: Duration) {
    apart::pin_thread(Side::Client);
    let block = vec![0x5a; 1 << 18];
    let end = Instant::now() + time;
    while Instant::now() < end && near.write_all(&block).is_ok() {}
    let _ = near.tcp().shutdown(Shutdown::Write);
}

fn receive(mut far: Stream, time: Duration) -> Received {
    apart::pin_thread(Side::Server);
    let mut block = vec![0; 1 << 18];
    let mut received = Received {
        octets: 0,
        times: None,
        pause: Duration::ZERO,
        stalled: false,
    };
    // What still trickles then is no stream either.
    let limit = Instant::now() + time + Duration::from_secs(2);
    loop {
        let count = far.read(&mut block);
        let now = Instant::now();
        let (first, last) = received.times.unwrap_or((now, now));
        match count {
            Ok(0) => break,
            Ok(count) if now <= limit => {
                received.octets += count as u64;
                received.times = Some((first, now));
                received.pause = received.pause.max(now - last);
            }
            _ => {
                received.stalled = true;
                received.pause = received.pause.max(now - last);
                break;
            }
        }
    }
    received
}

/// `clients` at once open connections one after the other, for `time` or until `most` were opened: four
/// octets each way, and closed.
pub(crate) fn short(
    lab: &Lab,
    over: &Over,
    clients: usize,
    time: Duration,
    most: usize,
) -> io::Result<Short> {
    let listener = lab.server.listen(PORT);
    set_socket_timeout(&listener, Timeout::Recv, Some(Duration::from_millis(50)))?;
    let address = lab.server_address(PORT);
    let stop = AtomicBool::new(false);
    let opened = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                apart::pin_thread(Side::Server);
                serve(&listener, over, &stop);
            });
        }
        let began = Instant::now();
        let result = lab.client.within(|| {
            std::thread::scope(|scope| {
                let client = || -> io::Result<Vec<Duration>> {
                    apart::pin_thread(Side::Client);
                    let mut times = Vec::new();
                    while began.elapsed() < time && opened.fetch_add(1, Ordering::Relaxed) < most {
                        let begin = Instant::now();
                        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
                        patient(&stream)?;
                        let mut stream = over.client(stream)?;
                        stream.write_all(b"ping")?;
                        stream.read_exact(&mut [0; 4])?;
                        times.push(begin.elapsed());
                    }
                    Ok(times)
                };
                let threads: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
                let mut all = Vec::new();
                for thread in threads {
                    let times = thread.join().map_err(|_| io::ErrorKind::Other)?;
                    all.extend(times?);
                }
                io::Result::Ok(all)
            })
        });
        let took = began.elapsed();
        stop.store(true, Ordering::Relaxed);
        let mut times = result?;
        times.sort();
        let at = |part: usize| {
            let time = times.get(times.len() * part / 100).copied();
            time.unwrap_or_default().as_secs_f64() * 1e6
        };
        Ok(Short {
            count: times.len(),
            per_second: times.len() as f64 / took.as_secs_f64(),
            p50_us: at(50),
            p99_us: at(99),
        })
    })
}

fn serve(listener: &TcpListener, over: &Over, stop: &AtomicBool) {
    let mut word = [0; 4];
    while !stop.load(Ordering::Relaxed) {
        let Ok((stream, _)) = listener.accept() else {
            continue;
        };
        let mut talk = |stream: TcpStream| -> io::Result<usize> {
            patient(&stream)?;
            let mut stream = over.server(stream)?;
            stream.read_exact(&mut word)?;
            stream.write_all(&word)?;
            stream.read(&mut word)
        };
        // The client tells of it.
        let _ = talk(stream);
    }
}

/// Both ends of a connection.
pub(crate) type Ends = (TcpStream, TcpStream);

/// Opens `count` connections over which a word was said each way.
pub(crate) fn hold_idle(lab: &Lab, count: usize) -> io::Result<Vec<Ends>> {
    let mut held = Vec::with_capacity(count);
    open_idle(lab, count, |ends| {
        held.push(ends);
        Ok(())
    })?;
    Ok(held)
}

/// The same, one after the other given to `keep`.
pub(crate) fn open_idle(
    lab: &Lab,
    count: usize,
    mut keep: impl FnMut(Ends) -> io::Result<()> + Send,
) -> io::Result<()> {
    let listener = lab.server.listen(PORT);
    let address = lab.server_address(PORT);
    lab.client.within(|| {
        for _ in 0..count {
            let mut near = TcpStream::connect_timeout(&address, PATIENCE)?;
            let (mut far, _) = listener.accept()?;
            patient(&near)?;
            patient(&far)?;
            near.write_all(b"ping")?;
            far.read_exact(&mut [0; 4])?;
            far.write_all(b"pong")?;
            near.read_exact(&mut [0; 4])?;
            keep((near, far))?;
        }
        Ok(())
    })
}

/// Connections that are asked together.
const GROUP: usize = 10;

/// Questions and answers of four octets, `count` of them, on [`GROUP`] connections at a time, taken at random
/// from all: what each costs does not depend then on how many packets come with one call.
/// `random` is any number but 0, and another one behind it.
pub(crate) fn talk(held: &[Ends], count: usize, random: &mut u64) -> io::Result<()> {
    let mut group = Vec::with_capacity(GROUP);
    for _ in 0..count / GROUP {
        group.clear();
        while group.len() < GROUP.min(held.len()) {
            // Any numbers will do, as long as they are the same in each run (xorshift, Marsaglia 2003).
            *random ^= *random << 13;
            *random ^= *random >> 7;
            *random ^= *random << 17;
            let at = usize::try_from(*random % held.len() as u64).unwrap_or_default();
            if !group.contains(&at) {
                group.push(at);
            }
        }
        let ends = || group.iter().filter_map(|at| held.get(*at));
        for (near, _) in ends() {
            let mut near = near;
            near.write_all(b"ping")?;
        }
        for (_, far) in ends() {
            let mut far = far;
            far.read_exact(&mut [0; 4])?;
            far.write_all(b"pong")?;
        }
        for (near, _) in ends() {
            let mut near = near;
            near.read_exact(&mut [0; 4])?;
        }
    }
    Ok(())
}

/// 20 MB from client to server; how long until all was there and compared.
pub(crate) fn lossy(lab: &Lab) -> io::Result<Duration> {
    let began = Instant::now();
    let (near, far) = lab.connection(PORT)?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if began.elapsed() > LOSSY_PATIENCE {
                    let _ = near.shutdown(Shutdown::Both);
                    let _ = far.shutdown(Shutdown::Both);
                    return;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let result = exchange(&near, &far, LOSSY, 0);
        let took = began.elapsed();
        done.store(true, Ordering::Relaxed);
        result.map(|()| took)
    })
}
