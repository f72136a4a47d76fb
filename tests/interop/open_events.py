"""The event file of a run, read by TensorBoard, against the run's log.jsonl: every scalar of every step.

    pip install tensorboard==2.21.0
    python tests/interop/open_events.py RUN
"""
import json
import pathlib
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

run = pathlib.Path(sys.argv[1])
events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
events.Reload()
lines = [json.loads(line) for line in (run / "log.jsonl").open()]
tags = {"train/loss": "loss", "train/lr": "lr", "train/grad_norm": "grad_norm", "train/tokens_per_second": "tokens_per_second",
        "train/epoch": "epoch", "train/of_peak": "of_peak", "eval/loss": "eval_loss"}
compared = 0
for tag, key in tags.items():
    wanted = [(line["step"], line[key], line["time"]) for line in lines if key in line]
    found = [(e.step, e.value, e.wall_time) for e in events.Scalars(tag)] if tag in events.Tags()["scalars"] else []
    assert len(wanted) == len(found), (tag, len(wanted), len(found))
    for (step, value, time), (other_step, other, other_time) in zip(wanted, found):
        assert step == other_step and time == other_time, (tag, step, other_step)
        assert abs(value - other) <= 1e-6 * abs(value), (tag, step, value, other)
        compared += 1
assert compared, "nothing to compare"
print(f"{run}: {compared} values are the same")
