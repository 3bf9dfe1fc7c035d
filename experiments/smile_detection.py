"""Is the face smiling? LeNet-5 and a ResNet on grey faces; a quarter of them smile, so mistakes on smiles cost more.

The threshold on the probability of a smile is the one with the best accuracy on the validation split.
Runtime: not measured yet.
Expected: not measured yet.
Needs SMILEs in TFDS' form (features image and label: not smiling, smiling).
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jaxcnn.analysis.verification import roc_curve
from jaxcnn.cli import launch
from jaxcnn.data import load
from jaxcnn.models import named
from jaxcnn.run import predict, run
from jaxcnn.spec import Classification, DataConfig, OptimizerConfig, RunConfig


@dataclass(frozen=True)
class Config:
    """What to change, one line each."""

    models: tuple[str, ...] = ("lenet5", "resnet8")
    rates: tuple[float, ...] = (0.02, 0.1)  # learning rates
    data: DataConfig = field(default_factory=lambda: DataConfig("smiles", size=32, augment=("flip", "crop")))
    epochs: int = 12
    out: Path = Path("runs/smile_detection")


SMOKE = Config(("lenet5",), (0.02,), DataConfig("glyphs", classes=2, images=200), epochs=1)


def smiles(directory, split, name):
    """Return the probability of the class `name`, the second one, for each image of a split, and whether it is true."""
    found = predict(directory, list(split["images"]), top=2)
    return np.array([dict(each["top"])[name] for each in found]), np.asarray(split["labels"]) == 1


def main(config: Config) -> None:
    data = load(config.data)
    for model, rate in zip(config.models, config.rates, strict=True):
        optimizer, task = (
            OptimizerConfig(learning_rate=rate, weight_decay=5e-4),
            Classification(class_weights="balanced"),
        )
        run(RunConfig(named(model), config.data, optimizer, task, epochs=config.epochs), out=config.out / model)
        p, smiling = smiles(config.out / model, data.validation, data.class_names[1])
        threshold = max(np.unique(p), key=lambda each: np.mean((p >= each) == smiling))
        p, smiling = smiles(config.out / model, data.load_test(), data.class_names[1])
        roc, accuracy = roc_curve(-p, smiling), np.mean((p >= threshold) == smiling)
        print(f"{model}: {accuracy:.2%} right at p >= {threshold:.2f}, area under the ROC curve {roc.area:.4f}")
        curve = {name: values[1:].tolist() for name, values in roc._asdict().items()}
        (config.out / f"{model}_roc.json").write_text(json.dumps({"accuracy": float(accuracy), **curve}))


if __name__ == "__main__":
    launch(main, Config, SMOKE)
