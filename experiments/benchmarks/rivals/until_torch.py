"""Train PyTorch to a validation accuracy: `until_torch.py REQUEST`; the last line is the answer.

The usual loop for a small data set: all images on the device, one permutation per epoch, one gather per step.
Initialised like ours, since the number of epochs depends on it.
"""
# pyright: reportMissingImports=false

import json
import sys
import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pytorch import compiled, lenet5, make_optimizer, place, resnet
from torch import nn


def build(network: str, channels: int) -> nn.Module:
    """Return the network with our initialisation."""
    net = lenet5() if network == "lenet5" else resnet(3, (16, 32, 64), False, channels)
    dense = [module for module in net.modules() if isinstance(module, nn.Linear)]
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, nn.Linear):
            gain = "linear" if module is dense[-1] else "relu"
            nn.init.kaiming_normal_(module.weight, nonlinearity=gain)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    return net


def main(request: dict[str, Any]) -> dict[str, Any]:
    """Return epochs, seconds of compiling and of training, and the last validation accuracy."""
    arrays, device, size = np.load(request["file"]), place(), request["batch_size"]
    torch.manual_seed(request["seed"])
    start = time.perf_counter()
    channels = arrays["mean"].shape[0]
    scale = [torch.from_numpy(255 * arrays[name]).reshape(1, -1, 1, 1).to(device) for name in ("mean", "std")]

    def images(split: str) -> torch.Tensor:
        whole = torch.from_numpy(arrays[f"{split}_images"]).to(device).permute(0, 3, 1, 2).float()
        return ((whole - scale[0]) / scale[1]).contiguous(memory_format=torch.channels_last)

    def labels(split: str) -> torch.Tensor:
        return torch.from_numpy(arrays[f"{split}_labels"]).long().to(device)

    x, y, held_x, held_y = images("train"), labels("train"), images("validation"), labels("validation")
    model = build(request["network"], channels).to(device).to(memory_format=torch.channels_last)  # pyright: ignore
    optimizer = make_optimizer(model, request["rate"], 0.9, 5e-4)
    call = compiled(model, request["variant"], device)

    def train_step(chosen: torch.Tensor) -> None:
        optimizer.zero_grad()
        F.cross_entropy(call(x[chosen]), y[chosen]).backward()
        optimizer.step()

    # Warm up and restore parameters and statistics, as ours does.
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    train_step(torch.arange(size, device=device))
    model.load_state_dict(before)
    optimizer.state.clear()
    ready, accuracy, epoch = time.perf_counter() - start, 0.0, 0
    start = time.perf_counter()
    while epoch < request["most"] and accuracy < request["target"]:
        model.train()
        for chosen in torch.randperm(len(y), device=device).split(size):
            train_step(chosen)
        model.eval()
        with torch.no_grad():
            batches = zip(held_x.split(size), held_y.split(size), strict=True)
            right = [(model(a).argmax(1) == b).sum() for a, b in batches]
        accuracy, epoch = int(sum(right)) / len(held_y), epoch + 1
    found = {"epochs": epoch, "accuracy": accuracy, "compile": ready, "seconds": time.perf_counter() - start}
    return {**found, "params": sum(p.numel() for p in model.parameters()), "torch": torch.__version__}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
