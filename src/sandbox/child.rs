//! Performs the steps of a plan between clone and exec. Runs in the keeper: [`launch`] prepares
//! everything that needs memory, then a child that shares the keeper's memory and suspends it
//! (`CLONE_VM | CLONE_VFORK`) goes through the steps by system calls alone, without allocation,
//! unwinding or drop, and ends in exec or `_exit`. What failed it leaves in that shared memory.

#![expect(unsafe_code, reason = "system calls between clone and exec")]

use std::ffi::{CString, c_char, c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use bstr::BString;

use super::order;
use super::steps::{Refusal, Step};

/// Bytes of the child's stack. Its frames hold a few words each.
const STACK: usize = 64 << 10;

/// Starts the process of an encoded list of steps, with `log` as its output: its pid, or the index
/// of the step that failed and the system's error number.
pub fn launch(payload: &[u8], log: BorrowedFd<'_>) -> Result<i32, (u32, i32)> {
    let steps = order::decode(payload).ok_or((u32::MAX, libc::EBADMSG))?;
    let ready = steps.iter().map(prepare).collect::<Option<Vec<_>>>();
    let ready = ready.ok_or((u32::MAX, libc::EINVAL))?;
    let job = Job {
        steps: &ready,
        log: log.as_raw_fd(),
        keeper: nix::unistd::getpid().as_raw(),
        step: AtomicU32::new(0),
        errno: AtomicI32::new(0),
    };
    let mut stack = vec![0u128; STACK / 16];
    let top = stack.as_mut_ptr_range().end.cast::<c_void>();
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let arg = (&raw const job).cast_mut().cast::<c_void>();
    // SAFETY: `top` is the aligned end of a live allocation of STACK bytes that only the child
    // uses; CLONE_VFORK suspends this, the only, thread until the child has executed or exited, so
    // `job`, all it points to and the stack outlive the child's use of them. All signals are
    // blocked in the keeper, hence in the child until it unblocks them with no handler installed.
    let pid = unsafe { libc::clone(perform, top, flags, arg) };
    if pid < 0 {
        return Err((u32::MAX, last_errno()));
    }
    let errno = job.errno.load(Ordering::SeqCst);
    if errno == 0 {
        return Ok(pid);
    }
    let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None);
    Err((job.step.load(Ordering::SeqCst), errno))
}

/// What the child is given.
struct Job<'a> {
    steps: &'a [Ready],
    log: RawFd,
    keeper: i32,
    step: AtomicU32,
    errno: AtomicI32,
}

/// A step with its memory laid out.
enum Ready {
    Plain(Step),
    Enter(CString),
    Execute { program: CString, argv: Strings, env: Strings },
}

/// Texts and the list of pointers to them that exec takes, null at its end.
struct Strings {
    pointers: Vec<*const c_char>,
    _texts: Vec<CString>,
}

impl Strings {
    fn new(texts: &[BString]) -> Option<Strings> {
        let texts = texts.iter().map(c_string).collect::<Option<Vec<_>>>()?;
        let mut pointers: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
        pointers.push(std::ptr::null());
        Some(Strings { pointers, _texts: texts })
    }
}

fn c_string(text: &BString) -> Option<CString> {
    CString::new(text.as_slice()).ok()
}

fn prepare(step: &Step) -> Option<Ready> {
    Some(match step {
        Step::Enter(folder) => Ready::Enter(c_string(folder)?),
        Step::Execute { program, argv, env } => Ready::Execute {
            program: c_string(program)?,
            argv: Strings::new(argv)?,
            env: Strings::new(env)?,
        },
        other => Ready::Plain(other.clone()),
    })
}

/// The child.
extern "C" fn perform(arg: *mut c_void) -> c_int {
    // SAFETY: `launch` passes a `Job` that lives until this process has executed or exited.
    let job = unsafe { &*arg.cast_const().cast::<Job>() };
    for (index, ready) in job.steps.iter().enumerate() {
        let (errno, refusal) = match ready {
            Ready::Plain(step) => (plain(step, job), step.refusal()),
            Ready::Enter(folder) => (enter(folder), Refusal::Fatal),
            Ready::Execute { program, argv, env } => (execute(program, argv, env), Refusal::Fatal),
        };
        if errno != 0 && refusal == Refusal::Fatal {
            job.step.store(index as u32, Ordering::SeqCst);
            job.errno.store(errno, Ordering::SeqCst);
            break;
        }
    }
    // SAFETY: ends this process only; nothing of the keeper's is run or flushed.
    unsafe { libc::_exit(127) }
}

/// The error number of a call that returns -1, or 0.
fn errno_of(result: c_int) -> i32 {
    if result == -1 { last_errno() } else { 0 }
}

fn last_errno() -> i32 {
    // SAFETY: the thread's own errno; the child shares its parent's, which is suspended.
    unsafe { *libc::__errno_location() }
}

fn enter(folder: &CString) -> i32 {
    // SAFETY: a terminated string that outlives the call.
    errno_of(unsafe { libc::chdir(folder.as_ptr()) })
}

fn execute(program: &CString, argv: &Strings, env: &Strings) -> i32 {
    // SAFETY: terminated strings and null-terminated lists of such, all alive.
    let result =
        unsafe { libc::execve(program.as_ptr(), argv.pointers.as_ptr(), env.pointers.as_ptr()) };
    errno_of(result)
}

/// Performs a step that has no prepared memory; returns an error number or 0.
fn plain(step: &Step, job: &Job) -> i32 {
    match step {
        // SAFETY: no memory is involved.
        Step::NewSession => errno_of(unsafe { libc::setsid() }),
        Step::DieWithKeeper => die_with(job.keeper),
        Step::Streams => streams(job.log),
        Step::CloseOthers => close_others(),
        Step::OpenFiles(soft, hard) => limit(libc::RLIMIT_NOFILE, *soft, *hard),
        Step::NoCore => limit(libc::RLIMIT_CORE, 0, libc::RLIM_INFINITY),
        Step::Linux32 => persona(0x0008),
        Step::FixedAddresses => fix_addresses(),
        Step::Umask(mask) => {
            // SAFETY: no memory is involved; the mask is the child's own (no CLONE_FS).
            unsafe { libc::umask(*mask as libc::mode_t) };
            0
        }
        Step::CleanSignals => clean_signals(),
        // Prepared differently; reaching this is a fault of `prepare`.
        Step::Enter(_) | Step::Execute { .. } => libc::EINVAL,
    }
}

fn close_others() -> i32 {
    // SAFETY: the child has a descriptor table of its own and uses only 0, 1 and 2 from here.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) };
    errno_of(result as c_int)
}

fn die_with(keeper: i32) -> i32 {
    // SAFETY: no memory is involved.
    let errno = errno_of(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) });
    // SAFETY: as above. A keeper that died before the call above is no longer the parent.
    if errno == 0 && unsafe { libc::getppid() } != keeper { libc::ESRCH } else { errno }
}

fn streams(log: RawFd) -> i32 {
    // SAFETY: a static terminated string; descriptors are the child's own copies.
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        if null == -1 || libc::dup2(null, 0) == -1 {
            return last_errno();
        }
        if libc::dup2(log, 1) == -1 || libc::dup2(log, 2) == -1 {
            return last_errno();
        }
    }
    0
}

fn limit(resource: libc::__rlimit_resource_t, soft: u64, hard: u64) -> i32 {
    let value = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: reads one struct that lives through the call.
    let errno = errno_of(unsafe { libc::setrlimit(resource, &value) });
    if errno == 0 || hard != libc::RLIM_INFINITY {
        return errno;
    }
    // The hard limit may not be raised: lower the soft one alone.
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: as above, written and then read.
    unsafe {
        if libc::getrlimit(resource, &mut now) == -1 {
            return last_errno();
        }
        now.rlim_cur = soft.min(now.rlim_max);
        errno_of(libc::setrlimit(resource, &now))
    }
}

fn persona(value: libc::c_ulong) -> i32 {
    // SAFETY: no memory is involved.
    errno_of(unsafe { libc::personality(value) })
}

fn fix_addresses() -> i32 {
    // SAFETY: no memory is involved; this value only asks.
    let now = unsafe { libc::personality(0xffff_ffff) };
    if now == -1 {
        return last_errno();
    }
    persona(now as libc::c_ulong | libc::ADDR_NO_RANDOMIZE as libc::c_ulong)
}

fn clean_signals() -> i32 {
    // All zeroes is the kernel's own form of "default, no flags, empty mask", longer than any.
    let default = [0u64; 8];
    let mask_size = 8usize;
    for signal in 1..=64 {
        // The C library's call would refuse signals it keeps for itself, which the caller may have
        // left ignored. SIGKILL and SIGSTOP refuse; they are as they always are.
        // SAFETY: reads a struct on this stack.
        unsafe {
            let none = std::ptr::null_mut::<c_void>();
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), none, mask_size);
        }
    }
    // SAFETY: reads a set on this stack; nothing is handled in this process.
    errno_of(unsafe {
        let none = std::ptr::null_mut::<c_void>();
        let set = libc::SIG_SETMASK;
        libc::syscall(libc::SYS_rt_sigprocmask, set, default.as_ptr(), none, mask_size) as c_int
    })
}

/// Lets the test program itself be the nursery, as `main` does for drover: runs before the harness
/// looks at its arguments.
#[cfg(test)]
#[used]
// SAFETY: the C library calls each entry once before `main`; this one returns at once unless the
// program was started as a nursery.
#[unsafe(link_section = ".init_array")]
static NURSERY_IN_TESTS: extern "C" fn() = {
    extern "C" fn hook() {
        if super::main_if_keeper().is_some() {
            std::process::exit(0);
        }
    }
    hook
};
