"""What transformers sees inside the tiny models of tests/golden/models: attention weights and hidden states, with eager attention,
which alone gives them. Run from anywhere, with the versions in requirements.txt, after make_models.py:

    python tests/golden/make_look.py            # writes tests/golden/models/NAME/inside.safetensors

    ids [T]                  one sequence, the first of reference.safetensors
    attention [L,H,T,T]      output_attentions
    residual [L,T,C]         output_hidden_states: what goes into each layer
    final [T,C]              the last hidden state, behind the final norm
    logits [T,V]
"""
import pathlib

import torch
import transformers
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).resolve().parent

torch.set_num_threads(1)
for folder in sorted((HERE / "models").iterdir()):
    ids = load_file(folder / "reference.safetensors")["ids"][:1]
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    model.eval()
    with torch.no_grad():
        seen = model(input_ids=ids.long(), output_attentions=True, output_hidden_states=True)
    out = {"ids": ids[0], "attention": torch.cat(seen.attentions), "residual": torch.cat(seen.hidden_states[:-1]),
           "final": seen.hidden_states[-1][0], "logits": seen.logits[0]}
    save_file({key: value.contiguous() for key, value in out.items()}, folder / "inside.safetensors")
    print(folder.name, {key: list(value.shape) for key, value in out.items()})
