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
     "learn a tokenizer from text files",
     "Reads the files as text and writes tokenizer.json and tokenizer_config.json into DIR, in the form that the "
     "libraries of Hugging Face read. Byte-level BPE is what models use; --kind chars merges characters, --kind words makes a "
     "list of words and punctuation marks, with <|endoftext|> and <|unk|> at its end. The result does not depend on --threads.",
     "loam tokenizer train book.txt --vocab-size 512 --special '<|endoftext|>' -o model", command_tokenizer_train},
    {CMD_TOKENIZER_ENCODE, "tokenizer encode", "MODEL|FILE", 1, 1, "turn text into token ids",
     "Reads all of standard input as one text and prints its ids, separated by spaces. Adds no token unless "
     "--add-special is given.",
     "printf 'Once upon a time' | loam tokenizer encode model", command_tokenizer_encode},
    {CMD_TOKENIZER_DECODE, "tokenizer decode", "MODEL|FILE", 1, 1, "turn token ids into text",
     "Reads ids from standard input, a line a text, and writes the bytes they stand for.",
     "echo 72 101 108 | loam tokenizer decode model", command_tokenizer_decode},
    {CMD_TOKENIZER_SHOW, "tokenizer show", "MODEL|FILE...", 1, SIZE_MAX, "see how a text is cut into tokens",
     "Reads all of standard input as one text and prints it with every token in a colour of its own, or between bars where there "
     "are no colours, and below it a line a token: where it begins, its id, its bytes, its text, and whether it is special. With "
     "--conversations: messages, as the chat template writes them, and which tokens fine-tuning trains on. With --compare: how many tokens each of several tokenizers makes of the text, and how many bytes a token stands for.",
     "printf 'Once upon a time' | loam tokenizer show model", command_tokenizer_show},
    {CMD_TOKENIZER_CONVERT, "tokenizer convert", "MODEL|FILE -o DIR", 1, 1, "write any vocabulary as tokenizer.json",
     "Reads a tokenizer in any form that loam knows: SentencePiece's .model, tiktoken's ranks (Llama 3, Qwen), vocab.json with "
     "merges.txt, GGUF, llama2.c's tokenizer.bin. Writes tokenizer.json and tokenizer_config.json into DIR, which the libraries of "
     "Hugging Face open to the same ids.",
     "loam tokenizer convert model -o tokenizer", command_tokenizer_convert},
    {CMD_INIT, "init", "(--like NAME | --config FILE) -o DIR", 0, 0, "make a new model with random weights",
     "Writes config.json and model.safetensors into DIR, and no tokenizer: that comes from tokenizer train, before or after, with the same "
     "DIR: loam tokenizer train book.txt --vocab-size 50257 --special '<|endoftext|>' -o base.",
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
    {CMD_DATA_SHOW, "data show", "FILE... --model DIR", 1, SIZE_MAX, "show samples as they will be trained on",
     "Prints the first samples, what is trained on in green (between \u00AB and \u00BB where there are no colours), then how long samples are, how "
     "well they fill rows of --seq positions, and how many are cut or left out, and why. Files named *.jsonl or *.json hold "
     "conversations, *.ids token ids (these need no --model), all others text.",
     "loam data show chat.jsonl --model loam-quickstart --limit 2", command_data_show},
    {CMD_PLAN, "plan", "MODEL", 0, 1, "say what a training run will take, to the byte",
     "Lays out everything of a run, as the run itself does: weights, gradients, optimizer, activations, logits, workspace; prints the "
     "moment of a step at which most is live, the parts at that moment, the memory over the step, what lies on disk, and the predicted "
     "time of a step here. Needs only MODEL's config.json. --fit SIZE searches the settings. Values with commas between are planned one "
     "by one, all combinations.",
     "loam plan model --seq 2048 --batch 1 --recompute layer\nloam plan model --seq 2048 --fit 8GiB", command_plan},
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
    {CMD_LOOK_MEMORY, "look memory", "MODEL", 1, 1, "see the memory of a training step: what is live at each moment",
     "Draws what loam plan lays out: weights, gradients, optimizer, activations, logits and workspace over the moments of one step, what is "
     "live at the peak, and what lies on disk. Needs only MODEL's config.json, and takes the settings of a run.",
     "loam look memory model --seq 512 --batch 2\nloam look memory model --seq 512 --batch 2 --recompute layer -o memory.svg",
     command_look_memory},
    {CMD_LEARN, "learn", "[N] [MODEL]", 0, 2, "lessons: every stage of a language model, run on a sentence",
     "Without N the list of lessons; with N one of them: what the stage does, the numbers themselves, what to change and try. Every number "
     "comes from the library; --sentence is yours, --seed draws other vectors, weights and texts, MODEL is looked at instead of the small "
     "model that is made for the lesson. --html, without N, is one page with all lessons. No file is changed.",
     "loam learn 5\nloam learn 5 --sentence 'The cat sat on the mat'\nloam learn --html -o lessons.html", command_learn},
    {CMD_SERVE, "serve", "[NAME=]MODEL...", 1, SIZE_MAX, "serve models over HTTP: OpenAI's and Anthropic's APIs, and a page to chat on",
     "Answers POST /v1/chat/completions, /v1/completions, /v1/messages, /v1/messages/count_tokens, /tokenize, /detokenize, /apply-template, and GET "
     "/v1/models, /health, /metrics; the address itself, opened in a browser, is a chat. Requests name a model by its directory's or file's name, "
     "or by NAME. A model is loaded when it is first asked for, and unloaded, the one unused for longest first, where --memory has no room for "
     "another. Only this machine can ask unless --host says otherwise. SIGTERM and Ctrl-C let running answers finish (--drain); a second one does not.",
     "loam serve loam-quickstart --port 8080", command_serve},
    {CMD_ROOM, "room", "(FILE | init [FILE] | --demo)", 0, 2, "a chatroom: several models and several people in one conversation",
     "FILE says who takes part: models run here, services that speak OpenAI's or Anthropic's API; loam room init writes a commented one. A message "
     "starts a round: each AI may answer or pass, then react to the others. A line is a message; /help lists the commands: /who /mute /unmute "
     "/invite /kick /order /rounds /set /system /search /export /import /history /cost /stop /quit. At /quit or the end of input the running round "
     "comes to its end. Where standard input is no terminal, each of its lines is a message, and the answers are lines NAME: TEXT; with --json every "
     "event is an object a line. All that is said is kept in the database that FILE names, and found there the next time.",
     "loam room init room.yaml\nloam room --demo", command_room},
    {CMD_LOOK_LOSSES, "look losses", "RUN...", 1, SIZE_MAX, "draw the loss curves of one or several runs",
     "Reads each run's log.jsonl and draws the loss and the evaluation's loss over the steps: with dots on a terminal, with letters "
     "elsewhere; --html, --svg and -o as pictures (SVG by gnuplot, where that is installed).",
     "loam look losses run\nloam look losses run -o curves.svg", command_look_losses},
    {CMD_MEASURE, "measure", "MODEL [--seq N,N,...] [--batch N,N,...]", 1, 1, "measure memory and speed over a sweep of settings",
     "Trains some steps on random ids at every combination of the values given (comma lists), each in a process of its own, and prints "
     "the memory that was planned, the most that was used, the seconds a step and tokens a second: all positions (raw), those that "
     "hold a token (real), those trained on. What is refused or fails is a line of the table too. A MODEL with config.json alone gets "
     "random weights. Nothing is kept of the runs.",
     "loam measure base --seq 128,256 --batch 1,2 --csv measured.csv", command_measure},
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
