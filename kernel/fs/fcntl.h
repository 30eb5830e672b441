/* SPDX-License-Identifier: Apache-2.0 */
/* Linux's numbers for open(2), fcntl(2) and the *at calls. Those that differ by architecture are in
 * arch/abi_fs.h. */
#pragma once

#include <arch/abi_fs.h>

#define O_ACCMODE      00000003u
#define O_RDONLY       00000000u
#define O_WRONLY       00000001u
#define O_RDWR         00000002u
#define O_CREAT        00000100u
#define O_EXCL         00000200u
#define O_NOCTTY       00000400u
#define O_TRUNC        00001000u
#define O_APPEND       00002000u
#define O_NONBLOCK     00004000u
#define O_DSYNC        00010000u
#define O_ASYNC        00020000u
#define O_NOATIME      01000000u
#define O_CLOEXEC      02000000u
#define O_SYNC         04010000u
#define O_PATH         010000000u
#define O_TMPFILE_ONLY 020000000u
#define O_TMPFILE      (O_TMPFILE_ONLY | O_DIRECTORY)

#define AT_SYMLINK_NOFOLLOW 0x100u
#define AT_REMOVEDIR        0x200u
#define AT_EACCESS          0x200u
#define AT_SYMLINK_FOLLOW   0x400u
#define AT_NO_AUTOMOUNT     0x800u
#define AT_EMPTY_PATH       0x1000u
#define AT_STATX_SYNC_TYPE  0x6000u

#define F_DUPFD         0
#define F_GETFD         1
#define F_SETFD         2
#define F_GETFL         3
#define F_SETFL         4
#define F_GETLK         5
#define F_SETLK         6
#define F_SETLKW        7
#define F_SETOWN        8
#define F_GETOWN        9
#define F_SETSIG        10
#define F_GETSIG        11
#define F_SETOWN_EX     15
#define F_GETOWN_EX     16
#define F_OFD_GETLK     36
#define F_OFD_SETLK     37
#define F_OFD_SETLKW    38
#define F_SETLEASE      1024
#define F_GETLEASE      1025
#define F_NOTIFY        1026
#define F_DUPFD_CLOEXEC 1030
#define F_SETPIPE_SZ    1031
#define F_GETPIPE_SZ    1032
#define F_ADD_SEALS     1033
#define F_GET_SEALS     1034
#define FD_CLOEXEC      1

#define F_RDLCK 0
#define F_WRLCK 1
#define F_UNLCK 2

#define F_SEAL_SEAL         0x0001u
#define F_SEAL_SHRINK       0x0002u
#define F_SEAL_GROW         0x0004u
#define F_SEAL_WRITE        0x0008u
#define F_SEAL_FUTURE_WRITE 0x0010u

#define SEEK_SET  0
#define SEEK_CUR  1
#define SEEK_END  2
#define SEEK_DATA 3
#define SEEK_HOLE 4

#define FALLOC_FL_KEEP_SIZE  0x01
#define FALLOC_FL_PUNCH_HOLE 0x02
#define FALLOC_FL_ZERO_RANGE 0x10

#define RENAME_NOREPLACE 1u
#define RENAME_EXCHANGE  2u
#define RENAME_WHITEOUT  4u

#define S_IFMT   0170000u
#define S_IFSOCK 0140000u
#define S_IFLNK  0120000u
#define S_IFREG  0100000u
#define S_IFBLK  0060000u
#define S_IFDIR  0040000u
#define S_IFCHR  0020000u
#define S_IFIFO  0010000u
#define S_ISUID  0004000u
#define S_ISGID  0002000u
#define S_ISVTX  0001000u
#define S_IXGRP  0000010u
#define S_PERM   0007777u

#define S_ISDIR(m) (((m)&S_IFMT) == S_IFDIR)
#define S_ISREG(m) (((m)&S_IFMT) == S_IFREG)
#define S_ISLNK(m) (((m)&S_IFMT) == S_IFLNK)
#define S_ISCHR(m) (((m)&S_IFMT) == S_IFCHR)
#define S_ISBLK(m) (((m)&S_IFMT) == S_IFBLK)

#define DT_UNKNOWN 0u

/* The d_type of a directory entry. */
#define DT_OF_MODE(m) (((m)&S_IFMT) >> 12)
