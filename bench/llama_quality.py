#!/usr/bin/env python3
"""What quantizing costs in perplexity, in loam and in llama.cpp: the same GGUF files, the same ids, the same windows.

    bench/llama_quality.py MODEL --text FILE [--loam build/loam] [--window 256] [--windows 40]

Each window stands alone; the mean loss is over predicting all of its ids but the first. A rise is the loss with quantized weights less the
loss with fp32 weights in the same program. The two programs' rises are compared window by window: the mean of the differences and its
standard error say whether one is more than chance; it ends with 1 where loam's is the greater by more than two of them. Needs llama-cpp-python (bench/requirements-llama.txt).
"""
import argparse, json, math, os, subprocess, sys, tempfile

import llama_cpp
import numpy as np


def llama_losses(path, windows):
    model = llama_cpp.Llama(path, n_ctx=len(windows[0]) + 8, n_batch=512, n_ubatch=512, logits_all=True, verbose=False, type_k=0, type_v=0)
    losses = []
    for window in windows:
        model.reset()
        model.eval(window)
        logits = np.array(model.scores[:len(window)], dtype=np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        below = np.log(np.exp(logits).sum(axis=1))
        losses.append(np.mean([below[i] - logits[i, window[i + 1]] for i in range(len(window) - 1)]))
    return np.array(losses)


def loam_losses(loam, path, windows, folder):
    losses, ids_file = [], os.path.join(folder, "window.ids")
    for window in windows:
        with open(ids_file, "w") as file:
            file.write(" ".join(map(str, window)) + "\n")
        out = subprocess.run([loam, "eval", path, "--data", ids_file, "--seq", str(len(window)), "--batch", "1", "--json"], check=True,
                             capture_output=True, text=True).stdout
        losses.append(json.loads(out)["loss"])
    return np.array(losses)


def main():
    parse = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parse.add_argument("model")
    parse.add_argument("--text", required=True)
    parse.add_argument("--loam", default="build/loam")
    parse.add_argument("--window", type=int, default=256)
    parse.add_argument("--windows", type=int, default=40)
    given = parse.parse_args()
    with open(given.text, "rb") as file:
        ids = subprocess.run([given.loam, "tokenizer", "encode", given.model], stdin=file, check=True, capture_output=True, text=True)
    ids = [int(i) for i in ids.stdout.split()]
    count = min(given.windows, len(ids) // given.window)
    windows = [ids[i * given.window:(i + 1) * given.window] for i in range(count)]
    if not windows:
        sys.exit("the text is shorter than one window")
    base, worse = None, False
    with tempfile.TemporaryDirectory() as folder:
        weights = os.path.join(folder, "weights")    # without a tokenizer, which GGUF might not hold
        os.mkdir(weights)
        for name in os.listdir(given.model):
            if name in ("config.json", "generation_config.json") or ".safetensors" in name:
                os.symlink(os.path.abspath(os.path.join(given.model, name)), os.path.join(weights, name))
        for kind in ("f32", "q8_0", "q4_0"):
            path = os.path.join(folder, kind + ".gguf")
            subprocess.run([given.loam, "convert", weights, "--type", kind, "-o", path], check=True, stderr=subprocess.DEVNULL)
            losses = loam_losses(given.loam, path, windows, folder), llama_losses(path, windows)
            if kind == "f32":
                base = losses
            rises = losses[0] - base[0], losses[1] - base[1]
            apart = rises[0] - rises[1]
            error = apart.std(ddof=1) / math.sqrt(len(apart)) if len(apart) > 1 else math.inf
            worse |= kind != "f32" and bool(apart.mean() > 2 * error)
            print("%-5s loss: loam %.6f, llama.cpp %.6f; risen by %+.6f and %+.6f; loam's rise less llama.cpp's %+.6f, standard error %.6f" %
                  (kind, losses[0].mean(), losses[1].mean(), rises[0].mean(), rises[1].mean(), apart.mean(), error), flush=True)
    print("%d windows of %d ids; llama-cpp-python %s" % (count, given.window, llama_cpp.__version__))
    sys.exit(1 if worse else 0)


if __name__ == "__main__":
    main()
