/* Makes a regular file look like a block device to mkswap, with pages that cannot be read: BAD_PAGES="3 17". */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int as_block_device(int result, struct stat *st)
{
	if (result == 0 && S_ISREG(st->st_mode))
		st->st_mode = (st->st_mode & ~S_IFMT) | S_IFBLK;
	return result;
}

int fstat(int fd, struct stat *st)
{
	int (*next)(int, struct stat *) = dlsym(RTLD_NEXT, "fstat");
	return as_block_device(next(fd, st), st);
}

int stat(const char *path, struct stat *st)
{
	int (*next)(const char *, struct stat *) = dlsym(RTLD_NEXT, "stat");
	return as_block_device(next(path, st), st);
}

ssize_t read(int fd, void *to, size_t bytes)
{
	ssize_t (*next)(int, void *, size_t) = dlsym(RTLD_NEXT, "read");
	const char *list = getenv("BAD_PAGES");
	long at = lseek(fd, 0, SEEK_CUR);
	char *end;
	if (bytes == 4096 && at >= 0 && list)
		for (long page = strtol(list, &end, 10); end != list; page = strtol(list, &end, 10)) {
			list = end;
			if (at == page * 4096) {
				errno = EIO;
				return -1;
			}
		}
	return next(fd, to, bytes);
}
