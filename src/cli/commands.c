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
    {CMD_CHAT, "chat", "MODEL...", 1, SIZE_MAX, "talk to a model, or to several side by side",
     "A line is a turn; \"\"\" before and behind a message, or \\ at a line's end, makes it one of several lines. Ctrl-C ends a reply, Ctrl-D or "
     "/quit the chat. /help lists the commands: /system /retry /undo /set /save /load /clear /stats /tokens. What is said is kept as it goes, a "
     "file a chat, under $XDG_DATA_HOME/loam/chat (~/.local/share/loam/chat), in the form that loam finetune reads. Where standard input is no "
     "terminal, each of its lines is a turn.",
     "loam chat loam-quickstart --temperature 0", command_chat},
    {CMD_LOOK_WEIGHTS, "look weights", "FILE|MODEL", 1, 1, "list the tensors of a model or a safetensors file",
     "One line a tensor: type, shape, bytes and name. A file that breaks the format ends the program with 1.",
     "loam look weights model", command_look_weights},
    {CMD_LOOK_LOGITS, "look logits", "MODEL --ids \"N N ...\" -o FILE", 1, 1, "write a model's logits for a sequence of ids",
     "Writes a safetensors file with one F32 tensor, logits [positions, vocabulary]. No token is added, and no tokenizer "
     "is needed.",
     "loam look logits model --ids '1 2 3' --out logits.safetensors", command_look_logits},
    {CMD_LOOK_STEP, "look step", "MODEL --ids \"N N ...\" -o FILE", 1, 1, "write the loss and all gradients for a sequence of ids",
     "Writes a safetensors file with loss, the mean over predicting each id from those before it, and every parameter's "
     "gradient under the parameter's name.",
     "loam look step model --ids '1 2 3' --out step.safetensors", command_look_step},
    {CMD_SERVE, "serve", "[NAME=]MODEL...", 1, SIZE_MAX, "serve models over HTTP: OpenAI's and Anthropic's APIs, and a page to chat on",
     "Answers POST /v1/chat/completions, /v1/completions, /v1/messages, /v1/messages/count_tokens, /tokenize, /detokenize, /apply-template, and GET "
     "/v1/models, /health, /metrics; the address itself, opened in a browser, is a chat. Requests name a model by its directory's or file's name, "
     "or by NAME. A model is loaded when it is first asked for, and unloaded, the one unused for longest first, where --memory has no room for "
     "another. Only this machine can ask unless --host says otherwise. SIGTERM and Ctrl-C let running answers finish (--drain); a second one does not.",
     "loam serve loam-quickstart --port 8080", command_serve},
    {CMD_BENCH, "bench", "[NAME...]", 0, SIZE_MAX, "measure this machine's limits, and how near loam comes to them",
     "Measures how many fp32 multiply-adds and how many bytes of memory this machine gives in a second, then, in the same run, each "
     "NAME (all of them where none is given): train_gpt2_124m_f32, a training step of 4 sequences of 256 tokens; prompt_llama_1b_bf16 "
     "(and _q8_0, _q4_0), a prompt of 512 tokens; decode_llama_1b_bf16 (and _q8_0, _q4_0), one token after the other; decode8_llama_1b_bf16 "
     "(and _q8_0), eight sequences at once; start_llama_1b_bf16, from the start of the program to the first token. The models are made "
     "here with random weights; start and the quantized ones write up to 2.5 GB under TMPDIR and remove them. With --sweep or --model "
     "it measures prompts and decoding of one model over numbers of sequences and lengths instead. The fraction is of the multiply-adds for train and prompt; for decode of the speed at which the memory with its weights can be read "
     "before and after, for start of the machine's.",
     "loam bench decode_llama_1b_bf16 --json", command_bench},
};
const size_t command_count = sizeof command_table / sizeof command_table[0];
