// Loaded before the C library: adds BRANCHLINE_BENCH_FSYNC_US microseconds before each fsync and
// fdatasync, as a real disk would take. The machines that run benchmarks often have disks that
// take 40.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

static void wait_as_a_disk(void) {
  static long us = -1;
  if (us < 0) {
    const char* text = getenv("BRANCHLINE_BENCH_FSYNC_US");
    us = text ? atol(text) : 0;
  }
  struct timespec pause = {us / 1000000, us % 1000000 * 1000};
  if (us > 0) nanosleep(&pause, NULL);
}

int fsync(int fd) {
  static int (*real)(int);
  if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
  wait_as_a_disk();
  return real(fd);
}

int fdatasync(int fd) {
  static int (*real)(int);
  if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
  wait_as_a_disk();
  return real(fd);
}
