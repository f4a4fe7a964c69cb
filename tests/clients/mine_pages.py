"""Walks the pages of a mine: registers one, sends what its meters measured, and looks at what the pages make of it.

usage: mine_pages.py URL PASSWORD AXE SCREENSHOTS   (started by the test in console.rs, which runs the server; PASSWORD is that of the admin ann, and what the
pool POOL was found to hash is there)
"""
import json, os, re, struct, sys, time, urllib.request, zlib

from playwright.sync_api import expect, sync_playwright

import browser as walks
import open_pages
from browser import PATIENCE_S, Watch, accessible, note, until

BASE, PASSWORD, AXE, SHOTS = sys.argv[1:]
POOL = "fjord-pool"

MINUTE = 60_000_000
# Seconds of samples, how far apart they are, and where the gap and the fault are: seconds before now.
PAST_S, STEP_S = 26 * 3600, 120
GAP_S = (9 * 3600, 7 * 3600)
FAULT_S = (2400, 1200)
NORMAL_W, FAULT_W = 1_210_000, 1_460_000
KNOWN = re.compile(r"^[^–\s]")
# Where no day begins while the pages are looked at: what was sent is used today.
ZONE = "Europe/Oslo" if time.gmtime().tm_hour < 21 else "Asia/Tokyo"


class Mine:
    """A server, and what is registered at it."""

    def __init__(self, base):
        self.base = base

    def read(self, path):
        with urllib.request.urlopen(self.base + path, timeout=60) as answer:
            return json.load(answer)

    def send_samples(self):
        """What two meters measured, as a program of this machine; the main one with a gap and a fault."""
        now = int(time.time())
        lines = []
        for at in range(now - PAST_S, now, STEP_S):
            before = now - at
            noise = at * 7919 % 1013 / 1013
            if not GAP_S[0] > before > GAP_S[1]:
                level = FAULT_W if FAULT_S[0] > before > FAULT_S[1] else NORMAL_W
                lines.append({"event_time": at * 1_000_000, "site": "north", "meter": "main", "power_w": level + 9_000 * noise})
            lines.append({"event_time": at * 1_000_000, "site": "north", "meter": "pool-meter", "power_w": 870_000 + 6_000 * noise})
        for meter, watts in (("main", NORMAL_W), ("pool-meter", 872_000)):
            lines.append({"event_time": now * 1_000_000, "site": "north", "meter": meter, "power_w": watts})
        self.send("energy", lines)
        self.send("hashrate", [{"event_time": at * 1_000_000, "pool": POOL, "miner": "fjord", "worker": "rig-00", "hashrate_hs": 2e14, "source": "miner"} for at in range(now - 3600, now + 1, 30)])

    def send(self, stream, lines):
        for first in range(0, len(lines), 500):
            body = "\n".join(json.dumps(line) for line in lines[first:first + 500]).encode()
            request = urllib.request.Request(f"{self.base}/api/v1/ingest/{stream}", data=body, headers={"Content-Type": "application/x-ndjson"})
            with urllib.request.urlopen(request, timeout=60) as answer:
                assert answer.status < 300, answer.status

    def read_as(self, page, path):
        """The same as the signed-in visitor."""
        answer = asked_as(page, "GET", path)
        assert answer["status"] == 200, answer
        return answer["body"]


def asked_as(page, method, path, body=None, headers=None):
    """A request of the signed-in visitor, beside the page's own."""
    script = """async ([method, path, body, headers]) => {
        const answer = await fetch(path, { method, headers: { "Content-Type": "application/json", ...headers }, body: body && JSON.stringify(body) });
        return { status: answer.status, etag: answer.headers.get("ETag"), body: await answer.json() };
    }"""
    return page.evaluate(script, [method, path, body, headers or {}])


def register(page, kind, body):
    answer = asked_as(page, "POST", f"/api/v1/{kind}", body)
    assert answer["status"] == 201, (kind, answer)


def walk_registry(page, mine, pool, watch):
    """The first by its form, which names what is missing; the others as programs would."""
    watch.allow(400, 400)
    page.goto(f"{mine.base}/registry/operators?new")
    page.fill("#f-id", "fjord")
    page.click("#form button[type=submit]")
    expect(page.locator("#e-name")).to_be_visible()
    expect(page.locator("#e-name")).to_have_text("This is needed.")
    assert page.evaluate("document.activeElement.id") == "f-name"
    expect(page.locator("#e-country")).to_be_hidden()
    page.fill("#f-name", "Fjord Mining")
    page.fill("#f-country", "Norway")
    page.click("#form button[type=submit]")
    expect(page.locator("#e-country")).to_be_visible()
    expect(page.locator("#e-country")).to_contain_text("two capital letters")
    expect(page.locator("#e-name")).to_be_hidden()
    page.fill("#f-country", "NO")
    page.select_option("#f-status", "active")
    page.click("#form button[type=submit]")
    page.wait_for_url(f"{mine.base}/registry/operators/fjord")
    expect(page.locator("#facts")).to_contain_text("Fjord Mining")
    expect(page.locator("#history li").first).to_contain_text("created")
    expect(page.locator("#history li").first).to_contain_text("ann")

    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 3 * 86400))
    register(page, "sites", {"id": "north", "name": "North", "operator": "fjord", "location": "1, Fjord road", "country": "NO", "time_zone": ZONE, "connection_kw": 1800, "status": "active", "controller": "https://north.example:5000/"})
    register(page, "pools", {"id": pool, "name": "Demo pool", "operator": "fjord", "location": "North", "site": "north", "power_limit_kw": 900, "energy_limit_kwh": 40000, "energy_period": "day", "algorithm": "rx/0", "status": "active"})
    register(page, "meters", {"id": "main", "serial_number": "EM-1", "site": "north", "measures": "site", "calibration_due_at": now})
    register(page, "meters", {"id": "pool-meter", "serial_number": "EM-2", "site": "north", "pool": pool, "measures": "pool"})
    for number in range(60):
        register(page, "machines", {"id": f"rig-{number:02}", "site": "north", "pool": pool, "model": "S21", "serial_number": f"SN-{number}", "rated_power_w": 3500, "status": "maintenance" if number % 4 == 3 else "active"})
    register(page, "allocations", {"id": "north-2026", "site": "north", "power_kw": 1500, "energy_kwh": 45000, "period": "day", "valid_from": now, "permit": "NVE 118"})
    register(page, "inspections", {"id": "first", "site": "north", "type": "routine", "status": "done", "planned_at": now, "started_at": now, "findings": "A fire door was blocked.", "evidence": "ab" * 32, "score_pct": 86})


def png(side):
    """A photo: a grey square."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = (b"\0" + b"\x80" * side) * side
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def walk_lists(page, mine):
    """A link holds the filter, and pages follow each other."""
    page.goto(f"{mine.base}/registry/machines?status=active")
    expect(page.locator("#w-status")).to_have_value("active")
    expect(page.locator("#list tbody tr")).to_have_count(45)
    page.select_option("#w-status", "")
    expect(page.locator("#list tbody tr")).to_have_count(50)
    assert "status" not in page.url, page.url
    page.click("#list-more")
    expect(page.locator("#list tbody tr")).to_have_count(10)
    expect(page.locator("#list tbody tr").first).to_contain_text("rig-50")
    page.fill("#w-id", "rig-07")
    expect(page.locator("#list tbody tr")).to_have_count(1)
    assert "id=rig-07" in page.url, page.url
    with page.expect_download() as download:
        page.locator("#list-note a", has_text="CSV").click()
    text = open(download.value.path(), encoding="utf-8").read().splitlines()
    assert len(text) == 2 and "rig-07" in text[1], text


def walk_conflict(page, mine, watch):
    """Two change a site at once: both values are shown, and nothing is lost."""
    watch.allow(412)
    site = "/api/v1/sites/north"
    page.goto(f"{mine.base}/registry/sites/north?edit")
    expect(page.locator("#f-name")).to_have_value("North")
    seen = asked_as(page, "GET", site)
    theirs = {name: value for name, value in seen["body"].items() if name not in ("id", "version", "updated_at", "updated_by")}
    theirs |= {"connection_kw": 2000, "supplier": "Statkraft"}
    assert asked_as(page, "PUT", site, theirs, {"If-Match": seen["etag"]})["status"] == 200
    page.fill("#f-connection_kw", "1900")
    page.fill("#f-name", "North mine")
    page.click("#form button[type=submit]")
    row = page.locator("#conflict tbody tr", has_text="Connection")
    for value in ("1,800", "2,000", "1,900"):
        expect(row).to_contain_text(value)
    expect(page.locator("#conflict tbody tr", has_text="Supplier")).to_contain_text("taken over")
    expect(page.locator("#f-supplier")).to_have_value("Statkraft")
    row.get_by_role("button", name="Take theirs").click()
    expect(page.locator("#f-connection_kw")).to_have_value("2000")
    page.click("#form button[type=submit]")
    page.wait_for_url(f"{mine.base}/registry/sites/north")
    now = asked_as(page, "GET", site)["body"]
    assert (now["name"], now["connection_kw"], now["supplier"], now["version"]) == ("North mine", 2000, "Statkraft", 3), now
    newest = page.locator("#history li").first
    expect(newest).to_contain_text("version 3")
    expect(newest.locator("del")).to_have_text("North")
    expect(newest.locator("ins")).to_have_text("North mine")


def walk_energy(page, mine, pool):
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
    expect(page.locator("#title")).to_have_text(f"Energy of {pool}")
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


def walk_anomalies(page, mine):
    found = lambda: mine.read("/api/v1/anomalies?site=north")["rows"]
    until(found, "no anomaly")
    page.goto(f"{mine.base}/anomalies?state=&site=north")
    # More may be found meanwhile; the page asks again.
    until(lambda: page.locator("#list tbody tr").count() == len(found()), "the page does not show each anomaly")
    page.locator("#list tbody a", has_text="main/power_w").first.click()
    expect(page.locator("#f-value")).to_contain_text("1.4")
    expect(page.locator("#f-expected")).to_contain_text("1.2")
    expect(page.locator("#chart-area svg polygon[fill='#888888']")).to_have_count(1)
    expect(page.locator("#chart-area svg circle").first).to_be_attached()
    return page.url


def send_temperature(mine, celsius):
    mine.send("sensors", [{"event_time": int(time.time() * 1e6), "site": "north", "sensor": "hall", "quantity": "temperature_c", "value": celsius}])


def make_rule(page, mine):
    """By its form, as an operator would."""
    page.goto(f"{mine.base}/registry/rules?new")
    page.fill("#f-id", "hot")
    for field, word in (("type", "SAFETY_TEMP"), ("subject_kind", "site"), ("metric", "sensor"), ("comparison", "at_least"), ("severity", "high"), ("order", "cap")):
        page.select_option(f"#f-{field}", word)
    for field, text in (("quantity", "temperature_c"), ("threshold", "40"), ("hysteresis", "2"), ("cap_kw", "5"), ("basis", "Fire code, 4.2")):
        page.fill(f"#f-{field}", text)
    page.click("#form button[type=submit]")
    page.wait_for_url(f"{mine.base}/registry/rules/hot")
    expect(page.locator("#facts")).to_contain_text("Fire code, 4.2")


def decide(page, button, reason, status):
    """A decision with its reason; what the page says of it, and where the violation is then."""
    page.fill("#reason", reason)
    page.get_by_role("button", name=button, exact=True).click()
    expect(page.locator("#order-area .notice")).to_have_attribute("data-state", "good")
    expect(page.locator("#f-status")).to_contain_text(status)
    expect(page.locator("#history li").first).to_contain_text(reason)


def walk_violations(page, mine, watch):
    """From a rule to a closed violation: found by a rule, decided by a person, with an order that is carried out and signed off; one that a person reports is waived; and the score says what they cost."""
    make_rule(page, mine)
    send_temperature(mine, 45)
    listed = lambda query: mine.read_as(page, f"/api/v1/violations?{query}")["rows"]
    found = until(lambda: listed("type=SAFETY_TEMP&status=open"), "the rule finds nothing")[0]
    report = {"type": "LOCATION_CHANGE_UNDECLARED", "subject_kind": "pool", "subject": POOL, "severity": "critical", "since": "2026-05-01T00:00:00Z", "reason": "two containers were moved"}
    reported = asked_as(page, "POST", "/api/v1/violations", report)
    assert reported["status"] == 201, reported
    # The worst first, and the link holds the filter.
    page.goto(f"{mine.base}/compliance")
    rows = page.locator("#violations tbody tr")
    expect(rows.first).to_contain_text("Location change undeclared")
    page.select_option("#w-type", "SAFETY_TEMP")
    expect(rows).to_have_count(1)
    assert "type=SAFETY_TEMP" in page.url, page.url
    expect(page.locator("#f-score")).to_have_text(KNOWN)
    expect(page.locator("#terms tbody")).to_contain_text("Location change undeclared")
    costly = page.locator("#f-score span").first.inner_text()
    accessible(page, AXE, "violations")
    rows.first.get_by_role("link", name="Safety temp").click()
    page.wait_for_url(f"{mine.base}/compliance/{found['violation']}")
    expect(page.locator("#f-peak")).to_contain_text("45")
    # Without a reason nothing is decided, and what still holds cannot be resolved.
    page.get_by_role("button", name="Acknowledge", exact=True).click()
    expect(page.locator("#order-area .notice")).to_contain_text("write one")
    expect(page.get_by_role("button", name="Resolve", exact=True)).to_be_disabled()
    decide(page, "Acknowledge", "the fan of the hall is looked at", "acknowledged")
    expect(page.locator("#follows tbody")).to_contain_text("cap to 5 kW")
    for step, reason, state in (("Carried out: cap of north", "the breaker was turned", "carried out"), ("Sign off: cap of north", "seen at the meter", "signed off")):
        page.fill("#reason", reason)
        page.get_by_role("button", name=step).click()
        expect(page.locator("#follows tbody")).to_contain_text(state)
    accessible(page, AXE, "violation")
    send_temperature(mine, 30)
    until(lambda: listed("type=SAFETY_TEMP&status=resolved"), "what is over is not resolved")
    page.reload()
    decide(page, "Verify", "the hall is cool", "verified")
    decide(page, "Close", "the fan was replaced", "closed")
    # A waiver needs a time until which it holds.
    page.goto(f"{mine.base}/compliance/{reported['body']['violation']}")
    expect(page.locator("#f-status")).to_contain_text("open")
    page.fill("#reason", "allowed in writing")
    page.get_by_role("button", name="Waive", exact=True).click()
    assert page.evaluate("document.activeElement.id") == "until"
    page.fill("#until", time.strftime("%Y-%m-%dT%H:%M", time.localtime(time.time() + 30 * 86400)))
    page.get_by_role("button", name="Waive", exact=True).click()
    expect(page.locator("#f-status")).to_contain_text("waived")
    page.goto(f"{mine.base}/compliance?status=")
    expect(page.locator("#violations tbody tr", has_text="waived")).to_have_count(1)
    expect(page.locator("#f-score")).to_have_text(KNOWN)
    expect(page.locator("#f-score span").first).not_to_have_text(costly)
    return f"/compliance/{found['violation']}"


def send_decision(page):
    """What the controller of the site wrote last, and the signal that it follows; a controller has a right of its own to send such rows."""
    now = int(time.time() * 1e6)
    machines = {f"machines_{state}": number for state, number in (("running", 20), ("stopping", 0), ("stopped", 25), ("starting", 0), ("stuck", 0), ("unknown", 0))}
    decision = {"event_time": now, "site": "north", "journal": "1", "decision": 7, "state": "curtailed", "previous": "curtailing", "thermal": "normal", "authority": "auto", "target_kw": 800.0, "measured_kw": 790.5, "is_estimated": True, "winner": "3 utility", "reason": "utility asks for 800 kW", "caps": "{}", "inputs": "[]", "commands": 0, "policy": "p1", **machines}
    signal = {"event_time": now, "site": "north", "signal": "utility", "class": "mandatory", "level": "curtail", "cap_kw": 800.0}
    for stream, row in (("curtailment", decision), ("signals", signal)):
        answer = asked_as(page, "POST", f"/api/v1/ingest/{stream}", [row])
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


def walk_mine(page, mine):
    send_decision(page)
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


def walk_operate(page, mine, watch):
    """What could not be read is shown with its reason, and pipelines with how far they are."""
    # This server has neither a pool nor a payer, and says so whenever it is asked about them.
    watch.usual = {404}
    page.goto(f"{mine.base}/operate")
    letter = page.locator("#dead tbody tr", has_text="signals")
    expect(letter).to_contain_text("no row")
    expect(page.locator("#pipelines tbody tr", has_text="energy_rollups").first).to_contain_text("ago")
    page.goto("about:blank")
    watch.usual = set()


def walk_keys(page, mine, watch):
    """Everything without a pointer; and single letters can be switched off."""
    # A filter by an id that nothing has is answered with 404.
    watch.usual = {404}
    page.goto(f"{mine.base}/registry/meters")
    expect(page.locator("#list tbody a").first).to_be_visible()
    for key, reached in (("j", "main"), ("j", "pool-meter"), ("k", "main")):
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.textContent") == reached, key
    # A row that comes, or changes, takes the focus from nobody.
    site = "/api/v1/meters/main"
    seen = asked_as(page, "GET", site)
    given = {name: value for name, value in seen["body"].items() if name not in ("id", "version", "updated_at", "updated_by")}
    assert asked_as(page, "PUT", site, given | {"accuracy_class": "0.5S"}, {"If-Match": seen["etag"]})["status"] == 200
    page.evaluate("dispatchEvent(new PopStateEvent('popstate'))")
    expect(page.locator("#list tbody tr").first).to_contain_text("0.5S")
    assert page.evaluate("document.activeElement.textContent") == "main"
    page.keyboard.press("?")
    expect(page.locator("#keys-help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#keys-help")).to_be_hidden()
    page.keyboard.press("g")
    page.keyboard.press("r")
    page.wait_for_url(f"{mine.base}/registry")
    expect(page.locator("#list tbody a").first).to_be_visible()
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "w-id"
    page.keyboard.type("gem")
    expect(page.locator("#w-id")).to_have_value("gem")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    page.uncheck("#keys-on")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator("#keys-help")).to_be_hidden()
    page.click("#keys")
    page.check("#keys-on")
    page.get_by_role("button", name="Close").click()
    page.goto("about:blank")
    watch.usual = set()


def sign_in(page):
    page.goto(f"{BASE}/sign-in?to=/registry")
    page.fill("#name", "ann")
    page.fill("#password", PASSWORD)
    page.click("#login button")
    page.wait_for_url(f"{BASE}/registry")


# What says that a page has come.
CAME = {"violation": "#history li", "mine": "#sites tbody a", "energy": "#days-area svg rect[fill='#C25A12']", "anomalies": "#list tbody a", "anomaly": "#chart-area svg polyline", "compliance": "#inspections tbody a", "registry": "#list tbody a", "resource": "#history li", "form": "#form input"}

# Pages in each theme: all in one, and of the others those that have every colour, and those that are wide.
LOOKED_AT = {"light": set(CAME), "dark": {"mine", "anomaly", "compliance", "resource"}, "phone": {"mine", "energy", "violation", "registry", "form"}}


def main():
    os.makedirs(SHOTS, exist_ok=True)
    mine = Mine(BASE)
    with sync_playwright() as playwright:
        browser = walks.launch(playwright)
        context = browser.new_context(accept_downloads=True)
        context.set_default_timeout(PATIENCE_S * 1000)
        watch, page = Watch(context, BASE), context.new_page()
        walked = lambda what: (note(what), watch.check())
        sign_in(page)
        walked("signed in")
        walk_registry(page, mine, POOL, watch)
        mine.send_samples()
        walked("a mine is registered and measured")
        walk_lists(page, mine)
        walk_conflict(page, mine, watch)
        walked("the registry")
        walk_keys(page, mine, watch)
        walked("keys")
        walk_energy(page, mine, POOL)
        walked("energy")
        anomaly = walk_anomalies(page, mine).removeprefix(BASE)
        walked("anomalies")
        walk_operate(page, mine, watch)
        walked("operate")
        violation = walk_violations(page, mine, watch)
        walked("violations")
        walk_mine(page, mine)
        walked("the mine")
        page.goto("about:blank")
        paths = {"violation": violation, "mine": "/mine", "energy": "/energy?id=north", "anomalies": "/anomalies?state=", "anomaly": anomaly, "compliance": "/compliance", "registry": "/registry/meters", "resource": "/registry/sites/north", "form": "/registry/sites/north?edit"}
        pages = lambda theme: [(name, path) for name, path in paths.items() if name in LOOKED_AT[theme]]
        walks.picture(browser, BASE, context.storage_state(), AXE, SHOTS, pages, lambda page, name: expect(page.locator(CAME[name]).first).to_be_attached())
        note("pictures")
        miner = "/miner/fjord"
        paths = ["/pool", miner, "/explore", "/operate", "/mine", "/energy", "/anomalies", "/compliance", "/registry", "/sign-in"]
        open_pages.paint_soon(browser, BASE, context.storage_state(), paths)
        note("pages paint soon")
        other = walks.launch(playwright)
        open_pages.stay_small(browser, other, BASE, context.storage_state(), ["/pool", miner, "/operate", "/mine"])
        note("pages stay small")
        other.close()
        browser.close()
    print("console: all is well")


main()
