"""Kills the demo under pages that are open in a browser, and starts it again; its arguments are those of demo.py."""
import re, time

from playwright.sync_api import expect, sync_playwright

import browser as walks
from browser import PATIENCE_S, known, note
from demo import BASE, become_admin, open_tab, shots, started
from explore_page import open_explore


def survive(page, demo, watch, miner):
    """The server is killed under open pages and started again: each says so and goes on without being loaded again."""
    page.goto(BASE + "/pool")
    pages = {"pool": page}
    for name, path in (("miner", f"/miner/{miner}"), ("operate", "/operate"), ("mine", "/mine")):
        pages[name] = page.context.new_page()
        pages[name].goto(BASE + path)
    pages["explore"] = page.context.new_page()
    open_explore(pages["explore"], BASE, "SELECT count(*) AS shares FROM shares")
    explore, operate, mine = pages["explore"], pages["operate"], pages["mine"]
    explore.click("#live")
    # What changes on each while the demo mines.
    changing = {"pool": "#f-found", "miner": "#f-accepted", "operate": "#f-shares", "explore": "#rows tbody td"}
    for name, place in changing.items():
        expect(pages[name].locator(place).first).to_have_text(re.compile(r"^[^–\s]"))
    expect(mine.locator("#sites tbody")).to_contain_text("12 of 12 active")
    known(mine, "f-power")
    for one in pages.values():
        one.evaluate("window.stays = 'the same page'")
    watch.is_away = True
    demo.kill()
    for one in pages.values():
        expect(one.locator("#lost")).to_be_visible()
        expect(one.locator("#link")).to_have_attribute("data-state", "lost")
    expect(page.locator("#figures-area")).to_have_attribute("data-stale", "")
    expect(page.locator("#figures-area .age, #figures-area + .age, .age").first).to_contain_text("old")
    known(page, "f-hashrate")
    page.screenshot(path=f"{shots}/pool-lost.png")
    expect(explore.locator("#result-area")).to_have_attribute("data-stale", "")
    expect(explore.locator("#result-area .age")).to_contain_text("old")
    expect(explore.locator("#told")).to_contain_text("taken up again by itself")
    before = {name: pages[name].locator(place).first.inner_text() for name, place in changing.items()}
    # Each of these is old after ten seconds without an answer; what is asked for more seldom, later.
    for one in pages.values():
        expect(one.locator("[data-stale]").first).to_be_attached()
    demo.start()
    demo.until_up()
    for one in pages.values():
        one.evaluate("window.old = new Set(document.querySelectorAll('[data-stale]'))")
    for name, one in pages.items():
        expect(one.locator("#lost")).to_be_hidden()
        expect(one.locator("#link")).to_have_attribute("data-state", "live")
        renewed(one, name)
        note(f"{name} goes on")
    watch.is_away = False
    for name, place in changing.items():
        changed = "([place, before]) => document.querySelector(place).innerText !== before"
        pages[name].wait_for_function(changed, arg=[place, before[name]], timeout=PATIENCE_S * 1000)
    # Who was signed in still is, and gives orders.
    operate.fill("#ban-address", "203.0.113.8")
    operate.fill("#ban-reason", "after the restart")
    operate.click("#ban button")
    expect(operate.locator("#bans tbody")).to_contain_text("after the restart")
    for name, one in pages.items():
        assert one.evaluate("window.stays") == "the same page", name
        if one is not page:
            one.close()


def renewed(page, name):
    """Waits until each part of a page that was old has been renewed. On a machine with much to do another may be late meanwhile."""
    renew = "for (const area of window.old) if (!('stale' in area.dataset)) window.old.delete(area)"
    deadline = time.monotonic() + PATIENCE_S
    while old := page.evaluate(f"() => {{ {renew}; return [...window.old].map((area) => area.id || area.className); }}"):
        assert time.monotonic() < deadline, f"{name}: not renewed since the restart: {old}"
        page.wait_for_timeout(200)


def main():
    demo, token, miner = started()
    try:
        with sync_playwright() as playwright:
            browser = walks.launch(playwright)
            tab = open_tab(browser.new_context(), miner)
            become_admin(tab, token)
            tab.watch.check()
            survive(tab.page, demo, tab.watch, miner)
            tab.watch.check()
            browser.close()
    finally:
        demo.end()
    note("ended")
    print("restart: all is well")


main()
