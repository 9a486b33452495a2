"""Runs that are named in sentences become links, and nothing else does."""

from __future__ import annotations

from runs.domain.ids import new_run_id
from runs.templatetags.run_links import linked


def test_a_run_that_is_named_is_a_link():
    run_id = new_run_id()
    for text in (f"Replaced by run {run_id}, which", f"Run `{run_id}` failed"):
        assert f'<a class="mono" href="/runs/{run_id}/">{run_id}</a>' in linked(text)


def test_other_words_are_not():
    for text in ("run away with me", "run abc", f"option {new_run_id()}"):
        assert "<a" not in linked(text)


def test_markup_in_a_sentence_stays_text():
    assert linked("<b>run</b> `x`") == "&lt;b&gt;run&lt;/b&gt; <code>x</code>"
