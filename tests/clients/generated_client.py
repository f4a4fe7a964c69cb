"""A client that openapi-python-client made of the running server's document: a list and its pages, what is made, what is refused, and what is no JSON.

usage: generated_client.py URL FOLDER   (FOLDER holds the package `generated`)"""
import sys
from http import HTTPStatus

url, folder = sys.argv[1:]
sys.path.insert(0, folder)

from generated import Client, models
from generated.api.default import (
    delete_sites_by_id, get_anomalies, get_blocks, get_live, get_pool, get_pools_by_id_score, get_ready, get_registry_kinds, get_sites, get_sites_by_id, get_violations, post_operators,
    post_pools, post_sites, post_violations, put_sites_by_id,
)

client = Client(base_url=url, raise_on_unexpected_status=True)


def made(call, body, answer):
    """What a POST made; a status that the document does not describe would be read as an error."""
    response = call.sync_detailed(client=client, body=body)
    assert response.status_code == HTTPStatus.CREATED, response.content
    assert isinstance(response.parsed, answer), response.parsed
    return response.parsed


def refused(response, status, code):
    assert response.status_code == status, response.content
    assert isinstance(response.parsed, models.Error), response.parsed
    assert response.parsed.error.code == code and response.parsed.error.hint, response.parsed


def site(name):
    return models.PostSitesBody(id=name, name=name.title(), location="a fjord", time_zone="Europe/Oslo")


names = ["east", "north", "west"]
for name in names:
    row = made(post_sites, site(name), models.Site)
    assert (row.id, row.version, row.time_zone) == (name, 1, "Europe/Oslo"), row
    # Whatever is answered is described.
    assert not row.additional_properties, row
refused(post_sites.sync_detailed(client=client, body=site("west")), 409, "exists")
refused(get_sites.sync_detailed(client=client, limit=0), 400, "bad_request")
refused(get_sites_by_id.sync_detailed("nowhere", client=client), 404, "not_found")

# A list, a page after the other: `next` and the link name the same place.
seen, after, pages = [], None, 0
while pages == 0 or after is not None:
    page = get_sites.sync_detailed(client=client, limit=2, **({} if after is None else {"after": after}))
    assert isinstance(page.parsed, models.GetSitesResponse200), page.parsed
    seen += [row.id for row in page.parsed.sites]
    after, pages = page.parsed.next_, pages + 1
    assert page.headers.get("link") == (None if after is None else f'</api/v1/sites?limit=2&after={after}>; rel="next"'), page.headers
assert (seen, pages) == (names, 2), (seen, pages)

fields = dict(name="North", location="a valley", time_zone="Europe/Oslo")
refused(put_sites_by_id.sync_detailed("north", client=client, body=models.PutSitesByIdBody(**fields), if_match='"9"'), 412, "version_changed")
changed = put_sites_by_id.sync("north", client=client, body=models.PutSitesByIdBody(**fields), if_match='"1"')
assert changed.location == "a valley" and changed.version == 2, changed
gone = delete_sites_by_id.sync("west", client=client, if_match='"1"')
assert gone.deleted.id == "west" and gone.deleted.updated_by, gone

# Every other kind of answer that says that something was made.
made(post_operators, models.PostOperatorsBody(id="o", name="O"), models.Operator)
limits = dict(power_limit_kw=1_000, energy_limit_kwh=20_000, energy_period="day")
pool = dict(id="p", name="P", operator="o", location="a fjord", site="north", **limits)
row = made(post_pools, models.PostPoolsBody.from_dict(pool), models.Pool)
assert (row.power_limit_kw, row.energy_period, row.additional_properties) == (1_000, "day", {}), row
report = dict(type="OTHER", subject_kind="pool", subject="p", severity="low", since="2026-05-01T00:00:00Z", reason="a test")
row = made(post_violations, models.PostViolationsBody.from_dict(report), models.Violation)
assert (row.status, row.subject, row.until, row.additional_properties) == ("open", "p", None, {}), row
listed = get_violations.sync(client=client)
assert [one.violation for one in listed.rows] == [row.violation] and listed.next_ is None, listed

# Pages about the pool have types of their own, also where there is nothing yet.
pools = get_pool.sync(client=client)
assert isinstance(pools, models.PoolsAnswer) and pools.pools == [] and pools.now_s == 600, pools
blocks = get_blocks.sync(client=client)
assert isinstance(blocks, models.BlocksAnswer) and blocks.blocks == [] and blocks.next_ is None, blocks
anomalies = get_anomalies.sync(client=client)
assert isinstance(anomalies, models.AnomaliesAnswer) and anomalies.rows == [] and anomalies.next_ is None, anomalies
assert not (pools.additional_properties or blocks.additional_properties or anomalies.additional_properties)

# What is an object, and what is text.
assert get_pools_by_id_score.sync("p", client=client)["score"] <= 100
assert get_ready.sync_detailed(client=client).status_code in (HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE)
assert get_live.sync(client=client) == "ok\n"
kinds = get_registry_kinds.sync(client=client)["kinds"]
assert "sites" in [kind["kind"] for kind in kinds], kinds
print("all values agree")
