/* Every command, once, in the order in which a person meets them. */
#include "options.h"

const struct command command_table[] = {
    {CMD_QUICKSTART, "quickstart", "[-o DIR]", 0, 0,
     "grow a small assistant from nothing, and see what it learned",
     "The whole way on built-in material: makes texts and conversations, learns a tokenizer, pretrains a small model, fine-tunes it, "
     "and asks it questions about words and sums that it never saw. Everything is written to DIR (loam-quickstart); stopped, the same "
     "command goes on; done once, it only asks the questions again.",
     "loam quickstart --no-chat", command_quickstart},
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
    {CMD_TOKENIZER_CONVERT, "tokenizer convert", "MODEL|FILE -o DIR", 1, 1, "write any vocabulary as tokenizer.json",
     "Reads a tokenizer in any form that loam knows: SentencePiece's .model, tiktoken's ranks (Llama 3, Qwen), vocab.json with "
     "merges.txt, GGUF, llama2.c's tokenizer.bin. Writes tokenizer.json and tokenizer_config.json into DIR, which the libraries of "
     "Hugging Face open to the same ids.",
     "loam tokenizer convert model -o tokenizer", command_tokenizer_convert},
    {CMD_INIT, "init", "(--like NAME | --config FILE) -o DIR", 0, 0, "make a new model with random weights",
     "Writes config.json and model.safetensors into DIR, and no tokenizer: that comes from tokenizer train.",
     "loam init --like gpt2 -o base --seed 1", command_init},
    {CMD_CONVERT, "convert", "MODEL -o DIR|FILE.gguf", 1, 1, "write a model as GGUF, or as safetensors",
     "Reads a model directory or a GGUF file and writes the other: FILE.gguf, which llama.cpp opens, with tokenizer and chat template in it, "
     "or a directory, which transformers opens. Quantizes to q8_0 and q4_0; such files become floating numbers again on the way back.",
     "loam convert model -o model.gguf --type q8_0", command_convert},
    {CMD_TRAIN, "train", "MODEL --data FILE... -o RUN", 0, 1, "train a model on text",
     "Trains every weight with AdamW and writes into RUN: log.jsonl, run.yaml, checkpoints, and at the end the model "
     "itself. Killed or stopped at any moment, --resume goes on from the last checkpoint and ends in the same bits.",
     "loam train base --data book.txt -o run --steps 1000 --batch 8 --seq 256", command_train},
    {CMD_FINETUNE, "finetune", "MODEL --data FILE... -o RUN", 0, 1, "train a model on conversations",
     "Trains every weight on the assistant's words. The data are JSONL or JSON files with messages, ShareGPT's, Alpaca's or "
     "openassistant-guanaco's form. The chat template is stored with the model.",
     "loam finetune base --data chat.jsonl --template chatml --add-tokens -o assistant", command_finetune},
    {CMD_EVAL, "eval", "MODEL --data FILE...", 1, 1, "measure the loss on text or conversations",
     "Prints loss (nats a token), perplexity, bits per byte and the number of tokens. Files named *.jsonl or *.json hold "
     "conversations, of which the assistant's words count; *.ids token ids; all others text.",
     "loam eval run --data test.txt", command_eval},
    {CMD_GENERATE, "generate", "MODEL (--prompt TEXT | --ids \"N N ...\")", 1, 1, "let a model go on from a text",
     "Prints what the model writes after the text, as it comes. A model without a tokenizer goes on from ids and prints ids.",
     "loam generate run --prompt 'Once upon a time' --max-tokens 50", command_generate},
    {CMD_CHAT, "chat", "MODEL", 1, 1, "talk to a model",
     "A line is a turn. Ctrl-C ends a reply, Ctrl-D or /quit the chat. Where standard input is no terminal, each of its lines is a "
     "turn.",
     "loam chat loam-quickstart --temperature 0", command_chat},
    {CMD_LOOK_TOKENS, "look tokens", "MODEL|FILE --sentence TEXT", 1, 1, "see how a text is cut into tokens",
     "Shows every token with its id, its place in the text and its bytes. A blank is shown as a dot, a line's end as an arrow.",
     "loam look tokens model --sentence 'Your journey starts with one step'", command_look_tokens},
    {CMD_LOOK_ATTENTION, "look attention", "MODEL (--sentence TEXT | --ids \"N N ...\")", 1, 1, "see which token looks at which",
     "Shows the mean over all layers and heads, what every head does, and attention rollout; with --layer and --head one of them. --html "
     "is an interactive page with all layers and heads, -o FILE.safetensors all weights as numbers.",
     "loam look attention model --sentence 'Your journey starts with one step' --layer 0\n"
     "loam look attention model --sentence 'Your journey starts with one step' -o attention.html", command_look_attention},
    {CMD_LOOK_LOGITS, "look logits", "MODEL (--sentence TEXT | --ids \"N N ...\")", 1, 1, "see what a model expects at every position",
     "Shows the likeliest next tokens, the entropy, and what each layer would say (the logit lens). -o FILE writes a safetensors file with "
     "one F32 tensor, logits [positions, vocabulary], unless FILE ends in .html, .svg, .png or .json. To --ids no token is added, and no "
     "tokenizer is needed.",
     "loam look logits model --sentence 'Once upon a time'\n"
     "loam look logits model --ids '1 2 3' --out logits.safetensors", command_look_logits},
    {CMD_LOOK_NORMS, "look norms", "MODEL (--sentence TEXT | --ids \"N N ...\")", 1, 1, "see the sizes of activations and gradients by layer",
     "Shows for every layer the size of the residual stream, what attention and MLP add to it, and the gradient that comes back.",
     "loam look norms model --sentence 'Once upon a time'", command_look_norms},
    {CMD_LOOK_NEURONS, "look neurons", "MODEL (--sentence TEXT | --ids \"N N ...\")", 1, 1, "see what the units of the MLPs do",
     "Shows for every layer how large activations are, the strongest units and their tokens, and how many are silent or dead.",
     "loam look neurons model --sentence 'Once upon a time'", command_look_neurons},
    {CMD_LOOK_WEIGHTS, "look weights", "FILE|MODEL [OTHER]", 1, 2, "list the tensors of a model or a safetensors file",
     "One line a tensor: type, shape, bytes and name. A file that breaks the format ends the program with 1. --ranges, --html and --svg read "
     "all numbers: least, most, mean, spread, histograms. With OTHER, how far each tensor has moved from the first to the other.",
     "loam look weights model\nloam look weights base run/model.safetensors", command_look_weights},
    {CMD_LOOK_STEP, "look step", "MODEL (--sentence TEXT | --ids \"N N ...\")", 1, 1, "see one step of training: loss, gradients, update",
     "Shows the loss of predicting each token from those before it, the gradients' norms, and what AdamW's first step makes of them; the "
     "model stays as it is. -o FILE writes a safetensors file with loss and every parameter's gradient under the parameter's name, unless "
     "FILE ends in .html, .svg, .png or .json.",
     "loam look step model --sentence 'Once upon a time'\n"
     "loam look step model --ids '1 2 3' --out step.safetensors", command_look_step},
    {CMD_LEARN, "learn", "[N] [MODEL]", 0, 2, "lessons: every stage of a language model, run on a sentence",
     "Without N the list of lessons; with N one of them: what the stage does, the numbers themselves, what to change and try. Every number "
     "comes from the library; --sentence is yours, --seed draws other vectors, weights and texts, MODEL is looked at instead of the small "
     "model that is made for the lesson. --html, without N, is one page with all lessons. No file is changed.",
     "loam learn 5\nloam learn 5 --sentence 'The cat sat on the mat'\nloam learn --html -o lessons.html", command_learn},
    {CMD_BENCH, "bench", "[NAME...]", 0, SIZE_MAX, "measure this machine's limits, and how near loam comes to them",
     "Measures how many fp32 multiply-adds and how many bytes of memory this machine gives in a second, then, in the same run, each "
     "NAME (all of them where none is given): train_gpt2_124m_f32, a training step of 4 sequences of 256 tokens; prompt_llama_1b_bf16, "
     "a prompt of 512 tokens; decode_llama_1b_bf16, one token after the other; start_llama_1b_bf16, from the start of the program to the "
     "first token. The models are made here with random weights; start writes one of 2.5 GB into a folder of its own under TMPDIR and "
     "removes it. The fraction is of the multiply-adds for train and prompt; for decode of the speed at which the memory with its weights can be read "
     "before and after, for start of the machine's.",
     "loam bench decode_llama_1b_bf16 --json", command_bench},
};
const size_t command_count = sizeof command_table / sizeof command_table[0];
