"""The pages of violations: found by a rule or reported by a person, decided on, waived, and what they cost."""
import time

from playwright.sync_api import expect

from browser import accessible, until
from mine_server import KNOWN, POOL


def make_rule(mine):
    """By its form, as an operator would."""
    page = mine.page
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


def listed(mine, query):
    return mine.read_as(f"/api/v1/violations?{query}")["rows"]


def find_violations(mine):
    """One that a rule finds, and a worse one that a person reports; their ids."""
    make_rule(mine)
    mine.send_temperature(45)
    found = until(lambda: listed(mine, "type=SAFETY_TEMP&status=open"), "the rule finds nothing")[0]
    report = {"type": "LOCATION_CHANGE_UNDECLARED", "subject_kind": "pool", "subject": POOL, "severity": "critical", "since": "2026-05-01T00:00:00Z", "reason": "two containers were moved"}
    reported = mine.ask_as("POST", "/api/v1/violations", report)
    assert reported["status"] == 201, reported
    return found["violation"], reported["body"]["violation"]


def acknowledge(mine):
    """On the page of the violation that the rule found."""
    decide(mine.page, "Acknowledge", "the fan of the hall is looked at", "acknowledged")
    expect(mine.page.locator("#follows tbody")).to_contain_text("cap to 5 kW")


def walk_violations(mine):
    """From a rule to a closed violation: found by a rule, decided by a person, with an order that is carried out and signed off; one that a person reports is waived; and the score says what they cost."""
    mine.begin()
    found, reported = find_violations(mine)
    page = mine.page
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
    accessible(page, mine.axe, "violations")
    rows.first.get_by_role("link", name="Safety temp").click()
    page.wait_for_url(f"{mine.base}/compliance/{found}")
    expect(page.locator("#f-peak")).to_contain_text("45")
    # Without a reason nothing is decided, and what still holds cannot be resolved.
    page.get_by_role("button", name="Acknowledge", exact=True).click()
    expect(page.locator("#order-area .notice")).to_contain_text("write one")
    expect(page.get_by_role("button", name="Resolve", exact=True)).to_be_disabled()
    acknowledge(mine)
    for step, reason, state in (("Carried out: cap of north", "the breaker was turned", "carried out"), ("Sign off: cap of north", "seen at the meter", "signed off")):
        page.fill("#reason", reason)
        page.get_by_role("button", name=step).click()
        expect(page.locator("#follows tbody")).to_contain_text(state)
    accessible(page, mine.axe, "violation")
    mine.send_temperature(30)
    until(lambda: listed(mine, "type=SAFETY_TEMP&status=resolved"), "what is over is not resolved")
    page.reload()
    decide(page, "Verify", "the hall is cool", "verified")
    decide(page, "Close", "the fan was replaced", "closed")
    # A waiver needs a time until which it holds.
    page.goto(f"{mine.base}/compliance/{reported}")
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
