"""Walks one page of the pool in a browser, on a server with an hour of shares, blocks and payouts, to which more come every second.

usage: pool_pages.py WALK URL PASSWORD MINER STRATUM_PORT AXE SCREENSHOTS   (started by the tests in console.rs, which run the server; PASSWORD is that of
the admin ann, MINER has payouts of which each has a signed window, and no miner is connected)
"""
import os, re, sys

from playwright.sync_api import expect, sync_playwright

import browser as walks
import miner_page
from browser import PATIENCE_S, Watch, known, note
from explore_page import run_until, walk_cancel, walk_explore, walk_live
from operate_page import stream_cells, walk_accounts, walk_orders, walk_streams
from pool_server import Pool, Tab, sign_in

WORK = "SELECT date_trunc('minute', event_time) AS minute, worker, outcome,\n       count(*) AS shares, sum(difficulty) AS hashes\nFROM shares GROUP BY 1, 2, 3 ORDER BY 1 DESC"


def walk_pool(tab):
    """What anybody sees."""
    tab.open("/")
    page, pool = tab.page, tab.pool
    assert page.url == pool.base + "/pool", page.url
    # With a keyboard the first stop leads past the menu.
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for name in ("f-hashrate", "f-miners", "f-effort", "f-last", "f-network", "f-found"):
        known(page, name)
    expect(page.locator("#chart-area svg polyline").first).to_be_attached()
    expect(page.locator("#blocks tbody tr").first).to_contain_text("ago")
    tab.wait_for_change("#f-found")
    line = page.locator("#lines code").first
    page.fill("#own-address", "4Visitor")
    expect(line).to_contain_text(f"-o 127.0.0.1:{pool.stratum} -u 4Visitor.rig-1")
    expect(line).to_contain_text("--tls-fingerprint=")
    page.check("#own-solo")
    expect(line).to_contain_text("-u solo:4Visitor.rig-1")
    expect(page.locator("#lines")).to_contain_text("You mine solo")
    page.uncheck("#own-solo")
    expect(line).to_contain_text("-u 4Visitor.rig-1")


def walk_miner(tab):
    miner_page.walk_miner(tab.page, tab.pool.base, tab.pool.miner)
    miner_page.keep_focus(tab.page)


def came(page, name):
    """Waits until a page shows what it is for."""
    if name == "explore":
        expect(page.locator("#tables details").first).to_be_attached()
        page.fill("#sql", WORK)
        run_until(page, lambda: page.click("#run"), lambda: "row" in page.locator("#told").inner_text())
    for figure in {"pool": ("f-hashrate", "f-effort", "f-paid"), "miner": ("f-hashrate", "f-balance"), "operate": ("f-hashrate", "f-queries")}.get(name, ()):
        known(page, figure)
    if name == "operate":
        expect(stream_cells(page, "shares").nth(3)).to_have_text(re.compile(r"^\d"))
    if name in ("pool", "miner"):
        expect(page.locator("#chart-area svg polyline").first).to_be_attached()


def look_at_all(tab):
    """Every page in each theme, and by axe."""
    sign_in(tab)
    pool, context = tab.pool, tab.page.context
    tab.open("/pool")
    storage = context.storage_state()
    context.close()
    pages = [("pool", "/pool"), ("miner", f"/miner/{pool.miner}"), ("explore", "/explore"), ("operate", "/operate"), ("sign-in", "/sign-in")]
    walks.picture(context.browser, pool.base, storage, pool.axe, pool.shots, lambda theme: pages, came)


WALKS = {"pool": walk_pool, "explore": walk_explore, "cancel": walk_cancel, "live": walk_live, "streams": walk_streams, "orders": walk_orders, "accounts": walk_accounts, "miner": walk_miner, "pictures": look_at_all}


def main():
    walk, *rest = sys.argv[1:]
    pool = Pool(*rest)
    os.makedirs(pool.shots, exist_ok=True)
    with sync_playwright() as playwright:
        browser = walks.launch(playwright)
        context = browser.new_context(accept_downloads=True)
        context.set_default_timeout(PATIENCE_S * 1000)
        watch = Watch(context, pool.base)
        WALKS[walk](Tab(pool, context.new_page(), watch))
        note(f"{walk} is walked")
        watch.check()
        browser.close()
    print("console: all is well")


main()
