"""Tiny random models of every family, with what transformers computes for them: logits, all gradients, and the losses of 20
steps of AdamW. Run from anywhere, with the versions in requirements.txt:

    python tests/golden/make_models.py            # writes tests/golden/models/NAME/

Every folder holds a model as save_pretrained writes it and reference.safetensors:
    ids, targets [B,T]       one batch; targets of -1 are not trained on
    logits [B,T,V]           of ids
    loss                     mean over the targets that are trained on
    gradient.NAME            of that loss, for every parameter
    train.ids, train.targets [20,B,T], train.losses [20]
                             two batches in turn, so that the loss falls: lr 1e-3, betas 0.9 and 0.95, eps 1e-8, no clipping, weight decay 0.1 on
                             matrices, none on norms, biases and embeddings
"""
import pathlib
import shutil

import torch
import transformers
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).resolve().parent
BATCH, LENGTH, STEPS = 2, 24, 20

LLAMA = dict(vocab_size=64, hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, head_dim=8, max_position_embeddings=64, bos_token_id=1, eos_token_id=2,
             initializer_range=0.2)
ROPE3 = dict(rope_type="llama3", rope_theta=1000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
             original_max_position_embeddings=64)
LONG = {"max_position_embeddings": 96}
MODELS = {
    "gpt2": transformers.GPT2Config(vocab_size=64, n_positions=32, n_embd=24, n_layer=2, n_head=3, bos_token_id=0,
                                    eos_token_id=0, initializer_range=0.2, resid_pdrop=0.0, embd_pdrop=0.0,
                                    attn_pdrop=0.0),
    "llama2": transformers.LlamaConfig(**{**LLAMA, "num_key_value_heads": 4, "head_dim": 6}, rms_norm_eps=1e-5),
    "llama3-untied": transformers.LlamaConfig(**{**LLAMA, **LONG}, rope_parameters=ROPE3, rms_norm_eps=1e-5),
    "llama3-tied": transformers.LlamaConfig(**{**LLAMA, **LONG}, rope_parameters=ROPE3, tie_word_embeddings=True),
    "mistral": transformers.MistralConfig(**LLAMA, sliding_window=7),
    "qwen2": transformers.Qwen2Config(**LLAMA, tie_word_embeddings=True, use_sliding_window=True, sliding_window=5,
                                      max_window_layers=1),
    "qwen3": transformers.Qwen3Config(**{**LLAMA, "head_dim": 10}, tie_word_embeddings=True),
}


def batch(generator, masked):
    ids = torch.randint(0, 64, (BATCH, LENGTH), generator=generator)
    targets = torch.cat([ids[:, 1:], torch.full((BATCH, 1), -1)], dim=1)
    if masked:
        targets[torch.rand(targets.shape, generator=generator) < 0.25] = -1
    return ids, targets


def loss_of(model, ids, targets):
    logits = model(input_ids=ids).logits
    return logits, torch.nn.functional.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1), ignore_index=-1)


def groups_of(model):
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    decayed = [p for p in model.parameters() if p.dim() == 2 and id(p) not in embeddings]
    others = [p for p in model.parameters() if p.dim() != 2 or id(p) in embeddings]
    return [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]


def make(name, config, seed):
    folder = HERE / "models" / name
    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():    # norms and biases are 1 and 0 at first, which hides mistakes
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    model.eval()
    model.save_pretrained(folder)

    out = {}
    out["ids"], out["targets"] = batch(generator, True)
    logits, loss = loss_of(model, out["ids"], out["targets"])
    loss.backward()
    out["logits"], out["loss"] = logits.detach().clone(), loss.detach().reshape(1)
    for key, parameter in model.named_parameters():
        out["gradient." + key] = parameter.grad.detach().clone()

    optimizer = torch.optim.AdamW(groups_of(model), lr=1e-3, betas=(0.9, 0.95), eps=1e-8)
    ids, targets, losses = [], [], []
    pair = [batch(generator, True), batch(generator, True)]
    for step in range(STEPS):
        one, wanted = pair[step % 2]
        optimizer.zero_grad()
        loss = loss_of(model, one, wanted)[1]
        loss.backward()
        optimizer.step()
        ids.append(one)
        targets.append(wanted)
        losses.append(loss.item())
    out["train.ids"], out["train.targets"] = torch.stack(ids), torch.stack(targets)
    out["train.losses"] = torch.tensor(losses, dtype=torch.float32)
    out = {key: value.to(torch.int32) if value.dtype == torch.int64 else value for key, value in out.items()}
    save_file({key: value.contiguous() for key, value in out.items()}, folder / "reference.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for index, (model_name, model_config) in enumerate(MODELS.items()):
        make(model_name, model_config, 1000 + index)
        print(model_name)
