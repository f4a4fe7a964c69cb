"""Opens the link that a first start prints, and becomes the first admin. Its token is in no address and no header of a request.

usage: first_admin.py LINK"""
import sys

from browser import PATIENCE_S, expect, launch
from playwright.sync_api import sync_playwright

link = sys.argv[1]
base, token = link.split("/sign-in#")
carried, leaked = [], []


def look(request):
    if token in (request.post_data or ""):
        carried.append(request.url)
    if token in request.url or any(token in value for value in request.headers.values()):
        leaked.append(request.url)


with sync_playwright() as playwright:
    browser = launch(playwright)
    page = browser.new_page()
    page.set_default_timeout(PATIENCE_S * 1000)
    page.on("request", look)
    # The page is open already, and the link is pasted into its address.
    page.goto(base + "/sign-in")
    page.goto(link)
    expect(page.locator("#token")).to_have_value(token)
    expect(page.locator("#new-name")).to_be_focused()
    assert page.url == base + "/sign-in", page.url
    # The link alone does the same.
    page.goto("about:blank")
    page.goto(link)
    expect(page.locator("#token")).to_have_value(token)
    assert page.url == base + "/sign-in", page.url
    page.fill("#new-name", "ann")
    page.fill("#new-password", "a sentence of words")
    page.get_by_role("button", name="Make the first admin").click()
    page.wait_for_url(base + "/pool")
    assert page.evaluate("fetch('/api/v1/me').then((answer) => answer.json())")["role"] == "admin"
    assert token not in page.evaluate("document.referrer + JSON.stringify(localStorage) + JSON.stringify(sessionStorage)")
    assert leaked == [], leaked
    assert carried == [base + "/api/v1/setup"], carried
    browser.close()
