/* SPDX-License-Identifier: Apache-2.0 */
/* The checksum of firmware's tables, ACPI's and the MP specification's: all bytes add up to 0. */
#ifndef VMM_CHECKSUM_H
#define VMM_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* Sets the byte @at of a table of @len bytes. */
static inline void checksum_set(uint8_t *table, size_t len, size_t at)
{
	uint8_t sum = 0;

	table[at] = 0;
	for (size_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + table[i]);
	table[at] = (uint8_t)-sum;
}

#endif
