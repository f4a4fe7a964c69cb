"""Walks one page of a mine in a browser: registers a mine, sends what its meters measured, and looks at what the page makes of it.

usage: mine_pages.py WALK URL PASSWORD AXE SCREENSHOTS   (started by the tests in console.rs, which run the server; PASSWORD is that of the admin ann, and what
the pool POOL was found to hash is there)
"""
import os, re, struct, sys, time, zlib

from playwright.sync_api import expect, sync_playwright

import browser as walks
import open_pages
from browser import PATIENCE_S, Watch, note, until
from mine_server import GAP_S, KNOWN, POOL, Mine
from registry_pages import walk_registry
from violation_pages import acknowledge, find_violations, walk_violations


def walk_energy(mine):
    mine.begin()
    page = mine.page
    # The page looks again after half a minute; what it is to show is waited for without it.
    until(lambda: is_computed(mine), "the energy of a day is not computed")
    page.goto(f"{mine.base}/energy?id=north")
    expect(page.locator("#f-power")).to_contain_text(re.compile(r"^1\.2[12]"))
    for name in ("f-demand", "f-today"):
        expect(page.locator(f"#{name}")).to_have_text(KNOWN)
    # Eight hours ago nothing was measured for two: the line has a gap.
    expect(page.locator("#power-area svg polyline[stroke='#C25A12']")).to_have_count(2)
    expect(page.locator("#power-area svg text", has_text="limit 1.5")).to_be_attached()
    for bars in ("#hours-area", "#days-area"):
        expect(page.locator(f"{bars} svg rect[fill='#C25A12']").first).to_be_attached()
    expect(page.locator("#allocations tbody tr")).to_contain_text("north-2026")
    expect(page.locator("#allocations .gauge[data-state=warn]").first).to_be_visible()
    page.click("#hours-area summary")
    expect(page.locator("#hours-area tbody")).to_contain_text("kWh")
    page.select_option("#of", "pool")
    expect(page.locator("#title")).to_have_text(f"Energy of {POOL}")
    expect(page.locator("#f-power")).to_contain_text(re.compile(r"^87\d"))
    expect(page.locator("#allocations .gauge[data-state=bad]").first).to_be_visible()
    expect(page.locator("#f-efficiency")).to_contain_text("J/TH")
    assert "of=pool" in page.url, page.url


def is_computed(mine):
    """Whether the tables hold all that was sent: power to the minute with its limit, and every hour."""
    power = mine.read("/api/v1/energy/power?of=site&id=north&span=24h")
    hours = mine.read("/api/v1/energy/hourly?of=site&id=north")["rows"]
    used = {row["subject"] for row in mine.read("/api/v1/energy/allocations")["rows"]}
    begins = power["points"] and power["points"][0]["at_s"] < time.time() - GAP_S[0]
    return begins and power["limit_w"] and len(hours) > GAP_S[0] // 3600 and len(used) == 2


def open_anomaly(mine):
    """The list of what was found, and one of them."""
    page = mine.page
    found = lambda: mine.read("/api/v1/anomalies?site=north")["rows"]
    until(found, "no anomaly")
    page.goto(f"{mine.base}/anomalies?state=&site=north")
    # More may be found meanwhile; the page asks again.
    until(lambda: page.wait_for_timeout(10) or page.locator("#list tbody tr").count() == len(found()), "the page does not show each anomaly")
    page.locator("#list tbody a", has_text="main/power_w").first.click()


def walk_anomalies(mine):
    mine.begin()
    open_anomaly(mine)
    page = mine.page
    expect(page.locator("#f-value")).to_contain_text("1.4")
    expect(page.locator("#f-expected")).to_contain_text("1.2")
    expect(page.locator("#chart-area svg polygon[fill='#888888']")).to_have_count(1)
    expect(page.locator("#chart-area svg circle").first).to_be_attached()


def png(side):
    """A photo: a grey square."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = (b"\0" + b"\x80" * side) * side
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def send_decision(mine):
    """What the controller of the site wrote last, and the signal that it follows; a controller has a right of its own to send such rows."""
    now = int(time.time() * 1e6)
    machines = {f"machines_{state}": number for state, number in (("running", 20), ("stopping", 0), ("stopped", 25), ("starting", 0), ("stuck", 0), ("unknown", 0))}
    decision = {"event_time": now, "site": "north", "journal": "1", "decision": 7, "state": "curtailed", "previous": "curtailing", "thermal": "normal", "authority": "auto", "target_kw": 800.0, "measured_kw": 790.5, "is_estimated": True, "winner": "3 utility", "reason": "utility asks for 800 kW", "caps": "{}", "inputs": "[]", "commands": 0, "policy": "p1", **machines}
    signal = {"event_time": now, "site": "north", "signal": "utility", "class": "mandatory", "level": "curtail", "cap_kw": 800.0}
    for stream, row in (("curtailment", decision), ("signals", signal)):
        answer = mine.ask_as("POST", f"/api/v1/ingest/{stream}", [row])
        assert answer["status"] == 200, (stream, answer)


def walk_controller(page):
    """What the controller of a site wrote, and the link to its pages, to which nothing is sent from here."""
    row = page.locator("#controllers tbody tr")
    for text in ("North mine", "curtailed", "800 kW", "estimated", "utility: curtail to 800 kW", "utility asks for 800 kW"):
        expect(row).to_contain_text(text)
    link = row.get_by_role("link", name="Controller and emergency stop of North mine")
    expect(link).to_have_text("Controller and emergency stop")
    expect(link).to_have_attribute("href", "https://north.example:5000/")
    expect(link).to_have_attribute("rel", re.compile("noopener"))


def walk_mine(mine):
    mine.begin()
    mine.change_as("/api/v1/sites/north", {"name": "North mine"})
    send_decision(mine)
    until(lambda: is_computed(mine), "the energy of a day is not computed")
    note("computed")
    until(lambda: mine.read("/api/v1/anomalies?site=north")["rows"], "no anomaly")
    page = mine.page
    page.goto(f"{mine.base}/mine")
    walk_controller(page)
    expect(page.locator("#f-power")).to_contain_text(re.compile(r"^1\.2[12]"))
    for name in ("f-allocation", "f-hashrate", "f-anomalies", "f-age"):
        expect(page.locator(f"#{name}")).to_have_text(KNOWN)
    expect(page.locator("#attention tbody")).to_contain_text("calibration is due")
    expect(page.locator("#attention tbody")).to_contain_text("of its power")
    expect(page.locator("#sites tbody")).to_contain_text("45 of 60 active")
    page.goto(f"{mine.base}/compliance")
    expect(page.locator("#inspections tbody")).to_contain_text("A fire door was blocked.")
    expect(page.locator("#inspections code")).to_have_attribute("title", "ab" * 32)
    page.set_input_files("#upload-file", {"name": "door.png", "mimeType": "image/png", "buffer": png(12)})
    page.click("#upload button")
    expect(page.locator("#upload-said")).to_have_text("The photo is stored.")
    page.locator("#inspections img").scroll_into_view_if_needed()
    expect(page.locator("#inspections img")).to_have_js_property("naturalWidth", 12)
    expect(page.locator("#violations tbody")).to_have_text(KNOWN)


def walk_operate(mine):
    """What could not be read is shown with its reason, and pipelines with how far they are."""
    mine.begin()
    page = mine.page
    # This server has neither a pool nor a payer, and says so whenever it is asked about them.
    mine.watch.usual = {404}
    page.goto(f"{mine.base}/operate")
    letter = page.locator("#dead tbody tr", has_text="signals")
    expect(letter).to_contain_text("no row")
    expect(page.locator("#pipelines tbody tr", has_text="energy_rollups").first).to_contain_text("ago")


# What says that a page has come.
CAME = {"violation": "#history li", "mine": "#sites tbody a", "energy": "#days-area svg rect[fill='#C25A12']", "anomalies": "#list tbody a", "anomaly": "#chart-area svg polyline", "compliance": "#inspections tbody a", "registry": "#list tbody a", "resource": "#history li", "form": "#form input"}

# Pages in each theme: all in one, and of the others those that have every colour, and those that are wide.
LOOKED_AT = {"light": set(CAME), "dark": {"mine", "anomaly", "compliance", "resource"}, "phone": {"mine", "energy", "violation", "registry", "form"}}


def look_at_all(mine):
    """Pages with something to show, in each theme and by axe."""
    mine.begin()
    mine.change_as("/api/v1/sites/north", {"name": "North mine"})
    send_decision(mine)
    page = mine.page
    found, _ = find_violations(mine)
    page.goto(f"{mine.base}/compliance/{found}")
    acknowledge(mine)
    until(lambda: is_computed(mine), "the energy of a day is not computed")
    open_anomaly(mine)
    page.wait_for_url(re.compile("/anomalies/."))
    anomaly = page.url.removeprefix(mine.base)
    paths = {"violation": f"/compliance/{found}", "mine": "/mine", "energy": "/energy?id=north", "anomalies": "/anomalies?state=", "anomaly": anomaly, "compliance": "/compliance", "registry": "/registry/meters", "resource": "/registry/sites/north", "form": "/registry/sites/north?edit"}
    pages = lambda theme: [(name, path) for name, path in paths.items() if name in LOOKED_AT[theme]]
    page.goto("about:blank")
    browser, storage = page.context.browser, page.context.storage_state()
    walks.picture(browser, mine.base, storage, mine.axe, mine.shots, pages, lambda page, name: expect(page.locator(CAME[name]).first).to_be_attached())


def stay_open(mine):
    """Pages that paint before they were told anything, and that hold no more after a day."""
    mine.begin()
    miner = "/miner/fjord"
    mine.page.goto("about:blank")
    browser, storage = mine.page.context.browser, mine.page.context.storage_state()
    open_pages.paint_soon(browser, mine.base, storage, ["/pool", miner, "/explore", "/operate", "/mine", "/energy", "/anomalies", "/compliance", "/registry", "/sign-in"])
    note("pages paint soon")
    other = walks.launch(browser.browser_type)
    open_pages.stay_small(browser, other, mine.base, storage, ["/pool", miner, "/operate", "/mine"])
    other.close()


WALKS = {"registry": walk_registry, "energy": walk_energy, "anomalies": walk_anomalies, "violations": walk_violations, "mine": walk_mine, "operate": walk_operate, "pictures": look_at_all, "open": stay_open}


def main():
    walk, base, password, axe, shots = sys.argv[1:]
    os.makedirs(shots, exist_ok=True)
    with sync_playwright() as playwright:
        browser = walks.launch(playwright)
        context = browser.new_context(accept_downloads=True)
        context.set_default_timeout(PATIENCE_S * 1000)
        watch = Watch(context, base)
        WALKS[walk](Mine(base, password, axe, shots, context.new_page(), watch))
        note(f"{walk} is walked")
        watch.check()
        browser.close()
    print("console: all is well")


main()
