#include "samples.h"

/* A tournament over the rows: node 1 is the root, leaves begin at `leaves`; each node knows the most room below it, so that the
 * leftmost row with enough is found on one way down. */
static size_t place(int64_t *most, size_t leaves, int64_t length)
{
    size_t node = 1;
    while (node < leaves)
        node = most[2 * node] >= length ? 2 * node : 2 * node + 1;
    most[node] -= length;
    size_t row = node - leaves;
    while (node /= 2)
        most[node] = most[2 * node] > most[2 * node + 1] ? most[2 * node] : most[2 * node + 1];
    return row;
}

int lm_pack(const int64_t *lengths, size_t count, int64_t room, uint32_t *rows, size_t *row_count, loam_error *error)
{
    size_t leaves = 1, nodes;
    while (leaves < count)
        leaves *= 2;
    if (count > UINT32_MAX || !lm_mul(2, leaves, &nodes))
        return lm_fail(error, LOAM_ENOMEM, "found %zu samples, wanted at most %u; split the data", count, UINT32_MAX);
    int64_t *most = lm_alloc(nodes, sizeof *most, error);
    if (!most)
        return LOAM_ENOMEM;
    for (size_t i = 0; i < nodes; i++)
        most[i] = room;
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        size_t row = place(most, leaves, lengths[i]);
        rows[i] = (uint32_t)row;
        used = row + 1 > used ? row + 1 : used;
    }
    lm_free(most);
    *row_count = used;
    return LOAM_OK;
}
