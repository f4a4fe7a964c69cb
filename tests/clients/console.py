"""Looks at a demo that mines, for what only a real pool, a real miner and a real payer can show; its arguments are those of demo.py. Each page by itself is
walked by pool_pages.py, without a miner."""
from playwright.sync_api import expect, sync_playwright

import browser as walks
from browser import known, note, until
from demo import become_admin, open_tab, started
from operate_page import ban_by_keyboard, hold_and_resume, refuse_miner, why


def walk_pool(tab):
    """The figures come from the miner's shares, and change with them."""
    tab.open("/pool")
    for name in ("f-hashrate", "f-miners", "f-effort", "f-last", "f-network", "f-found"):
        known(tab.page, name)
    expect(tab.page.locator("#lines code").first).to_contain_text("--tls-fingerprint=")
    tab.wait_for_change("#f-hashrate")


def walk_operate(tab):
    """What the pool counts of its miner, and orders to the pool and to the payer."""
    page = tab.page
    tab.open("/operate")
    for name in ("f-hashrate", "f-sessions", "f-shares", "f-template"):
        known(page, name)
    ban_by_keyboard(tab)
    hold_and_resume(tab)
    until(lambda: "It is connected" in why(page, "demo"), "the miner is not said to be connected")
    # One that was given no wallet address arrives and is refused.
    refused_miner = refuse_miner(tab.pool)
    until(lambda: "is refused" in why(page, refused_miner), "nobody knows why a miner is refused")


def main():
    demo, token, miner = started()
    try:
        with sync_playwright() as playwright:
            browser = walks.launch(playwright)
            tab = open_tab(browser.new_context(), miner)
            walks_of = {"pool": walk_pool, "first admin": lambda tab: become_admin(tab, token), "operate": walk_operate}
            for name, walk in walks_of.items():
                walk(tab)
                note(name)
                tab.watch.check()
            browser.close()
    finally:
        demo.end()
    note("ended")
    print("console: all is well")


main()
