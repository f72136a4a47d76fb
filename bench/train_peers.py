#!/usr/bin/env python3
"""A training step of loam beside PyTorch and transformers on the same processors: tokens a second and peak memory.

    bench/train_peers.py build/loam --model gpt2 --batch 4 --seq 256 --results peers.json
    bench/train_peers.py build/loam --model gpt2 --results peers.json --only torch-compile-bf16     (one piece, kept in the file)
    bench/train_peers.py build/loam --results peers.json --report

Every measurement is a process of its own on the same random ids: a full AdamW step (forward, backward, norm clipped to 1, update) of the
same shape, batch and element type, with as many threads as there are processors. Speed is the middle one of those steps that
count; memory the most that was resident (VmHWM). The peers run as their users run them: transformers' model with its scaled-dot-product
attention, torch's fused AdamW; eager, and compiled by torch.compile. f32: everything in fp32. bf16: the peer's weights, gradients and
optimizer state are bf16 (model.to(torch.bfloat16)), loam's weights are bf16 with fp32 masters, or what --loam-bf16 says.

A shared machine may give twice as much in one second as in the next, so that its limit of fp32 multiply-adds (loam bench --limits) is
measured before and after every step of a peer and every run of loam; where the two differ by more than a tenth, the measurement between
them does not count. Ratios are of tokens a second per GFLOP/s of that limit.

Needs torch and transformers in this interpreter, and g++ for torch.compile.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

PIECES = ["loam-f32", "torch-eager-f32", "torch-compile-f32", "loam-bf16", "torch-eager-bf16", "torch-compile-bf16"]


def peak_bytes():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def run_torch(arguments, piece):
    import torch
    import transformers

    torch.manual_seed(1)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    config = transformers.AutoConfig.from_pretrained(arguments.directory)
    config.use_cache = False
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    model = model.to(torch.bfloat16 if piece.endswith("bf16") else torch.float32)
    model.train()
    for module in model.modules():  # the shape's dropout is for pretraining on one's own data; loam has none
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    if arguments.checkpointing:
        model.gradient_checkpointing_enable()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.1, fused=True)
    step_model = torch.compile(model) if "compile" in piece else model
    ids = torch.randint(0, config.vocab_size, (arguments.batch, arguments.seq))
    seconds = []
    for step in range(arguments.steps):
        before = limit(arguments) if step > 1 else 0
        start = time.monotonic()
        loss = step_model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        taken = time.monotonic() - start
        if step > 1:
            seconds.append((taken, before, limit(arguments)))
    print(json.dumps({"seconds": seconds, "peak_bytes": peak_bytes(),
                      "with": f"torch {torch.__version__}, transformers {transformers.__version__}"}))


def run_loam(arguments, piece):
    words = [arguments.loam, "measure", arguments.directory, "--json", "--batch", str(arguments.batch), "--seq", str(arguments.seq),
             "--steps", "3", "--dtype", piece.split("-")[1]]
    if arguments.checkpointing:
        words += ["--recompute", "layer"]
    words += (arguments.loam_bf16 if piece.endswith("bf16") else arguments.loam_f32).split()
    seconds = []
    for _ in range(arguments.rounds):
        before = limit(arguments)
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(words)}: {done.stderr}")
        point = json.loads(done.stdout)[0]
        if point["outcome"] != "ok":
            raise SystemExit(f"loam: {point['message']}")
        seconds.append((point["seconds_per_step"], before, limit(arguments)))
    return {"seconds": seconds, "peak_bytes": point["measured_bytes"], "planned_bytes": point["planned_bytes"], "with": subprocess.run([arguments.loam, "--version"], capture_output=True, text=True).stdout.strip()}


def limit(arguments):
    done = subprocess.run([arguments.loam, "bench", "--limits", "--json"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["machine"]["peak_gflops_f32"]


def settle(found, tokens):
    """The measurements that count, as tokens a second, and those per GFLOP/s of the limit."""
    good = [(tokens / t, tokens / t / ((a + b) / 2)) for t, a, b in found["seconds"] if abs(a - b) < 0.1 * max(a, b)]
    found["counted"] = len(good)
    found["tokens_per_second"] = statistics.median(s for s, _ in good) if good else float("nan")
    found["per_limit"] = statistics.median(r for _, r in good) if good else float("nan")
    found["limits"] = sorted({round(a) for _, a, b in found["seconds"]} | {round(b) for _, a, b in found["seconds"]})


def report(results):
    for shape, pieces in results.items():
        print(shape)
        print(f"  {'':20} {'tokens/s':>9} {'per GFLOP/s':>12} {'peak MiB':>9}  limits seen, GFLOP/s")
        for name in PIECES:
            if name in pieces:
                p = pieces[name]
                print(f"  {name:20} {p['tokens_per_second']:9.1f} {p['per_limit']:12.3f} {p['peak_bytes'] / 2**20:9.0f}  "
                      f"{p['limits'][0]} to {p['limits'][-1]}, {p['counted']} of {len(p['seconds'])} count")
        peers = {n: p for n, p in pieces.items() if n.startswith("torch")}
        ours = {n: p for n, p in pieces.items() if n.startswith("loam")}
        if not peers or not ours:
            continue
        fastest = max(peers.items(), key=lambda item: item[1]["per_limit"])
        best = max(ours.items(), key=lambda item: item[1]["per_limit"])
        print(f"  loam's fastest ({best[0]}) has {best[1]['per_limit'] / fastest[1]['per_limit']:.2f} times the tokens/s of "
              f"the peers' fastest ({fastest[0]}) and {100 * best[1]['peak_bytes'] / fastest[1]['peak_bytes']:.0f} % of its memory")
        for dtype in ("f32", "bf16"):
            same = {n: p for n, p in peers.items() if n.endswith("-" + dtype)}
            own = ours.get("loam-" + dtype)
            if own and same:
                speed = own["per_limit"] / max(p["per_limit"] for p in same.values())
                memory = own["peak_bytes"] / min(p["peak_bytes"] for p in same.values())
                print(f"  {dtype}: {speed:.2f} times the faster peer's tokens/s, {100 * memory:.0f} % of the smaller peer's memory")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("loam")
    parser.add_argument("--model", default="gpt2", help="a name that loam init --like knows")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seq", type=int, default=256)
    parser.add_argument("--steps", type=int, default=8, help="of a peer; the first two do not count")
    parser.add_argument("--rounds", type=int, default=3, help="runs of loam, of three steps each")
    parser.add_argument("--checkpointing", action="store_true", help="recompute every layer, on both sides")
    parser.add_argument("--loam-bf16", default="", help="further settings for loam-bf16, e.g. '--optimizer-state bf16'")
    parser.add_argument("--loam-f32", default="", help="further settings for loam-f32, e.g. '--fused-step'")
    parser.add_argument("--only", help="one of " + ", ".join(PIECES))
    parser.add_argument("--results", default="train_peers.json")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--directory", help=argparse.SUPPRESS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        return run_torch(arguments, arguments.child)
    path = pathlib.Path(arguments.results)
    results = json.loads(path.read_text()) if path.exists() else {}
    shape = f"{arguments.model}, {arguments.batch} x {arguments.seq} tokens" + (", layers recomputed" if arguments.checkpointing else "")
    with tempfile.TemporaryDirectory() as folder:
        arguments.directory = arguments.directory or folder + "/model"
        if not arguments.report:
            subprocess.run([arguments.loam, "init", "--like", arguments.model, "--dtype", "bf16", "-o", arguments.directory], check=True,
                           stderr=subprocess.DEVNULL)
        for piece in [] if arguments.report else [arguments.only] if arguments.only else PIECES:
            if piece.startswith("loam"):
                found = run_loam(arguments, piece)
            else:
                words = [sys.executable, __file__, *sys.argv[1:], "--child", piece, "--directory", arguments.directory]
                done = subprocess.run(words, capture_output=True, text=True)
                if done.returncode:
                    raise SystemExit(f"{piece}: {done.stderr[-2000:]}")
                found = json.loads(done.stdout.strip().splitlines()[-1])
            settle(found, arguments.batch * arguments.seq)
            results.setdefault(shape, {})[piece] = found
            path.write_text(json.dumps(results, indent=1))
            print(piece, f"{found['tokens_per_second']:.1f} tokens/s, {found['peak_bytes'] / 2**20:.0f} MiB", file=sys.stderr)
    report(results)


if __name__ == "__main__":
    main()
