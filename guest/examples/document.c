/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The example of the document by which VMShm was published in 2010, as a program: what is between
 * the braces of main is its text, to the letter. So it opens /dev/vshm0, which the driver's udev
 * rule links to /dev/vmshm0, it indents by spaces, it may use sprintf, and an error is not an exit
 * code. guest/examples/ring.h shows how to do it today.
 *
 * The host first makes the object, and allows it: truncate -s 1M /dev/shm/shared-with-qemu, and
 * --vmshm allow=/shared-with-qemu. When the program has run, the object says "I was here: PID".
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

int main(void)
{
int fd = open("/dev/vshm0", O_RDWR);
if(fd < 0) {
    fprintf(stderr, "Cannot open device\n");
    exit(0);
}

if(ioctl(fd, 0, "/shared-with-qemu") != 0) {
    fprintf(stderr, "Cannot map host's shared memory object.n");
    exit(0);
}

char *shm = mmap(NULL, 1024 * 1024, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

if(shm == MAP_FAILED) {
    fprintf(stderr, "Cannot mmap device buffer\n");
    exit(0);
}

/* do everything that you need on the shm buffer */
/* for example write the pid of the process */
sprintf(shm, "I was here: %d", getpid());

/* ... */

munmap(shm, 1024 * 1024);
close(fd);
}
