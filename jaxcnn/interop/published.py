"""Published weights by name, such as torchvision/resnet50: downloaded once from their publisher into the cache."""

from __future__ import annotations

import difflib
import hashlib
import math
import re
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

from jaxcnn.data.messages import progress_bar
from jaxcnn.errors import InputError, did_you_mean, printable
from jaxcnn.runtime.files import atomic_write, cache_dir

TORCHVISION, KERAS = (
    "https://download.pytorch.org/models",
    "https://storage.googleapis.com/tensorflow/keras-applications",
)
CHUNK, PATIENCE = 2**20, 30.0
"""Bytes read at once; seconds without an answer after which a download is given up."""


class Published(NamedTuple):
    """A file of weights of a publisher.

    Args:
        url: Its address; the last part is its name.
        model: The network of jaxcnn that it is for (`jaxcnn models`).
        digest: Start of its SHA-256 (8 digits) or its MD5 (32 digits), as the publisher states it.
        licence: What the publisher says of its use; None: unknown.
    """

    url: str
    model: str
    digest: str
    licence: str | None = None


def _torchvision() -> dict[str, Published]:
    files = {
        "vgg11": "8a719046", "vgg13": "19584684", "vgg16": "397923af", "vgg19": "dcbb9e9d", "vgg11_bn": "6002323d",
        "vgg13_bn": "abd245e5", "vgg16_bn": "6c64b313", "vgg19_bn": "c79401a0", "resnet18": "f37072fd",
        "resnet34": "b627a593", "resnet50": "0676ba61", "resnet101": "63fe2227", "resnet152": "394f9c45",
        "resnet50-v2": "11ad3fa6", "resnet101-v2": "cd907fc2", "resnet152-v2": "f82ba261",
        "mobilenet_v2": "b0353104", "mobilenet_v2-v2": "7ebf99e0", "inception_v3": "0cc3c7bd",
    }  # fmt: skip
    made = dict[str, Published]()
    for name, digest in files.items():
        stem = name.removesuffix("-v2") + ("_google" if name == "inception_v3" else "")
        model = name.removesuffix("-v2").removesuffix("_bn")
        licence = "BSD-3-Clause (torchvision); terms of the training images, ImageNet, may apply"
        made[f"torchvision/{name}"] = Published(f"{TORCHVISION}/{stem}-{digest}.pth", model, digest, licence)
    return made


def _keras() -> dict[str, Published]:
    files = {
        "vgg16": "64373286793e3c8b2b4e3219cbf3544b", "vgg19": "cbe5617147190e668d6c5d5026f83318",
        "resnet50": "2cb95161c43110f7111970584f804107", "resnet101": "f1aeb4b969a6efcfb50fad2f0c20cfc5",
        "resnet152": "100835be76be38e30d865e96f2aaae62", "inception_v3": "9a0d58056eeedaa3f26cb7ebd46da564",
    }  # fmt: skip
    licences = {"vgg": "CC BY (VGG, Oxford)", "resnet": "MIT (Kaiming He)", "inception": "Apache-2.0 (Keras)"}
    made = dict[str, Published]()
    for name, digest in files.items():
        licence = next(text for start, text in licences.items() if name.startswith(start))
        folder = "resnet" if name.startswith("resnet") else name
        url = f"{KERAS}/{folder}/{name}_weights_tf_dim_ordering_tf_kernels.h5"
        made[f"keras/{name}"] = Published(url, name, digest, licence)
    return made


PUBLISHED: Mapping[str, Published] = _torchvision() | _keras()
"""Files by name: those of torchvision 0.29 (-v2: its second weights) and Keras 3.15."""


def published(weights: Path | str) -> Published | None:
    """Return the published file that a name means; None for a path.

    A name is a publisher and a network, without a suffix, where no such file exists.

    Raises:
        InputError: The publisher is known and the network is not.

    >>> published("torchvision/resnet18").url
    'https://download.pytorch.org/models/resnet18-f37072fd.pth'
    """
    name = str(weights)
    if not re.fullmatch(r"(torchvision|keras)/[^/.]*", name) or Path(name).exists():
        return None
    if name not in PUBLISHED:
        near = difflib.get_close_matches(name, PUBLISHED, n=3) or [each for each in PUBLISHED if each.endswith("50")]
        raise InputError(f"weights={printable(name)!r}: no published weights of this name{did_you_mean(near)}")
    return PUBLISHED[name]


def fetch(name: str, file: Published) -> Path:
    """Return the file of published weights in the cache, downloaded if it is not there yet, with a progress bar.

    Raises:
        InputError: It cannot be downloaded, or is not the published file; nothing is kept.

    >>> fetch("torchvision/resnet18", PUBLISHED["torchvision/resnet18"])  # doctest: +SKIP
    PosixPath('/home/me/.cache/jaxcnn/weights/resnet18-f37072fd.pth')
    """
    path = cache_dir() / "weights" / file.url.rpartition("/")[2]
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256() if len(file.digest) == 8 else hashlib.md5(usedforsecurity=False)
    try:
        with urlopen(file.url, timeout=PATIENCE) as answer, atomic_write(path) as partial, partial.open("wb") as copy:
            size = int(answer.headers.get("Content-Length") or 0)
            with progress_bar(path.name, max(1, math.ceil(size / CHUNK))) as advance:
                while chunk := answer.read(CHUNK):
                    copy.write(chunk)
                    digest.update(chunk)
                    advance()
            copy.flush()
            if not digest.hexdigest().startswith(file.digest):
                raise ValueError(f"its digest is {digest.hexdigest()[:8]}..., not {file.digest[:8]}...")
    except (OSError, HTTPException, ValueError) as error:
        raise InputError(
            f"weights={name!r}: {file.url} cannot be downloaded ({printable(str(error))[:120]}); get the file "
            f"elsewhere and give its path, or put it into {str(path.parent)!r}"
        ) from None
    return path
