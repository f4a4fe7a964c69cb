// How to connect: the lines to copy, with the visitor's own address in them.
import { byId, copyButton, h, remember, remembered } from "./console.js";
import { coins, count, plain, seconds, withUnit } from "./format.js";

export function connect(terms) {
  const area = byId("connect-area");
  area.hidden = false;
  const address = byId("own-address"), worker = byId("own-worker"), solo = byId("own-solo");
  address.value = remembered("headframe-address") || "";
  let port = terms.ports[0], secure = port.tls;
  const choices = terms.ports.flatMap((one) => (one.tls ? [[one, true], [one, false]] : [[one, false]]));
  const buttons = choices.map(([one, tls]) => {
    const kind = [one.solo ? "solo" : "", one.nicehash ? "rented" : one.fixed_difficulty ? "fixed" : ""].filter(Boolean).join(" ");
    return h("button", { type: "button", "aria-pressed": String(one === port && tls === secure), on: { click: (event) => {
      port = one; secure = tls;
      for (const button of buttons) button.setAttribute("aria-pressed", String(button === event.currentTarget));
      draw();
    } } }, `${one.port}${tls ? " TLS" : ""}${kind ? ` ${kind}` : ""}`);
  });
  byId("ports").replaceChildren(...buttons);

  const draw = () => {
    // On a solo port everybody mines solo; on any other one asks for it by the login.
    solo.disabled = port.solo;
    const alone = port.solo || solo.checked;
    const own = `${alone && !port.solo ? "solo:" : ""}${address.value.trim() || "YOUR_WALLET_ADDRESS"}`;
    const rig = worker.value.trim().replace(/[^\w-]/g, "") || "rig-1";
    const pin = secure ? ` --tls${terms.tls_fingerprint ? ` --tls-fingerprint=${terms.tls_fingerprint}` : ""}` : "";
    // Stock XMRig knows Monero's blocks only; on another chain it would burn power for nothing.
    const isMonero = terms.chain.name === "monero";
    const pinned = secure && terms.tls_fingerprint ? `#${terms.tls_fingerprint}` : "";
    const pool = `${location.hostname}:${port.port}${pinned}`;
    const ours = `headframe mine --pool ${secure ? ["stratum+ssl", `//${pool}`].join(":") : pool} --user ${own}.${rig}`;
    const line = `xmrig -a rx/0 -o ${location.hostname}:${port.port} -u ${own}.${rig} -p x -k${pin}`;
    const config = JSON.stringify({ algo: "rx/0", url: `${location.hostname}:${port.port}`, user: `${own}.${rig}`, pass: "x", keepalive: true, tls: secure, ...(secure && terms.tls_fingerprint ? { "tls-fingerprint": terms.tls_fingerprint } : {}) });
    const block = (title, text) => [h("h3", {}, title), h("div", { class: "copy" }, h("code", {}, text), copyButton(() => text))];
    const difficulty = port.fixed_difficulty ? `difficulty ${count(port.fixed_difficulty)}, fixed` : `difficulty from ${plain(withUnit(port.start_difficulty, ""))}, follows your hashrate`;
    byId("lines").replaceChildren(h("p", { class: "note" }, `Port ${port.port}${port.solo ? " (solo)" : ""}: ${difficulty}. ${alone ? "You mine solo: a block that you find pays you alone, and your shares earn no part of any other." : ""}`), ...(isMonero ? [...block("XMRig", line), ...block("An entry of “pools” in config.json", config)] : block("Headframe's miner", ours)));
  };
  const save = () => { remember("headframe-address", address.value.trim()); draw(); };
  address.addEventListener("input", save);
  worker.addEventListener("input", draw);
  solo.addEventListener("change", draw);
  draw();

  const facts = [["Fee", terms.fee_bp === null ? "–" : `${terms.fee_bp / 100} %`], ["Fee, solo", terms.solo_fee_bp === null ? "–" : `${terms.solo_fee_bp / 100} %`], ["Scheme", terms.scheme ? terms.scheme.toUpperCase() : "none"], ["Spendable after", `${terms.chain.maturity_blocks} blocks`]];
  if (terms.payments) {
    facts.push(["Paid from", `${coins(terms.payments.threshold_atomic, terms.chain, 4)} ${terms.chain.symbol}`], ["At most every", seconds(terms.payments.interval_s)], ["Final after", `${terms.payments.confirmations} blocks`]);
  }
  byId("terms").replaceChildren(...facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}
