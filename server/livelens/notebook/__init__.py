"""The network in a notebook's output cell, drawn by pythreejs: `view.scene()`; needs `livelens[notebook]`.

`layout.py` and `colours.py` say where everything lies and how it looks, as in the page; `sheet.py` puts the two
together for one token; `network.py` makes pythreejs objects of that, `still.py` a picture; `scene.py` is the widget.
"""

from importlib import import_module

try:
    for needed in ("ipywidgets", "pythreejs"):
        import_module(needed)
except ImportError as error:
    raise ImportError(
        'view.scene() needs ipywidgets and pythreejs: pip install "livelens[notebook]", then restart the kernel'
    ) from error
