"""COCO JSON, Pascal VOC XML and YOLO text files: one set in each of them is the same set; broken ones are refused."""

import json

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data import inspect, load
from jaxcnn.data.sources.coco import decode_rle
from jaxcnn.errors import InputError
from jaxcnn.spec import DataConfig

SIZE = (40, 60)  # height, width
NAMES = ("cat", "dog")
IMAGES = 12


def boxes_of(i):
    """(label, (xmin, ymin, width, height)) of image i; every fifth has none."""
    return [] if i % 5 == 4 else [(i % 2, (4 + i, 6, 10, 12)), ((i + 1) % 2, (30, 10 + i, 20, 8))]


def write_images(folder, count=IMAGES):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        pixels = np.random.default_rng(i).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02}.png")


def coco_record(images=range(IMAGES)):
    annotations = [
        {"id": 100 * i + k, "image_id": i, "category_id": 7 + 2 * label, "bbox": list(box), "iscrowd": 0}
        for i in images for k, (label, box) in enumerate(boxes_of(i))
    ]  # fmt: skip
    return {
        "images": [{"id": i, "file_name": f"{i:02}.png", "height": SIZE[0], "width": SIZE[1]} for i in images],
        "annotations": annotations, "categories": [{"id": 9, "name": "dog"}, {"id": 7, "name": "cat"}],
    }  # fmt: skip


def write_coco(root, record=None):
    write_images(root / "images")
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_train.json").write_text(json.dumps(record or coco_record()))
    return root


def write_voc(root, change=lambda i, text: text):
    write_images(root / "JPEGImages")
    (root / "Annotations").mkdir()
    for i in range(IMAGES):
        objects = "".join(
            f"<object><name>{NAMES[label]}</name><difficult>0</difficult>"
            f"<bndbox><xmin>{x + 1}</xmin><ymin>{y + 1}</ymin>"
            f"<xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
            for label, (x, y, w, h) in boxes_of(i)
        )
        text = f"<annotation><size><width>60</width><height>40</height><depth>3</depth></size>{objects}</annotation>"
        (root / "Annotations" / f"{i:02}.xml").write_text(change(i, text))
    return root


def write_yolo(root, change=lambda i, text: text, names="cat\ndog\n"):
    write_images(root / "images")
    (root / "labels").mkdir()
    (root / "classes.txt").write_text(names)
    for i in range(IMAGES):
        lines = [
            f"{label} {(x + w / 2) / 60} {(y + h / 2) / 40} {w / 60} {h / 40}" for label, (x, y, w, h) in boxes_of(i)
        ]
        if lines or i % 2:  # an image without a file has no objects either
            (root / "labels" / f"{i:02}.txt").write_text(change(i, "\n".join(lines)))
    return root


WRITERS = {"coco": write_coco, "voc": write_voc, "yolo": write_yolo}


@pytest.mark.parametrize("kind", WRITERS)
def test_each_format_gives_the_same_set(kind, tmp_path):
    data = load(DataConfig(str(WRITERS[kind](tmp_path / kind))))
    assert data.class_names == NAMES
    assert sum(data.sizes.values()) == IMAGES
    everything = [data.train, data.validation, data.load_test()]
    counts = {split["labels"].shape[1] for split in everything}
    assert counts == {2}
    assert sum((split["labels"] >= 0).sum() for split in everything) == 2 * sum(
        bool(boxes_of(i)) for i in range(IMAGES)
    )
    for split in everything:
        for image, labels, boxes, size in zip(*(split[n] for n in ("images", "labels", "boxes", "sizes")), strict=True):
            (i,) = [
                i for i in range(IMAGES)
                if np.array_equal(image, np.random.default_rng(i).integers(0, 256, (*SIZE, 3)).astype(np.uint8))
            ]  # fmt: skip
            expected = [(label, y / 40, x / 60, (y + h) / 40, (x + w) / 60) for label, (x, y, w, h) in boxes_of(i)]
            ours = [(label, *box) for label, box in zip(labels.tolist(), boxes.tolist(), strict=True) if label >= 0]
            assert np.allclose(ours, expected, atol=1e-6)
            assert tuple(size) == SIZE


def test_splits_and_single_files(tmp_path):
    write_images(tmp_path / "train")
    write_images(tmp_path / "valid", 3)
    for split, count in (("train", IMAGES), ("valid", 3)):
        (tmp_path / split / "_annotations.coco.json").write_text(json.dumps(coco_record(range(count))))
    assert load(DataConfig(str(tmp_path))).sizes["validation"] == 3
    alone = load(DataConfig(str(tmp_path / "train" / "_annotations.coco.json")))
    assert sum(alone.sizes.values()) == IMAGES
    write_images(tmp_path / "y" / "images" / "train")
    write_images(tmp_path / "y" / "images" / "val", 2)
    for split, count in (("train", IMAGES), ("val", 2)):
        (tmp_path / "y" / "labels" / split).mkdir(parents=True)
        for i in range(count):
            (tmp_path / "y" / "labels" / split / f"{i:02}.txt").write_text(
                "1 0.5 0.5 0.25 0.25\n0 0.1 0.1 0.3 0.1 0.2 0.4"
            )
    (tmp_path / "y" / "data.yaml").write_text("path: .\nnames:\n  0: cat\n  1: 'dog'\nnc: 2\n")
    data = load(DataConfig(str(tmp_path / "y")))
    assert data.class_names == NAMES
    assert data.sizes["validation"] == 2
    assert np.allclose(data.train["boxes"][0, 1], [0.1, 0.1, 0.4, 0.3])


def test_crowds_polygons_and_run_lengths(tmp_path):
    record = coco_record()
    record["annotations"][0]["iscrowd"] = 1
    del record["annotations"][1]["bbox"]
    record["annotations"][1]["segmentation"] = [[31, 11, 49, 11, 49, 18], [35, 12, 36, 17, 40, 13]]
    del record["annotations"][2]["bbox"]
    mask = np.zeros(SIZE, bool)
    mask[5:9, 7:20] = True
    runs = np.flatnonzero(np.diff(np.concatenate([[0], mask.ravel(order="F"), [0]])))
    counts = np.diff(np.concatenate([[0], runs, [mask.size]])).tolist()
    record["annotations"][2]["segmentation"] = {"size": list(SIZE), "counts": counts}
    data = load(DataConfig(str(write_coco(tmp_path, record)), validation=0.2))
    boxes = np.concatenate(
        [split["boxes"][split["labels"] >= 0] for split in (data.train, data.validation, data.load_test())]
    )
    for expected in ((11 / 40, 31 / 60, 18 / 40, 49 / 60), (5 / 40, 7 / 60, 9 / 40, 20 / 60)):
        assert np.abs(boxes - np.float32(expected)).max(axis=1).min() < 1e-6
    crowd = np.concatenate([split["crowd"].ravel() for split in (data.train, data.validation, data.load_test())])
    assert crowd.sum() == 1
    # pycocotools 2.0.11: maskUtils.encode of the mask above gives this text.
    assert np.array_equal(decode_rle({"size": list(SIZE), "counts": "m84T100000000000000000000000ka1"}), mask)


def test_masks_of_polygons_and_run_lengths(tmp_path):
    """Rectangles as polygons, one object in two parts, a crowd as run lengths, which hides nothing."""
    record = coco_record()
    for each in record["annotations"]:
        x, y, w, h = each["bbox"]
        each["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    first, second = record["annotations"][:2]
    x, y, w, h = first["bbox"]
    first["segmentation"] = [[x, y, x + 3, y, x + 3, y + h, x, y + h], [x + 7, y, x + w, y, x + w, y + h, x + 7, y + h]]
    whole = np.zeros(SIZE, bool)
    whole[:30] = True
    second |= {"iscrowd": 1, "segmentation": {"size": list(SIZE), "counts": [0, *[30, 10] * SIZE[1]]}}
    data = load(DataConfig(str(write_coco(tmp_path, record)), validation=0.2))
    splits = [data.train, data.validation, data.load_test()]
    crowded = 0
    for split in splits:
        assert split["instances"].dtype == np.uint8
        for boxes, crowd, instances in zip(split["boxes"], split["crowd"], split["instances"], strict=True):
            expected = np.zeros(SIZE, np.uint8)
            for k, (top, left, bottom, right) in enumerate(np.round(boxes * np.tile(SIZE, 2)).astype(int)):
                expected[top:bottom, left:right] = k + 1
            if crowd.any():
                crowded += 1
                expected = np.where(whole, 2, 0)
                expected[y : y + h, [*range(x, x + 3), *range(x + 7, x + w)]] = 1
            assert np.array_equal(instances, expected)
    assert crowded == 1
    second["segmentation"]["size"] = [30, 60]
    (tmp_path / "annotations" / "instances_train.json").write_text(json.dumps(record))
    assert "has no mask" in refusal(tmp_path)
    assert inspect(DataConfig(str(tmp_path))).findings["mask_values"].count == 1


def refusal(folder):
    with pytest.raises(InputError) as caught:
        load(DataConfig(str(folder)))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("box", "says"),
    [
        ([5, 5, 0, 4], "has no area"), ([30, 10, 50, 38], "were corners written"), ([5, 5, -3, 4], "wrong order"),
        ([5, 5, 4], "has no box"), ([5, 5, "wide", 4], "has no box"), ([-9, 5, 30, 4], "lies outside"),
        ([1e9, 5, 30, 4], "lies outside"), ([float("nan"), 5, 30, 4], "not finite"),
    ],
)  # fmt: skip
def test_coco_boxes_that_cannot_be_are_refused_with_the_file(box, says, tmp_path):
    record = coco_record()
    record["annotations"][4]["bbox"] = box
    message = refusal(write_coco(tmp_path, record))
    assert says in message
    assert ".png" in message


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda record: record.pop("categories"), "no list 'categories'"),
        (lambda record: record.update(images="none"), "no list 'images'"),
        (lambda record: record["images"][0].pop("file_name"), "'file_name'"),
        (lambda record: record["annotations"][0].update(image_id=99), "image 99"),
        (lambda record: record["annotations"][0].update(category_id=1), "category 1"),
        (lambda record: record["annotations"].clear(), "no box in its training images"),
        (lambda record: record["images"][3].update(width=600), "boxes are for an image of 40x600"),
        (lambda record: record["images"][3].update(file_name="gone.png"), "gone.png"),
        (lambda record: record["images"].append(7), "entry of its images"),
    ],
)
def test_broken_coco_files_are_refused_in_one_sentence(change, says, tmp_path):
    record = coco_record()
    change(record)
    assert says in refusal(write_coco(tmp_path, record))


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '{"images": []', "\x00\x01", "[" * 100_000])
def test_what_is_no_coco_file_is_refused(text, tmp_path):
    write_coco(tmp_path)
    (tmp_path / "annotations" / "instances_train.json").write_text(text)
    refusal(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda i, text: text[:60] if i == 2 else text, "cannot be read"),
        (lambda i, text: text.replace("<xmin>", "<xmin>90") if i == 2 else text, "wrong order"),
        (lambda i, text: text.replace("<ymax>18</ymax>", "") if i == 2 else text, "not finite"),
        (lambda i, text: text.replace("<name>cat</name>", "") if i == 2 else text, "has no name"),
        (lambda i, text: text.replace("<width>60", "<width>90") if i == 2 else text, "are for an image"),
        (lambda i, text: text.replace("<xmax>", "<xmax>7") if i == 2 else text, "lies outside"),
    ],
)
def test_broken_voc_files_are_refused_with_the_image(change, says, tmp_path):
    message = refusal(write_voc(tmp_path, change))
    assert says in message
    assert "02.png" in message


def test_a_voc_image_without_annotation_and_a_split_without_image(tmp_path):
    write_voc(tmp_path)
    (tmp_path / "Annotations" / "03.xml").unlink()
    assert "no annotation" in refusal(tmp_path)
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("00\n01 1\n02\nno_such\n")
    assert "no_such" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda i, text: "0 0.5 0.5 0.2" if i == 2 else text, "4 numbers, not 5"),
        (lambda i, text: "0 0.5 0.5 zero 0.2" if i == 2 else text, "cannot be read"),
        (lambda i, text: "2 0.5 0.5 0.2 0.2" if i == 2 else text, "none of 2"),
        (lambda i, text: "0 30 20 10 10" if i == 2 else text, "pixels written instead"),
        (lambda i, text: "0 0.5 0.5 0.9 1.4" if i == 2 else text, "were corners"),
        (lambda i, text: "0 0.5 0.5 0.0 0.4" if i == 2 else text, "no area"),
        (lambda i, text: "1e400 0.5 0.5 0.1 0.4" if i == 2 else text, "cannot be read"),
    ],
)
def test_broken_yolo_files_are_refused_with_the_image(change, says, tmp_path):
    message = refusal(write_yolo(tmp_path, change))
    assert says in message
    assert "02.png" in message


def test_class_names_given_twice_are_refused(tmp_path):
    assert "name each class once" in refusal(write_yolo(tmp_path, names="cat\ncat\n"))


def test_the_check_counts_boxes_and_names_what_is_wrong(tmp_path):
    good = inspect(DataConfig(str(write_coco(tmp_path / "good"))))
    assert good.verdict == "usable"
    assert good.target == "boxes"
    assert sum(map(sum, good.splits.values())) == 20
    record = coco_record()
    record["annotations"][4]["bbox"], record["annotations"][6]["bbox"] = [5, 5, 0, 4], [30, 10, 50, 38]
    bad = inspect(DataConfig(str(write_coco(tmp_path / "bad", record))))
    assert bad.verdict == "flawed"
    assert {"box_without_area", "box_outside", "no_objects"} <= bad.findings.keys()
    skipped = load(DataConfig(str(tmp_path / "good"), on_bad="skip"))
    assert sum(skipped.sizes.values()) == IMAGES
