/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `minivmm vu-trace FILE`: what --vu-trace wrote, as a ladder. A line a message: time, device, an
 * arrow between front end (left) and daemon (right), payload, and what an answer took. What is not
 * a line of a trace is named by its number, and the rest is printed.
 */
#ifndef TOOLS_VU_TRACE_H
#define TOOLS_VU_TRACE_H

#include <stdio.h>

/* Prints the trace of @in (called @name in errors) to @out. The number of lines that are none. */
unsigned vu_trace_print(FILE *in, const char *name, FILE *out);

/* The verb's main function. 0; 1: the file cannot be read, or has bad lines; 2: usage. */
int vu_trace_main(int argc, char **argv);

#endif
