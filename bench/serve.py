"""What the server costs: a token streamed over HTTP beside the same token from `loam generate`, and the time to the first token of a prompt
whose beginning is in the cache.

    python3 bench/serve.py build/loam            # model of GPT-2's inner shape with random bf16 weights, made in a temporary folder
    python3 bench/serve.py build/loam --long     # and a 1B Llama's

Both ways alternate, so that a busy neighbour hurts them alike; medians are printed. The limits are those of the goals: 5 % of a token's
time, and 50 ms plus one decode step.
"""
import http.client, json, os, pathlib, shutil, signal, statistics, subprocess, sys, tempfile, time

LOAM = os.path.abspath(sys.argv[1])
TOKENS, PAIRS, PROMPT = 128, 7, 512
SHAPES = {
    "gpt2-124m": dict(hidden_size=768, num_hidden_layers=12, num_attention_heads=12, num_key_value_heads=12, intermediate_size=2048),
    "llama-1b": dict(hidden_size=2048, num_hidden_layers=16, num_attention_heads=32, num_key_value_heads=8, intermediate_size=8192),
}


def make(folder, shape):
    (folder / "text.txt").write_text("the quick brown fox jumps over the lazy dog and says hello\n" * 60)
    config = dict(architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=320, max_position_embeddings=2048, rms_norm_eps=1e-5,
                  hidden_act="silu", tie_word_embeddings=True, bos_token_id=None, eos_token_id=None, **shape)
    (folder / "shape.json").write_text(json.dumps(config))
    run = lambda *a: subprocess.run([LOAM, *a], cwd=folder, check=True, capture_output=True)
    run("tokenizer", "train", "text.txt", "--vocab-size", "320", "-o", "m")
    run("init", "--config", "shape.json", "-o", "m", "--dtype", "bf16", "--seed", "1")


def direct(folder):
    out = subprocess.run([LOAM, "generate", "m", "--prompt", "hello", "--max-tokens", str(TOKENS), "--temperature", "0", "--ignore-eos", "--json"],
                         cwd=folder, check=True, capture_output=True).stdout
    return 1 / json.loads(out)["tokens_per_second"]


class Client:
    def __init__(self, url):
        self.connection = http.client.HTTPConnection(url.removeprefix("http://"))

    def stream(self, prompt, tokens):
        """Seconds to the first piece, and between pieces on the mean."""
        body = json.dumps({"prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "stream": True, "logprobs": 0})
        begin = time.perf_counter()
        self.connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        assert answer.status == 200, answer.read()
        first, scored = None, 0
        while line := answer.readline():
            if not line.startswith(b"data: {"):
                continue
            choice = json.loads(line[6:])["choices"][0]
            scored += len(choice["logprobs"]["tokens"])
            if first is None:
                first, before = time.perf_counter(), scored
            last = time.perf_counter()
        return first - begin, (last - first) / max(1, scored - before)


def measure(name, folder):
    server = subprocess.Popen([LOAM, "serve", "m", "--port", "0"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        client = Client(server.stdout.readline().strip())
        client.stream("hello", 8)
        pairs = [(direct(folder), client.stream("hello", TOKENS)[1]) for _ in range(PAIRS)]
        alone, served = (statistics.median(column) for column in zip(*pairs))
        first_times, cached_times = [], []
        for i in range(PAIRS):
            prompt = [(7 * i + k * k) % 256 for k in range(PROMPT)]
            first_times.append(client.stream(prompt, 2)[0])
            cached_times.append(client.stream(prompt + [9], 2)[0])
        first, cached = statistics.median(first_times), statistics.median(cached_times)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()
    print(f"{name}: a token {alone * 1e3:.2f} ms from loam generate, {served * 1e3:.2f} ms from the server ({(served / alone - 1) * 100:+.1f} %, goal under 5 %)")
    print(f"{name}: first token of a {PROMPT}-token prompt after {first * 1e3:.0f} ms; with the prompt in the cache after {cached * 1e3:.1f} ms "
          f"(goal under {50 + served * 1e3:.1f} ms)")


for name, shape in SHAPES.items():
    if name == "llama-1b" and "--long" not in sys.argv:
        continue
    folder = pathlib.Path(tempfile.mkdtemp())
    try:
        make(folder, shape)
        measure(name, folder)
    finally:
        shutil.rmtree(folder)
