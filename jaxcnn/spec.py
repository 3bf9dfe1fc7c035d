"""What a run is, as frozen dataclasses: `replace` is the sweep, `asdict` the record, tyro the flags.

Nothing here imports JAX, so that help pages and `doctor` answer before a backend could start.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from jaxcnn.records import as_record, from_record

__all__ = ["DataConfig", "ModelSpec", "OptimizerConfig", "RunConfig", "as_record", "from_record"]


@dataclass(frozen=True)
class ModelSpec:
    """One architecture: a family at a depth and a width.

    Fields left at None take the family's default; a field that the family does not have must stay None.

    Args:
        family: Key of `jaxcnn.models.FAMILIES`: dense, lenet, plain, vgg, resnet, resnet_imagenet, wrn or
            airbench.
        depth: Weighted layers on the main path: convolutions and dense layers, not norms or projections (wrn: as its
            authors count, 6n + 4).
        width: Channels of the first stage (dense: units of a hidden layer; wrn: the factor k, as its authors write it:
            WRN-d-k).
        num_classes: Length of the logits; None takes the data set's number of classes.
        stage_sizes: Blocks (lenet, plain, vgg, airbench: convolutions; dense: hidden layers) per stage; overrides how
            depth is spread.
        stage_widths: Channels per stage; overrides how width grows. How a budget is hit to the last percent.
        dense: Number of dense layers, the classifier included (lenet, vgg).
        units: Units of the hidden dense layers, `dense - 1` of them (lenet, vgg).
        kernel: Side of the convolution kernels (lenet, plain).
        norm: Batch norm after each convolution (lenet, plain, vgg) or hidden layer (dense).
        skip: Residual connections on or off (residual families).
        shortcut: A (zero padding) or B (1x1 projection) where shapes change (resnet).
        block: basic or bottleneck (resnet_imagenet).
        stem: cifar (3x3) or imagenet (7x7, stride 2, max pool) (resnet_imagenet).
        padding: Padding of the lenet convolutions: same_first (pad 2, then valid), valid, same.
        zero_init: Start the last batch-norm scale of each residual block at zero.
        dropout: Share of units dropped: before dense layers, after hidden ones, or inside wrn blocks.
        stochastic_depth: Share of examples for which the last residual block is skipped in training; it grows linearly
            from the first block to it (residual families).
    """

    family: str = "resnet"
    depth: int = 8
    width: int = 16
    num_classes: int | None = None
    stage_sizes: tuple[int, ...] | None = None
    stage_widths: tuple[int, ...] | None = None
    dense: int | None = None
    units: tuple[int, ...] | None = None
    kernel: int | None = None
    norm: bool | None = None
    skip: bool | None = None
    shortcut: Literal["A", "B"] | None = None
    block: Literal["basic", "bottleneck"] | None = None
    stem: Literal["cifar", "imagenet"] | None = None
    padding: Literal["same_first", "valid", "same"] | None = None
    zero_init: bool | None = None
    dropout: float = 0.0
    stochastic_depth: float | None = None


@dataclass(frozen=True)
class DataConfig:
    """Which images, how they are split and what happens to them before the first layer.

    Args:
        name: digits, glyphs, a TFDS name (fashion_mnist, emnist/letters), an image folder or an .npz file.
        data_dir: Where TFDS sets lie; None: $TFDS_DATA_DIR, then ~/tensorflow_datasets.
        validation: Share of the training split frozen for validation where the source has none of its own.
        train_size: Use only that many training images (a fixed, recorded choice); None: all.
        size: Resize images to size x size pixels; None: as stored.
        on_bad: What a file that cannot be decoded does: refuse (an error that names it) or skip (a warning that does).
        augment: Names of `jaxcnn.data.augment.AUGMENTATIONS` applied in training, in order: flip, crop (pad and crop),
            translate (shift by up to 2 of 32 pixels, edges reflected), resized_crop, cutout, color_jitter, randaugment.
        mix: mixup, cutmix or both (one of them for each pair): images and labels of neighbours in a batch are mixed.
        stream: Decode images when a step needs them, rather than once into a cache: for folders and TFDS sets larger
            than the disk or the memory.
        workers: stream only: processes that decode; 0: threads of this one.
        classes: glyphs only: number of classes.
        images: glyphs only: number of images, all splits together.
        data_seed: glyphs only: seed of the drawing.
    """

    name: str = "digits"
    data_dir: str | None = None
    validation: float = 0.1
    train_size: int | None = None
    size: int | None = None
    on_bad: Literal["refuse", "skip"] = "refuse"
    augment: tuple[str, ...] = ()
    mix: tuple[str, ...] = ()
    stream: bool = False
    workers: int = 0
    classes: int = 10
    images: int = 2000
    data_seed: int = 0


@dataclass(frozen=True)
class OptimizerConfig:
    """How parameters move.

    Args:
        name: sgd (momentum, Nesterov by default), adam, or muon (orthogonalised momentum for the kernels of
            convolutions, sgd for the rest).
        learning_rate: Peak learning rate.
        momentum: SGD momentum; 0 switches it off.
        nesterov: Nesterov's form of momentum.
        weight_decay: Strength; never applied to biases and batch norm.
        decay: l2 (added to the gradient) or decoupled (added to the update: SGDW, AdamW).
        schedule: Shape over the run: constant, step (times `factor` at each milestone), cosine or linear (both
            to zero).
        milestones: step only: shares of the run at which the rate is multiplied.
        factor: step only: the multiplier.
        warmup_epochs: Epochs of linear warm-up from zero, inside the run.
        clip_norm: Global gradient norm limit; None: off.
        bias_scale: Multiplies the learning rate of biases, batch norm's offsets among them.
        rest_scale: muon only: multiplies the learning rate of everything but the kernels of convolutions.
        frozen: Parameters that stay as they begin, by the end of their paths: "scale", "conv1/kernel".
    """

    name: Literal["sgd", "adam", "muon"] = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    decay: Literal["l2", "decoupled"] = "l2"
    schedule: Literal["constant", "step", "cosine", "linear"] = "cosine"
    milestones: tuple[float, ...] = (0.5, 0.75)
    factor: float = 0.1
    warmup_epochs: float = 1.0
    clip_norm: float | None = None
    bias_scale: float = 1.0
    rest_scale: float = 1.0
    frozen: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunConfig:
    """One training run, whole: equal configs on equal software give equal results.

    Args:
        model: The architecture.
        data: The images.
        optimizer: How parameters move.
        epochs: Passes over the training split.
        batch_size: Examples per step, over all devices together.
        label_smoothing: Share of the target spread evenly over the classes.
        class_weights: Weight of each class in the loss, one a class; balanced: inversely as they occur in the
            training split; None: all alike.
        ema: Decay a step of a moving average of the weights, which validation and test then use; None: off.
        accumulate: Parts of a batch that are computed one after another, for want of memory: the gradient is that of
            the whole batch; batch norm sees a part at a time.
        patience: Epochs without a lower validation loss after which training ends; None: it goes to the last epoch.
        on_nonfinite: What a step does whose loss or gradients are not finite: stop (the run ends as diverged, and what
            is known of that step is written) or skip (the step changes nothing and is counted).
        seed: Seeds initialisation, order, dropout and augmentation together.
        parallel: auto (one device: jit; several accelerators: sharded), jit, pmap, or sharded (jit over a mesh of all
            devices, of every host).
        sync_batch_norm: Batch norm statistics over all devices (True) or per device.
        scan: Whole stretches of an epoch as one program, with the data on the device; None: on an accelerator whose
            memory holds the data (on a CPU convolutions inside a scan are many times slower).
        compute_dtype: Type of activations and of the arithmetic on them; parameters, statistics and loss stay float32.
        deterministic: On a GPU, only kernels whose sums have a fixed order: equal runs equal to the bit, and slower.
        checkpoint_every: Epochs between checkpoints; the last epoch is saved too (see `keep`).
        checkpoint_steps: Also save within an epoch, so many steps after the last save; None: off.
        checkpoint_minutes: Also save within an epoch, so many minutes after the last save; None: off.
        keep: How many of the latest checkpoints are kept; the best on validation is kept beside them. 0: what a resume
            needs while the run is under way, and none once it is finished.
        test_flips: Classify by the mean of an image's logits and its mirror image's, in validation and test.
        evaluate_test: Read the test split, once, after the last epoch; False (tuning) never opens it.
    """

    model: ModelSpec = field(default_factory=ModelSpec)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    epochs: int = 10
    batch_size: int = 128
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | Literal["balanced"] | None = None
    ema: float | None = None
    accumulate: int = 1
    patience: int | None = None
    on_nonfinite: Literal["stop", "skip"] = "stop"
    seed: int = 0
    parallel: Literal["auto", "jit", "pmap", "sharded"] = "auto"
    sync_batch_norm: bool = True
    scan: bool | None = None
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    deterministic: bool = False
    checkpoint_every: int = 1
    checkpoint_steps: int | None = None
    checkpoint_minutes: float | None = None
    keep: int = 2
    test_flips: bool = False
    evaluate_test: bool = True
