"""`jaxcnn demo`: a page on this machine that uses a trained run."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


def demo(
    run: Annotated[Positional[Path], arg(metavar="RUN")],
    port: int = 8000,
    checkpoint: Literal["last", "best"] = "last",
) -> None:
    """Serve a page on 127.0.0.1 that shows what a run says of a picture, the camera's view, or a drawing.

    Args:
        run: Folder of the run.
        port: Port of the page. 0: a free one.
        checkpoint: last, or best (lowest validation loss).
    """
    from jaxcnn.run.browser.answer import load_answer
    from jaxcnn.run.browser.page import make_page
    from jaxcnn.run.browser.server import ADDRESS, make_server

    page, answer = make_page(run, network=False), load_answer(run, checkpoint=checkpoint)
    with make_server(page, answer, port) as server, suppress(KeyboardInterrupt):
        print(f"http://{ADDRESS}:{server.server_port}/ (Ctrl-C ends it)", flush=True)
        server.serve_forever()
