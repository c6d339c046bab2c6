/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SipHash with 128 bits of result (Aumasson and Bernstein, 2012, and its 128-bit variant): a keyed
 * hash, two instructions a byte with one round. Who does not know the key cannot aim at a value.
 */
#ifndef VMM_SIPHASH_H
#define VMM_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

enum { SIPHASH_KEY = 16, SIPHASH_BYTES = 16 };

struct siphash {
	uint64_t v[4];
	unsigned rounds, final_rounds;
	uint64_t total;			/* bytes so far */
};

/* SipHash-@rounds-@final_rounds under @key. Any thread, like all of this file. */
void siphash_init(struct siphash *h, const uint8_t key[SIPHASH_KEY], unsigned rounds,
		  unsigned final_rounds);
/* Takes a piece whose length is a multiple of 8. */
void siphash_update(struct siphash *h, const void *data, size_t len);
/* Takes the last piece, of any length, and gives the value. */
void siphash_final(struct siphash *h, const void *data, size_t len, uint8_t ret[SIPHASH_BYTES]);

#endif
