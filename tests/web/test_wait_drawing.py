"""Runs on paper: awaited ones above, nobody on top of anybody else."""

from __future__ import annotations

import itertools

from runs.web.wait_drawing import BOX_HEIGHT, BOX_WIDTH, MOST_IN_ROW, Link, draw, fold


def rows_of(drawing) -> list[list[str]]:
    by_row = itertools.groupby(sorted(drawing.boxes, key=lambda box: (box.y, box.x)), lambda b: b.y)
    return [[box.run_id for box in row] for _, row in by_row]


def test_who_waits_stands_below_all_that_it_waits_for():
    names = dict.fromkeys(["here", "left", "right", "first", "last"], "run")
    links = [
        Link("here", "left"),
        Link("here", "right"),
        Link("right", "left"),
        Link("left", "first"),
        Link("last", "here"),
    ]
    assert rows_of(draw(names, links)) == [["first"], ["left"], ["right"], ["here"], ["last"]]


def test_a_run_stands_as_near_as_it_can_to_those_that_wait_for_it():
    names = dict.fromkeys(["here", "a", "b", "lonely"], "run")
    links = [Link("here", "b"), Link("b", "a"), Link("here", "lonely")]
    assert rows_of(draw(names, links)) == [["a"], ["b", "lonely"], ["here"]]


def test_no_box_lies_on_another_and_all_are_on_the_paper():
    names = {f"run{number}": f"Run {number}" for number in range(30)}
    links = [Link("run0", f"run{number}") for number in range(1, 15)]
    links += [Link(f"run{number}", "run0") for number in range(15, 30)]
    drawing = draw(names, links)
    for one, other in itertools.combinations(drawing.boxes, 2):
        apart_x = abs(one.x - other.x) >= BOX_WIDTH
        assert apart_x or abs(one.y - other.y) >= BOX_HEIGHT
    for box in drawing.boxes:
        assert box.x >= 0 <= box.y
        assert box.x + BOX_WIDTH <= drawing.width
        assert box.y + BOX_HEIGHT <= drawing.height


def test_a_line_leads_from_the_awaited_run_down_to_the_other():
    drawing = draw({"a": "A", "b": "B"}, [Link("b", "a", open=False)])
    above, below = sorted(drawing.boxes, key=lambda box: box.y)
    assert (above.run_id, below.run_id) == ("a", "b")
    [line] = drawing.lines
    assert not line.open
    assert line.path.startswith(f"M{above.x + BOX_WIDTH // 2} {above.y + BOX_HEIGHT}C")
    assert above.y + BOX_HEIGHT < line.head_y < below.y


def test_links_to_runs_that_are_not_shown_are_left_out():
    drawing = draw({"a": "A"}, [Link("a", "gone"), Link("gone", "a")])
    assert (len(drawing.boxes), drawing.lines) == (1, [])


def test_a_circle_ends_all_the_same():
    drawing = draw({"a": "A", "b": "B"}, [Link("a", "b"), Link("b", "a")])
    assert len(drawing.boxes) == 2


def test_a_long_name_is_cut():
    [box] = draw({"a": "x" * 60 + "region 1"}, []).boxes
    assert len(box.name) == 18
    assert box.name.endswith("…region 1")


def test_the_end_of_a_wide_row_becomes_one_box_with_its_lines():
    names = {"head": "Head", **{f"run{number}": "Run" for number in range(60)}, "end": "End"}
    links = [Link(f"run{number}", "head", open=False) for number in range(60)]
    links += [Link("end", f"run{number}") for number in range(30)]
    folded = fold(names, links, first={"run50"})
    [(stack, members)] = folded.stacks.items()
    assert folded.names[stack] == f"{len(members)} more runs"
    assert set(folded.names) | set(members) == {*names, stack}
    assert "run50" not in members
    drawing = draw(folded.names, folded.links)
    assert max(len(row) for row in rows_of(drawing)) == MOST_IN_ROW
    assert Link(stack, "head", open=False) in folded.links
    assert Link("end", stack) in folded.links
    assert len(folded.links) == len(set(folded.links))


def test_a_narrow_drawing_is_not_folded():
    names = dict.fromkeys([f"run{number}" for number in range(MOST_IN_ROW)], "run")
    assert fold(names, []).stacks == {}
