#ifndef SRDEPLOY_SHA256_H
#define SRDEPLOY_SHA256_H
#include <stddef.h>
#include <stdint.h>

/* FIPS 180-4. */
void sha256(const uint8_t *data, size_t size, uint8_t digest[32]);

#endif
