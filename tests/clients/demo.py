"""The demo that walks look at: started, killed and ended, and what the walks share.

Arguments of each walk: HEADFRAME LISTEN_PORT STRATUM_PORT SITE_PORT AXE SCREENSHOTS (started by the tests in console.rs, in a folder of its own).
"""
import json, os, pathlib, re, signal, subprocess, sys, time, urllib.request

from playwright.sync_api import expect

from browser import PATIENCE_S, Watch, note, read_json, until
from pool_server import Pool, Tab, refuse_sign_in

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
        until(lambda: read_json(BASE + "/api/v1/blocks?limit=3")["blocks"], "no block")
        until(lambda: read_json(f"{BASE}/api/v1/miners/{miner}/payouts")["payouts"], "no payout")
        note("a block and a payout are there")
    except BaseException:
        demo.end()
        raise
    return demo, token, miner


def open_tab(context, miner):
    """A first page of a browser that looks at the demo."""
    context.set_default_timeout(PATIENCE_S * 1000)
    watch = Watch(context, BASE)
    return Tab(Pool(BASE, PASSWORD, miner, stratum, axe, shots), context.new_page(), watch)


def become_admin(tab, token):
    """By the token that the first start prints. Nobody who has no account is let in."""
    refuse_sign_in(tab, "nobody")
    page = tab.page
    page.click("#first summary")
    page.fill("#token", token)
    page.fill("#new-name", "ann")
    page.fill("#new-password", PASSWORD)
    page.click("#setup button")
    page.wait_for_url(BASE + "/operate")
    expect(page.locator("#account")).to_contain_text("ann")
