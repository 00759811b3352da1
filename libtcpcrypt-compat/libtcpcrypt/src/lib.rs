//! libtcpcrypt: how C programs ask tcpcryptd about their connections (tcpcrypt spec section 3). The
//! header is `include/tcpcrypt/tcpcrypt.h`; programs in Rust use [`Client`].
//!
//! Each call has a socket of its own and shares nothing with others but the control socket's address.
//! Nothing in here starts a thread, ends the process, touches a signal or waits without a limit.
//!
//! The original first looks for a kernel that does tcpcrypt itself, by a TCP option whose number, 15,
//! had another meaning in Linux up to 3.9. No such kernel came to be; there is no probe here.
#![deny(unsafe_code)]

mod boundary;
mod client;
mod control_path;
mod control_socket;
mod ends;
mod error;
mod inet_aton;
mod reply;
mod session_text;

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use libc::socklen_t;
use tcpcrypt_control::{OptionName, VALUE_MAX};

use boundary::{answer, c_octets, guarded};
use session_text::Wanted;

pub use client::{Client, Row};
pub use ends::Ends;
pub use error::{Error, system_text};
pub use tcpcrypt_control::{Hex, OptionName as Opt};

/// `TCPCRYPT_PARAM_CTLPATH`.
const PARAM_CTLPATH: c_int = 0;

/// Sets the address of the daemon's control socket, for all threads. NULL is the default again.
/// Another `param` than `TCPCRYPT_PARAM_CTLPATH` is reported on standard output, as the original does.
///
/// # Safety
/// `val` is NULL or a C string, which is copied.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcpcrypt_setparam(param: c_int, val: *mut c_void) {
    if param != PARAM_CTLPATH {
        // Through the C library's buffer, so that it stands in order with what the program prints.
        // SAFETY: the format takes one int.
        unsafe { libc::printf(c"Unknown param %d\n".as_ptr(), param) };
        return;
    }
    // SAFETY: the caller's promise.
    let text = unsafe { c_octets(val.cast()) };
    guarded((), || control_path::set(text));
}

/// Gets an option of the connection of socket `s`.
///
/// # Safety
/// `optlen` is NULL or can be read and written; `optval` is NULL or has room for `*optlen` octets.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcpcrypt_getsockopt(
    s: c_int,
    level: c_int,
    optname: c_int,
    optval: *mut c_void,
    optlen: *mut socklen_t,
) -> c_int {
    // SAFETY: the caller's promise.
    let optlen = unsafe { optlen.as_mut() };
    answer(|| {
        checked_level(level)?;
        let optlen = optlen.ok_or(Error::System(libc::EFAULT))?;
        let offered = usize::try_from(*optlen).unwrap_or(usize::MAX);
        // What more than the longest value is offered is used for the list of connections alone.
        *optlen = (*optlen).min(socklen(VALUE_MAX));
        if optval.is_null() && offered > 0 {
            return Err(Error::System(libc::EFAULT));
        }
        let value = get(s, number(optname), offered)?;
        *optlen = socklen(value.len());
        if !value.is_empty() {
            // SAFETY: `get` gives at most as many octets as were offered, for which the caller has room;
            // the source is memory of our own. `optval` is NULL only where nothing was offered.
            unsafe { ptr::copy_nonoverlapping(value.as_ptr(), optval.cast(), value.len()) };
        }
        Ok(())
    })
}

/// Sets an option of the connection of socket `s`.
///
/// # Safety
/// `optval` is NULL or points to `optlen` octets.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcpcrypt_setsockopt(
    s: c_int,
    level: c_int,
    optname: c_int,
    optval: *const c_void,
    optlen: socklen_t,
) -> c_int {
    answer(|| {
        checked_level(level)?;
        let len = usize::try_from(optlen).unwrap_or(usize::MAX);
        if len > VALUE_MAX {
            return Err(Error::TooLong);
        }
        let mut value = vec![0u8; len];
        if len > 0 {
            if optval.is_null() {
                return Err(Error::System(libc::EFAULT));
            }
            // SAFETY: the caller's promise, and room for as many in fresh memory.
            unsafe { ptr::copy_nonoverlapping(optval.cast(), value.as_mut_ptr(), len) };
        }
        set(s, number(optname), &value)
    })
}

/// The session id of the encrypted connection to (`remote_ip`, `remote_port`) as upper-case
/// hexadecimal digits; of several the one from (`local_ip`, `local_port`), or else the first. Ports are
/// in host order.
///
/// The text is this thread's, until its next call or its end. NULL if there is no such connection, if
/// `remote_ip` is no address, or if the daemon cannot be asked.
///
/// # Safety
/// Both addresses are NULL or C strings.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcpcrypt_getsessid(
    remote_ip: *mut c_char,
    remote_port: u16,
    local_ip: *mut c_char,
    local_port: u16,
) -> *mut c_char {
    // SAFETY: the caller's promise.
    let remote_ip = unsafe { c_octets(remote_ip) };
    // SAFETY: the same.
    let local_ip = unsafe { c_octets(local_ip) };
    let mut text = ptr::null_mut();
    answer(|| {
        let remote = remote_ip.and_then(|ip| session_text::end(ip, remote_port));
        let local = local_ip.and_then(|ip| session_text::end(ip, local_port));
        let wanted = Wanted {
            remote: remote.ok_or(Error::System(libc::EINVAL))?,
            local: local.filter(|end| end.port() != 0),
        };
        let id = session_text::find(&wanted)?.ok_or(Error::System(libc::ENOTCONN))?;
        text = session_text::keep(&id).ok_or(Error::System(libc::EOVERFLOW))?;
        Ok(())
    });
    text
}

fn checked_level(level: c_int) -> Result<(), Error> {
    match level {
        libc::IPPROTO_TCP => Ok(()),
        _ => Err(Error::System(libc::EINVAL)),
    }
}

/// The value of an option, of at most `offered` octets.
fn get(s: c_int, optname: u32, offered: usize) -> Result<Vec<u8>, Error> {
    let ends = Ends::of_raw(s)?;
    let mut client = Client::of_process()?;
    if OptionName::from_number(optname) == Some(OptionName::Netstat) {
        return client.list(ends, offered);
    }
    let mut value = vec![0; offered.min(VALUE_MAX)];
    let len = client.get(ends, optname, &mut value)?;
    value.truncate(len);
    Ok(value)
}

fn set(s: c_int, optname: u32, value: &[u8]) -> Result<(), Error> {
    let ends = Ends::of_raw(s)?;
    Client::of_process()?.set(ends, optname, value)
}

/// Option numbers are without a sign on the wire.
fn number(optname: c_int) -> u32 {
    u32::from_ne_bytes(optname.to_ne_bytes())
}

fn socklen(len: usize) -> socklen_t {
    socklen_t::try_from(len).unwrap_or(socklen_t::MAX)
}
