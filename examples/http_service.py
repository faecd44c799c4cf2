"""A generator of one's own as a teacher over HTTP, by the standard library and NumPy alone.

python http_service.py, and in another shell: skdcgn query http://127.0.0.1:8000 --out pairs
"""

import io
import json
from wsgiref.simple_server import make_server

import numpy as np

SPEC = {"image_size": 32, "noise_dim": 2, "classes": 3, "digest": "discs, version 1", "paid": False, "formats": ["npz"]}
GRID = np.linspace(-1, 1, SPEC["image_size"])


def draw(mechanism, noise, labels):
    """Noise (B, Z), labels (B,) -> masks (B, 1, H, W) in [0, 1] or pictures (B, 3, H, W) in [-1, 1]."""
    place = 0.3 * np.tanh(noise)[:, :, None, None]
    disc = (GRID[:, None] - place[:, :1]) ** 2 + (GRID - place[:, 1:]) ** 2 < 0.1 * (labels[:, None, None, None] + 1)
    waves = np.sin(labels[:, None, None, None] + 3 * place[:, :1] * GRID + GRID[:, None])
    return disc if mechanism == "shape" else np.repeat(waves, 3, axis=1)


def application(environ, start_response):
    if environ["PATH_INFO"] == "/spec":
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(SPEC).encode()]
    asked = np.load(io.BytesIO(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))), allow_pickle=False)
    answer = io.BytesIO()
    np.savez(answer, images=draw(str(asked["mechanism"]), asked["noise"], asked["labels"]).astype(np.float32))
    start_response("200 OK", [("Content-Type", "application/x-npz")])
    return [answer.getvalue()]


if __name__ == "__main__":
    make_server("127.0.0.1", 8000, application).serve_forever()
