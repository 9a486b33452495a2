"""Maps made with Folium from GeoJSON of any shape; the text of an app never enters a template.

Folium renders its elements through Jinja, twice, and writes an inline script. Whatever an app says
(names, properties, styles, coordinates) therefore stays in `MapData`, which the page carries as
JSON; the elements given to Folium hold numbers and names of ours only, so that its script is a
constant apart from bounds and counts, and its hash can stand in the page's policy.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Any

from runs.visuals.geojson import MapData

CLUSTER_ABOVE = 200
"""Points on a map above which they are drawn as clusters."""

CANVAS_ABOVE = 1500
"""Shapes on a map above which they are drawn on a canvas instead of as SVG elements."""


@dataclass(frozen=True)
class MapMarkup:
    """What Folium made of a map: the element that holds it, and the script that draws it."""

    html: str
    script: str


def draw_map(
    data: MapData, *, number: int = 0, tile_url: str = "", tile_attribution: bool = False
) -> MapMarkup:
    """The map made with Folium, as the `number`-th of its page.

    The script needs Leaflet, the cluster plugin and `static/js/frames/map.js`, which hands the
    layers of `MapData` over. `tile_url` is an address as Leaflet wants it; empty is a map without
    tiles. With `tile_attribution` the page's script is asked for the words.
    """
    import folium  # Loaded on first use: it brings numpy and costs memory in an idle console.
    from folium.plugins import MarkerCluster
    from folium.utilities import JsCode

    (south, west), (north, east) = data.bounds
    page = folium.Map(
        location=((south + north) / 2, (west + east) / 2),
        tiles=None,
        control_scale=True,
        prefer_canvas=data.shapes > CANVAS_ABOVE,
        # The cluster plugin refuses a map without one, and without tiles nothing else sets it.
        maxZoom=19,
        zoomSnap=1 if tile_url else 0.25,
        attributionControl=bool(tile_url),
        worldCopyJump=True,
    )
    _name(page, f"m{number}")
    if tile_url:
        check_tile_url(tile_url)
        words: Any = JsCode("runsiteMap.attribution()" if tile_attribution else "''")
        tiles = folium.TileLayer(tile_url, attr=words, control=False)
        _name(tiles, f"m{number}tiles").add_to(page)
    clustered = data.points > CLUSTER_ABOVE
    for position in range(len(data.layers)):
        key = f"m{number}l{position}"
        # The name is a key: the page's script puts the real one, escaped, into the control.
        group = (
            MarkerCluster(  # type: ignore[no-untyped-call]  # Folium leaves it untyped
                name=key,
                icon_create_function=f"runsiteMap.cluster({number}, {position})",
                maxClusterRadius=64,
                showCoverageOnHover=False,
                chunkedLoading=True,
            )
            if clustered
            else folium.FeatureGroup(name=key)
        )
        _name(group, key).add_to(page)
        shapes = folium.GeoJson(
            {"type": "FeatureCollection", "features": []},
            name=f"{key}shapes",
            control=False,
            style=JsCode("runsiteMap.style"),
            pointToLayer=JsCode("runsiteMap.point"),
            on_each_feature=JsCode("runsiteMap.describe"),
        )
        _name(shapes, key)
        shapes.add_child(_features_of_page()(number, position))
        shapes.add_to(group)
    control = folium.LayerControl(collapsed=len(data.layers) > 8)
    _name(control, f"m{number}control").add_to(page)
    page.fit_bounds([[south, west], [north, east]], padding=(28, 28), max_zoom=16)
    figure: Any = page.get_root()  # Any: typed as an element, though a map's root is a figure.
    figure.render()
    return MapMarkup(html=figure.html.render().strip(), script=_dense(figure.script.render()))


def check_tile_url(tile_url: str) -> None:
    """Raises `ValueError` unless `tile_url` is an address of tiles that no template can execute."""
    if not re.match(r"(?:https?://|/)[^\s\"'<>;,]+\Z", tile_url) or re.search(
        r"\{[{%#]|[}%#]\}", tile_url
    ):
        raise ValueError(
            "The tile server must be an address such as https://tiles.example/{z}/{x}/{y}.png."
        )


def _dense(script: str) -> str:
    """`script` without the empty lines that templates leave."""
    return "\n".join(line for line in script.splitlines() if line.strip())


@functools.cache
def _features_of_page() -> Any:  # Any: the class exists only once Folium is loaded.
    from branca.element import MacroElement
    from folium.template import Template

    class FeaturesOfPage(MacroElement):
        """Fills its GeoJson layer from the data of the page instead of from the script."""

        _template = Template(
            "{% macro script(this, kwargs) %}"
            "{{ this._parent.get_name() }}_add(runsiteMap.features({{ this.map }}, {{ this.at }}));"
            "{% endmacro %}"
        )

        def __init__(self, map_number: int, layer: int) -> None:
            super().__init__()  # type: ignore[no-untyped-call]  # branca leaves it untyped
            self._name = "FeaturesOfPage"
            self.map = int(map_number)
            self.at = int(layer)

    return FeaturesOfPage


def _name(element: Any, name: str) -> Any:
    """Gives a Folium element a fixed id, so that the same map has the same script and hash."""
    element._id = name
    return element
