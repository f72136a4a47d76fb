/* What tensor/ shares inside: conversions from and to GGUF's block types. */
#ifndef LOAM_BLOCKS_H
#define LOAM_BLOCKS_H

#include "tensor/tensor.h"

/* lm_convert where `from` or `to` is a block type. */
bool lm_convert_blocks(enum lm_dtype to, void *out, enum lm_dtype from, const void *in, size_t count);

#endif
