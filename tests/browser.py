"""A real browser under the control of a test: chromium, spoken to through two pipes."""

import base64
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("chromium") or shutil.which("google-chrome")
# WebGL without a graphics card, for Neuroglancer.
_WEBGL = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


class Browser:
    """One page. Calls wait for their answers; RuntimeError if the page or the browser says no."""

    def __init__(self, sent: int, received: int) -> None:
        self._sent, self._received, self._rest = sent, received, b""
        self._numbers = itertools.count(1)
        self._session: str | None = None
        page = self.ask("Target.createTarget", url="about:blank")["targetId"]
        told = self.ask("Target.attachToTarget", targetId=page, flatten=True)
        self._session = told["sessionId"]
        self.ask("Page.enable")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the DevTools protocol."""
        number = next(self._numbers)
        said: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            said["sessionId"] = self._session
        os.write(self._sent, json.dumps(said).encode() + b"\0")
        while True:
            while b"\0" not in self._rest:
                data = os.read(self._received, 1 << 20)
                if not data:
                    raise RuntimeError("the browser has ended")
                self._rest += data
            text, _, self._rest = self._rest.partition(b"\0")
            told = json.loads(text)
            if told.get("id") == number:
                if "error" in told:
                    raise RuntimeError(told["error"]["message"])
                found: dict[str, Any] = told["result"]
                return found

    def open(self, url: str, width: int = 1400, height: int = 950, dark: bool = False) -> None:
        """Another page, light or dark; ``#...`` alone does not make it another."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.ask("Page.navigate", url="about:blank")
        self.ask("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """The value of an expression in the page, awaited if it is a promise."""
        told = self.ask(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in told:
            raise RuntimeError(str(told["exceptionDetails"]))
        return told["result"].get("value")

    def wait(self, condition: str, seconds: float = 30.0) -> float:
        """Until an expression is true; the seconds that took. TimeoutError after ``seconds``."""
        begin = time.monotonic()
        while True:
            try:
                if self.run(f"!!({condition})"):
                    return time.monotonic() - begin
            except RuntimeError:  # between two pages
                pass
            if time.monotonic() - begin > seconds:
                raise TimeoutError(f"{condition}: {self.run('document.body.innerText')}")
            time.sleep(0.02)

    def drag(self, begin: str, end: str, shift: bool = False) -> None:
        """The mouse from the middle of one element to that of another, given by selectors."""
        held = {"button": "left", "clickCount": 1, "modifiers": 8 * shift}
        places = []
        for selector in (begin, end):
            box = f"document.querySelector({selector!r}).getBoundingClientRect()"
            places.append(
                self.run(f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({box})")
            )
        for kind, (x, y) in zip(
            ("mousePressed", "mouseMoved", "mouseReleased"), (*places, places[1]), strict=True
        ):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, **held)

    def press(self, *keys: str, shift: bool = False) -> None:
        """Keys by their DOM names, one after the other."""
        codes = {"Tab": 9, "Enter": 13, "PageUp": 33, "PageDown": 34, "Home": 36}
        codes |= {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
        for key in keys:
            text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
            code = codes.get(key, ord(key[0].upper()))
            for kind in ("keyDown", "keyUp"):
                more = {"text": text} if text and kind == "keyDown" else {}
                self.ask(
                    "Input.dispatchKeyEvent",
                    type=kind,
                    key=key,
                    code=key,
                    windowsVirtualKeyCode=code,
                    modifiers=8 * shift,
                    **more,
                )

    def middle(self) -> str:
        """What is to be seen in the middle of Neuroglancer's first plane, the one across z."""
        place = {"x": 330, "y": 280, "width": 40, "height": 40, "scale": 1}
        data: str = self.ask("Page.captureScreenshot", format="png", clip=place)["data"]
        return data

    def picture(self, file: Path) -> None:
        """A PNG of what is to be seen."""
        data = self.ask("Page.captureScreenshot", format="png")["data"]
        file.write_bytes(base64.b64decode(data))


@contextmanager
def browser(profile: Path, webgl: bool = False) -> Iterator[Browser]:
    """A browser with an empty ``profile``; ended with the context."""
    to_browser, sent = os.pipe()
    received, from_browser = os.pipe()
    # It reads from descriptor 3 and writes to 4.
    place = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
    words = [
        *("bash", "-c", place, "bash", str(PROGRAM), "--headless=new", "--no-sandbox"),
        *("--remote-debugging-pipe", f"--user-data-dir={profile}", "--no-first-run"),
        *(_WEBGL if webgl else ["--disable-gpu"]),
    ]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(
        words, pass_fds=(to_browser, from_browser), stdout=quiet, stderr=quiet
    )
    os.close(to_browser)
    os.close(from_browser)
    try:
        yield Browser(sent, received)
    finally:
        os.close(sent)  # it ends by itself then
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(received)
