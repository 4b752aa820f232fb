"""The page in a real browser, where one is installed: look, pick a box by hand, preview it."""

import pytest

from tests.browser import PROGRAM, browser
from tests.look.serving import looked
from tests.runs import VESSELS, stack

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed")

SIDES = "[...document.querySelectorAll('#box input')].map((i) => Number(i.value))"


def test_look_pick_a_box_and_preview_it(tmp_path):
    folder = tmp_path / "<img src=x onerror=alert(1)>"
    stack(folder / "slices")
    with (
        looked([tmp_path], {"classifier": str(VESSELS.classifier)}) as server,
        browser(tmp_path / "profile") as page,
    ):
        page.open(server.url, width=390, height=1600)
        page.wait("document.querySelector('#fields button')")
        page.run("document.querySelector('#fields button').click()")  # pick the volume
        for text in (tmp_path.name, folder.name, "slices/", "37 TIFF files"):
            buttons = "[...document.querySelectorAll('#picker-list button')]"
            button = f"{buttons}.find((b) => b.textContent.includes({text!r}))"
            page.wait(button)
            page.run(f"{button}.click()")
        page.run("document.getElementById('look').click()")
        page.wait("!document.getElementById('preview').hidden", 60)
        assert page.run("document.querySelector('#fit').textContent").startswith("✓ no warnings")
        assert not page.run("document.querySelector('img[src=x]')")
        before = page.run(SIDES)
        page.run("document.querySelector('rect.box').focus()")
        page.press("ArrowUp", "ArrowLeft")
        moved = page.run(SIDES)
        assert moved == [*before[:2], *(max(0, n - 1) if before[2] else n for n in before[2:4]),
                         *(max(0, n - 1) if before[4] else n for n in before[4:])]  # fmt: skip
        where = page.run(
            "(() => { const r = document.querySelector('.plane').getBoundingClientRect();"
            " return [r.left, r.top, r.width, r.height] })()"
        )
        point = lambda x, y: {"x": where[0] + x * where[2], "y": where[1] + y * where[3]}  # noqa: E731
        left = {"button": "left", "buttons": 1, "clickCount": 1}
        page.run("document.querySelector('rect.box').style.pointerEvents = 'none'")
        page.ask("Input.dispatchMouseEvent", type="mousePressed", **point(0.2, 0.3), **left)
        page.ask("Input.dispatchMouseEvent", type="mouseMoved", **point(0.6, 0.7), **left)
        page.ask("Input.dispatchMouseEvent", type="mouseReleased", **point(0.6, 0.7), **left)
        z0, z1, *drawn = page.run(SIDES)
        expected = [
            n * part for n, part in zip((45, 45, 53, 53), (0.3, 0.7, 0.2, 0.6), strict=True)
        ]
        assert all(abs(a - b) <= 1.5 for a, b in zip(drawn, expected, strict=True))
        page.run("document.getElementById('compute').click()")
        page.wait("!document.getElementById('result').hidden", 120)
        y0, y1, x0, x1 = drawn
        labels = VESSELS.labels()[z0:z1, y0:y1, x0:x1]
        shares = page.run("document.getElementById('shares').textContent")
        assert f"{100 * (labels == 1).mean():.1f} %" in shares
        assert page.run("document.documentElement.scrollWidth") <= 390
        command = page.run("document.querySelector('.command').textContent")
        assert command.startswith("tbseg run ")
        assert str(VESSELS.classifier) in command
