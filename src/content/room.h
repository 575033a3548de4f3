// Room on a disk. What content may fill is bounded by the disk that it lies on: the rest is kept
// for what must go on being written there (the cluster's state, logs, and the removal of images,
// which writes an index). A look is one statvfs.
#pragma once
#include "base/err.h"

// A twentieth of the disk, and never more than this.
#define ROOM_KEPT_MAX ((uint64_t)10 << 30)

#define ROOM_STEP ((uint64_t)1 << 20) // bytes written between two looks

// Whether `more` bytes fit on the disk of the open directory or file and leave what is kept.
// ERR_UNAVAILABLE: "no space left on device: 1 MB are free, of which 50 MB are kept".
int room_check(int fd, uint64_t more, struct err *e);
