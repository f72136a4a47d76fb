/* What model/ shares inside about GGUF files. */
#ifndef LOAM_GGUF_FILES_H
#define LOAM_GGUF_FILES_H

#include "network.h"

int lm_gguf_put_config(struct lm_gguf_writer *writer, const struct lm_config *config, enum lm_dtype dtype, const char *path,
                       loam_error *error);
void lm_gguf_parameter_name(const struct lm_config *config, const struct lm_parameter *parameter, char out[96]);
/* Which row (or element of a vector) of loam's order stands at `row` of the file's. */
int64_t lm_gguf_row(const struct lm_config *config, const struct lm_parameter *parameter, int64_t row);
/* Whether the file has the matrix the other way round. */
bool lm_gguf_turned(const struct lm_config *config, const struct lm_parameter *parameter);
/* What frequencies are divided by in Llama 3's scaling: [D/2]. */
void lm_gguf_rope_factors(const struct lm_config *config, float *factors);

/* As the functions of their names in weights.c, for a model whose `gguf` is open. */
int lm_gguf_weights_check(struct lm_model *model, loam_error *error);
int lm_gguf_weights_map(struct lm_model *model, loam_error *error);
int lm_gguf_weights_read(const struct lm_model *model, size_t index, loam_error *error);

#endif
