//! The system call bpf(2), a function for each of its commands that we need.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::instruction::INSTRUCTION;
use crate::sandbox::PartOfCall;

/// Commands (`enum bpf_cmd`).
const MAP_CREATE: libc::c_int = 0;
const MAP_LOOKUP: libc::c_int = 1;
const MAP_UPDATE: libc::c_int = 2;
const MAP_DELETE: libc::c_int = 3;
const PROGRAM_LOAD: libc::c_int = 5;
const TYPES_LOAD: libc::c_int = 18;
const LINK_CREATE: libc::c_int = 28;

/// What a sandbox has to leave of bpf(2) to whoever has attached the program: looking into its maps and changing
/// them.
pub const WORKING: PartOfCall = PartOfCall {
    call: libc::SYS_bpf,
    first: &[MAP_LOOKUP as u32, MAP_UPDATE as u32, MAP_DELETE as u32],
};

/// `BPF_NOEXIST`
const ONLY_NEW: u64 = 1;
/// `BPF_PROG_TYPE_SOCK_OPS`
const PROGRAM_SOCK_OPS: u32 = 13;
/// `BPF_CGROUP_SOCK_OPS`
const ATTACH_SOCK_OPS: u32 = 3;
/// None of the functions that we call asks for the kernel's own licence.
const LICENSE: &[u8; 11] = b"Apache-2.0\0";
/// What the kernel's tools show.
const NAME: [u8; 16] = *b"kx_eno\0\0\0\0\0\0\0\0\0\0";
/// Room for what the verifier has to say. Its last words are what matters, and with a smaller room
/// the kernel refuses what it would allow.
const LOG: usize = 1 << 20;

/// Kinds of maps (`enum bpf_map_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum MapKind {
    /// Keys of any shape.
    Hash = 1,
    /// Places from 0 on.
    Array = 2,
    /// Sockets.
    SocketStorage = 24,
}

/// How a map is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct MapShape {
    pub(super) kind: MapKind,
    /// Octets of a key.
    pub(super) key: u32,
    /// Octets of a value.
    pub(super) value: u32,
    /// At most this many.
    pub(super) entries: u32,
    pub(super) flags: u32,
}

/// What describes keys and values of a map.
#[derive(Debug, Clone, Copy)]
pub(super) struct MapTypes<'a> {
    pub(super) types: BorrowedFd<'a>,
    pub(super) key: u32,
    pub(super) value: u32,
}

#[repr(C)]
#[derive(Default)]
struct MapCreate {
    kind: u32,
    key: u32,
    value: u32,
    entries: u32,
    flags: u32,
    inner: u32,
    node: u32,
    name: [u8; 16],
    interface: u32,
    types: u32,
    key_type: u32,
    value_type: u32,
}

#[repr(C)]
struct MapElement {
    map: u32,
    unused: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct ProgramLoad {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach: u32,
}

#[repr(C)]
#[derive(Default)]
struct TypesLoad {
    types: u64,
    log: u64,
    size: u32,
    log_size: u32,
    log_level: u32,
    /// The kernel looks at what the compiler would leave here.
    unused: u32,
}

#[repr(C)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach: u32,
    flags: u32,
}

/// Calls bpf(2). The type of `attributes` is that of the command.
///
/// # Safety
/// `attributes` has to be the structure of this command, without padding that is not zero, and every
/// address in it valid for as many octets as the command reads or writes there.
#[allow(unsafe_code)]
unsafe fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: the structure is as long as said and outlives the call; what it points to is the
    // caller's promise.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attributes),
            size_of::<T>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    libc::c_int::try_from(result).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Takes over a descriptor that the kernel just made; those of bpf(2) close on exec by themselves.
#[allow(unsafe_code)]
fn own(descriptor: libc::c_int) -> OwnedFd {
    // SAFETY: the command returned it as new, so nobody else has it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

fn number(descriptor: BorrowedFd<'_>) -> u32 {
    // A descriptor that is borrowed is not negative.
    u32::try_from(descriptor.as_raw_fd()).unwrap_or(u32::MAX)
}

fn address<T: ?Sized>(of: &T) -> u64 {
    std::ptr::from_ref(of).cast::<u8>() as u64
}

fn length(octets: &[u8]) -> u32 {
    u32::try_from(octets.len()).unwrap_or(u32::MAX)
}

/// Makes a map.
#[allow(unsafe_code)]
pub(super) fn create_map(shape: MapShape, types: Option<MapTypes<'_>>) -> io::Result<OwnedFd> {
    let mut attributes = MapCreate {
        kind: shape.kind as u32,
        key: shape.key,
        value: shape.value,
        entries: shape.entries,
        flags: shape.flags,
        name: NAME,
        ..MapCreate::default()
    };
    if let Some(types) = types {
        attributes.types = number(types.types);
        attributes.key_type = types.key;
        attributes.value_type = types.value;
    }
    // SAFETY: the structure of the command; it holds no address.
    unsafe { bpf(MAP_CREATE, &mut attributes) }.map(own)
}

/// Loads descriptions of types.
#[allow(unsafe_code)]
pub(super) fn load_types(types: &[u8]) -> io::Result<OwnedFd> {
    let mut attributes = TypesLoad {
        types: address(types),
        size: length(types),
        ..TypesLoad::default()
    };
    // SAFETY: the structure of the command; its one address is of as many octets as said.
    unsafe { bpf(TYPES_LOAD, &mut attributes) }.map(own)
}

/// Loads a program for sockets; what the verifier says goes to `log` if there is room.
fn load(code: &[u8], log: &mut [u8]) -> io::Result<OwnedFd> {
    let mut attributes = ProgramLoad {
        kind: PROGRAM_SOCK_OPS,
        count: u32::try_from(code.len() / INSTRUCTION).unwrap_or(u32::MAX),
        instructions: address(code),
        license: address(LICENSE),
        name: NAME,
        attach: ATTACH_SOCK_OPS,
        ..ProgramLoad::default()
    };
    if !log.is_empty() {
        attributes.log_level = 1;
        attributes.log_size = length(log);
        attributes.log = log.as_mut_ptr() as u64;
    }
    #[allow(unsafe_code)]
    // SAFETY: the structure of the command; the code has as many instructions as said, the licence
    // ends with a zero octet, and the log, if any, is ours to write and as long as said.
    let loaded = unsafe { bpf(PROGRAM_LOAD, &mut attributes) };
    loaded.map(own)
}

/// Loads a program for sockets. The text is what the verifier says, empty if it was not asked: what
/// is wrong is not the program.
pub(super) fn load_program(code: &[u8]) -> Result<OwnedFd, (io::Error, String)> {
    let error = match load(code, &mut []) {
        Ok(program) => return Ok(program),
        Err(error) => error,
    };
    // The log is slow, so there is none at first.
    let mut log = vec![0; LOG];
    match load(code, &mut log) {
        Ok(program) => Ok(program),
        Err(_) => {
            let end = log.iter().position(|octet| *octet == 0);
            let text = log.get(..end.unwrap_or(0)).unwrap_or_default();
            Err((error, String::from_utf8_lossy(text).into_owned()))
        }
    }
}

/// Attaches a program to the cgroup with this directory until the link is closed, beside others that
/// may be there.
#[allow(unsafe_code)]
pub(super) fn link(program: BorrowedFd<'_>, cgroup: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut attributes = LinkCreate {
        program: number(program),
        target: number(cgroup),
        attach: ATTACH_SOCK_OPS,
        flags: 0,
    };
    // SAFETY: the structure of the command; it holds no address.
    unsafe { bpf(LINK_CREATE, &mut attributes) }.map(own)
}

/// A map with keys and values of known lengths: without them the kernel would read and write what
/// is not ours.
#[derive(Debug)]
pub(super) struct Map {
    descriptor: OwnedFd,
    key: usize,
    value: usize,
}

impl Map {
    /// Makes one.
    pub(super) fn new(shape: MapShape, types: Option<MapTypes<'_>>) -> io::Result<Map> {
        Ok(Map {
            descriptor: create_map(shape, types)?,
            key: shape.key as usize,
            value: shape.value as usize,
        })
    }

    /// Its descriptor's number, for a program.
    pub(super) fn number(&self) -> i32 {
        self.descriptor.as_raw_fd()
    }

    fn element(&self, key: &[u8], value: u64, value_length: usize) -> io::Result<MapElement> {
        if key.len() != self.key || value_length != self.value {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(MapElement {
            map: number(self.descriptor.as_fd()),
            unused: 0,
            key: address(key),
            value,
            flags: 0,
        })
    }

    /// Copies the value of `key`; false if there is none.
    #[allow(unsafe_code)]
    pub(super) fn get(&self, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
        let length = value.len();
        let mut attributes = self.element(key, value.as_mut_ptr() as u64, length)?;
        // SAFETY: the structure of the command; key and value are as long as those of the map.
        match unsafe { bpf(MAP_LOOKUP, &mut attributes) } {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sets the value of `key`.
    pub(super) fn set(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.update(key, value, 0)
    }

    /// Sets the value of a new `key`; false if it is not new.
    pub(super) fn insert(&self, key: &[u8], value: &[u8]) -> io::Result<bool> {
        match self.update(key, value, ONLY_NEW) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(false),
            Err(error) => Err(error),
        }
    }

    #[allow(unsafe_code)]
    fn update(&self, key: &[u8], value: &[u8], flags: u64) -> io::Result<()> {
        let mut attributes = self.element(key, address(value), value.len())?;
        attributes.flags = flags;
        // SAFETY: the structure of the command; key and value are as long as those of the map.
        unsafe { bpf(MAP_UPDATE, &mut attributes) }.map(drop)
    }

    /// Takes `key` out; false if it was not there.
    #[allow(unsafe_code)]
    pub(super) fn remove(&self, key: &[u8]) -> io::Result<bool> {
        let mut attributes = self.element(key, 0, self.value)?;
        // SAFETY: the structure of the command; the key is as long as those of the map.
        match unsafe { bpf(MAP_DELETE, &mut attributes) } {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifier_says_what_is_wrong() {
        // `exit` without a result.
        let (error, log) = load_program(&[0x95, 0, 0, 0, 0, 0, 0, 0]).expect_err("no program");
        if error.raw_os_error() == Some(libc::EPERM) || error.raw_os_error() == Some(libc::ENOSYS) {
            return println!("skipped: {error}");
        }
        assert!(log.contains("R0 !read_ok"), "{log}");
    }

    #[test]
    fn keys_and_values_of_other_lengths_are_refused() {
        let shape = MapShape {
            kind: MapKind::Hash,
            key: 4,
            value: 8,
            entries: 1,
            flags: 0,
        };
        let map = match Map::new(shape, None) {
            Ok(map) => map,
            Err(error) => return println!("skipped: {error}"),
        };
        let refused = |result: io::Result<bool>| {
            result.expect_err("refused").kind() == io::ErrorKind::InvalidInput
        };
        assert!(refused(map.insert(&[0; 3], &[0; 8])));
        assert!(refused(map.insert(&[0; 4], &[0; 9])));
        assert!(refused(map.get(&[0; 4], &mut [0; 7])));
        assert!(refused(map.remove(&[0; 5])));
        let mut value = [0; 8];
        assert!(!map.get(&[1; 4], &mut value).expect("asked"));
        assert!(map.insert(&[1; 4], &[9; 8]).expect("new"));
        assert!(!map.insert(&[1; 4], &[7; 8]).expect("not new"));
        assert!(map.get(&[1; 4], &mut value).expect("asked"));
        assert_eq!(value, [9; 8]);
        let full = map.set(&[2; 4], &[1; 8]).expect_err("no room");
        assert_eq!(full.raw_os_error(), Some(libc::E2BIG));
        assert!(map.remove(&[1; 4]).expect("there"));
        assert!(!map.remove(&[1; 4]).expect("gone"));
    }
}
