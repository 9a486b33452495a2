"""Writes what the tests of the published client ask for."""

import json
import os
import pathlib
import sys
import time


def option(name, default):
    """The value of `-name value`, else the default."""
    found = f"-{name}" in sys.argv
    return sys.argv[sys.argv.index(f"-{name}") + 1] if found else default


def say(line):
    """One line of the log."""
    print(line, file=sys.stderr, flush=True)


mode = option("mode", "echo")
text = sys.stdin.read()
say(f"begin {mode}")
time.sleep(float(option("sleep", "0")))  # what the app is asked for
for number in range(int(option("lines", "0"))):
    say(f"line {number}")
    time.sleep(0.02)  # so that who follows the log sees it grow
say("end")

try:
    given = json.loads(text)
except ValueError:
    given = text
secret_file = pathlib.Path("keys/probe.txt")
answer = {
    "solution": {
        "given": given if len(text) < 10_000 else len(text),
        "arguments": sys.argv[1:],
        "secret": os.environ.get("PROBE_SECRET", ""),
        "file": secret_file.read_text() if secret_file.is_file() else "",
    },
    "metrics": {"size": len(text), "nested": {"half": len(text) / 2}, "name": mode},
}
figure = {"data": [{"type": "bar", "y": [3, 1, 2]}], "layout": {}}
place = {"type": "Feature", "properties": {}, "geometry": {"type": "Point", "coordinates": [8, 47]}}
if mode == "assets":
    answer["assets"] = [
        {
            "name": "bars",
            "content_type": "json",
            "content": [figure],
            "visual": {"schema": "plotly", "type": "custom-tab", "label": "Bars"},
        },
        {
            "name": "map",
            "content_type": "json",
            "content": {"type": "FeatureCollection", "features": [place]},
            "visual": {"schema": "geojson", "type": "custom-tab", "label": "Map"},
        },
        {"name": "table", "content_type": "json", "content": {"rows": [1, 2]}},
        {
            "name": "odd",
            "content_type": "json",
            "content": {"a": 1},
            "visual": {"schema": "hologram", "type": "custom-tab", "label": "Odd"},
        },
    ]
elif mode == "statistics":
    answer["statistics"] = {"schema": "v1", "result": {"value": 7.5, "custom": {"status": "best"}}}
elif mode == "big":
    answer["solution"]["padding"] = "x" * 6_000_000

if mode == "list":
    print(json.dumps([1, 2, 3]))
elif mode == "garbage":
    print("no JSON { at all")
elif mode == "nan":
    print('{"solution": {"value": NaN}, "metrics": {"best": Infinity, "cost": 2.5}}')
elif mode == "fail":
    print(json.dumps(answer))
    sys.exit("the plan cannot be made")
elif mode != "nothing":
    print(json.dumps(answer))
