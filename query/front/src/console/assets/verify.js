// Whether a payout is what the pool signed: everything is computed again here, in the browser, by the
// rules of docs/verify-your-payout.md.
import { byId, h, json } from "./console.js";
import { coins, count, short } from "./format.js";

const encoder = new TextEncoder();

const toHex = (bytes) => Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");

function fromHex(text) {
  if (typeof text !== "string" || !/^([0-9a-f]{2})+$/i.test(text)) throw new Error("it is not hexadecimal");
  return Uint8Array.from(text.match(/../g), (pair) => parseInt(pair, 16));
}

const sha256 = async (text) => toHex(await crypto.subtle.digest("SHA-256", encoder.encode(text)));

const leafOf = (row) => sha256(`leaf:${[row.block_hash, row.height, row.position, row.weight, row.shares, row.amount_atomic, row.miner].join(",")}`);
const nodeOf = (left, right) => sha256(`node:${left}${right}`);

// The root, and the neighbours from leaf `place` up. A node without a neighbour goes up as it is.
async function climb(leaves, place) {
  const steps = [];
  let level = leaves, at = place;
  while (level.length > 1) {
    const beside = level[at ^ 1];
    if (beside !== undefined) steps.push(at % 2 ? { left: beside } : { right: beside });
    const next = [];
    for (let n = 0; n < level.length; n += 2) next.push(n + 1 < level.length ? await nodeOf(level[n], level[n + 1]) : level[n]);
    level = next;
    at >>= 1;
  }
  return { root: level[0], steps };
}

async function rootOf(leaf, steps) {
  let hash = leaf;
  for (const step of steps) hash = step.left !== undefined ? await nodeOf(step.left, hash) : await nodeOf(hash, step.right);
  return hash;
}

// The line that the pool signed.
const statementOf = (proof) => `headframe window 1,${[proof.pool, proof.block_hash, proof.height, proof.scheme, proof.window_milli, proof.fee_bp, proof.reward_atomic, proof.total_weight, proof.window_shares, proof.miners, proof.merkle_root].join(",")}`;

async function isSigned(proof) {
  let key;
  try {
    key = await crypto.subtle.importKey("raw", fromHex(proof.public_key), "Ed25519", false, ["verify"]);
  } catch (error) {
    if (error.name === "NotSupportedError") return null;
    return false;
  }
  return crypto.subtle.verify("Ed25519", key, fromHex(proof.signature), encoder.encode(statementOf(proof)));
}

// Each check is [whether it holds, what was looked at, the details]; null is what this browser cannot do.
async function checksOf(proof, miner, trusted) {
  const checks = [];
  const add = (holds, text, details) => checks.push({ holds, text, details });
  add(proof.version === 1 && proof.miner === miner, "The proof is about this address", proof.miner);
  const leaf = await leafOf(proof);
  const root = await rootOf(leaf, proof.steps);
  add(root === proof.merkle_root, "The row leads to the root that was published", `from ${leaf} to ${root}`);
  const fee = BigInt(proof.reward_atomic) * BigInt(proof.fee_bp) / 10000n;
  const most = BigInt(proof.reward_atomic) - fee;
  add(BigInt(proof.amount_atomic) >= 0n && BigInt(proof.amount_atomic) <= most, "The amount is a part of the reward without the fee");
  let signed;
  try { signed = await isSigned(proof); } catch { signed = false; }
  add(signed, signed === null ? "The signature: this browser cannot check Ed25519" : "The pool’s key signed the block’s terms and this root", statementOf(proof));
  if (trusted) add(trusted.toLowerCase() === proof.public_key.toLowerCase(), "The key is the one that you know", proof.public_key);
  return checks;
}

// The whole window of a block, page by page.
async function windowOf(hash) {
  let from = null, first = null;
  const rows = [];
  do {
    const page = await json(`/api/v1/blocks/${hash}/payouts?limit=1000${from === null ? "" : `&from=${from}`}`);
    first ??= page;
    rows.push(...page.accounts);
    from = page.next;
  } while (from !== null && rows.length < 1000000);
  return { frozen: first.windows, rows };
}

// Adds the window up again, as the rules say: parts by running totals, in the order of the rows.
async function checkWindow(hash, miner) {
  const { frozen, rows } = await windowOf(hash);
  const mine = rows.find((row) => row.miner === miner);
  if (!mine) throw new Error("this address is not in the block’s window");
  const terms = frozen.find((one) => one.pool === mine.pool);
  const window = rows.filter((row) => row.pool === mine.pool).sort((a, b) => a.position - b.position).map((row) => ({ ...row, block_hash: hash, height: terms.height }));
  const place = window.findIndex((row) => row.miner === miner);
  const leaves = await Promise.all(window.map(leafOf));
  const { root, steps } = await climb(leaves, place);
  const reward = BigInt(terms.reward_atomic), total = BigInt(terms.total_weight);
  const rest = reward - reward * BigInt(terms.fee_bp) / 10000n;
  let before = 0n, wrong = 0;
  for (const row of window) {
    const upto = before + BigInt(row.weight);
    if (rest * upto / total - rest * before / total !== BigInt(row.amount_atomic)) wrong += 1;
    before = upto;
  }
  const proof = {
    version: 1, pool: mine.pool, block_hash: hash, height: terms.height, position: mine.position, miner, weight: mine.weight, shares: mine.shares, amount_atomic: mine.amount_atomic, steps,
    scheme: terms.scheme, window_milli: terms.window_milli, fee_bp: terms.fee_bp, reward_atomic: terms.reward_atomic, total_weight: terms.total_weight, window_shares: terms.shares, miners: terms.miners,
    merkle_root: terms.merkle_root, signature: terms.signature, public_key: terms.public_key,
  };
  const checks = [
    { holds: window.length === terms.miners && before === total, text: `The window has ${count(window.length)} ${window.length === 1 ? "row" : "rows"}, and their weights add up`, details: `total weight ${before}` },
    { holds: wrong === 0, text: "Every part of the reward is what its weight comes to", details: wrong ? `${wrong} rows differ` : `⌊${rest} × weight ÷ ${total}⌋ by running totals` },
    { holds: root === terms.merkle_root, text: "The tree over all rows has the root that was published", details: root },
  ];
  return { proof, checks };
}

// Makes the section work; the answer verifies the payout of one block.
export function offerVerification(miner, chain) {
  const verdict = byId("verdict"), key = byId("key");
  let last = null;
  json("/api/v1/payouts/key").then((answer) => { key.value ||= answer.public_key; }).catch(() => null);

  const put = (title, proof, checks) => {
    const bad = checks.filter((check) => check.holds === false).length, open = checks.filter((check) => check.holds === null).length;
    const state = bad ? "bad" : open ? "warn" : "good";
    const word = bad ? "Refused" : open ? "Not wholly checked" : "Verified";
    const amount = proof ? ` ${coins(proof.amount_atomic, chain, 12)} ${chain?.symbol || "atomic units"} of block ${count(proof.height)}.` : "";
    const sign = (holds) => (holds === null ? "?" : holds ? "✓" : "✗");
    verdict.replaceChildren(
      h("p", { class: "notice", "data-state": state, id: "verdict-word" }, h("strong", {}, `${word}: `), `${title}.${amount}`),
      h("ul", { class: "checks" }, checks.map((check) => h("li", { "data-state": check.holds ? "good" : check.holds === false ? "bad" : null },
        h("span", { class: "sign", "aria-label": check.holds ? "holds" : check.holds === null ? "not checked" : "does not hold" }, sign(check.holds)),
        h("span", {}, check.text, check.details ? h("small", { class: "mono" }, check.details) : "")))),
    );
  };
  const fail = (title, error) => put(title, null, [{ holds: false, text: error.message }]);
  const without = () => !globalThis.crypto?.subtle && fail("this browser computes nothing here", new Error("Browsers do cryptography only over HTTPS or on the machine itself; docs/verify-your-payout.md shows how to check with other tools."));

  byId("check-proof").addEventListener("click", async () => {
    if (without()) return;
    try {
      const proof = JSON.parse(byId("proof").value);
      put("the proof file", proof, await checksOf(proof, miner, key.value.trim()));
    } catch (error) { fail("it is no proof", error); }
  });
  byId("save-proof").addEventListener("click", () => {
    const link = h("a", { href: URL.createObjectURL(new Blob([JSON.stringify(last, null, 1)], { type: "application/json" })), download: `proof-${last.block_hash.slice(0, 12)}.json` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  return async (hash) => {
    byId("verify-area").scrollIntoView({ block: "start" });
    if (without()) return;
    verdict.replaceChildren(h("p", { class: "empty" }, `Fetching the window of block ${short(hash)}…`));
    try {
      const { proof, checks } = await checkWindow(hash, miner);
      last = proof;
      byId("proof").value = JSON.stringify(proof, null, 1);
      byId("save-proof").hidden = false;
      put(`block ${short(hash)}`, proof, [...checks, ...await checksOf(proof, miner, key.value.trim())]);
    } catch (error) {
      // What could not be fetched was not checked, and proves nothing against the pool.
      put(`block ${short(hash)}`, null, [{ holds: null, text: error.message }]);
    }
  };
}
