"""The report in a real browser: nothing on the console, nothing asked of any network or file, all plots drawn."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--remote-debugging-pipe",
)

# Chromium reads its commands from descriptor 3 and answers on 4; over 100 so that neither covers the other
START = """import os, sys
os.dup2(int(sys.argv[1]), 103), os.dup2(int(sys.argv[2]), 104)
os.dup2(103, 3), os.dup2(104, 4)
os.execv(sys.argv[3], sys.argv[3:])"""


class Browser:
    """A headless Chromium spoken to over a pair of pipes; every console message and request is kept."""

    def __init__(self, profile: Path) -> None:
        here_in, there_out = os.pipe()
        there_in, here_out = os.pipe()
        command = [sys.executable, "-c", START, str(there_in), str(there_out), str(CHROMIUM), *FLAGS]
        command += [f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen(
            command, pass_fds=(there_in, there_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(there_in)
        os.close(there_out)
        self._read, self._write = os.fdopen(here_in, "rb"), os.fdopen(here_out, "wb")
        self._id = 0
        self._session = ""
        self.events: list[dict[str, Any]] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        self._id += 1
        message = {"id": self._id, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._write.write(json.dumps(message).encode() + b"\0")
        self._write.flush()
        while True:
            answer = self._next()
            if answer.get("id") == self._id:
                assert "error" not in answer, answer["error"]
                return dict(answer["result"])

    def _next(self) -> dict[str, Any]:
        held = bytearray()
        while (byte := self._read.read(1)) != b"\0":
            assert byte, "the browser is gone"
            held += byte
        message = json.loads(held)
        if "method" in message:
            self.events.append(message)
        return dict(message)

    def evaluate(self, script: str) -> Any:
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        return answer["result"].get("value")

    def open(self, page: Path, *, width: int = 1100, height: int = 900, wait: float = 15.0) -> None:
        self.events.clear()
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.send("Emulation.setDeviceMetricsOverride", **metrics)
        self.send("Page.navigate", url=page.as_uri())
        end = time.monotonic() + wait
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            assert time.monotonic() < end, "the page did not load"
            self.evaluate("1")
        # what a script does later than the load event counts too
        self.evaluate("new Promise(done => setTimeout(done, 400))")

    def complaints(self) -> list[str]:
        """Errors and warnings on the console, uncaught exceptions, blocked content."""
        found = []
        for event in self.events:
            params = event["params"]
            if event["method"] == "Runtime.consoleAPICalled" and params["type"] in {"error", "warning", "assert"}:
                found.append(str([argument.get("value") for argument in params["args"]]))
            elif event["method"] == "Runtime.exceptionThrown":
                found.append(str(params["exceptionDetails"]))
            elif event["method"] == "Log.entryAdded" and params["entry"]["level"] in {"error", "warning"}:
                found.append(params["entry"]["text"])
        return found

    def requests(self, page: Path) -> list[str]:
        """Everything asked for besides the page itself and what stands inside it."""
        urls = [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return [url for url in urls if url != page.as_uri() and not url.startswith(("data:", "blob:"))]

    def screenshot(self, target: Path, *, whole: bool = True) -> Path:
        picture = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        target.write_bytes(base64.b64decode(picture["data"]))
        return target

    def pdf(self, target: Path) -> Path:
        printed = self.send("Page.printToPDF", preferCSSPageSize=True, printBackground=False)
        target.write_bytes(base64.b64decode(printed["data"]))
        return target

    def close(self) -> None:
        self._session = ""
        try:
            self.send("Browser.close")
        except (AssertionError, OSError):
            self.process.terminate()
        self.process.wait(timeout=10)
        self._read.close()
        self._write.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


def test_the_watch_sees_a_console_error(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text("<script>console.error('broken')</script>")
    browser.open(page)
    assert "broken" in browser.complaints()[0]


def test_the_watch_sees_an_exception(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text("<script>setTimeout(() => missing(), 50)</script>")
    browser.open(page)
    assert "missing is not defined" in browser.complaints()[0]


@pytest.mark.parametrize("url", ["other.js", "https://cdn.example.org/a.js"])
def test_the_watch_sees_a_request(browser: Browser, tmp_path: Path, url: str) -> None:
    (tmp_path / "other.js").write_text("1")
    page = tmp_path / "bad.html"
    page.write_text(f"<script src='{url}'></script>")
    browser.open(page)
    assert [asked.endswith(url) for asked in browser.requests(page)] == [True]


def test_the_report_opens_silently_and_asks_for_nothing(browser: Browser, built: Any) -> None:
    case, _ = built
    page = case.run.path / "report.html"
    browser.open(page)
    assert browser.complaints() == []
    assert browser.requests(page) == []
    assert browser.evaluate("document.querySelectorAll('.plotly-plot').length") == 3
    assert browser.evaluate("document.querySelectorAll('.plotly-plot .main-svg .trace').length") > 20
    buttons = browser.evaluate("[...document.querySelectorAll('.modebar-btn')].map(b => b.dataset.title).join('|')")
    assert "Zoom in" in buttons
    assert "Share" not in buttons, "plotly's own button to upload a plot must not be there"
    broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    assert browser.evaluate("document.images.length") > 10
    assert browser.evaluate(broken) == 0


@pytest.mark.parametrize("width", [390, 794, 1400])
def test_the_page_fits_phone_paper_and_screen(browser: Browser, built: Any, width: int) -> None:
    case, _ = built
    browser.open(case.run.path / "report.html", width=width)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width


def test_it_prints_still_figures_only(browser: Browser, built: Any, tmp_path: Path) -> None:
    case, _ = built
    browser.open(case.run.path / "report.html")
    browser.send("Emulation.setEmulatedMedia", media="print")
    hidden = "[...document.querySelectorAll('.interactive')].every(f => getComputedStyle(f).display === 'none')"
    assert browser.evaluate(hidden)
    metrics = {"width": 688, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    browser.send("Emulation.setDeviceMetricsOverride", **metrics)
    assert browser.evaluate("document.documentElement.scrollWidth") <= 688, "nothing is cut at the edge of A4"
    browser.send("Emulation.setEmulatedMedia", media="")
    assert browser.pdf(tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
