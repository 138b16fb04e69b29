"""Pieces of HTML: what is text stays text, and which cells are words."""

from __future__ import annotations

from srdeploy.reporting import html

EVIL = "<b>&\"'"


def test_section() -> None:
    assert html.section("key", EVIL, "<i>body</i>") == (
        '<section id="key"><h2>&lt;b&gt;&amp;&quot;&#x27;</h2><i>body</i></section>'
    )
    assert html.lead("a < b") == '<p class="lead">a &lt; b</p>'
    assert html.lead("") == ""


def test_tables_tell_words_from_figures_and_what_is_empty() -> None:
    drawn = html.table(["a<", "b", "c"], [["<i>1</i>", "–", "3"]], texts=2)
    assert drawn == (
        '<table class="w2"><thead><tr><th scope="col">a&lt;</th><th scope="col">b</th>'
        '<th scope="col">c</th></tr></thead><tbody><tr>'
        '<td data-name="a&lt;" class="word"><i>1</i></td>'
        '<td data-name="b" class="word" data-empty="">–</td><td data-name="c">3</td>'
        "</tr></tbody></table>"
    )
    one = html.table(["a", '"'], [["", ""]])
    assert 'class="w1"' in one
    assert one.count('class="word"') == 1
    assert one.count("data-empty") == 2
    assert 'data-name="&quot;"' in one


def test_legends_have_six_colours() -> None:
    drawn = html.legend([EVIL, *"abcdef"])
    assert [drawn.count(f'"s{n}"') for n in range(7)] == [2, 1, 1, 1, 1, 1, 0]
    assert drawn.startswith('<p class="legend"><span class="key"><i class="s0"></i>&lt;b&gt;&amp;')


def test_figures_leave_out_what_is_not_told() -> None:
    assert html.figure("<svg/>") == '<figure class="card"><svg/></figure>'
    assert html.figure("<svg/>", "a<", "b<") == (
        '<figure class="card"><h3>b&lt;</h3><svg/><figcaption>a&lt;</figcaption></figure>'
    )
    assert html.soft("") == ""
    assert html.soft("a<b") == "<small>a&lt;b</small>"
