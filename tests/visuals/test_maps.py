"""Maps made with Folium: what is in the script, and what can never get there."""

from __future__ import annotations

import re

import pytest

from runs.visuals.geojson import read_map
from runs.visuals.maps import CLUSTER_ABOVE, check_tile_url, draw_map

HOSTILE = "{{7*7}}{% raw %}{#</script><img src=x onerror=alert(1)>'\"`${1}\u2028"


def collection(count: int, **properties: object) -> dict[str, object]:
    return {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "id": HOSTILE,
                "geometry": {"type": "Point", "coordinates": [15 + number / 1000, 47]},
                "properties": {"kind": f"k{number % 2}"} | properties,
            }
            for number in range(count)
        ],
    }


def test_folium_makes_a_map_with_layers_control_scale_and_bounds() -> None:
    markup = draw_map(read_map(collection(4)))
    assert 'class="folium-map"' in markup.html
    assert markup.script.count("L.featureGroup(") == 2
    assert markup.script.count("L.geoJson(") == 2
    assert "L.control.layers(" in markup.script
    assert "L.control.scale()" in markup.script
    assert re.search(r"fitBounds\(\s*\[\[47\.0, 15\.0\], \[47\.0, 15\.003\]\]", markup.script)
    assert '"padding": [28, 28]' in markup.script


def test_nothing_an_app_says_reaches_the_script() -> None:
    hostile = collection(
        4,
        kind=HOSTILE,
        name=HOSTILE,
        metadata=[{"key": HOSTILE, "value": HOSTILE}],
        style={"color": HOSTILE, "dashArray": HOSTILE},
        **{HOSTILE: HOSTILE},
    )
    plain = collection(4, kind="a")
    hostile_markup, plain_markup = draw_map(read_map(hostile)), draw_map(read_map(plain))
    assert hostile_markup == plain_markup
    assert "49" not in hostile_markup.script


def test_the_same_map_has_the_same_script() -> None:
    assert draw_map(read_map(collection(3))) == draw_map(read_map(collection(3)))


def test_maps_of_one_page_have_different_names() -> None:
    data = read_map(collection(1))
    assert "map_m0" in draw_map(data, number=0).script
    assert "map_m0" not in draw_map(data, number=1).script


def test_many_points_are_clustered_and_few_are_not() -> None:
    assert "markerClusterGroup" in draw_map(read_map(collection(CLUSTER_ABOVE + 1))).script
    assert "markerClusterGroup" not in draw_map(read_map(collection(CLUSTER_ABOVE))).script


def test_no_address_is_in_a_map_without_tiles() -> None:
    markup = draw_map(read_map(collection(2)))
    assert "http" not in markup.script + markup.html
    assert "tileLayer" not in markup.script


def test_tiles_are_those_of_the_setting() -> None:
    url = "https://{s}.tiles.example/{z}/{x}/{y}.png"
    script = draw_map(read_map(collection(2)), tile_url=url, tile_attribution=True).script
    assert f'L.tileLayer(\n                "{url}"' in script
    assert "runsiteMap.attribution()" in script


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "https://x/{{7*7}}",
        "https://x/{%raw%}",
        "https://x/ y",
        "https://x;script-src *",
        'https://x/"',
        "tiles",
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="tile server"):
        check_tile_url(url)
