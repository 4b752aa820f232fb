"""What a file system answers that does not offer something: hard links, locks, fsync of a file or
of a folder (SMB, some FUSE)."""

import errno

NOT_OFFERED = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
NO_LOCKS = NOT_OFFERED | {errno.ENOLCK, errno.ENOTTY}
