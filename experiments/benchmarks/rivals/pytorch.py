"""PyTorch, channels last: eager, compiled (the default mode), or compiled into CUDA graphs."""
# pyright: reportMissingImports=false

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from networks import CLASSES, LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, Absent, batch
from torch import nn

conv3 = partial(nn.Conv2d, kernel_size=3, padding=1, bias=False)
conv1 = partial(nn.Conv2d, kernel_size=1, bias=False)


def lenet5() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, CLASSES),
    )  # fmt: skip


class BasicBlock(nn.Module):
    def __init__(self, inside: int, width: int, stride: int):
        super().__init__()
        self.conv1, self.norm1 = conv3(inside, width, stride=stride), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = conv3(width, width), nn.BatchNorm2d(width)
        self.project = nn.Identity()
        if stride != 1 or inside != width:
            self.project = nn.Sequential(conv1(inside, width, stride=stride), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.project(x))


class PreActBlock(nn.Module):
    def __init__(self, inside: int, width: int, stride: int):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inside), conv3(inside, width, stride=stride)
        self.norm2, self.conv2 = nn.BatchNorm2d(width), conv3(width, width)
        self.project = conv1(inside, width, stride=stride) if stride != 1 or inside != width else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        active = F.relu(self.norm1(x))
        y = self.conv2(F.relu(self.norm2(self.conv1(active))))
        return y + (x if self.project is None else self.project(active))


def resnet(blocks: int, widths: tuple[int, ...], preact: bool, channels: int = 3) -> nn.Module:
    layers: list[nn.Module] = [conv3(channels, 16)]
    layers += [] if preact else [nn.BatchNorm2d(16), nn.ReLU()]
    inside, block_type = 16, PreActBlock if preact else BasicBlock
    for stage, width in enumerate(widths):
        for block in range(blocks):
            layers.append(block_type(inside, width, 2 if stage > 0 and block == 0 else 1))
            inside = width
    layers += [nn.BatchNorm2d(inside), nn.ReLU()] if preact else []
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inside, CLASSES))
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
    return net


NETWORKS = {
    "lenet5": lenet5,
    "resnet20": partial(resnet, 3, (16, 32, 64), False),
    "wrn_16_4": partial(resnet, 2, (64, 128, 256), True),
}


def compiled(model: nn.Module, variant: str, device: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the function that computes a variant's logits."""
    if variant == "eager":
        return model
    if variant == "graphs" and device == "cpu":
        raise Absent("CUDA graphs need a CUDA device")
    return torch.compile(model, mode="reduce-overhead" if variant == "graphs" else "default")


def place() -> str:
    """Return the device, set up for speed: TF32 as in JAX by default, kernels chosen by trial."""
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    return "cuda" if torch.cuda.is_available() else "cpu"


def make_optimizer(model: nn.Module, rate: float, momentum: float, decay: float) -> torch.optim.Optimizer:
    """Return SGD with Nesterov momentum, without decay of biases and norms."""
    kernels = [p for p in model.parameters() if p.ndim > 1]
    rest = {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0}
    groups = [{"params": kernels, "weight_decay": decay}, rest]
    return torch.optim.SGD(groups, rate, momentum, nesterov=True, fused=True)


def build(network: str, batch_size: int) -> tuple[str, nn.Module, torch.Tensor, torch.Tensor]:
    """Return the device, a network there, images and labels."""
    torch.manual_seed(0)
    device = place()
    model = NETWORKS[network]().to(device).to(memory_format=torch.channels_last)  # pyright: ignore
    images, labels = batch(network, batch_size)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).to(device, memory_format=torch.channels_last)
    return device, model, x, torch.from_numpy(labels).long().to(device)


def make(network: str, batch_size: int, dtype: str, variant: str) -> tuple[int, Callable[[int], float]]:
    """Return the number of parameters, and steps -> loss."""
    device, model, x, y = build(network, batch_size)
    optimizer = make_optimizer(model, LEARNING_RATE, MOMENTUM, WEIGHT_DECAY)
    call = compiled(model, variant, device)

    def run(steps: int) -> float:
        loss = torch.tensor(float("nan"))
        for _ in range(steps):
            optimizer.zero_grad()
            with torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
                loss = F.cross_entropy(call(x), y)
            loss.backward()
            optimizer.step()
        return loss.item()

    return sum(p.numel() for p in model.parameters()), run


def make_inference(network: str, batch_size: int, dtype: str, variant: str) -> tuple[int, Callable[[int], float]]:
    """Return the number of parameters, and steps -> mean logit."""
    device, model, x, _ = build(network, batch_size)
    call = compiled(model.eval(), variant, device)

    def run(steps: int) -> float:
        logits = x
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
            for _ in range(steps):
                logits = call(x)
        return logits.mean().item()

    return sum(p.numel() for p in model.parameters()), run
