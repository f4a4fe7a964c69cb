// The page of the whole cluster.
import { byId, h, json, open, request, setText, show, watch } from "./console.js";
import { count, day, hashrate, plain, seconds, withUnit, DASH } from "./format.js";
import { numbers } from "./coop-live.js";
import { shareColumns } from "./coop-shares-table.js";
import { fill, update } from "./table.js";

await open("/cluster");

function pool({ connected, address, since_s, leases }) {
  const words = connected ? `connected for ${seconds(since_s)}${leases ? " · leases extranonces" : ""}` : `away for ${seconds(since_s)}`;
  show("f-pool", { text: connected ? "connected" : "away", unit: "" }, `${address || "none yet"} · ${words}`);
  const away = byId("no-pool");
  away.hidden = connected;
  setText(away, address
    ? `The pool ${address} has been away for ${seconds(since_s)}. Workers go on with the job they have; what they find is sent when it is back with the same work.`
    : "No pool has taken the login yet. Workers wait for the first job.");
}

watch({
  every: 1, area: byId("figures-area"), ask: numbers,
  failed: (error) => setText(byId("lede"), `${error.message}. ${error.hint || ""}`),
  show: ({ stats }) => {
    setText(byId("name"), `Cluster ${stats.cluster_id}`);
    setText(byId("lede"), `The pool knows it as ${stats.cluster_name}.`);
    show("f-hashrate", hashrate(stats.hashrate_hs), `shares show ${plain(hashrate(stats.hashrate_shown_hs))}`);
    show("f-credited", hashrate(stats.hashrate_credited_hs), "of shares it took, 10 min");
    const kept = stats.workers_quarantined ? `${count(stats.workers_quarantined)} in quarantine` : "none in quarantine";
    show("f-workers", { text: `${count(stats.workers_online)} / ${count(stats.workers_total)}`, unit: "" }, kept);
    pool(stats.upstream);
    const { valid, invalid, accepted, refused_upstream, dead, unanswered, blocks } = stats.shares;
    show("f-accepted", { text: count(accepted), unit: "" }, `${count(valid)} right results`);
    show("f-refused", { text: count(refused_upstream), unit: "" }, `${count(dead)} too late to send, ${count(unanswered)} without an answer`);
    show("f-invalid", { text: count(invalid), unit: "" }, "none of them was sent");
    show("f-blocks", { text: count(blocks), unit: "" }, "where the pool tells");
    const { job } = stats;
    show("f-job", { text: job ? count(job.height) : "none", unit: "" }, job ? `difficulty ${plain(withUnit(job.difficulty, ""))} · ${seconds(job.age_s)} old` : null);
  },
});

let series = null, drawn = "";
const list = () => fill(byId("points"), [
  { name: "From", of: (row) => day(row.at_s * 1000) },
  { name: "Hashrate", number: true, of: (row) => plain(hashrate(row.hashrate_hs)) },
], [...(series?.points || [])].reverse());
const details = document.querySelector("#chart-area details");
details.addEventListener("toggle", () => details.open && list());

watch({
  every: 10, area: byId("chart-area"),
  ask: async () => {
    const width = Math.max(240, Math.min(2000, Math.round(byId("chart").clientWidth)));
    const [answer, drawing] = await Promise.all([json("/api/hashrate"), request(`/api/hashrate.svg?width=${width}`).then((svg) => svg.text())]);
    return { cluster: answer.cluster, drawing };
  },
  failed: (error) => byId("chart").replaceChildren(h("p", { class: "empty" }, error.message)),
  show: ({ cluster, drawing }) => {
    series = cluster;
    if (details.open) list();
    if (drawing === drawn) return;
    drawn = drawing;
    const svg = document.importNode(new DOMParser().parseFromString(drawing, "image/svg+xml").documentElement, true);
    svg.setAttribute("role", "img");
    const last = cluster.points.at(-1);
    svg.setAttribute("aria-label", `Hashrate of the cluster: ${last ? plain(hashrate(last.hashrate_hs)) : DASH} at the end.`);
    byId("chart").replaceChildren(svg);
  },
});

watch({
  every: 4, area: byId("shares-area"), ask: () => json("/api/shares?limit=8"),
  show: ({ shares }) => update(byId("shares"), shareColumns, shares, { empty: "No share has come yet." }),
});
