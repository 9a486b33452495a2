"""The files of an application whose every word is an attack on the pages that show it."""

from __future__ import annotations

import json

HOSTILE = (
    "<script>window.attacked=1;alert(1)</script><img src=x onerror=window.attacked=1>"
    "\"'><svg onload=alert(1)>{{7*7}}{% csrf_token %}</textarea></title>"
    '<a href="javascript:alert(1)">x</a>'
)
HOSTILE_FILE = "<img src=x onerror=alert(1)>'\" {{7*7}} #?&.html"
"""As much of it as the name of a file can hold."""

MANIFEST = json.dumps(
    {
        "type": "python",
        "runtime": "ghcr.io/nextmv-io/runtime/python:3.11",
        "files": ["main.py", "words.json"],
        "configuration": {
            "content": {
                "format": "multi-file",
                "multi-file": {
                    "input": {"path": "inputs"},
                    "output": {
                        "solutions": "outputs/solutions",
                        "metrics": "outputs/metrics.json",
                        "statistics": "outputs/statistics.json",
                        "assets": "outputs/assets.json",
                    },
                },
            },
            "options": {
                "strict": False,
                "items": [
                    {
                        "name": "label",
                        "option_type": "string",
                        "default": HOSTILE,
                        "description": HOSTILE,
                        "ui": {"display_name": HOSTILE, "control_type": "select"},
                        "additional_attributes": {"values": [HOSTILE, "harmless"]},
                    },
                    {"name": "code", "option_type": "int", "default": 0},
                ],
            },
        },
    }
)

PROGRAM = """\
import json, pathlib, sys
hostile, name = json.loads(pathlib.Path("words.json").read_text())
for stream in (sys.stderr, sys.stdout):
    print(hostile, "\\x1b[31m" + hostile + "\\x1b]8;;javascript:alert(1)\\x07link\\x1b]8;;\\x07",
          file=stream, flush=True)
solutions = pathlib.Path("outputs/solutions")
solutions.mkdir(parents=True, exist_ok=True)
(solutions / name).write_text(hostile)
(solutions / "page.html").write_text("<script>parent.attacked=1</script>" + hostile)
(solutions / "drawing.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'>"
                                       "<script>alert(1)</script></svg>")
quoted = '"' + hostile.replace('"', '""') + '"'
(solutions / "table.csv").write_text("a,b\\n" + quoted + ",1\\n")
(solutions / "tree.json").write_text(json.dumps({hostile: [hostile, {hostile: 1}]}))
def asset(label, schema, content):
    return {"name": label, "description": hostile, "content_type": "json", "content": content,
            "visual": {"schema": schema, "type": "custom-tab", "label": label}}
feature = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [15, 47]},
           "properties": {"name": hostile, "kind": hostile, hostile: hostile,
                          "style": {"color": hostile}}}
bars = {"type": "bar", "x": [hostile, "b"], "y": [1, 2], "name": hostile, "text": hostile,
        "hovertemplate": hostile, "customdata": ["javascript:alert(1)"]}
chart = {"type": "bar", "data": {"labels": [hostile],
                                 "datasets": [{"label": hostile, "data": [1]}]},
         "options": {"onClick": "alert(1)",
                     "plugins": {"title": {"display": True, "text": hostile}}}}
def write(key, value):
    pathlib.Path(f"outputs/{key}.json").write_text(json.dumps({key: value}))
write("metrics", {"value": 1, hostile: hostile, "number " + hostile: 2})
write("statistics", {"result": {"custom": {hostile: hostile}}})
write("assets", [
    asset(hostile, "geojson", {"type": "FeatureCollection", "features": [feature]}),
    asset("b" + hostile, "plotly", {"data": [bars], "layout": {"title": {"text": hostile}}}),
    asset("c" + hostile, "chartjs", chart),
    asset("d" + hostile, hostile, chart),
    {"name": hostile, "content": hostile, "content_type": hostile, "description": hostile},
])
print(hostile, file=sys.stderr)
sys.exit(int(sys.argv[sys.argv.index("-code") + 1]))
"""
