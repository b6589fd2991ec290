//! The commands of bpf(2) that aya does not offer: reading and writing maps in batches, attaching to a link by its
//! index, and running a few instructions to see what the kernel makes of them.
//!
//! The structures are the members of `union bpf_attr` in the kernel's `include/uapi/linux/bpf.h`.
#![expect(unsafe_code, reason = "system calls that no library wraps")]

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use viaduct_common::Plain;

/// Values of `enum bpf_cmd`.
mod command {
    pub(super) const PROG_LOAD: libc::c_int = 5;
    pub(super) const PROG_TEST_RUN: libc::c_int = 10;
    pub(super) const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
    pub(super) const PROG_QUERY: libc::c_int = 16;
    pub(super) const MAP_LOOKUP_BATCH: libc::c_int = 24;
    pub(super) const MAP_UPDATE_BATCH: libc::c_int = 26;
    pub(super) const LINK_CREATE: libc::c_int = 28;
}

/// Calls bpf(2).
///
/// # Safety
/// `A` is the member of `union bpf_attr` that belongs to `command`, and each pointer in it leads to memory that the
/// kernel may read and write as that command does.
unsafe fn bpf<A>(command: libc::c_int, attr: &mut A) -> io::Result<libc::c_long> {
    // SAFETY: `attr` is a live structure of the size that is passed; the rest is the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<A>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// As [`bpf`], for commands that give a file descriptor.
///
/// # Safety
/// As for [`bpf`]; `command` returns a new file descriptor.
unsafe fn bpf_fd<A>(command: libc::c_int, attr: &mut A) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise.
    let fd = unsafe { bpf(command, attr) }?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

#[repr(C)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: RawFd,
    elem_flags: u64,
    flags: u64,
}

/// Reads all rows of an array or a hash map (not per CPU), many with each system call.
///
/// In a hash map, rows that exist from beginning to end are seen exactly once, whatever happens to others meanwhile: the
/// kernel walks buckets, not keys.
#[derive(Debug)]
pub(crate) struct Batches<'m, K, V> {
    map: BorrowedFd<'m>,
    /// Where the kernel goes on: an index, or the number of a bucket.
    cursor: Option<u32>,
    flags: u64,
    ended: bool,
    keys: Vec<K>,
    values: Vec<V>,
}

impl<'m, K: Plain + Default, V: Plain + Default> Batches<'m, K, V> {
    /// Rows of `map` from the first one, at most `rows` at a time.
    ///
    /// The map must have keys of type `K` and values of type `V`; its constructors in aya have checked that.
    pub(crate) fn new(map: BorrowedFd<'m>, rows: usize) -> Self {
        Self { map, cursor: None, flags: 0, ended: false, keys: vec![K::default(); rows], values: vec![V::default(); rows] }
    }

    /// Rows of an array from the one at `index`.
    pub(crate) fn starting_at(self, index: u32) -> Self {
        Self { cursor: index.checked_sub(1), ..self }
    }

    /// Rows of a hash map from where another reader stopped, see [`Batches::bucket`]; 0: from the first one.
    pub(crate) fn starting_in(self, bucket: u32) -> Self {
        Self { cursor: (bucket > 0).then_some(bucket), ..self }
    }

    /// Each row is read while no BPF program has its lock.
    pub(crate) fn locked(self) -> Self {
        const LOCK: u64 = 1 << 2;
        Self { flags: LOCK, ..self }
    }

    /// Of a hash map, where the next rows begin; none if there are none.
    pub(crate) fn bucket(&self) -> Option<u32> {
        self.cursor.filter(|_| !self.ended)
    }

    /// The next rows: none after the last one.
    pub(crate) fn next(&mut self) -> io::Result<Option<(&[K], &[V])>> {
        if self.ended {
            return Ok(None);
        }
        loop {
            match self.read() {
                // A bucket has more rows than there is room for.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                    let rows = self.keys.len() * 2;
                    self.keys.resize(rows, K::default());
                    self.values.resize(rows, V::default());
                }
                Err(error) => return Err(error),
                Ok(count) => return Ok(Some((&self.keys[..count], &self.values[..count]))),
            }
        }
    }

    fn read(&mut self) -> io::Result<usize> {
        let mut next = 0_u32;
        let mut attr = BatchAttr {
            in_batch: self.cursor.as_ref().map_or(0, |cursor| std::ptr::from_ref(cursor) as u64),
            out_batch: std::ptr::from_mut(&mut next) as u64,
            keys: self.keys.as_mut_ptr() as u64,
            values: self.values.as_mut_ptr() as u64,
            count: self.keys.len() as u32,
            map_fd: self.map.as_raw_fd(),
            elem_flags: self.flags,
            flags: 0,
        };
        // SAFETY: `keys` and `values` have room for `count` plain rows, the cursors are 32 bits wide as arrays and hash
        // maps have them, and all of them outlive the call.
        match unsafe { bpf(command::MAP_LOOKUP_BATCH, &mut attr) } {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => self.ended = true,
            other => drop(other?),
        }
        self.cursor = Some(next);
        Ok(attr.count as usize)
    }
}

/// Sets rows of an array or a hash map (not per CPU) with one system call. On failure, some may have been set.
pub(crate) fn update_batch<K: Plain, V: Plain>(map: BorrowedFd<'_>, keys: &[K], values: &[V]) -> io::Result<()> {
    assert_eq!(keys.len(), values.len(), "each key has its value");
    if keys.is_empty() {
        return Ok(());
    }
    let mut attr = BatchAttr {
        in_batch: 0,
        out_batch: 0,
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count: keys.len() as u32,
        map_fd: map.as_raw_fd(),
        elem_flags: 0,
        flags: 0,
    };
    // SAFETY: `keys` and `values` hold `count` plain rows and outlive the call, which only reads them.
    unsafe { bpf(command::MAP_UPDATE_BATCH, &mut attr) }.map(drop)
}

/// The direction of packets on the host's side of a link.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum Direction {
    /// Packets that the host receives from the link.
    Ingress,
    /// Packets that the host sends to the link.
    Egress,
}

#[repr(C)]
struct LinkCreateAttr {
    prog_fd: RawFd,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
    relative_fd: u32,
    _pad: u32,
    expected_revision: u64,
}

/// Attaches a classifier to the link with this index by tcx (Linux 6.6), next to the wire: first of all programs on
/// ingress, last on egress. It stays attached until the descriptor is closed.
///
/// aya takes the link's name, which may belong to another link by the time it is looked up.
pub(crate) fn attach_tcx(program: BorrowedFd<'_>, ifindex: u32, direction: Direction) -> io::Result<OwnedFd> {
    const BEFORE_ALL: u32 = 1 << 3;
    const AFTER_ALL: u32 = 1 << 4;
    let attach_type = tcx_attach_type(direction);
    let flags = match direction {
        Direction::Ingress => BEFORE_ALL,
        Direction::Egress => AFTER_ALL,
    };
    let prog_fd = program.as_raw_fd();
    let mut attr =
        LinkCreateAttr { prog_fd, target_ifindex: ifindex, attach_type, flags, relative_fd: 0, _pad: 0, expected_revision: 0 };
    // SAFETY: the structure is the member for this command and holds no pointer.
    unsafe { bpf_fd(command::LINK_CREATE, &mut attr) }
}

/// Values of `enum bpf_attach_type`.
const fn tcx_attach_type(direction: Direction) -> u32 {
    match direction {
        Direction::Ingress => 46,
        Direction::Egress => 47,
    }
}

#[repr(C)]
struct ProgQueryAttr {
    target_ifindex: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    count: u32,
    _pad: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

/// The numbers of the programs that tcx runs on a link; none where the kernel has no tcx.
pub(crate) fn query_tcx(ifindex: u32, direction: Direction) -> io::Result<Vec<u32>> {
    /// The kernel takes no more programs on a link.
    const MOST: usize = 64;
    let mut ids = vec![0_u32; MOST];
    let mut attr = ProgQueryAttr {
        target_ifindex: ifindex,
        attach_type: tcx_attach_type(direction),
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        count: MOST as u32,
        _pad: 0,
        prog_attach_flags: 0,
        link_ids: 0,
        link_attach_flags: 0,
        revision: 0,
    };
    // SAFETY: `ids` has room for `count` numbers and outlives the call; the other pointers are null, which the kernel takes
    // as not asked for.
    match unsafe { bpf(command::PROG_QUERY, &mut attr) } {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(Vec::new()),
        other => drop(other?),
    }
    ids.truncate(attr.count as usize);
    Ok(ids)
}

#[repr(C)]
struct ObjInfoAttr<'a> {
    bpf_fd: RawFd,
    info_len: u32,
    info: u64,
    _borrowed: PhantomData<&'a [u32]>,
}

/// The number of a program.
pub(crate) fn program_id(program: BorrowedFd<'_>) -> io::Result<u32> {
    // The beginning of `struct bpf_prog_info`: type and id.
    let mut info = [0_u32; 2];
    let mut attr = ObjInfoAttr {
        bpf_fd: program.as_raw_fd(),
        info_len: size_of_val(&info) as u32,
        info: std::ptr::from_mut(&mut info) as u64,
        _borrowed: PhantomData,
    };
    // SAFETY: `info` has room for `info_len` bytes, which is all that the kernel writes, and outlives the call.
    unsafe { bpf(command::OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(info[1])
}

#[repr(C)]
struct ProgLoadAttr<'a> {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    _borrowed: PhantomData<&'a [u64]>,
}

#[repr(C)]
struct TestRunAttr<'a> {
    prog_fd: RawFd,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    _borrowed: PhantomData<&'a [u8]>,
}

/// Loads `instructions` as a classifier, runs it once on `packet`, and gives what it returned.
pub(crate) fn run_classifier(instructions: &[u64], packet: &[u8]) -> io::Result<u32> {
    const SCHED_CLS: u32 = 3;
    let mut load = ProgLoadAttr {
        prog_type: SCHED_CLS,
        insn_cnt: instructions.len() as u32,
        insns: instructions.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        _borrowed: PhantomData,
    };
    // SAFETY: the instructions and the licence outlive the call, which only reads them.
    let program = unsafe { bpf_fd(command::PROG_LOAD, &mut load) }?;
    run(program.as_fd(), packet)
}

/// Runs a loaded classifier once on `packet`, and gives what it returned.
pub(crate) fn run<P: Plain>(program: BorrowedFd<'_>, packet: &[P]) -> io::Result<u32> {
    let mut run = TestRunAttr {
        prog_fd: program.as_raw_fd(),
        retval: 0,
        data_size_in: size_of_val(packet) as u32,
        data_size_out: 0,
        data_in: packet.as_ptr() as u64,
        data_out: 0,
        repeat: 1,
        duration: 0,
        _borrowed: PhantomData,
    };
    // SAFETY: the packet outlives the call, which only reads it; there is no room for output.
    unsafe { bpf(command::PROG_TEST_RUN, &mut run) }?;
    Ok(run.retval)
}
