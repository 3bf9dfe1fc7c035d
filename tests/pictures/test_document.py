import pytest

from jaxcnn.pictures.document import (
    Bullets,
    Checks,
    Code,
    Contents,
    Facts,
    Figure,
    Heading,
    Paragraph,
    Table,
    to_html,
    to_markdown,
)

SVG = (
    '<?xml version="1.0"?>\n<svg width="1"><defs><path id="a"/></defs><use xlink:href="#a" clip-path="url(#a)"/></svg>'
)


def test_blocks_in_both_forms():
    blocks = [
        Paragraph("a *b*", lead=True),
        Table(("x", "y"), [("1|2", "3")], "Named"),
        Facts([("k", "v")]),
        Bullets(["one", "two"]),
        Checks([("✓ yes", "asks", "evidence")]),
        Code("run ```"),
    ]
    markdown, page = to_markdown("T", blocks), to_html("T", blocks)
    for part in (r"**a \*b\***", r"| 1\|2 | 3 |", "**Named**", "- one\n- two", "1. **✓ yes** asks: evidence"):
        assert part in markdown
    assert "````\nrun ```\n````" in markdown
    for part in ('<p class="lead">a *b*</p>', "<caption>Named</caption>", "<li>two</li>", '<th scope="row">1|2</th>'):
        assert part in page


def test_only_long_cells_break_into_lines():
    page = to_html("T", [Table(("x", "y"), [("short", "w " * 20)])])
    assert '<th scope="row">short</th><td class="long">w w' in page


def test_contents_link_the_sections_and_only_those():
    page = to_html("T", [Contents(), Heading("A & B"), Heading("part", 3), Heading("C")])
    assert '<a href="#part1">A &amp; B</a>\n<a href="#part3">C</a>' in page
    assert '<h2 id="part1">A &amp; B</h2>' in page
    assert '<h3 id="part2">part</h3>' in page
    assert "#part2" not in page
    assert to_markdown("T", [Contents(), Heading("A")]) == "# T\n\n## A\n"


def test_figures_keep_their_ids_apart_and_stand_side_by_side():
    figures = [Figure(f"figures/{name}.svg", SVG, f"Caption {name}.") for name in "xy"]
    page = to_html("T", figures)
    assert page.count('<div class="figures">') == 1
    for number in range(2):
        for part in ('id="f{}-a"', 'href="#f{}-a"', "url(#f{}-a)"):
            assert part.format(number) in page
    assert '<div class="figures">' not in to_html("T", [figures[0], Paragraph("between"), figures[1]])
    assert 'aria-label="Caption x."' in page
    assert "![Caption x.](figures/x.svg)" in to_markdown("T", figures)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("# no heading", r"\# no heading"),
        ("- no list", r"\- no list"),
        ("12. no list", r"12\. no list"),
        ("_no emphasis_ in fashion_mnist", r"\_no emphasis\_ in fashion_mnist"),
        ("<b> [x](y) $1$ ~~z~~", r"\<b\> \[x\](y) \$1\$ \~\~z\~\~"),
        ("-0.20 and +1.5", "-0.20 and +1.5"),
        ("two\nlines", "two lines"),
        ("---", r"\---"),
    ],
)
def test_what_means_something_in_markdown_is_escaped(text, shown):
    assert to_markdown("T", [Paragraph(text)]) == f"# T\n\n{shown}\n"
