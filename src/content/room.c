// Looked at before something large is begun and while it grows; between two looks at most
// ROOM_STEP bytes are written, so what is kept is that much smaller than it says at the worst.
#include "content/room.h"
#include <errno.h>
#include <sys/statvfs.h>

int room_check(int fd, uint64_t more, struct err *e)
{
    struct statvfs s;
    if (fstatvfs(fd, &s) < 0)
        return err_errno(e, errno, "looking for free space");
    uint64_t unit = s.f_frsize ? s.f_frsize : s.f_bsize;
    uint64_t free_bytes = (uint64_t)s.f_bavail * unit, kept = (uint64_t)s.f_blocks * unit / 20;
    if (kept > ROOM_KEPT_MAX)
        kept = ROOM_KEPT_MAX;
    if (free_bytes >= kept && free_bytes - kept >= more)
        return 0;
    return err_set(e, ERR_UNAVAILABLE,
                   "no space left on device: %llu MB are free, of which %llu MB are kept",
                   (unsigned long long)(free_bytes >> 20), (unsigned long long)(kept >> 20));
}
