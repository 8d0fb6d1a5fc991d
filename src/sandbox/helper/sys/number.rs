//! The numbers of the system calls on each architecture.

use std::ffi::c_long;

#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
mod of_architecture {
    use std::ffi::c_long;
    pub const READ: c_long = 0; pub const WRITE: c_long = 1; pub const LSEEK: c_long = 8; pub const RT_SIGACTION: c_long = 13; pub const RT_SIGPROCMASK: c_long = 14; pub const IOCTL: c_long = 16; pub const FCNTL: c_long = 72; pub const GETPID: c_long = 39;
    pub const SOCKET: c_long = 41; pub const SENDMSG: c_long = 46; pub const RECVMSG: c_long = 47; pub const SOCKETPAIR: c_long = 53;
    pub const EXECVE: c_long = 59; pub const WAIT4: c_long = 61; pub const KILL: c_long = 62; pub const GETCWD: c_long = 79;
    pub const CHDIR: c_long = 80; pub const FCHDIR: c_long = 81; pub const UMASK: c_long = 95; pub const GETPPID: c_long = 110;
    pub const SETSID: c_long = 112; pub const SETGROUPS: c_long = 116; pub const SETRESUID: c_long = 117; pub const SETRESGID: c_long = 119;
    pub const CAPSET: c_long = 126; pub const PIVOT_ROOT: c_long = 155; pub const PRCTL: c_long = 157; pub const MOUNT: c_long = 165;
    pub const UMOUNT2: c_long = 166; pub const SETHOSTNAME: c_long = 170; pub const SETDOMAINNAME: c_long = 171;
    pub const SETXATTR: c_long = 188; pub const LGETXATTR: c_long = 192; pub const LISTXATTR: c_long = 194; pub const LLISTXATTR: c_long = 195; pub const REMOVEXATTR: c_long = 197;
    pub const GETDENTS64: c_long = 217; pub const KEYCTL: c_long = 250; pub const MKDIRAT: c_long = 258; pub const MKNODAT: c_long = 259;
    pub const FCHOWNAT: c_long = 260; pub const UNLINKAT: c_long = 263; pub const LINKAT: c_long = 265; pub const SYMLINKAT: c_long = 266;
    pub const READLINKAT: c_long = 267; pub const FCHMODAT: c_long = 268; pub const PPOLL: c_long = 271; pub const UNSHARE: c_long = 272;
    pub const UTIMENSAT: c_long = 280; pub const DUP3: c_long = 292; pub const PRLIMIT64: c_long = 302;
    pub const RENAMEAT2: c_long = 316; pub const STATX: c_long = 332; pub const SECCOMP: c_long = 317;
    pub const GETUID: c_long = 102; pub const BIND: c_long = 49; pub const GETSOCKOPT: c_long = 55; pub const CHROOT: c_long = 161; pub const GETXATTR: c_long = 191;
    pub const NEWFSTATAT: c_long = 262; pub const SETNS: c_long = 308; pub const PROCESS_VM_READV: c_long = 310;
    pub const PROCESS_VM_WRITEV: c_long = 311; pub const FSTATFS: c_long = 138;
}
#[cfg(any(target_arch = "aarch64", target_arch = "riscv64", target_arch = "loongarch64"))]
#[rustfmt::skip]
mod of_architecture {
    use std::ffi::c_long;
    pub const READ: c_long = 63; pub const WRITE: c_long = 64; pub const LSEEK: c_long = 62; pub const RT_SIGACTION: c_long = 134; pub const RT_SIGPROCMASK: c_long = 135; pub const IOCTL: c_long = 29; pub const FCNTL: c_long = 25; pub const GETPID: c_long = 172;
    pub const SOCKET: c_long = 198; pub const SENDMSG: c_long = 211; pub const RECVMSG: c_long = 212; pub const SOCKETPAIR: c_long = 199;
    pub const EXECVE: c_long = 221; pub const WAIT4: c_long = 260; pub const KILL: c_long = 129; pub const GETCWD: c_long = 17;
    pub const CHDIR: c_long = 49; pub const FCHDIR: c_long = 50; pub const UMASK: c_long = 166; pub const GETPPID: c_long = 173;
    pub const SETSID: c_long = 157; pub const SETGROUPS: c_long = 159; pub const SETRESUID: c_long = 147; pub const SETRESGID: c_long = 149;
    pub const CAPSET: c_long = 91; pub const PIVOT_ROOT: c_long = 41; pub const PRCTL: c_long = 167; pub const MOUNT: c_long = 40;
    pub const UMOUNT2: c_long = 39; pub const SETHOSTNAME: c_long = 161; pub const SETDOMAINNAME: c_long = 162;
    pub const SETXATTR: c_long = 5; pub const LGETXATTR: c_long = 9; pub const LISTXATTR: c_long = 11; pub const LLISTXATTR: c_long = 12; pub const REMOVEXATTR: c_long = 14;
    pub const GETDENTS64: c_long = 61; pub const KEYCTL: c_long = 219; pub const MKDIRAT: c_long = 34; pub const MKNODAT: c_long = 33;
    pub const FCHOWNAT: c_long = 54; pub const UNLINKAT: c_long = 35; pub const LINKAT: c_long = 37; pub const SYMLINKAT: c_long = 36;
    pub const READLINKAT: c_long = 78; pub const FCHMODAT: c_long = 53; pub const PPOLL: c_long = 73; pub const UNSHARE: c_long = 97;
    pub const UTIMENSAT: c_long = 88; pub const DUP3: c_long = 24; pub const PRLIMIT64: c_long = 261;
    pub const RENAMEAT2: c_long = 276; pub const STATX: c_long = 291; pub const SECCOMP: c_long = 277;
    pub const GETUID: c_long = 174; pub const BIND: c_long = 200; pub const GETSOCKOPT: c_long = 209; pub const CHROOT: c_long = 51; pub const GETXATTR: c_long = 8;
    pub const NEWFSTATAT: c_long = 79; pub const SETNS: c_long = 268; pub const PROCESS_VM_READV: c_long = 270;
    pub const PROCESS_VM_WRITEV: c_long = 271; pub const FSTATFS: c_long = 44;
}
pub use of_architecture::*;

// These have one number everywhere.
pub const OPEN_TREE: c_long = 428;
pub const MOVE_MOUNT: c_long = 429;
pub const FSOPEN: c_long = 430;
pub const FSCONFIG: c_long = 431;
pub const FSMOUNT: c_long = 432;
pub const PIDFD_OPEN: c_long = 434;
pub const CLOSE_RANGE: c_long = 436;
pub const OPENAT2: c_long = 437;
pub const PIDFD_GETFD: c_long = 438;
pub const MOUNT_SETATTR: c_long = 442;
