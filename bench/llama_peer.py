#!/usr/bin/env python3
"""loam beside llama.cpp on the same GGUF file, same threads, in one run: a prompt of 512 tokens, and decoding behind it.

    bench/llama_peer.py --loam build/loam --types q8_0 q4_0 bf16

The peer is the native build whose directory LLAMA_CPP names (its bin/llama-bench), or the package llama-cpp-python, built with
CMAKE_ARGS="-DGGML_NATIVE=ON" (bench/requirements-llama.txt), of the Python that runs this. A model of 1B is made with random weights
under --scratch, where about 5 GB are needed. Both take turns --rounds times; the middle of each one's figures counts.
"""
import argparse, csv, io, json, os, statistics, subprocess, sys, tempfile, time

PROMPT, TOKENS = 512, 24


def ids(count):
    return [(i * 7919 + 1) % 32000 for i in range(count)]


def worker(path, threads):
    """In a process of its own: one figure each, a first prompt not counted."""
    import llama_cpp
    model = llama_cpp.Llama(path, n_ctx=PROMPT + TOKENS + 64, n_threads=threads, n_threads_batch=threads, n_batch=PROMPT,
                            n_ubatch=PROMPT, verbose=False)
    for _ in range(2):
        model.reset()
        start = time.perf_counter()
        model.eval(ids(PROMPT))
        prompt = PROMPT / (time.perf_counter() - start)
    model.eval([1])
    start = time.perf_counter()
    for token in ids(TOKENS):
        model.eval([token])
    decode = TOKENS / (time.perf_counter() - start)
    print(json.dumps({"version": "llama-cpp-python " + llama_cpp.__version__, "prompt": prompt, "decode": decode}))


def peer(path, threads):
    folder = os.environ.get("LLAMA_CPP")
    if not folder:
        out = subprocess.run([sys.executable, __file__, "--worker", path, "--threads", str(threads)], check=True,
                             capture_output=True, text=True).stdout
        return json.loads(out.strip().splitlines()[-1])
    tool = next(p for p in (os.path.join(folder, d, "llama-bench") for d in ("bin", "build/bin", ".")) if os.path.exists(p))
    out = subprocess.run([tool, "-m", path, "-t", str(threads), "-p", str(PROMPT), "-n", str(TOKENS), "-r", "2", "-o", "json"],
                         check=True, capture_output=True, text=True).stdout
    rows = json.loads(out)
    speed = lambda name: next(r["avg_ts"] for r in rows if r[name])
    return {"version": "llama.cpp build %s" % rows[0]["build_number"], "prompt": speed("n_prompt"), "decode": speed("n_gen")}


def loam(program, path, threads):
    out = subprocess.run([program, "bench", "--model", path, "--streams", "1", "--contexts", str(PROMPT), "--csv", "--threads",
                          str(threads)], check=True, capture_output=True, text=True).stdout
    row = next(csv.DictReader(io.StringIO(out)))
    return {"prompt": float(row["prompt_tokens_per_second"]), "decode": float(row["decode_tokens_per_second"]),
            "of_memory": float(row["of_limit"])}


def make(program, shape, kind, folder):
    path = os.path.join(folder, "%s-%s.gguf" % (shape, kind))
    if not os.path.exists(path):
        model = os.path.join(folder, shape)
        if not os.path.exists(os.path.join(model, "config.json")):
            subprocess.run([program, "init", "--like", shape, "--dtype", "bf16", "-o", model], check=True, stderr=subprocess.DEVNULL)
        subprocess.run([program, "convert", model, "--type", kind, "-o", path], check=True, stderr=subprocess.DEVNULL)
    with open(path, "rb") as file:    # into the page cache
        while file.read(1 << 24):
            pass
    return path


def main():
    parse = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parse.add_argument("--loam", default="build/loam")
    parse.add_argument("--types", nargs="+", default=["q8_0", "q4_0", "bf16"])
    parse.add_argument("--shape", default="llama-3.2-1b")
    parse.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parse.add_argument("--rounds", type=int, default=3)
    parse.add_argument("--scratch", help="where the models are made and kept; default: a folder that is removed")
    parse.add_argument("--only-make", action="store_true", help="make the models and stop, so that the run itself is short")
    parse.add_argument("--json", action="store_true")
    parse.add_argument("--worker", help=argparse.SUPPRESS)
    given = parse.parse_args()
    if given.worker:
        return worker(given.worker, given.threads)
    with tempfile.TemporaryDirectory() as own:
        folder, results, version = given.scratch or own, [], ""
        os.makedirs(folder, exist_ok=True)
        for kind in given.types:
            path = make(given.loam, given.shape, kind, folder)
            if given.only_make:
                continue
            ours, theirs = [], []
            for _ in range(given.rounds):
                theirs.append(peer(path, given.threads))
                ours.append(loam(given.loam, path, given.threads))
            version = theirs[0]["version"]
            row = {"type": kind}
            for what in ("decode", "prompt"):
                a, b = (statistics.median(r[what] for r in rows) for rows in (ours, theirs))
                row[what] = {"loam": a, "peer": b, "ratio": a / b}
            row["decode"]["of_memory"] = statistics.median(r["of_memory"] for r in ours)
            results.append(row)
            if not given.json:
                print("%-5s decode %6.1f and %6.1f tokens/s: %.2f times (%.0f%% of the memory); prompt of %d: %6.1f and %6.1f tokens/s: "
                      "%.2f times" % (kind, row["decode"]["loam"], row["decode"]["peer"], row["decode"]["ratio"],
                                      100 * row["decode"]["of_memory"], PROMPT, row["prompt"]["loam"], row["prompt"]["peer"],
                                      row["prompt"]["ratio"]), flush=True)
        if given.json:
            print(json.dumps({"peer": version, "threads": given.threads, "results": results}, indent=2))
        elif version:
            print("loam and %s, %d threads" % (version, given.threads))


if __name__ == "__main__":
    main()
