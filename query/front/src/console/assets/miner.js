// The page of one miner.
import { ago, byId, copyButton, h, json, open, remember, remembered, setText, show, terms, watch, watchServer } from "./console.js";
import { coins, count, figure, hashrate, percent, plain, short, DASH } from "./format.js";
import { hashrateChart, sparkline } from "./chart.js";
import { explored, fill, mono, tag } from "./table.js";
import { offerVerification } from "./verify.js";

await open("/miner");
const address = decodeURIComponent(location.pathname.split("/")[2] || "");
byId("find-address").value = address || remembered("headframe-address") || "";
byId("find").addEventListener("submit", (event) => {
  event.preventDefault();
  const wanted = byId("find-address").value.trim();
  remember("headframe-address", wanted);
  location.href = `/miner/${encodeURIComponent(wanted)}`;
});

if (address) showMiner();
else { byId("of-miner").hidden = true; watchServer(); }

async function showMiner() {
  const path = `/api/v1/miners/${encodeURIComponent(address)}`;
  const found = await terms();
  const chain = found?.chain || null;
  const symbol = chain?.symbol || "";
  let pool = null, mine = null;
  document.title = `Miner ${short(address, 6, 4)} · Headframe`;
  byId("address").textContent = address;
  byId("address").after(" ", copyButton(() => address));
  const verify = offerVerification(address, chain);

  const estimate = () => {
    const rate = mine?.hashrate_1h_hs || mine?.hashrate_hs;
    const difficulty = Number(pool?.network_difficulty), reward = Number(pool?.reward || 0);
    if (!rate || !difficulty || !reward || !chain) return;
    const solo = Math.min(1, (mine.solo_hashrate_1h_hs || mine.solo_hashrate_hs) / rate);
    const part = 1 - ((1 - solo) * (found.fee_bp || 0) + solo * (found.solo_fee_bp || 0)) / 10000;
    const value = rate * 86400 / difficulty * reward * part / 10 ** chain.decimals;
    show("f-estimate", { text: value >= 1000 ? count(Math.round(value)) : value.toPrecision(3), unit: symbol }, solo > 0 ? "on average; solo pays by whole blocks" : "at the hashrate of an hour");
  };

  hashrateChart(byId("chart-area"), `${path}/hashrate`);
  watch({
    every: 5, area: byId("figures-area"), ask: () => json(path),
    failed: (error) => {
      byId("of-miner").hidden = error.status === 404 && !mine;
      byId("unknown").hidden = Boolean(mine);
      setText(byId("unknown"), error.status === 404 ? "No share of this address is known here. Check the address; the first share appears within seconds." : `${error.message}. ${error.hint || ""}`);
    },
    show: (miner) => {
      mine = miner;
      byId("unknown").hidden = true;
      byId("of-miner").hidden = false;
      const solo = miner.solo_hashrate_hs || miner.solo_hashrate_24h_hs;
      byId("presence").replaceChildren(miner.online ? tag("mining", "good") : tag("offline", "bad"), ...(solo ? [" ", tag("solo", "accent")] : []));
      byId("solo").hidden = !solo;
      setText(byId("solo"), solo ? `${plain(hashrate(solo))} of ${miner.solo_hashrate_hs ? "the last 10 minutes" : "the last 24 hours"} is mined solo: a block that it finds pays this miner alone, and its shares earn no part of any other block.` : "");
      show("f-hashrate", hashrate(miner.hashrate_hs), `1 h ${plain(hashrate(miner.hashrate_1h_hs))} · 24 h ${plain(hashrate(miner.hashrate_24h_hs))}`);
      const { accepted, stale, rejected } = miner.shares_24h;
      const all = accepted + stale + rejected;
      show("f-accepted", { text: all ? (accepted / all * 100).toFixed(1) : DASH, unit: all ? "%" : "" }, `${count(accepted)} shares · ${percent(all ? stale / all : 0, 1)} stale`);
      estimate();
    },
  });

  watch({
    every: 30, area: null, ask: () => Promise.all([json("/api/v1/pool"), json("/api/v1/blocks?limit=1")]),
    show: ([{ pools }, { blocks }]) => { pool = { ...(pools.find((one) => one.pool === found?.pool) || pools[0]), reward: blocks[0]?.reward_atomic }; estimate(); },
  });

  watch({
    every: 8, area: byId("payments-area"), ask: () => json(`${path}/payments?limit=12`),
    failed: (error) => fill(byId("payments"), [{ name: "Payments", wrap: true, of: (row) => row }], [error.message]),
    show: (answer) => {
      const amount = (name, value, small) => show(name, { text: figure(value, chain), unit: symbol }, small);
      amount("f-balance", answer.balance_atomic, `paid from ${coins(answer.threshold_atomic, chain, 3)}`);
      amount("f-pending", answer.immature_atomic, "of blocks not spendable yet");
      amount("f-paid", answer.paid_atomic, "confirmed");
      const threshold = Number(answer.threshold_atomic) || 1;
      byId("next-progress").value = Math.min(1, Number(answer.balance_atomic) / threshold);
      setText(byId("next-note"), `${coins(answer.balance_atomic, chain, 4)} of ${coins(answer.threshold_atomic, chain, 4)} ${symbol}`);
      const signature = JSON.stringify(answer.why);
      if (byId("why").dataset.rows !== signature) {
        byId("why").dataset.rows = signature;
        const words = (reason) => reason.text.replace(/\b(\d{7,}) atomic units/g, (_, number) => `${coins(number, chain, 6)} ${symbol}`);
        byId("why").replaceChildren(...answer.why.map((reason) => h("li", {}, h("span", { class: "sign", "aria-hidden": "true" }, "·"), h("span", {}, words(reason)))));
      }
      fill(byId("payments"), [
        { name: "When", of: (row) => ago(row.updated_at) },
        { name: "State", of: (row) => tag(STEPS[row.step]?.[0] || row.step, STEPS[row.step]?.[1]) },
        { name: `Amount, ${symbol}`, number: true, of: (row) => h("span", { title: coins(row.sent_atomic, chain, 12) }, coins(row.sent_atomic, chain, 6)) },
        { name: "Transaction", of: (row) => row.tx_id ? explored(chain?.explorer_transaction, row.tx_id, mono(short(row.tx_id, 8, 6), row.tx_id)) : DASH },
      ], answer.payments, { empty: "Nothing has been paid yet." });
    },
  });

  let limit = 25;
  const lines = new Map();
  watch({
    every: 30, area: null, ask: () => json(`${path}/workers/hashrate`),
    show: (answer) => {
      lines.clear();
      for (const one of answer.workers) lines.set(one.worker, one);
      workers.now();
    },
  });
  const workers = watch({
    every: 8, area: byId("workers-area"), ask: () => json(`${path}/workers?limit=${limit}`),
    show: ({ workers: rows, next }) => {
      const online = rows.filter((row) => row.online).length;
      setText(byId("workers-note"), `${online} of ${rows.length}${next ? "+" : ""} mining`);
      byId("workers-more").hidden = next === null || limit >= 1000;
      fill(byId("workers"), [
        { name: "Worker", of: (row) => mono(row.worker) },
        { name: "State", of: state },
        { name: "Last share", of: (row) => row.last_share_at ? ago(row.last_share_at) : row.last_hour ? h("span", { class: "unknown" }, "over 10 min ago") : DASH },
        { name: "10 min", number: true, of: (row) => plain(hashrate(row.hashrate_hs)) },
        { name: "24 h", number: true, of: (row) => plain(hashrate(row.hashrate_24h_hs)) },
        { name: "Over 24 h", of: (row) => sparkline(lines.get(row.worker)) },
        { name: "Accepted, 24 h", number: true, of: (row) => count(row.shares_24h.accepted) },
        { name: "Stale", number: true, of: (row) => percent(part(row.shares_24h.stale, row.shares_24h), 1) },
        { name: "Rejected", number: true, of: (row) => percent(part(row.shares_24h.rejected, row.shares_24h), 1) },
      ], rows.map((row) => ({ ...row, line: lines.get(row.worker)?.drawing })), { empty: "No worker sent a share within a day." });
    },
  });
  byId("workers-more").addEventListener("click", () => { limit = Math.min(1000, limit * 4); workers.now(); });

  watch({
    every: 12, area: byId("payouts-area"), ask: () => json(`${path}/payouts?limit=12`),
    show: ({ payouts }) => fill(byId("payouts"), [
      { name: "Block", number: true, of: (row) => explored(chain?.explorer_block, row.block_hash, h("span", { title: row.block_hash }, count(row.height))) },
      { name: "Credited", of: (row) => ago(row.credited_at) },
      { name: "State", of: (row) => tag(row.status === "credited" ? "immature" : row.status, { credited: "accent", matured: "good", reversed: "bad" }[row.status]) },
      { name: `Amount, ${symbol}`, number: true, of: (row) => h("span", { title: coins(row.amount_atomic, chain, 12) }, coins(row.amount_atomic, chain, 6)) },
      { name: "Proof", of: (row) => h("button", { type: "button", class: "small", "aria-label": `Verify the payout of block ${row.height}`, on: { click: () => verify(row.block_hash) } }, "Verify") },
    ], payouts, { empty: "No block has credited this miner yet." }),
  });
}

const STEPS = { reserved: ["reserved", ""], submitting: ["being sent", "accent"], submitted: ["in transit", "accent"], confirmed: ["final", "good"], released: ["put back", "warn"], review: ["under review", "warn"] };

function part(of, { accepted, stale, rejected }) {
  const all = accepted + stale + rejected;
  return all ? of / all : null;
}

// A worker that does less than half of its mean of a day is low.
function state(row) {
  const dot = (kind, word) => h("span", { class: "state" }, h("span", { class: "dot", "data-state": kind, "aria-hidden": "true" }), word);
  if (!row.online) return dot("bad", "offline");
  return row.hashrate_hs < row.hashrate_24h_hs / 2 ? dot("warn", "low") : dot("good", "OK");
}
