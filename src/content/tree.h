// Trees of files.
#pragma once

// Removes a directory tree or a file below dirfd; 0, also where there is none, or -errno. Never
// follows a link, never leaves the filesystem's tree.
int tree_remove(int dirfd, const char *path);
