#!/usr/bin/env python3
"""Planned against measured: for each line of options on standard input, what loam plan says of memory and of the time of a step, and what
a run of its own then takes.

    echo '--batch 4 --seq 256 --recompute layer' | bench/plan.py build/loam MODEL --steps 3

MODEL is a directory with weights. The run trains on random ids and ends with its checkpoint; memory is the process's peak resident size as
the system has it, time the fastest step. The run's folder is made under TMPDIR and removed.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile


def write_ids(path, length, vocabulary):
    """Rows of exactly one sequence, so that no position is padding."""
    rng = random.Random(1)
    with open(path, "w") as file:
        for _ in range(64):
            file.write(" ".join(str(rng.randrange(vocabulary)) for _ in range(length + 1)) + "\n")


def measure(loam, model, words, steps, folder):
    plan = json.loads(subprocess.check_output([loam, "plan", model, "--json", *words]))
    data, run = os.path.join(folder, "data.ids"), os.path.join(folder, "run")
    write_ids(data, plan["settings"]["seq"], 1000)
    command = [loam, "train", model, "--data", data, "-o", run, "--steps", str(steps), "--save-every", "1000000", "--keep", "1", *words]
    child = os.posix_spawn(loam, command, dict(os.environ), file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)])
    _, status, usage = os.wait4(child, 0)
    if status:
        sys.exit(f"{' '.join(command)}: status {os.waitstatus_to_exitcode(status)}")
    with open(os.path.join(run, "log.jsonl")) as file:
        log = [json.loads(line) for line in file]
    seconds = min(line["tokens"] / line["tokens_per_second"] for line in log if "tokens_per_second" in line)
    return plan, usage.ru_maxrss * 1024, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("loam")
    parser.add_argument("model")
    parser.add_argument("--steps", type=int, default=3)
    arguments = parser.parse_args()
    loam = os.path.abspath(arguments.loam)
    print(f"{'planned MiB':>12} {'measured':>9} {'apart':>7} {'live':>6} {'predicted s':>12} {'measured':>9}  options")
    for line in sys.stdin:
        if not line.split():
            continue
        with tempfile.TemporaryDirectory() as folder:
            plan, peak, seconds = measure(loam, arguments.model, line.split(), arguments.steps, folder)
        total = plan["memory_bytes"]["total"]
        print(f"{total / 2**20:12.1f} {peak / 2**20:9.1f} {(peak - total) / 2**20:+7.1f} "
              f"{plan['live_bytes'] / plan['arena_bytes']:6.1%} {plan['predicted']['seconds_per_step']:12.3f} {seconds:9.3f}  "
              f"{line.strip()}", flush=True)


if __name__ == "__main__":
    main()
