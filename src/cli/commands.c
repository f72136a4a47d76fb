/* Every command, once, in the order in which a person meets them. */
#include "options.h"

const struct command command_table[] = {
    {CMD_TOKENIZER_TRAIN, "tokenizer train", "FILE... --vocab-size N -o DIR", 1, SIZE_MAX,
     "learn a byte-level BPE tokenizer from text files",
     "Reads the files as text and writes tokenizer.json and tokenizer_config.json into DIR, in the form that the "
     "libraries of Hugging Face read.",
     "loam tokenizer train book.txt --vocab-size 512 --special '<|endoftext|>' -o model", command_tokenizer_train},
    {CMD_TOKENIZER_ENCODE, "tokenizer encode", "MODEL|FILE", 1, 1, "turn text into token ids",
     "Reads all of standard input as one text and prints its ids, separated by spaces. Adds no token unless "
     "--add-special is given.",
     "printf 'Once upon a time' | loam tokenizer encode model", command_tokenizer_encode},
    {CMD_TOKENIZER_DECODE, "tokenizer decode", "MODEL|FILE", 1, 1, "turn token ids into text",
     "Reads ids from standard input, a line a text, and writes the bytes they stand for.",
     "echo 72 101 108 | loam tokenizer decode model", command_tokenizer_decode},
    {CMD_LOOK_WEIGHTS, "look weights", "FILE|MODEL", 1, 1, "list the tensors of a model or a safetensors file",
     "One line a tensor: type, shape, bytes and name. A file that breaks the format ends the program with 1.",
     "loam look weights model", command_look_weights},
};
const size_t command_count = sizeof command_table / sizeof command_table[0];
