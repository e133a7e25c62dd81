"""The model once more, in plain float64 tensor algebra: what every technique must agree with."""

import math

import torch

from vramlab.config.targets import IGNORED


def reference_loss(state, inputs, targets, heads, window=None):
    """Sum of the cross-entropy, from a state dict of float64 tensors that may require gradients."""
    embedding = state["embedding.weight"]
    width, length = embedding.shape[1], inputs.shape[1]
    positions = torch.zeros(length, width, dtype=torch.float64)
    for i in range(width // 2):
        angle = torch.arange(length, dtype=torch.float64) / 10_000 ** (2 * i / width)
        positions[:, 2 * i], positions[:, 2 * i + 1] = angle.sin(), angle.cos()
    x = embedding[inputs] * math.sqrt(width) + positions.to(embedding.device)
    for layer in range(sum(".norm1.weight" in name for name in state)):
        part = {
            name.split(".", 2)[2]: value
            for name, value in state.items()
            if name.startswith(f"blocks.{layer}.")
        }
        x = x + attention(norm(x, part, "norm1"), part, heads, window)
        hidden = gelu(linear(norm(x, part, "norm2"), part, "feed_forward.0"))
        x = x + linear(hidden, part, "feed_forward.3")
    logits = norm(x, state, "norm") @ embedding.T
    log_probabilities = logits - logits.logsumexp(-1, keepdim=True)
    picked = log_probabilities.gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    return -(picked * (targets != IGNORED)).sum()


def attention(x, part, heads, window):
    batch, length, width = x.shape
    projected = x @ part["attention.in_proj_weight"].T + part["attention.in_proj_bias"]
    size = width // heads
    groups = projected.shape[-1] // size  # heads of queries, then of keys, then of values
    kv_heads = (groups - heads) // 2
    split = projected.view(batch, length, groups, size).permute(2, 0, 1, 3)
    q = split[:heads].transpose(0, 1)
    shared = [i * kv_heads // heads for i in range(heads)]
    k = torch.stack([split[heads + i] for i in shared], 1)
    v = torch.stack([split[heads + kv_heads + i] for i in shared], 1)
    scores = q @ k.transpose(-1, -2) / math.sqrt(width // heads)
    for row in range(length):
        for column in range(length):
            if column > row or (window is not None and row - column >= window):
                scores[..., row, column] = -math.inf
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    attended = weights / weights.sum(-1, keepdim=True) @ v
    return linear(attended.permute(0, 2, 1, 3).flatten(2), part, "attention.out_proj")


def norm(x, state, name):
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def linear(x, state, name):
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def gelu(x):
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def compare(learner, inputs, targets, heads, window=None):
    """Relative errors of the loss and of the worst gradient, against float64 on the CPU."""
    state = {
        name: value.detach().double().cpu().requires_grad_()
        for name, value in learner.model.state_dict().items()
    }
    expected = reference_loss(state, inputs.cpu(), targets.cpu(), heads, window)
    expected.backward()
    learner.model.zero_grad()
    loss = learner.loss_sum(inputs, targets)
    loss.backward()
    assert all(p.grad.dtype == p.dtype for p in learner.model.parameters())
    errors = {
        name: (
            torch.linalg.norm(p.grad.double().cpu() - state[name].grad)
            / torch.linalg.norm(state[name].grad).clamp_min(1e-12)
        ).item()
        for name, p in learner.model.named_parameters()
    }
    # A key's bias shifts a row's scores alike: its gradient is zero, and what is left is rounding.
    errors = {name: e for name, e in errors.items() if not name.endswith("in_proj_bias")}
    return abs(loss.item() - expected.item()) / expected.item(), max(errors.values())
