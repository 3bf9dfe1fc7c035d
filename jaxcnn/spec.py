"""What a run and a study are, as frozen dataclasses: `replace` is the sweep, `as_record` the record, tyro the flags.

Nothing here imports JAX, so that help pages and `doctor` answer before a backend could start.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, NamedTuple, cast

from jaxcnn.errors import InputError, require

BUDGETS = ("params", "macs", "activations", "seconds")
"""Kinds of budget that a study can match."""
DEFAULT_PARAMS = 27_000
Size = int | tuple[int, int]
"""Side of square images in pixels, or their height and width."""
NOT_IDENTITY = (
    "data_dir", "workers", "place", "ray_address", "cores_per_run", "gpus_per_run", "command", "seal", "sealed",
    "revision",
)  # fmt: skip
"""Fields that say where, when, how fast and by which code a run or a study is computed, not its result."""
FORMER_OPTIONS = (
    "dense", "units", "kernel", "norm", "skip", "shortcut", "block", "stem", "padding", "zero_init", "dropout",
    "stochastic_depth",
)  # fmt: skip
"""Fields that `ModelSpec` had before they became options of a family."""
FORMER_TASK = ("label_smoothing", "class_weights", "test_flips")
"""Fields that `RunConfig` had before they became options of a task."""
NORMALISATIONS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "caffe": ((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255,) * 3),
    "inception": ((0.5,) * 3, (0.5,) * 3),
    "lite": ((127 / 255,) * 3, (128 / 255,) * 3),
}
"""Fixed mean and standard deviation of pixels (0 to 1, RGB) by name."""
DEFAULT_RATES = {"sgd": 0.1, "adam": 0.001, "muon": 0.1}
"""Learning rate by optimizer."""


@dataclass(frozen=True)
class ModelSpec:
    """One architecture: a family at a depth and a width.

    Args:
        family: Name of a family (`jaxcnn models` lists them): dense, lenet, plain, vgg, resnet, resnet_imagenet, wrn,
            inception, mobilenet, efficientnet_lite, airbench, or one of your own (`jaxcnn.models.register_family`).
        depth: Weighted layers on the main path: convolutions and dense layers, not norms or projections (wrn: as its
            authors count, 6n + 4).
        width: Channels of the first stage (dense: units of a hidden layer; wrn: the factor k of WRN-d-k).
        num_classes: Length of the logits. Default: the data set's number of classes.
        stage_sizes: Blocks (lenet, plain, vgg, airbench: convolutions; dense: hidden layers) per stage. Default: the
            family spreads the depth.
        stage_widths: Channels per stage. Default: the family lets the width grow. A study uses it to meet a budget.
        options: Options of the family and of the head by name, such as {"skip": False}; `jaxcnn models FAMILY` lists
            them. Those left out have their defaults.
        head: Name of a head in place of the family's own, which decides the task: fcn (the class of each pixel), or one
            of your own (`jaxcnn.models.register_head`). Default: the family's own head.
    """

    family: str = "resnet"
    depth: int = 8
    width: int = 16
    num_classes: int | None = None
    stage_sizes: tuple[int, ...] | None = None
    stage_widths: tuple[int, ...] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    head: str | None = None

    def __post_init__(self) -> None:
        """Turn lists (from JSON) into tuples: a module with a list inside cannot be hashed."""
        plain = {name: tuple(value) if isinstance(value, list) else value for name, value in self.options.items()}
        object.__setattr__(self, "options", plain)

    def __hash__(self) -> int:
        """Return a hash of all fields; a mapping has none of its own."""
        return hash((self.family, self.depth, self.width, self.num_classes, self.stage_sizes, self.stage_widths,
                     tuple(sorted(self.options.items())), self.head))  # fmt: skip

    @property
    def task(self) -> type[TaskConfig]:
        """The config class of the task that this model's outputs are made for."""
        return MODEL_TASKS.get(self.head or self.family.rpartition(":")[2], Classification)

    @staticmethod
    def upgraded(record: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the record of any version in the form of this one."""
        if "options" in record:
            return record
        unset = (None, 0.0)  # a former field at its default
        options = {
            name: record[name] for name in FORMER_OPTIONS if record.get(name) not in unset or record.get(name) is False
        }
        return {name: value for name, value in record.items() if name not in FORMER_OPTIONS} | {"options": options}


@dataclass(frozen=True)
class TaskConfig:
    """Options of a task. A task's own config is a frozen dataclass that inherits from this and sets `kind`.

    `jaxcnn.tasks.register_task` says how such a config becomes loss, sums and metrics.
    """

    kind: ClassVar[str] = ""
    """Name of the task in records."""

    @classmethod
    def of_kind(cls, kind: str | None, where: str = "task") -> type[TaskConfig]:
        """Return the config class of a task by its name.

        Raises:
            InputError: No such class has been defined.
        """
        kinds = TaskConfig.__subclasses__()
        for each in kinds:
            kinds += each.__subclasses__()  # a task may extend another
        known = {each.kind: each for each in kinds}
        if not isinstance(kind, str) or kind not in known:
            raise InputError(
                f"{where}: task {kind!r} is unknown; choose {' or '.join(sorted(known))}, or import the module that "
                "registers it"
            )
        return known[kind]


@dataclass(frozen=True)
class Classification(TaskConfig):
    """Name one class per image.

    Args:
        label_smoothing: Share of the target spread evenly over the classes.
        class_weights: Weight of each class in the loss, one number per class; balanced: inversely proportional to the
            class's share of the training split. Default: equal weights.
        test_flips: Average the logits of an image and of its mirror image in validation and test.
    """

    kind: ClassVar[str] = "classification"
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | Literal["balanced"] | None = None
    test_flips: bool = False


UNLABELLED = 255
"""Label of pixels without a class, in the masks of a data set."""


@dataclass(frozen=True)
class Segmentation(TaskConfig):
    """Name the class of each pixel.

    Args:
        loss: cross_entropy (mean over the labelled pixels of a batch), dice (1 - the Dice coefficient, a mean over the
            classes of each image) or both (their sum, each a mean over images).
        class_weights: Weight of each class in the loss, one number per class, such as 0 1 for the foreground alone;
            median: median frequency, so that rare classes count as much as frequent ones. Default: equal weights.
        ignore: Label of pixels that neither the loss nor a metric counts.
    """

    kind: ClassVar[str] = "segmentation"
    loss: Literal["cross_entropy", "dice", "both"] = "cross_entropy"
    class_weights: tuple[float, ...] | Literal["median"] | None = None
    ignore: int = UNLABELLED


@dataclass(frozen=True)
class Detection(TaskConfig):
    """Find the objects of an image: a box and a class for each.

    Args:
        box_weight: Weight of the boxes' loss beside that of the classes.
        match_iou: Heads with anchors only: IoU with a true box from which on an anchor shall find it.
        negatives: ssd only: background anchors in the loss for each anchor with a box, the hardest ones.
        least_negatives: ssd only: smallest number of them an image, so that images without objects teach.
        score_threshold: Smallest score of a detection.
        nms_iou: IoU above which the worse of two detections of one class is dropped.
        candidates: Number of (box, class) pairs an image among which detections are chosen.
        detections: Largest number of detections an image.
    """

    kind: ClassVar[str] = "detection"
    box_weight: float = 1.0
    match_iou: float = 0.5
    negatives: float = 3.0
    least_negatives: int = 8
    score_threshold: float = 0.01
    nms_iou: float = 0.45
    candidates: int = 400
    detections: int = 100


@dataclass(frozen=True)
class Instances(Detection):
    """Find the objects of an image: a box, a class and a mask for each.

    Args:
        mask_weight: Weight of the masks' loss beside that of the classes.
    """

    kind: ClassVar[str] = "instances"
    mask_weight: float = 1.0


@dataclass(frozen=True)
class Localization(TaskConfig):
    """Find the one object of an image, the largest where there are several: its class and its box.

    Args:
        box_weight: Weight of the box in the loss beside the class.
    """

    kind: ClassVar[str] = "localization"
    box_weight: float = 1.0


@dataclass(frozen=True)
class Embedding(TaskConfig):
    """Give each image a vector, near those of its class and far from others, also for classes never trained on.

    Args:
        loss: prototypes (classes of a batch are told apart by the nearest mean vector), triplet (the hardest triplets
            of a batch) or contrastive (all pairs of a batch).
        per_class: Images of each class in a training batch, which holds batch_size / per_class classes.
        shots: prototypes only: images of a class whose mean is its prototype; the others are named by it.
        margin: triplet and contrastive only: distance by which images of other classes shall be further away.
    """

    kind: ClassVar[str] = "embedding"
    loss: Literal["prototypes", "triplet", "contrastive"] = "prototypes"
    per_class: int = 5
    shots: int = 1
    margin: float = 0.5


@dataclass(frozen=True)
class Reading(TaskConfig):
    """Read a line: its characters from left to right, without their places (CTC)."""

    kind: ClassVar[str] = "reading"


MODEL_TASKS: dict[str, type[TaskConfig]] = {
    "unet": Segmentation,
    "fcn": Segmentation,
    "localizer": Localization,
    "embedding": Embedding,
    "reader": Reading,
    "ssd": Detection,
    "ssd_vgg": Detection,
    "tiny_yolo": Detection,
    "yolo": Detection,
    "faster_rcnn": Detection,
    "mask_rcnn": Instances,
    "borders": Instances,
    "retinanet": Detection,
}
"""Task of a model by the name of its head, or of its family where it has the family's own head; all others classify."""


@dataclass(frozen=True)
class DataConfig:
    """Which images, how they are split and what happens to them before the first layer.

    Args:
        name: digits, glyphs, glyph_scenes or glyph_masks (drawn scenes with boxes or masks), lines:NAME (lines of text
            composed of the characters of another set, as in lines:mnist), a TFDS name (fashion_mnist, emnist/letters),
            an image folder, a folder of images and masks, an .npz file, or a .csv file with the columns file (paths
            below its folder), label and, where there are splits, split.
        data_dir: Folder of TFDS sets. Default: $TFDS_DATA_DIR, then ~/tensorflow_datasets.
        validation: Share of the training split kept for validation where the source has no validation split.
        train_size: Number of training images to use (a fixed, recorded choice). Default: all.
        size: Resize images to this many pixels a side, or to height x width, as in 96x160. Default: as stored.
        ignore: Sets with masks only: values of masks that are no class, such as void; the pixels get the label 255,
            which neither loss nor metrics count. Default: those that the set itself declares.
        fit: How images of another shape get that size: squash (each side for itself, which distorts), crop (the middle
            of the image) or pad (the whole image, between black bars).
        on_bad: Action on a file that cannot be decoded: refuse (an error that names it) or skip (with a warning).
        augment: Augmentations applied in training, in order (`jaxcnn.data.augment.AUGMENTATIONS`): flip,
            vertical_flip, crop (pad and crop), translate (shift by up to 2 of 32 pixels), resized_crop, affine
            (turn, scale and shift), zoom (scale and shift), elastic, cutout, color_jitter, randaugment. Masks and boxes
            move with their images.
        mix: mixup, cutmix or both (one of them for each pair): mix images and labels of neighbours in a batch.
        stream: Decode images when a step needs them instead of once into a cache: for folders and TFDS sets larger than
            the disk or the memory.
        workers: stream only: number of decoding processes. 0: threads of this process.
        classes: Drawn sets (glyphs, glyph_scenes, glyph_masks) only: number of characters.
        images: Drawn sets and lines only: number of images, all splits together.
        data_seed: Drawn sets and lines only: seed of the drawing.
        normalize: Mean and standard deviation of the pixels: data (those of the training split), or those of published
            weights: imagenet (torchvision's), caffe (Keras' VGG and ResNet), inception (-1 to 1) or lite
            (EfficientNet-lite's). A run that has `weights` uses theirs.
        split_seed: Seed of another division of the training and validation images, with as many of each. Default: the
            fixed division.
        train_seed: Seed of another choice of `train_size` training images; validation and test images stay. Default:
            the fixed choice.
        fold: Cross-validation: number of this fold, number of folds, and seed of their division, as in 0 5 0: all
            images, those of a test split too, are divided, and that part of them is the test split. Default: the test
            split of the data set.
        groups: Images that belong together, such as those of one writer: splits keep groups apart, and the verdict of a
            study is for new groups. A feature of a TFDS set, a regular expression that finds the group in the names of
            files, as in patient([0-9]+), writers (digits only), or class: validation and test images are of classes
            that training never sees. Default: each image stands for itself.
    """

    name: str = "digits"
    data_dir: str | None = None
    validation: float = 0.1
    train_size: int | None = None
    size: Size | None = None
    fit: Literal["squash", "crop", "pad"] = "squash"
    on_bad: Literal["refuse", "skip"] = "refuse"
    augment: tuple[str, ...] = ()
    mix: tuple[str, ...] = ()
    stream: bool = False
    workers: int = 0
    classes: int = 10
    images: int = 2000
    data_seed: int = 0
    ignore: tuple[int, ...] | None = None
    split_seed: int | None = None
    train_seed: int | None = None
    fold: tuple[int, int, int] | None = None
    groups: str | None = None
    normalize: Literal["data", "imagenet", "caffe", "inception", "lite"] = "data"

    def __post_init__(self) -> None:
        """Write a size in one way: a pair as a tuple (JSON has lists), a square as one number; a fold as a tuple."""
        if self.fold is not None:
            object.__setattr__(self, "fold", tuple(self.fold))
        if isinstance(self.size, list | tuple):
            sides = tuple(self.size)
            object.__setattr__(self, "size", sides[0] if len(sides) == 2 and sides[0] == sides[1] else sides)


@dataclass(frozen=True)
class OptimizerConfig:
    """Optimizer settings.

    Args:
        name: sgd (with momentum, Nesterov by default), adam, or muon (orthogonalised momentum for the kernels of
            convolutions, sgd for the rest).
        learning_rate: Peak learning rate. Default: 0.1; adam: 0.001.
        momentum: Momentum of sgd and muon. 0: disabled.
        nesterov: Use Nesterov's form of momentum.
        weight_decay: Weight decay; never applied to biases and batch norm.
        decay: l2 (added to the gradient) or decoupled (added to the update: SGDW, AdamW).
        schedule: Learning rate over the run: constant, step (times `factor` at each milestone), cosine or linear (both
            to zero).
        milestones: step only: shares of the run at which the rate is multiplied; one within the warm-up counts a step
            after it.
        factor: step only: the multiplier.
        warmup_epochs: Epochs of linear warm-up from zero, inside the run.
        clip_norm: Largest global norm of the gradient. Default: no clipping.
        bias_scale: Multiplier of the learning rate of biases, batch norm's offsets included.
        rest_scale: muon only: multiplier of the learning rate of everything but the kernels of convolutions.
        frozen: Parameters that keep their initial values, by the end of their paths: "scale", "conv1/kernel".
    """

    name: Literal["sgd", "adam", "muon"] = "sgd"
    learning_rate: float = cast("float", None)  # chosen by the optimizer
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

    def __post_init__(self) -> None:
        """Choose the learning rate by the optimizer, where none is given."""
        if self.learning_rate is None:
            object.__setattr__(self, "learning_rate", DEFAULT_RATES.get(self.name, 0.1))


@dataclass(frozen=True)
class FineTune:
    """How a run that starts from the weights of a file trains them.

    A frozen layer keeps its parameters and its statistics and runs in inference mode, batch norm and dropout included
    (Keras' rule). The head is always trained: the layer of the logits, or all layers of another head.

    Args:
        unfreeze_from: First layer that is trained, such as conv1 (all), stage4 or dense1; those before it are frozen.
            Default: all but the head is frozen.
        trunk_scale: Multiplier of the learning rate of all trained layers but the head.
    """

    unfreeze_from: str | None = None
    trunk_scale: float = 1.0


@dataclass(frozen=True)
class RunConfig:
    """One training run: equal configs on equal software give equal results.

    Args:
        model: The architecture.
        data: The images.
        optimizer: Optimizer settings.
        task: The task and its options. Default: the task of the model, at its own defaults.
        epochs: Passes over the training split.
        batch_size: Examples per step, over all devices together.
        batches: even (an epoch's batches differ by one example at most) or full (all hold batch_size examples but the
            last, which holds the rest and counts as a whole step, however small it is).
        ema: Per-step decay of an exponential moving average of the weights; evaluation uses the average. Default:
            disabled.
        accumulate: Gradient accumulation: number of micro-batches per step. The gradient is that of the whole batch;
            batch norm takes its statistics from each micro-batch.
        patience: Stop after this many epochs without a lower validation loss. Default: train all epochs.
        on_nonfinite: Action on a non-finite loss or gradient: stop (the run ends as diverged; the step is recorded) or
            skip (the step changes nothing and is counted).
        seed: Seed of initialisation, order, dropout and augmentation together.
        parallel: auto (one device: jit; several accelerators: sharded), jit, pmap, or sharded (jit over a mesh of all
            devices, of every host).
        sync_batch_norm: Batch norm statistics over all devices (True) or per device.
        scan: Run many steps in one compiled call (`lax.scan`), with the data on the device. Default: on an accelerator
            whose memory holds the data, and on a CPU with few small images, where it saves a tenth to a quarter.
        compute_dtype: Type of activations and their arithmetic; parameters, statistics and loss stay float32. Layers of
            flax.linen in your own module follow, unless they have a dtype of their own.
        deterministic: On a GPU, use only kernels whose sums have a fixed order: equal runs are equal to the bit, and
            slower.
        checkpoint_every: Epochs between checkpoints; the last epoch is saved too (see `keep`).
        checkpoint_steps: Also save within an epoch, this many steps after the last save. Default: disabled.
        checkpoint_minutes: Also save within an epoch, this many minutes after the last save. Default: disabled.
        keep: Number of latest checkpoints to keep, besides the best. 0: delete all when the run finishes.
        evaluate_test: Measure on the test split, once, after the last epoch. False (tuning): never.
        weights: Published weights to start from: a file, .pth or .safetensors with torchvision's names or .h5 with
            Keras' (families vgg, resnet_imagenet, inception, mobilenet, efficientnet_lite; see `jaxcnn.interop`), or a
            name such as torchvision/resnet50 or keras/vgg16, downloaded once. Images are normalised as for these.
            Default: drawn weights.
        finetune: weights only: which layers are trained.
    """

    model: ModelSpec = field(default_factory=ModelSpec)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    task: TaskConfig = field(default_factory=Classification)
    epochs: int = 10
    batch_size: int = 128
    batches: Literal["even", "full"] = "even"
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
    evaluate_test: bool = True
    weights: str | None = None
    finetune: FineTune = field(default_factory=FineTune)

    def __post_init__(self) -> None:
        """Refuse another object in place of a config; complete the task by the model, and the pixels by the weights."""
        _check_kinds(self, {"model": ModelSpec, "data": DataConfig, "optimizer": OptimizerConfig, "task": TaskConfig,
                            "finetune": FineTune})  # fmt: skip
        if self.weights is not None:
            pixels = weights_normalisation(self.weights, self.model.family)
            object.__setattr__(self, "data", replace(self.data, normalize=pixels))
        if self.task == Classification():
            object.__setattr__(self, "task", self.model.task())

    @staticmethod
    def upgraded(record: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the record of any version in the form of this one."""
        record = {"batches": "full", **record}  # what runs had before they could choose
        if "task" in record:
            return record
        options = {name: record[name] for name in FORMER_TASK if name in record}
        rest = {name: value for name, value in record.items() if name not in FORMER_TASK}
        return rest | {"task": {"kind": Classification.kind, **options}}


def weights_normalisation(path: str, family: str) -> str:
    """Return which of `NORMALISATIONS` published weights, by name or file, were trained with.

    >>> weights_normalisation("resnet50_weights_tf_dim_ordering_tf_kernels.h5", "resnet_imagenet")
    'caffe'
    """
    if family in ("inception", "efficientnet_lite"):
        return family.removeprefix("efficientnet_")
    return "caffe" if path.endswith(".h5") or re.fullmatch(r"keras/[^/.]*", path) else "imagenet"


@dataclass(frozen=True)
class Tuning:
    """How every arm is tuned, all alike: a grid, on validation error, with seeds that no reported run has.

    Args:
        learning_rates: Rising, evenly spaced on a log scale; one value: the rate is not tuned.
        weight_decays: Rising; one value: the decay is not tuned.
        seeds: Seeds of the trials: one trial per point of the grid, seed and round.
        extensions: Largest number of rates to add below and above, for all arms, while some arm is best at an edge;
            smooth: also decays, one at either end.
        shared: Also run the contrasts at the one setting that is best on average, to show the effect of tuning.
        method: smooth: each trial has a seed and a division into training and validation images of its own, a curve
            through all trials chooses, and the variance of that choice counts in the verdict. grid: all trials share
            one division, the lowest mean error chooses, and the verdict is conditional on the choice.
        rounds: smooth only: rounds of trials; the first one has all settings, the others the better half.
    """

    learning_rates: tuple[float, ...] = (0.02, 0.05, 0.125, 0.3125, 0.78125)
    weight_decays: tuple[float, ...] = (1e-4, 1e-3)
    seeds: tuple[int, ...] = (1000,)
    extensions: int = 2
    shared: bool = True
    method: Literal["smooth", "grid"] = "smooth"
    rounds: int = 3

    @staticmethod
    def upgraded(record: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the record of any version in the form of this one."""
        return {"method": "grid", **record}  # what studies had before they could choose


@dataclass(frozen=True)
class Seeds:
    """How many runs an arm has: pilot runs give the spread, the power table the number, the cap an end.

    Args:
        pilot: Runs per arm before the number is chosen; they count.
        cap: Largest number of runs per arm.
        first: First seed; the seeds are first, first + 1, ...
        power: Chance of finding a difference as large as the margin to aim at.
    """

    pilot: int = 3
    cap: int = 5
    first: int = 0
    power: float = 0.8


@dataclass(frozen=True)
class StudyConfig:
    """One study: networks of several depths at one or more budgets, tuned alike and compared.

    Args:
        base: The run that all arms share; its model's depth and width, its seed, learning rate and weight decay are
            replaced.
        depths: Depths to compare.
        params: Budgets in trainable parameters. Default: 27,000 where no budget of any kind is given.
        macs: Budgets in multiply-accumulates per image.
        activations: Budgets in activation elements per image.
        seconds: Budgets in measured seconds per training step.
        tolerance: Largest relative difference of an arm's cost from its budget.
        margin: Smallest difference in test error that matters (0.005 = half a point).
        hypothesis: The hypothesis, free text. Default: the project's question with the numbers of this study.
        tuning: How every arm is tuned.
        seeds: How many runs an arm has.
        folds: Cross-validation: number of parts of all images, each of which is once the test split, in every repeat.
            Each fold is tuned by itself, on its own training images. Default: the test split of the data set.
        repeats: folds only: runs per arm and fold, instead of `seeds.pilot` and `seeds.cap`.
        resample_train: Choose the `base.data.train_size` training images anew for every run, at most half of all, so
            that the verdict is for new choices of them, too. Default: all runs have the same.
        workers: Number of local worker processes. Default: one per core on a CPU, one on an accelerator.
        place: local (processes of this machine) or ray (a Ray cluster, extra `ray`, all of whose nodes see the study's
            folder).
        ray_address: ray only: HOST:PORT of the cluster's head, or auto: the cluster of this machine. Default:
            $RAY_ADDRESS, else a local Ray instance.
        cores_per_run: ray only: cores per run. Default: 1.
        gpus_per_run: ray only: GPUs per run, 0.5 for half of one. Default: 1 where the cluster has GPUs, else 0.
    """

    base: RunConfig = field(default_factory=RunConfig)
    depths: tuple[int, ...] = (8, 14, 20)
    params: tuple[int, ...] = ()
    macs: tuple[int, ...] = ()
    activations: tuple[int, ...] = ()
    seconds: tuple[float, ...] = ()
    tolerance: float = 0.01
    margin: float = 0.005
    hypothesis: str = ""
    tuning: Tuning = field(default_factory=Tuning)
    seeds: Seeds = field(default_factory=Seeds)
    folds: int | None = None
    repeats: int = 3
    resample_train: bool = False
    workers: int | None = None
    place: Literal["local", "ray"] = "local"
    ray_address: str | None = None
    cores_per_run: int | None = None
    gpus_per_run: float | None = None

    def __post_init__(self) -> None:
        """Refuse a number, or another object, in place of a config."""
        _check_kinds(self, {"base": RunConfig, "tuning": Tuning, "seeds": Seeds})

    @property
    def budget_values(self) -> tuple[tuple[str, float], ...]:
        """All budgets as (kind, amount)."""
        given = tuple((kind, amount) for kind in BUDGETS for amount in getattr(self, kind))
        return given or (("params", DEFAULT_PARAMS),)


EXAMPLES = {
    "model": 'jaxcnn.named("lenet5"), or your own module in run(config, model=...)',
    "data": 'DataConfig("digits")', "optimizer": 'OptimizerConfig("adam", learning_rate=0.001)',
    "task": "Classification()", "base": "RunConfig(epochs=10)", "tuning": "Tuning(learning_rates=(0.1,))",
    "seeds": "Seeds(pilot=3, cap=5)", "finetune": 'FineTune(unfreeze_from="stage4")',
}  # fmt: skip
"""What to write in a field that holds a config."""


def _check_kinds(config: Any, kinds: Mapping[str, type]) -> None:
    for name, kind in kinds.items():
        value = getattr(config, name)
        shown = repr(value) if isinstance(value, str | int | float) else type(value).__name__
        require(isinstance(value, kind), name, shown, f"give a {kind.__name__}, such as {EXAMPLES[name]}")


class StepCost(NamedTuple):
    """Measured cost of one training step.

    Args:
        memory: Bytes of the compiled program on one device: arguments + outputs + temporaries - aliases; None where the
            backend does not say.
        step: Seconds, median over rounds in which the networks take turns.
        spread: Seconds, interquartile range over the rounds.
        compile: Seconds of tracing and compiling; short where a persistent cache had the program.
    """

    memory: int | None
    step: float
    spread: float
    compile: float


def identity(record: Any) -> Any:
    """Return the part of a run's or study's record that decides its result.

    Args:
        record: A config as `as_record` returns it.

    Returns:
        The record without `NOT_IDENTITY` at any depth: equal identities are the same run, or the same study.

    >>> identity({"epochs": 3, "data": {"name": "digits", "data_dir": "/data"}})
    {'epochs': 3, 'data': {'name': 'digits'}}
    """
    if isinstance(record, Mapping):
        return {name: identity(value) for name, value in record.items() if name not in NOT_IDENTITY}
    return [identity(item) for item in record] if isinstance(record, list) else record
