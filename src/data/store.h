/* Inside data/: samples in a file. What encoding gives is written once, under a name that is a key of all that it depends
 * on, and read from there with pread: no run holds the ids of its data in memory.
 *
 * The file: ids as 32-bit words whose highest bit says "trained on"; the table of samples; the counts of groups and
 * sources; a trailer of 256 bytes. Numbers are the machine's own (little-endian). The trailer is sealed and holds the
 * checksums of what stands before it; a file in which anything is not as it says is made anew.
 */
#ifndef LOAM_DATA_STORE_H
#define LOAM_DATA_STORE_H

#include "samples.h"

struct lm_store_writer;
/* `cache`: the folder (made if absent); NULL: a file in memory. */
int lm_store_create(const struct lm_samples_options *options, const uint64_t key[2], struct lm_store_writer **writer,
                    loam_error *error);
/* Appends ids; trained[i] 0 or 1, NULL: all 1. */
int lm_store_put(struct lm_store_writer *writer, const int32_t *ids, const char *trained, size_t count, loam_error *error);
/* Writes the tables of `samples`, and gives it the file. Frees the writer, also on failure. */
int lm_store_finish(struct lm_store_writer *writer, struct lm_samples *samples, loam_error *error);
void lm_store_abandon(struct lm_store_writer *writer);

/* 128 bits of everything that the samples depend on, the files' bytes among them. False in *usable where a source is no
 * regular file. */
int lm_store_key(const struct lm_samples_options *options, uint64_t key[2], bool *usable, loam_error *error);
/* Fills `samples` from the cache. LOAM_ENOTFOUND: it is not there, or is broken. */
int lm_store_open(const struct lm_samples_options *options, const uint64_t key[2], struct lm_samples *samples,
                  loam_error *error);
/* words[count] from id `begin` on. */
int lm_store_read(const struct lm_samples *samples, int64_t begin, uint32_t *words, size_t count, loam_error *error);

#endif
