#!/usr/bin/env python3
"""The reference recipe as it was and as corrected, on a model that loam made: what docs/guanaco.md states.

    loam quickstart --no-chat -o qs                  (its first half is enough: qs/steps has the pretrained model and the conversations)
    bench/guanaco.py build/loam qs/steps/pretrained qs/steps/conversations.jsonl -o out

Fine-tunes the pretrained model on the first conversations of the built-in material, with the settings of recipes/ (16 sequences a step,
cosine, 10 % warm-up, up to nine epochs, patience 1) but a learning rate for a model of this size: faithfully, corrected, and corrected
without packing. Then measures each on conversations it never saw: bits a byte of the assistant's words, and single questions with one
right answer each, asked through loam chat.
"""
import argparse
import json
import pathlib
import subprocess
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("loam")
parser.add_argument("base")
parser.add_argument("conversations")
parser.add_argument("-o", "--out", required=True)
parser.add_argument("--train", type=int, default=800)
parser.add_argument("--held", type=int, default=100)
parser.add_argument("--questions", type=int, default=100)
parser.add_argument("--seq", default="512")
parser.add_argument("--lr", default="1e-3")
parser.add_argument("--epochs", default="9")
arguments = parser.parse_args()
out = pathlib.Path(arguments.out)
out.mkdir(parents=True, exist_ok=True)

lines = open(arguments.conversations).read().splitlines()
train, rest = lines[: arguments.train], lines[arguments.train :]
seen = {m["content"] for line in train for m in json.loads(line)["messages"]}
held = [line for line in rest if not any(m["role"] == "user" and m["content"] in seen for m in json.loads(line)["messages"])]
(out / "train.jsonl").write_text("\n".join(train) + "\n")
(out / "stop.jsonl").write_text("\n".join(rest[-arguments.held :]) + "\n")
(out / "held.jsonl").write_text("\n".join(held[: arguments.held]) + "\n")
single = [json.loads(line)["messages"] for line in held[arguments.held : -arguments.held]]
questions = [(m[0]["content"], m[1]["content"]) for m in single if len(m) == 2][: arguments.questions]


def loam(*words, **more):
    return subprocess.run([arguments.loam, *words], capture_output=True, text=True, check=True, **more).stdout


def finetune(name, *more):
    start = time.monotonic()
    loam("finetune", arguments.base, "--data", str(out / "train.jsonl"), "--eval-data", str(out / "stop.jsonl"), "-o", str(out / name),
         "--recipe", str(pathlib.Path(__file__).parent.parent / "recipes/qwen-0.5b-guanaco.yaml"), "--dtype", "f32", "--recompute", "none",
         "--seq", arguments.seq, "--batch", "16", "--accumulate", "1", "--lr", arguments.lr, "--epochs", arguments.epochs, *more)
    log = [json.loads(line) for line in (out / name / "log.jsonl").open()]
    steps = [line for line in log if "loss" in line]
    return {"seconds": time.monotonic() - start, "steps": len(steps), "positions": len(steps) * 16 * int(arguments.seq),
            "tokens": sum(s["tokens"] for s in steps), "trained": sum(s["trained"] for s in steps),
            "evaluations": [line["eval_loss"] for line in log if "eval_loss" in line]}


def ask(name):
    right = begun = on = 0
    examples = []
    for question, answer in questions:
        text = loam("chat", str(out / name), "--temperature", "0", "--max-tokens", "96", input=question + "\n").strip()
        right += text == answer
        begun += text.startswith(answer)
        on += "[INST]" in text
        if len(examples) < 3:
            examples.append((question, text))
    return right, begun, on, examples


results = {}
for name, more in (("faithful", ["--faithful"]), ("corrected", []), ("corrected-unpacked", ["--no-pack"])):
    if not (out / name / "config.json").exists():
        results[name] = finetune(name, *more)
        (out / f"{name}.json").write_text(json.dumps(results[name]))
    results[name] = json.loads((out / f"{name}.json").read_text())
    found = json.loads(loam("eval", str(out / name), "--data", str(out / "held.jsonl"), "--json", "--seq", "1024"))
    right, begun, on, examples = ask(name)
    r = results[name]
    print(f"{name}: {r['steps']} steps, {r['positions']} positions, {r['tokens']} hold a token, {r['trained']} are trained on, {r['seconds']:.0f} s")
    print(f"  stopping loss by epoch: {' '.join(f'{e:.4f}' for e in r['evaluations'])}")
    print(f"  never seen: {found['bits_per_byte']:.4f} bits a byte of answers, loss {found['loss']:.4f} over {found['tokens']} tokens")
    print(f"  {len(questions)} questions: {right} answered right, {begun} begin with the right answer, {on} go on and ask the next question themselves")
    for question, text in examples:
        print(f"    > {question}\n    {text[:160]!r}")
