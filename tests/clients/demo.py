"""The demo that walks look at: started, killed and ended, and what the walks share.

Arguments of each walk: HEADFRAME LISTEN_PORT STRATUM_PORT SITE_PORT AXE SCREENSHOTS (started by the tests in console.rs, in a folder of its own).
"""
import json, os, pathlib, re, signal, subprocess, sys, time, urllib.request

from playwright.sync_api import expect

from browser import PATIENCE_S, known, note, until

program, listen, stratum, site, axe, shots = sys.argv[1:]
BASE = f"http://127.0.0.1:{listen}"
PASSWORD = "a long enough password"


class Demo:
    """The program with everything under it."""

    def __init__(self):
        self.said = open("demo.txt", "ab")
        self.start()

    def start(self):
        command = [program, "demo", "--data", "demo", "--listen", f"127.0.0.1:{listen}", "--stratum", f"127.0.0.1:{stratum}", "--site", f"127.0.0.1:{site}", "--difficulty", "4"]
        self.process = subprocess.Popen(command, stdout=self.said, stderr=open("demo.log", "ab"))

    def until_up(self):
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                with urllib.request.urlopen(f"{BASE}/api/v1/pool/terms", timeout=5) as answer:
                    return json.load(answer)
            except OSError:
                assert self.process.poll() is None and time.monotonic() < deadline, tail("demo.txt") + tail("demo.log")
                time.sleep(0.2)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        self.process.send_signal(signal.SIGINT)
        try:
            # One that is killed leaves what it started behind.
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill()


def tail(name):
    return pathlib.Path(name).read_text(errors="replace")[-3000:]


def said(pattern):
    return until(lambda: re.search(pattern, tail("demo.txt")), lambda: tail("demo.txt"))


def ask(path):
    with urllib.request.urlopen(BASE + path, timeout=60) as answer:
        return json.load(answer)


def started():
    """A demo of which there is something to see: itself, the word that makes the first admin, and its miner."""
    os.makedirs(shots, exist_ok=True)
    demo = Demo()
    try:
        demo.until_up()
        note("the demo is up")
        token = said(r"hf_setup_\w+")[0]
        miner = said(rf"{BASE}/miner/(\w+)")[1]
        assert f"{BASE}/\n" in pathlib.Path("demo.txt").read_text(), "the demo names no page"
        until(lambda: ask("/api/v1/blocks?limit=3")["blocks"], "no block")
        until(lambda: ask(f"/api/v1/miners/{miner}/payouts")["payouts"], "no payout")
        note("a block and a payout are there")
    except BaseException:
        demo.end()
        raise
    return demo, token, miner


def become_admin(page, token, watch):
    watch.allow(401)
    page.goto(BASE + "/sign-in?to=/operate")
    page.fill("#name", "nobody")
    page.fill("#password", "not the password")
    page.click("#login button")
    expect(page.locator("#refusal")).to_be_visible()
    page.click("#first summary")
    page.fill("#token", token)
    page.fill("#new-name", "ann")
    page.fill("#new-password", PASSWORD)
    page.click("#setup button")
    page.wait_for_url(BASE + "/operate")
    expect(page.locator("#account")).to_contain_text("ann")


def open_explore(page, statement):
    """The page with a statement in its editor. Its script is there when the tables are."""
    page.goto(BASE + "/explore")
    expect(page.locator("#tables details").first).to_be_attached()
    page.fill("#sql", statement)


def stream_cells(page, stream):
    """The cells of a stream: name, state, rate, acknowledged, lag, newest row, version, commit."""
    name = page.locator("td:first-child", has_text=re.compile(f"^{stream}$"))
    return page.locator("#streams tbody tr", has=name).locator("td")


def came(page, name):
    """Waits until a page shows what it is for."""
    if name == "explore":
        expect(page.locator("#tables details").first).to_be_attached()
        page.fill("#sql", "SELECT date_trunc('minute', event_time) AS minute, worker, outcome,\n       count(*) AS shares, sum(difficulty) AS hashes\nFROM shares GROUP BY 1, 2, 3 ORDER BY 1 DESC")
        page.click("#run")
        expect(page.locator("#told")).to_contain_text("row")
    for figure in {"pool": ("f-hashrate", "f-effort", "f-paid"), "miner": ("f-hashrate", "f-balance"), "operate": ("f-sessions", "f-shares")}.get(name, ()):
        known(page, figure)
    if name == "operate":
        expect(stream_cells(page, "shares").nth(3)).to_have_text(re.compile(r"^\d"))
    if name in ("pool", "miner"):
        expect(page.locator("#chart-area svg polyline").first).to_be_attached()
    if name == "mine":
        expect(page.locator("#sites tbody")).to_contain_text("12 of 12 active")
        known(page, "f-power")
