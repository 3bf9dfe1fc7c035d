import json
import os
import subprocess
import sys

import pytest

from jaxcnn.errors import InputError
from jaxcnn.study import analyse, write_joined
from jaxcnn.study.report.compare import Member, differences, error_overlay, names
from jaxcnn.study.verdict.formatting import effect
from tests.study.planted import ARMS, family_arms, planted_study, valley, without_skips
from tests.study.report.test_page import Page


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """With skips, without, and on other data at one of the budgets."""
    root = tmp_path_factory.mktemp("studies")
    arms = family_arms((15_000, 60_000), (8, 14, 20))
    options = {"seeds": 3, "images": 400}
    return [
        planted_study(root / "skips", valley(), arms=arms, **options),
        planted_study(root / "plain", valley(8, base=0.14), arms=without_skips(arms), **options),
        planted_study(root / "other", valley(20), arms=arms[:3], name="glyphs", train_size=500, **options),
    ]


def test_one_page_of_three_studies(studies, tmp_path):
    page = write_joined(studies, tmp_path / "joined")
    assert page == tmp_path / "joined" / "joined.html"
    content = page.read_text()
    checked = Page(content)
    assert checked.open == []
    assert all(target.startswith("#") for target in checked.loads)
    assert len(checked.ids) == len(set(checked.ids))
    assert checked.tags.count("svg") == 2
    for content in (page.read_text(), page.with_suffix(".md").read_text()):
        for result in studies:
            findings = analyse(result)
            assert findings.sentence in content
            for contrast in findings.contrasts:
                assert effect(contrast.population) in content
                assert effect(contrast.fixed) in content
        for part in (
            "1: digits, train size all, skip on",
            "2: digits, train size all, skip off",
            "3: glyphs, train size 500, skip on",
            "5 contrasts of 3 studies",
        ):
            assert part in content


def test_reports_are_named_as_seen_from_the_page(studies, tmp_path):
    write_joined(studies, tmp_path)
    record = json.loads((tmp_path / "joined.json").read_text())
    for study, result in zip(record["studies"], studies, strict=True):
        assert os.path.normpath(tmp_path / study["report"]) == str(result.directory / "report.html")
    assert record["format"] == "jaxcnn joined studies 2"
    assert [len(study["contrasts"]) for study in record["studies"]] == [2, 2, 1]
    assert record["differences"]["data: train size"] == ["all", "all", "500"]


def test_the_same_bytes_every_time(studies, tmp_path):
    def files(folder):
        write_joined(studies, folder)
        return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}

    first = files(tmp_path / "a")
    assert len(first) == 7
    assert files(tmp_path / "b") == first


def test_what_differs_and_nothing_else(studies):
    assert dict(differences(studies[:2])) == {"model: skip": ("on", "off")}
    assert names(studies[:2]) == ["1: digits, skip on", "2: digits, skip off"]
    assert names([studies[0], studies[2]])[1] == "2: glyphs, train size 500, 15,000 parameters"
    assert [name for name, _ in differences([studies[0], studies[2]])] == [
        "data: name", "data: train size", "train images", "budgets",
    ]  # fmt: skip
    assert differences([studies[0], studies[0]]) == []


def test_equal_plans_may_be_joined_and_say_so(tmp_path):
    errors = {8: (0.03, 0.025), 20: (0.015, 0.0125)}
    results = [planted_study(tmp_path / name, errors, arms=ARMS, images=400) for name in "ab"]
    assert "The plans are equal" in write_joined(results, tmp_path / "joined").read_text()


def test_a_panel_a_budget_with_lines_told_apart_without_colour(studies, tmp_path):
    members = [Member(str(number), each, analyse(each), "") for number, each in enumerate(studies)]
    figure = error_overlay(members, studies[0].plan.budgets)
    drawn = [[line for line in axes.lines if len(line.get_xdata()) == 3] for axes in figure.axes]
    assert [len(lines) for lines in drawn] == [3, 2]
    assert len({(line.get_marker(), str(line.get_linestyle())) for line in drawn[0]}) == 3


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_are_refused(studies, tmp_path, count):
    with pytest.raises(InputError, match="two or more"):
        write_joined(studies[:count], tmp_path / "joined")
    assert not (tmp_path / "joined").exists()


def test_the_same_study_twice_is_refused(studies, tmp_path):
    with pytest.raises(InputError, match="more than once"):
        write_joined([studies[0], studies[1], studies[0]], tmp_path)


def test_one_seed_joins_and_jax_is_not_imported(studies, tmp_path):
    planted_study(tmp_path / "one", {8: (0.1,), 20: (0.2,)}, costs=False)
    code = (
        "import sys; from jaxcnn.study import load_study, write_joined;"
        "write_joined([load_study(each) for each in sys.argv[2:]], sys.argv[1]);"
        "assert not {'jax', 'flax', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    folders = [str(tmp_path / "joined"), str(tmp_path / "one"), str(studies[0].directory)]
    subprocess.run([sys.executable, "-W", "error", "-c", code, *folders], check=True)
    assert "no interval" in (tmp_path / "joined" / "joined.html").read_text()
