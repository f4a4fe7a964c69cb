// The pool's page.
import { ago, byId, h, json, open, remember, remembered, setText, show, terms, watch } from "./console.js";
import { coins, count, hashrate, percent, plain, short, withUnit, DASH } from "./format.js";
import { hashrateChart } from "./chart.js";
import { explored, fill, mono, tag } from "./table.js";
import { connect } from "./connect.js";

await open("/pool");
const wanted = new URLSearchParams(location.search).get("pool");
let chain = null, height = null, found = null, effortOf = new Map(), shown = 12;

const find = byId("find");
byId("find-address").value = remembered("headframe-address") || "";
find.addEventListener("submit", (event) => {
  event.preventDefault();
  const address = byId("find-address").value.trim();
  remember("headframe-address", address);
  location.href = `/miner/${encodeURIComponent(address)}`;
});

function ours(pools, name) { return pools.find((pool) => pool.pool === name) || pools[0]; }

let pool = wanted;
const refused = (area) => (error) => byId(area).replaceChildren(h("p", { class: "empty" }, `${error.message}. ${error.hint || ""}`));

let connected = "";
function applyTerms(of) {
  if (!of) return;
  pool ??= of.pool;
  chain = of.chain;
  setText(byId("name"), `Pool ${pool}`);
  const scheme = of.scheme ? of.scheme.toUpperCase() : "no payouts";
  setText(byId("lede"), `${chain.name === "monero" ? "Monero" : "OpenSY"} (RandomX) · ${scheme}${of.window_milli ? `, window of ${of.window_milli / 1000} blocks` : ""}`);
  show("f-fee", { text: of.fee_bp === null ? DASH : (of.fee_bp / 100).toString(), unit: of.fee_bp === null ? "" : "%" }, [of.solo_fee_bp === null ? null : `solo ${of.solo_fee_bp / 100} %`, of.payments ? `paid from ${coins(of.payments.threshold_atomic, chain, 3)} ${chain.symbol}` : null].filter(Boolean).join(" · ") || null);
  // What the visitor typed and chose stays while nothing changed.
  if (connected !== JSON.stringify(of)) { connected = JSON.stringify(of); connect(of); }
}

applyTerms(await terms());
if (!chain) byId("connect-area").hidden = true;
watch({ every: chain ? 300 : 20, area: null, ask: () => json("/api/v1/pool/terms"), show: applyTerms });

const lastBlock = { at: null };

watch({
  every: 4, area: byId("figures-area"),
  ask: () => json("/api/v1/pool"),
  failed: (error) => setText(byId("lede"), `${error.message}. ${error.hint || ""}`),
  show: ({ pools }) => {
    const now = ours(pools, pool);
    if (!now) { setText(byId("lede"), "No share has come yet. Point a miner at one of the ports below."); return; }
    if (!pool) { pool = now.pool; setText(byId("name"), `Pool ${pool}`); }
    height = now.height;
    drawBlocks();
    show("f-hashrate", hashrate(now.hashrate_hs), `1 h ${plain(hashrate(now.hashrate_1h_hs))} · 24 h ${plain(hashrate(now.hashrate_24h_hs))}`);
    show("f-miners", { text: count(now.miners), unit: "" }, `${count(now.workers)} ${now.workers === 1 ? "worker" : "workers"}${now.solo_miners ? ` · ${count(now.solo_miners)} solo` : ""} · ${shares(now.shares_per_s)}`);
    const difficulty = Number(now.network_difficulty);
    show("f-network", withUnit(now.network_difficulty && chain ? difficulty / chain.block_target_s : null, "H/s"), `difficulty ${plain(withUnit(now.network_difficulty, ""))} · height ${count(now.height)}`);
    if (now.last_block && now.last_block.found_at !== lastBlock.at) {
      lastBlock.at = now.last_block.found_at;
      byId("f-last").classList.remove("unknown");
      byId("f-last").replaceChildren(ago(now.last_block.found_at, ""), h("small", {}, `ago · height ${count(now.last_block.height)}`));
    } else if (!now.last_block) {
      show("f-last", { text: "none", unit: "" }, "none found yet");
    }
    const of = now.blocks;
    show("f-found", { text: count(of.found), unit: "" }, `${count(of.matured || 0)} matured · ${count(of.orphaned || 0)} orphaned`);
  },
});

function shares(rate) {
  return rate >= 1 ? `${rate.toFixed(1)} shares/s` : `${(rate * 60).toFixed(rate * 60 >= 10 ? 0 : 1)} shares/min`;
}

watch({
  every: 15, area: null,
  ask: () => json(`/api/v1/pool/effort${pool ? `?pool=${encodeURIComponent(pool)}` : ""}`),
  show: ({ pools }) => {
    const of = ours(pools, pool);
    if (!of) return;
    effortOf = new Map([...of.blocks, ...(of.solo?.blocks || [])].map((block) => [block.hash, block.effort]));
    drawBlocks();
    const round = of.round;
    show("f-effort", { text: round.effort === null ? DASH : (round.effort * 100).toFixed(0), unit: round.effort === null ? "" : "%" }, of.solo ? `without solo mining; solo ${of.solo.round.effort === null ? DASH : percent(of.solo.round.effort)}` : "of a block's mean work");
    const luck = of.mean_10;
    show("f-luck", { text: luck ? (100 / luck).toFixed(0) : DASH, unit: luck ? "%" : "" }, of.mean_100 ? `last 100: ${percent(1 / of.mean_100)}` : "after the first blocks");
  },
});

hashrateChart(byId("chart-area"), "/api/v1/pool/hashrate", pool ? { pool } : {});

const STATES = { candidate: ["warn", "sent"], accepted: ["accent", "unconfirmed"], confirmed: ["accent", "confirmed"], matured: ["good", "matured"], orphaned: ["bad", "orphaned"], refused: ["bad", "refused"], unproven: ["warn", "unproven"], rejected: ["bad", "rejected"] };

function confirmations(block) {
  const depth = height === null ? null : Math.max(0, height - block.height);
  const [state, word] = STATES[block.status] || ["", block.status];
  if (chain && depth !== null && (block.status === "accepted" || block.status === "confirmed")) {
    const most = chain.maturity_blocks;
    return h("span", { class: "state" }, h("progress", { max: most, value: Math.min(depth, most), "aria-label": `${Math.min(depth, most)} of ${most} confirmations` }), `${Math.min(depth, most)}/${most}`);
  }
  return tag(word, state);
}

function effort(block) {
  const share = effortOf.get(block.hash);
  return share === undefined || share === null ? h("span", { class: "unknown" }, DASH) : percent(share);
}

// Height and effort come by other routes than the blocks themselves; each that comes completes the table.
function drawBlocks() {
  if (!found) return;
  const rows = found.blocks.map((block) => ({ ...block, depth: height === null ? null : Math.min(height - block.height, 200), effort: effortOf.get(block.hash) ?? null }));
  fill(byId("blocks"), [
    { name: "Height", number: true, of: (row) => explored(chain?.explorer_block, row.hash, h("span", { title: row.hash }, count(row.height))) },
    { name: "Found", of: (row) => ago(row.found_at) },
    { name: "Effort", number: true, of: effort },
    { name: "Confirmations", of: confirmations },
    { name: `Reward${chain ? `, ${chain.symbol}` : ""}`, number: true, of: (row) => h("span", { title: `${coins(row.reward_atomic, chain, 12)}` }, coins(row.reward_atomic, chain, 4)) },
    { name: "Found by", of: (row) => h("span", {}, mono(short(row.miner, 6, 4), "shortened address"), ...(row.solo ? [" ", tag("solo", "accent")] : [])) },
  ], rows, { empty: "No block has been found yet." });
  byId("blocks-more").hidden = found.next === null || shown >= 200;
}

const blocksWatch = watch({
  every: 10, area: byId("blocks-area"), failed: refused("blocks"),
  ask: () => json(`/api/v1/blocks?limit=${shown}${pool ? `&pool=${encodeURIComponent(pool)}` : ""}`),
  show: (answer) => { found = answer; drawBlocks(); },
});
byId("blocks-more").addEventListener("click", () => { shown = Math.min(200, shown * 3); blocksWatch.now(); });

watch({
  every: 12, area: byId("payments-area"), failed: refused("payments"),
  ask: () => json("/api/v1/pool/payments?limit=10"),
  show: ({ payments, paid_atomic, payees }) => {
    show("f-paid", { text: coins(paid_atomic, chain, 2), unit: chain?.symbol || "" }, `to ${count(payees)} ${payees === 1 ? "miner" : "miners"}`);
    fill(byId("payments"), [
      { name: "When", of: (row) => ago(row.updated_at) },
      { name: "Transaction", of: (row) => explored(chain?.explorer_transaction, row.tx_id, mono(short(row.tx_id, 10, 6), row.tx_id)) },
      { name: "State", of: (row) => row.step === "confirmed" ? tag("final", "good") : tag("in transit", "accent") },
      { name: "Miners", number: true, of: (row) => count(row.payees) },
      { name: `Amount${chain ? `, ${chain.symbol}` : ""}`, number: true, of: (row) => h("span", { title: coins(row.sent_atomic, chain, 12) }, coins(row.sent_atomic, chain, 4)) },
      { name: "Network fee", number: true, of: (row) => coins(row.network_fee_atomic, chain, 6) },
    ], payments, { empty: "Nothing has been paid yet." });
  },
});

watch({
  every: 30, area: byId("top-area"), failed: refused("top"),
  ask: () => json("/api/v1/pool/miners?limit=10"),
  show: ({ miners }) => {
    const most = Math.max(...miners.map((miner) => miner.hashrate_hs || 0), 1e-9);
    fill(byId("top"), [
      { name: "Miner", of: (row) => mono(row.miner, "shortened address") },
      { name: "Hashrate", number: true, of: (row) => row.hashrate_hs === null ? tag("offline", "") : plain(hashrate(row.hashrate_hs)) },
      { name: "Share", of: (row) => h("progress", { max: 1, value: (row.hashrate_hs || 0) / most, "aria-label": "beside the largest" }) },
      { name: "Accepted", number: true, of: (row) => count(row.accepted) },
    ], miners, { empty: "Nobody mines yet." });
  },
});
