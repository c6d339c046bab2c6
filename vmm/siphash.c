/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/siphash.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

static uint64_t load(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static void store(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

static inline uint64_t rotate(uint64_t v, unsigned n)
{
	return v << n | v >> (64 - n);
}

static inline void mix(uint64_t v[4], unsigned rounds)
{
	while (rounds-- > 0) {
		v[0] += v[1];
		v[2] += v[3];
		v[1] = rotate(v[1], 13) ^ v[0];
		v[3] = rotate(v[3], 16) ^ v[2];
		v[0] = rotate(v[0], 32);
		v[2] += v[1];
		v[0] += v[3];
		v[1] = rotate(v[1], 17) ^ v[2];
		v[3] = rotate(v[3], 21) ^ v[0];
		v[2] = rotate(v[2], 32);
	}
}

void siphash_init(struct siphash *h, const uint8_t key[SIPHASH_KEY], unsigned rounds,
		  unsigned final_rounds)
{
	uint64_t k0 = load(key), k1 = load(key + 8);

	/* "somepseudorandomlygeneratedbytes", as the paper says; 0xee marks 128 bits of result. */
	*h = (struct siphash){
		.v = { k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d ^ 0xee,
		       k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573 },
		.rounds = rounds,
		.final_rounds = final_rounds,
	};
}

void siphash_update(struct siphash *h, const void *data, size_t len)
{
	uint64_t v[4] = { h->v[0], h->v[1], h->v[2], h->v[3] };
	unsigned rounds = h->rounds;

	assert(len % 8 == 0);
	for (const uint8_t *p = data, *end = p + len; p < end; p += 8) {
		uint64_t m = load(p);

		v[3] ^= m;
		mix(v, rounds);
		v[0] ^= m;
	}
	memcpy(h->v, v, sizeof(v));
	h->total += len;
}

void siphash_final(struct siphash *h, const void *data, size_t len, uint8_t ret[SIPHASH_BYTES])
{
	size_t whole = len & ~(size_t)7;
	uint8_t last[8] = { 0 };

	if (whole)
		siphash_update(h, data, whole);
	if (len > whole)
		memcpy(last, (const uint8_t *)data + whole, len - whole);
	last[7] = (uint8_t)(h->total + len - whole);
	siphash_update(h, last, sizeof(last));

	h->v[2] ^= 0xee;
	mix(h->v, h->final_rounds);
	store(ret, h->v[0] ^ h->v[1] ^ h->v[2] ^ h->v[3]);
	h->v[1] ^= 0xdd;
	mix(h->v, h->final_rounds);
	store(ret + 8, h->v[0] ^ h->v[1] ^ h->v[2] ^ h->v[3]);
}
